# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to the ops.runbooks collection: may change without notice.
"""The way of an alert, hop by hop: what each server, its files and its storage say, none asked through another."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible_collections.ops.runbooks.plugins.module_utils._alerting_site import (
    ENDED,
    OK,
    Server,
    Site,
    alerting_options,
    servers_of,
)
from ansible_collections.ops.runbooks.plugins.module_utils._errors import OpsError, PreconditionFailed
from ansible_collections.ops.runbooks.plugins.module_utils._prometheus_config import check_config

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ansible_collections.ops.runbooks.plugins.module_utils._arguments import ArgumentSpec

STARTING = 503
HEARTBEAT = "Watchdog"
FAILING_RULES_SHOWN = 20
LOADED = frozenset({".yml", ".yaml", ".rules", ".tmpl"})
_STORAGE = re.compile(r"opening storage failed: (.*?)\"?$")
# Less is no room: Prometheus may write into a file that it has mapped, and be killed for it without a word.
ROOM_BYTES = 1 << 20
FREE = 'df -Pk "$1" | tail -n 1'
# What the system says of a disk that takes no more; nothing is damaged, and nothing works before there is room.
_UNWRITABLE = re.compile(r"(?i)no space left on device|disk quota exceeded|read-only file system|input/output error")
_READY = "Server is ready to receive web requests"

# What a play may demand of the evidence before it acts, and why not to act without it.
DEMANDS: dict[str, str] = {
    "alertmanager_down": "Alertmanager answers that it is ready, or its configuration is not valid",
    "prometheus_down": "Prometheus answers that it is ready, still starts, or a start would not help",
}


def path_spec() -> ArgumentSpec:
    """Return the options of alerting_path_info."""
    own = alerting_options()
    own.options.update(
        starting_seconds={"type": "float", "default": 900.0},
        storage_path={"type": "str", "default": "/data"},
        demand={"type": "str", "choices": sorted(DEMANDS)},
    )
    return own


def files_of(server: Server) -> list[Path]:
    """Return what a server reads when it is told to reload: configuration, rules and templates, no hidden files.

    JSON is service discovery, which is read whenever it changes.
    """
    found = Path(server.directory).rglob("*")
    return sorted(path for path in found if path.is_file() and path.suffix in LOADED and not path.name.startswith("."))


def is_stale(metrics: Mapping[str, float], server: Server, files: Sequence[Path]) -> bool:
    """Tell whether the last reload failed, or a file has changed since."""
    if metrics[f"{server.kind}_config_last_reload_successful"] != 1:
        return True
    loaded = metrics[f"{server.kind}_config_last_reload_success_timestamp_seconds"]
    return any(path.stat().st_mtime > loaded for path in files)


def failing_rules(groups: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Return the rules whose last evaluation failed, with the reason."""
    return [
        {"group": group["name"], "file": group["file"], "rule": rule["name"], "error": rule.get("lastError", "")}
        for group in groups
        for rule in group["rules"]
        if rule.get("health") == "err"
    ]


def is_unwritable(error: str) -> bool:
    """Tell whether an error says that the storage of Prometheus cannot be written.

    Prometheus stays ready then and goes on sending alerts, but keeps no sample: it is blind, and every rule that has
    something to say fails, whatever is in its file.
    """
    return _UNWRITABLE.search(error) is not None


def wrong_rules(groups: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Return the failing rules that another file could mend."""
    return [one for one in failing_rules(groups) if not is_unwritable(one["error"])]


def storage_error(log: Sequence[str]) -> str:
    """Return why Prometheus could not open its storage when it last tried to start; empty if it could."""
    for line in reversed(log):
        if _READY in line:
            return ""
        found = _STORAGE.search(line.strip())
        if found:
            return found[1]
    return ""


def why_not_started(site: Site, server: Server, container: Mapping[str, Any] | None) -> str:
    """Return what the storage of a Prometheus that is not ready has to do with it; empty if nothing.

    One that has ended is judged by its last start alone: it may have failed for another reason than the time before.
    """
    since = container["started"] if container and container["state"] in ENDED else None
    return storage_error(site.log_tail(server, since=since))


def heartbeat_age(alerts: Sequence[Mapping[str, Any]], now: datetime) -> float | None:
    """Return the seconds since Prometheus last handed the heartbeat over; None if Alertmanager does not hold it."""
    stamps = [one["updatedAt"] for one in alerts if one["labels"].get("alertname") == HEARTBEAT]
    moments = [datetime.strptime(f"{stamp[:19]}+0000", "%Y-%m-%dT%H:%M:%S%z") for stamp in stamps]
    return max(0.0, (now - max(moments)).total_seconds()) if moments else None


def utc_now() -> datetime:
    """Return the time now, in UTC."""
    return datetime.now(timezone.utc)


class Observer:
    """Asks every hop at the same time and notes what could not be read."""

    def __init__(self, site: Site, params: Mapping[str, Any], now: Callable[[], datetime] = utc_now) -> None:
        self._site = site
        self._prometheus, self._alertmanager = servers_of(params)
        self._starting_seconds: float = params["starting_seconds"]
        self._path: str = params["storage_path"]
        self._now = now
        self._unreadable: list[dict[str, str]] = []

    def observe(self) -> dict[str, Any]:
        """Return the evidence; complete even when neither server answers."""
        with ThreadPoolExecutor(max_workers=4) as threads:
            asked = [
                threads.submit(self._server, self._prometheus, self._rules),
                threads.submit(self._server, self._alertmanager, self._heartbeat),
                threads.submit(self._validate, self._prometheus),
                threads.submit(self._validate, self._alertmanager),
            ]
            prometheus, alertmanager, *valid = [one.result() for one in asked]
        for server, verdict in zip((prometheus, alertmanager), valid):
            server["configuration"] = verdict
        error = prometheus.pop("storage_error", "") if prometheus["ready"] else self._why_not_started(prometheus)
        writable = not is_unwritable(error)
        named = (("prometheus", prometheus), ("alertmanager", alertmanager))
        return {
            "changed": False,
            "prometheus": prometheus,
            "alertmanager": alertmanager,
            "failing_rules": prometheus.pop("failing_rules", [])[:FAILING_RULES_SHOWN],
            "invalid": [name for name, one in named if one["configuration"]["valid"] is False],
            "stale": [name for name, one in named if one.get("stale") and one["configuration"]["valid"]],
            "storage": {"damaged": bool(error) and writable, "writable": writable, "error": error},
            "unreadable": self._unreadable,
        }

    def _why_not_started(self, prometheus: Mapping[str, Any]) -> str:
        error = why_not_started(self._site, self._prometheus, prometheus["container"])
        if error or not prometheus["container"]:
            return error
        free = self._try("room for Prometheus", self._free_bytes)
        if free is None or free >= ROOM_BYTES:
            return ""
        return f"no space left on device: {free} bytes are free for {self._path}"

    def _free_bytes(self) -> int:
        return int(self._site.beside(self._prometheus, FREE, self._path).split()[3]) * 1024

    def _try(self, what: str, read: Callable[[], Any]) -> Any:
        try:
            return read()
        except (OpsError, OSError, KeyError, TypeError, ValueError) as error:
            self._unreadable.append({"what": what, "why": str(error) or type(error).__name__})
            return None

    def _server(self, server: Server, more: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        container = self._try(f"container of {server.title}", lambda: self._site.container(server))
        answer = self._try(f"{server.title} is ready", lambda: self._site.send(server, "/-/ready"))
        found: dict[str, Any] = {
            "ready": answer is not None and answer[0] == OK,
            "answers": answer is not None,
            "starting": answer is not None and answer[0] == STARTING and self._is_young(container),
            "container": container.as_return() if container else None,
        }
        if not found["ready"]:
            return found
        metrics = self._try(f"metrics of {server.title}", lambda: self._site.metrics(server))
        if metrics is not None:
            found["stale"] = self._try(
                f"age of the files of {server.title}", lambda: is_stale(metrics, server, files_of(server))
            )
            kind = f"{server.kind}_config_last_reload"
            found["reload_successful"] = metrics.get(f"{kind}_successful") == 1
            found["failures"] = {name: int(value) for name, value in metrics.items() if name in FAILURES}
        return found | (self._try(f"state of {server.title}", more) or {})

    def _is_young(self, container: Any) -> bool:
        started = datetime.strptime(f"{container.started[:19]}+0000", "%Y-%m-%dT%H:%M:%S%z") if container else None
        return started is not None and (self._now() - started).total_seconds() < self._starting_seconds

    def _rules(self) -> dict[str, Any]:
        groups = self._site.document(self._prometheus, "/api/v1/rules")["groups"]
        known = self._site.document(self._prometheus, "/api/v1/alertmanagers")["activeAlertmanagers"]
        return {
            "rules": sum(len(group["rules"]) for group in groups),
            "failing_rules": wrong_rules(groups),
            "storage_error": next((one["error"] for one in failing_rules(groups) if is_unwritable(one["error"])), ""),
            "alertmanagers": [one["url"] for one in known],
        }

    def _heartbeat(self) -> dict[str, Any]:
        alerts = self._site.document(self._alertmanager, "/api/v2/alerts?active=true")
        return {"alerts": len(alerts), "heartbeat_age_seconds": heartbeat_age(alerts, self._now())}

    def _validate(self, server: Server) -> dict[str, Any]:
        result = self._try(f"validity of the files of {server.title}", lambda: validate(self._site, server))
        return result or {"valid": None, "output": ""}


FAILURES = (
    "prometheus_notifications_dropped_total",
    "prometheus_notifications_errors_total",
    "prometheus_rule_evaluation_failures_total",
    "alertmanager_notifications_failed_total",
    "alertmanager_notification_requests_failed_total",
)


def validate(site: Site, server: Server) -> dict[str, Any]:
    """Have the server's own tool judge what is on disk, also when the server does not run."""
    asked: dict[str, Any] = {
        "prometheus_file": None,
        "rule_files": [],
        "alertmanager_file": None,
        "require_valid": False,
    }
    asked.update({f"{server.kind}_file": server.file, "container": server.container})
    checked = check_config(asked, site.run)
    return {"valid": checked["valid"], "output": checked["checks"][0]["output"]}


def demand(evidence: Mapping[str, Any], name: str) -> None:
    """Raise PreconditionFailed, with the evidence, unless it is as demanded."""
    prometheus, alertmanager = evidence["prometheus"], evidence["alertmanager"]
    holds = {
        "alertmanager_down": not alertmanager["ready"] and alertmanager["configuration"]["valid"] is not False,
        "prometheus_down": not prometheus["ready"]
        and not prometheus["starting"]
        and prometheus["configuration"]["valid"] is not False
        and not evidence["storage"]["error"],
    }
    if not holds[name]:
        raise PreconditionFailed(f"Refused: {DEMANDS[name]}. Run diagnose.yml and follow its evidence.", **evidence)
