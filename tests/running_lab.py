"""The running lab, for tests that need all of it at once; tests/conftest.py makes its fixtures known everywhere."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from lab import responder
from lab.compose import compose, environment, is_well, services
from lab.drill import HEARTBEAT, settle
from lab.faults import FAULTS
from lab.settings import port_variable, read_settings
from lab.shell import LabError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

State = TypeVar("State")

UP_SECONDS = 900


@dataclass(frozen=True)
class Answer:
    """What an HTTP server said; status 0 means that nobody answered."""

    status: int
    body: str


@dataclass(frozen=True)
class Lab:
    """The lab as a test sees it: its commands, its database as superuser, its alerts, its front door."""

    root: Path

    def command(self, *arguments: str, timeout: float = 120, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the lab."""
        command = [sys.executable, "-m", "lab", *arguments]
        return subprocess.run(
            command,
            cwd=self.root,
            env=environment() | variables,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def inject(self, fault: str) -> None:
        """Break something; returns when it is broken."""
        done = self.command("fault", fault)
        assert done.returncode == 0, done.stderr

    def compose(self, *arguments: str, timeout: float = 120) -> str:
        """Run Docker Compose over the lab's project."""
        return subprocess.run(
            compose(*arguments), env=environment(), capture_output=True, text=True, timeout=timeout, check=True
        ).stdout

    def sql(self, statement: str, database: str = "app") -> list[list[str]]:
        """Ask the database itself, as its superuser."""
        psql = ["psql", "--no-psqlrc", "-v", "ON_ERROR_STOP=1", "-AtqF", "\t", "-U", "postgres", "-d", database]
        output = self.compose("exec", "-T", "postgres", *psql, "-c", statement, timeout=30)
        return [line.split("\t") for line in output.splitlines()]

    def address(self, service: str) -> str:
        """Return where a service answers HTTP on this machine."""
        return f"http://127.0.0.1:{read_settings()[port_variable(service)]}"

    def http(
        self, url: str, *, method: str = "GET", data: object = None, headers: dict[str, str] | None = None
    ) -> Answer:
        """Send one request; a path alone goes to the application through its load balancer."""
        url = url if url.startswith("http") else self.address("lb") + url
        body = None if data is None else json.dumps(data).encode()
        given = {"Content-Type": "application/json", **(headers or {})}
        request = urllib.request.Request(url, body, given, method=method)
        try:
            with urllib.request.urlopen(request, timeout=15) as response:
                return Answer(response.status, response.read().decode())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.read().decode())
        except OSError as error:
            return Answer(0, str(error))

    def prometheus(self, query: str) -> list[dict[str, Any]]:
        """Return the samples of an instant query: their labels under ``metric``, the number under ``value``."""
        url = f"{self.address('prometheus')}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
        samples = json.loads(self.http(url).body)["data"]["result"]
        return [{"metric": sample["metric"], "value": float(sample["value"][1])} for sample in samples]

    def firing(self, name: str) -> list[dict[str, str]]:
        """Return the labels of each alert of this name that Prometheus holds as firing."""
        alerts = json.loads(self.http(f"{self.address('prometheus')}/api/v1/alerts").body)["data"]["alerts"]
        return [one["labels"] for one in alerts if one["state"] == "firing" and one["labels"]["alertname"] == name]

    def notified(self, name: str) -> list[dict[str, str]]:
        """Return the labels of each alert of this name that Alertmanager holds."""
        alerts = json.loads(self.http(f"{self.address('alertmanager')}/api/v2/alerts?active=true").body)
        return [one["labels"] for one in alerts if one["labels"]["alertname"] == name]

    def alerts(self) -> list[dict[str, Any]]:
        """Return every alert that Prometheus holds, but the heartbeat."""
        alerts = json.loads(self.http(f"{self.address('prometheus')}/api/v1/alerts").body)["data"]["alerts"]
        return [one for one in alerts if one["labels"]["alertname"] != HEARTBEAT]

    def is_heard(self, service: str) -> bool:
        """Tell whether a service answers HTTP at all."""
        return self.http(f"{self.address(service)}/-/healthy").status != 0

    def containers(self) -> dict[str, list[str]]:
        """Return what tells whether somebody touched a container: when it was made and started, and its limits."""
        shape = (
            "{{.Name}} {{.Id}} {{.State.StartedAt}} {{.RestartCount}} {{.HostConfig.Memory}} {{.HostConfig.NanoCpus}}"
        )
        listed = self.compose("ps", "--all", "--quiet").split()
        inspect = ["docker", "inspect", "--format", shape, *listed]
        shown = subprocess.run(inspect, capture_output=True, text=True, timeout=60, check=True).stdout
        return {name: rest for name, *rest in map(str.split, shown.splitlines())}

    def failed_requests(self) -> float:
        """Return how many requests of the load generator did not succeed since it started, or could not be sent.

        Waits for a scrape that begins after this call.
        """
        asked = time.time()
        scraped = 'timestamp(loadgen_skipped_total{job="loadgen"})'
        self.wait(lambda: self.prometheus(scraped), lambda found: found and found[0]["value"] > asked, 30)
        counted = 'sum(loadgen_requests_total{result!~"2.."} or loadgen_skipped_total)'
        return float(self.prometheus(counted)[0]["value"])

    def wait(self, read: Callable[[], State], wanted: Callable[[State], object], seconds: float) -> State:
        """Read until the state is wanted and return it; fail with the last state seen."""
        deadline = time.monotonic() + seconds
        while not wanted(state := read()):
            assert time.monotonic() < deadline, f"not within {seconds} s; the last state was {state!r}"
            time.sleep(0.3)
        return state


@pytest.fixture(scope="session")
def running_lab(root: Path) -> Iterator[Lab]:
    """Bring the lab up, and take it down again at the end if it was down before; meanwhile nobody else heals it."""
    was_up = bool(read_settings()) and all(is_well(service) for service in services())
    responded = was_up and responder.answers()
    responder.stop()
    lab = Lab(root)
    up = lab.command("up", timeout=UP_SECONDS)
    assert up.returncode == 0, up.stderr
    yield lab
    if responded:
        responder.start()
    if not was_up:
        down = lab.command("down", timeout=180)
        assert down.returncode == 0, down.stderr


@pytest.fixture
def lab(running_lab: Lab) -> Iterator[Lab]:
    """Give a test the lab at rest: no fault, no alert, every service healthy; and take its faults back afterwards."""
    try:
        settle()
    except LabError:
        # This test fails, and the next finds a lab again.
        running_lab.command("down", timeout=180)
        running_lab.command("up", timeout=UP_SECONDS)
        raise
    yield running_lab
    for fault in FAULTS.values():
        fault.undo()
