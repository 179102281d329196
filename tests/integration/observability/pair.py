"""A Prometheus and an Alertmanager in containers with files of their own, and ways to look that are not ours."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import docker.types
import httpx
import yaml

from tests.integration.containers import Container, Containers, free_port, wait_for

if TYPE_CHECKING:
    from pathlib import Path

RULES: dict[str, Any] = {
    "groups": [
        {
            "name": "test",
            "interval": "1s",
            "rules": [
                {"alert": "Watchdog", "expr": "vector(1)"},
                {"alert": "Quiet", "expr": "vector(0) > 1"},
            ],
        }
    ]
}
# Two samples with the same labels on the one side: valid, and fails whenever it is evaluated.
FAILING = {"alert": "Failing", "expr": "vector(1) * on() group_left() (up or label_replace(up, 'x', 'y', '', ''))"}


@dataclass
class Pair:
    """Both servers."""

    folder: Path
    prometheus: Container
    alertmanager: Container
    ports: dict[str, int]
    listen_host: str
    listen_port: int

    def url(self, kind: str) -> str:
        return f"http://127.0.0.1:{self.ports[kind]}"

    def options(self, *, urls: dict[str, str] | None = None, **more: Any) -> dict[str, Any]:
        """Return the options of the modules; ``urls`` leads a server's requests elsewhere."""

        def server(kind: str, container: Container) -> dict[str, Any]:
            return {
                "url": (urls or {}).get(kind) or self.url(kind),
                "container": container.name,
                "file": f"/etc/prometheus/{kind}.yml",
                "directory": str(self.folder / kind),
            }

        return {
            "prometheus": server("prometheus", self.prometheus),
            "alertmanager": server("alertmanager", self.alertmanager),
            "timeout_seconds": 20,
            **more,
        }

    def ask(self, kind: str, path: str) -> Any:
        return httpx.get(f"{self.url(kind)}{path}", timeout=20).json()

    def is_ready(self, kind: str) -> bool:
        try:
            return httpx.get(f"{self.url(kind)}/-/ready", timeout=20).is_success
        except httpx.TransportError:
            return False

    def start(self, kind: str) -> None:
        """Start a server that was killed."""
        (self.prometheus if kind == "prometheus" else self.alertmanager).handle.start()
        self.wait(kind)

    def wait(self, kind: str) -> None:
        wait_for(lambda: self.is_ready(kind), f"{kind} is ready", 90)

    def rules(self) -> list[str]:
        """Return the rules that Prometheus runs with."""
        groups = self.ask("prometheus", "/api/v1/rules")["data"]["groups"]
        return [rule["name"] for group in groups for rule in group["rules"]]

    def add_rule(self, rule: dict[str, Any]) -> None:
        """Change the file of rules; nobody reads it yet."""
        write(
            self.folder / "prometheus" / "rules.yml", {"groups": [*RULES["groups"], {"name": "more", "rules": [rule]}]}
        )

    def arrived(self) -> None:
        """Wait until Prometheus knows Alertmanager, again after a reload, and the heartbeat has come there."""
        wait_for(
            lambda: self.ask("prometheus", "/api/v1/alertmanagers")["data"]["activeAlertmanagers"],
            "Alertmanager is known",
            90,
        )
        wait_for(
            lambda: "Watchdog" in json.dumps(self.ask("alertmanager", "/api/v2/alerts?active=true")),
            "The heartbeat",
            90,
        )


def write(path: Path, document: Any) -> None:
    path.write_text(yaml.safe_dump(document))
    path.chmod(0o644)


def start_pair(containers: Containers, folder: Path) -> Pair:
    """Start both; Alertmanager sends the test alert of alerting_path_check to this machine."""
    gateway = containers.gateway
    listen_port = free_port()
    for kind in ("prometheus", "alertmanager"):
        (folder / kind).mkdir()
        (folder / kind).chmod(0o755)
    probe = {
        "matchers": ['alertname="AlertingPathProbe"'],
        "receiver": "probe",
        "group_by": ["alertname", "probe"],
        "group_wait": "0s",
    }
    hook = {"url": f"http://{gateway}:{listen_port}", "send_resolved": False}
    write(
        folder / "alertmanager" / "alertmanager.yml",
        {
            "route": {"receiver": "nobody", "routes": [probe]},
            "receivers": [{"name": "nobody"}, {"name": "probe", "webhook_configs": [hook]}],
        },
    )
    name = f"alertmanager-{secrets.token_hex(4)}"
    alertmanager = containers.start(
        "runbooks-lab/alertmanager:0.28",
        alias=name,
        ports=[9093],
        volumes={str(folder / "alertmanager"): "/etc/prometheus"},
    )
    write(
        folder / "prometheus" / "prometheus.yml",
        {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": ["rules.yml"],
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": [f"{name}:9093"]}]}]},
            "scrape_configs": [{"job_name": "prometheus", "static_configs": [{"targets": ["localhost:9090"]}]}],
        },
    )
    write(folder / "prometheus" / "rules.yml", RULES)
    prometheus = containers.start(
        "runbooks-lab/prometheus:2.53",
        ports=[9090],
        volumes={str(folder / "prometheus"): "/etc/prometheus"},
        mounts=[docker.types.Mount("/data", None, type="volume")],
        command=[
            "--config.file=/etc/prometheus/prometheus.yml",
            "--web.enable-lifecycle",
            # Alertmanager holds the heartbeat for four times as long.
            "--rules.alert.resend-delay=10s",
        ],
    )
    ports = {"prometheus": prometheus.port(9090), "alertmanager": alertmanager.port(9093)}
    pair = Pair(folder, prometheus, alertmanager, ports, gateway, listen_port)
    pair.wait("alertmanager")
    pair.wait("prometheus")
    return pair
