"""Prometheus and Alertmanager that answer what a test says, and a Docker engine with their two containers."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from ansible_collections.ops.runbooks.plugins.module_utils._alerting_site import Server, Site
from ansible_collections.ops.runbooks.plugins.module_utils._errors import ConnectionFailed
from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LOADED = 1_800_000_000.0
NOW = "2027-01-15T08:00:10.5Z"
VALID = "SUCCESS: 12 rules found"


class FakeSite(Site):
    """Each server answers until it is in ``silent``; files are real, below the folder of the test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.silent: set[str] = set()
        self.starting: set[str] = set()
        self.invalid: dict[str, str] = {}  # server: what its tool says
        self.failed_reloads: set[str] = set()
        self.failing: list[str] = []
        self.why_failing = "many-to-many"
        self.alarms: list[str] = []
        self.failures = 0
        self.heartbeat: str | None = "2027-01-15T08:00:07.25Z"
        self.states: dict[str, str] = {"prometheus": "running", "alertmanager": "running"}
        self.free_kilobytes = 4_000_000
        self.log: list[str] = ["Server is ready to receive web requests."]
        self.posted: list[dict[str, Any]] = []
        self.reloaded: list[str] = []
        self.commands: list[list[str]] = []
        self.on_post: Callable[[dict[str, Any]], None] = lambda _alert: None
        self.on_docker: Callable[[list[str]], tuple[int, str, str] | None] = lambda _command: None
        self.loaded = dict.fromkeys(("prometheus", "alertmanager"), LOADED)
        for kind, name in (("prometheus", "alerts.yml"), ("alertmanager", "alertmanager.yml")):
            self.write(kind, name, "good", age=100)

    def path(self, kind: str, name: str) -> Path:
        return self.folder / kind / name

    def write(self, kind: str, name: str, text: str, *, age: float) -> None:
        """Write a file ``age`` seconds before the server loaded what it runs with."""
        self.path(kind, name).parent.mkdir(parents=True, exist_ok=True)
        self.path(kind, name).write_text(text)
        os.utime(self.path(kind, name), (LOADED - age, LOADED - age))

    def params(self, **more: Any) -> dict[str, Any]:
        """Return the options of a module for these servers."""

        def server(kind: str) -> dict[str, Any]:
            directory = str(self.folder / kind)
            return {"url": f"http://{kind}/", "container": f"c-{kind}", "file": f"/{kind}.yml", "directory": directory}

        return {"prometheus": server("prometheus"), "alertmanager": server("alertmanager"), **more}

    @override
    def send(self, server: Server, path: str, *, method: str = "GET", data: str | None = None) -> tuple[int, str]:
        if server.kind in self.silent:
            raise ConnectionFailed(f"no answer from {server.title}")
        if path == "/-/ready":
            return (503, "Service Unavailable") if server.kind in self.starting else (200, "OK")
        if path == "/-/reload":
            self.reloaded.append(server.kind)
            if server.kind in self.invalid:
                return 500, "failed to reload config"
            self.loaded[server.kind] = 4_000_000_000.0
            self.failing = []
            return 200, ""
        if path == "/metrics":
            good = 0 if server.kind in self.failed_reloads else 1
            kind = f"{server.kind}_config_last_reload"
            return 200, (
                f"# HELP x y\n{kind}_successful {good}\n{kind}_success_timestamp_seconds {self.loaded[server.kind]}\n"
                f'alertmanager_notification_requests_failed_total{{integration="webhook"}} {self.failures}\n'
                f'alertmanager_notification_requests_failed_total{{integration="email"}} 1\n'
            )
        if method == "POST":
            (alert,) = json.loads(data or "")
            self.posted.append(alert)
            self.on_post(alert)
            return 200, ""
        return 200, json.dumps(self._document(path))

    def _document(self, path: str) -> Any:
        if path == "/api/v1/rules":
            rules = [{"name": "Fine", "health": "ok"}]
            rules += [{"name": name, "health": "err", "lastError": self.why_failing} for name in self.failing]
            return {"data": {"groups": [{"name": "g", "file": "r.yml", "rules": rules}]}}
        if path == "/api/v1/alertmanagers":
            return {"data": {"activeAlertmanagers": [{"url": "http://a1:9093/api/v2/alerts"}]}}
        if path == "/api/v1/alerts":
            labels = [{"alertname": "PrometheusAlertingFailure", "reason": reason} for reason in self.alarms]
            return {"data": {"alerts": [{"labels": one} for one in [*labels, {"alertname": "Watchdog"}]]}}
        beat = {"labels": {"alertname": "Watchdog"}, "updatedAt": self.heartbeat}
        return [*([beat] if self.heartbeat else []), {"labels": {"alertname": "Other"}, "updatedAt": NOW}]

    @override
    def run(self, command: list[str]) -> tuple[int, str, str]:
        self.commands.append(command)
        said = self.on_docker(command)
        if said is not None:
            return said
        kind = "prometheus" if "c-prometheus" in command or "promtool" in command else "alertmanager"
        if command[1] == "inspect":
            state = {"Status": self.states[kind], "ExitCode": 0, "StartedAt": "2027-01-15T07:59:00.1Z"}
            return 0, json.dumps([{"State": state, "RestartCount": 0, "Config": {"Image": "img:1"}}]), ""
        if command[1] == "run" and command[-1] == "/data" and "df" in command[-3]:
            return 0, f"/dev/vdb 5000000 1000000 {self.free_kilobytes} 25% /data\n", ""
        if command[1] == "logs":
            return 0, "", "\n".join(self.log)
        if command[1] == "exec":
            return (1, "", self.invalid[kind]) if kind in self.invalid else (0, VALID, "")
        return 0, "", ""
