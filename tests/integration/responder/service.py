"""The responder's real process over a small project, and how to talk to it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import httpx
import yaml

from tests.integration.responder.project import make_project

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

TOKEN = "0123456789abcdef-test"
# The story of an incident whose first option helped.
HEALED = ["opened", "started diagnose", "finished done", "started option A", "finished done", "closed recovered"]


class Service:
    """A responder's process and how to talk to it."""

    def __init__(self, folder: Path) -> None:
        self.project = folder / "project"
        self.project.mkdir()
        make_project(self.project)
        with socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", 0))
            other.bind(("127.0.0.1", 0))
            self.addresses = [f"127.0.0.1:{one.getsockname()[1]}", f"127.0.0.1:{other.getsockname()[1]}"]
        self.config = folder / "responder.yml"
        self.settings: dict[str, Any] = {
            "project": "project",
            "inventory": "inventory",
            "state": "state",
            "listen": self.addresses,
            "poll_seconds": 0.2,
            "stop_seconds": 1.0,
            "policy": {"launch_retry_seconds": 0.2, "unknown_probe_seconds": 0.2, "decaying_probe_seconds": 0.2},
        }
        self.log = folder / "responder.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.client = httpx.Client(
            base_url=f"http://{self.addresses[0]}", headers={"Authorization": f"Bearer {TOKEN}"}, timeout=10
        )

    def write_settings(self) -> None:
        self.config.write_text(yaml.safe_dump(self.settings))

    def start(self, *, keep_log: bool = False, within: Sequence[str] = ()) -> None:
        """Start it, by a program that becomes what its arguments name, if one is given."""
        self.write_settings()
        environment = {**os.environ, "ALERT_RESPONDER_TOKENS": TOKEN}
        command_line = [*within, sys.executable, "-m", "alert_responder", "--config", str(self.config), "serve"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command_line, env=environment, stderr=log if keep_log else None)
        self.until(self._answers, seconds=90)

    def _answers(self) -> bool:
        try:
            return self.client.get("/readyz").status_code == 200
        except httpx.TransportError:
            assert self.process is not None
            assert self.process.poll() is None, "the responder has ended"
            return False

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        code = self.process.wait(60)
        self.process = None
        return code

    def post(self, address: int = 0, **alert: Any) -> httpx.Response:
        labels = {"alertname": "ThingBroken", "service": "thing", "instance": "db1:5432", **alert.pop("labels", {})}
        made = {"status": "firing", "labels": labels, "startsAt": "2026-11-23T12:00:00Z", "fingerprint": "f1", **alert}
        return self.client.post(
            f"http://{self.addresses[address]}/", json={"version": "4", "receiver": "r", "alerts": [made]}
        )

    def events(self, number: int = 1) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.client.get(f"/api/v1/incidents/{number}").json()["events"]
        return found

    def story(self, number: int = 1) -> list[str]:
        """Return the kinds of the events, with what they say most briefly."""
        return [
            " ".join(
                str(part)
                for part in (event["kind"], event.get("action"), event.get("option"), event.get("status"))
                if part
            )
            if event["kind"] != "finished"
            else f"finished {event['result']}"
            for event in self.events(number)
        ]

    def until(self, reached: Callable[[], bool], *, seconds: float = 180) -> None:
        deadline = time.monotonic() + seconds
        while not reached():
            assert time.monotonic() < deadline, "it did not happen in time"
            time.sleep(0.05)

    def over(self, number: int = 1) -> bool:
        return self.story(number)[-1].split()[0] in ("closed", "escalated")


def command(service: Service, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "alert_responder", "--config", str(service.config), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
