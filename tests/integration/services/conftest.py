"""Small Compose projects, each of its own, for the modules that treat services."""

from __future__ import annotations

import json
import subprocess
import uuid
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from lab.engine import ensure_engine
from lab.images import ensure_images
from lab.shell import Board

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    StartProject = Callable[[Mapping[str, Any]], "Project"]

SERVE = "import http.server as h; h.test(h.SimpleHTTPRequestHandler, port=8000)"
ASK = ["CMD", "python3", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/')"]
HEALTH: dict[str, Any] = {"test": ASK, "interval": "500ms", "timeout": "5s", "retries": 20}
BASE: dict[str, Any] = {
    "image": "runbooks-lab/backend:lab",
    "labels": {"ops.runbooks.test": "1"},
    "init": True,
    "stop_grace_period": "2s",
    "command": ["python3", "-c", SERVE],
}
NO_HEALTH: dict[str, Any] = {"disable": True}


@dataclass
class Project:
    """A small Compose project of its own."""

    name: str
    file: Path

    def compose(self, *arguments: str) -> str:
        command = ["docker", "compose", "-p", self.name, "-f", str(self.file), *arguments]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, f"{command} exited {done.returncode}: {done.stderr}"
        return done.stdout

    def port(self, service: str, inside: int) -> int:
        """Return the loopback port that leads to a port of a service."""
        return int(self.compose("port", service, str(inside)).strip().rpartition(":")[2])

    def containers(self, service: str) -> dict[str, str]:
        """Return name and start time of what runs of a service."""
        filters = [f"label=com.docker.compose.project={self.name}", f"label=com.docker.compose.service={service}"]
        listed = subprocess.run(
            ["docker", "ps", "-q", "--no-trunc", *(part for one in filters for part in ("--filter", one))],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.split()
        if not listed:
            return {}
        inspected = json.loads(
            subprocess.run(["docker", "inspect", *listed], check=True, capture_output=True, text=True).stdout
        )
        return {one["Name"].lstrip("/"): one["State"]["StartedAt"] for one in inspected}


@contextmanager
def open_project(services: Mapping[str, Any], folder: Path) -> Iterator[Project]:
    """Have a project that is not started yet, and nothing of it at the end."""
    file = folder / "compose.yml"
    file.write_text(yaml.safe_dump({"services": dict(services)}), encoding="utf-8")
    made = Project(f"rbtest{uuid.uuid4().hex[:8]}", file)
    try:
        yield made
    finally:
        made.compose("down", "--timeout", "2", "--volumes")


@pytest.fixture(scope="module")
def make_project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartProject]:
    """Return a function that writes a project of the given services."""
    with Board() as board:
        ensure_engine(board)
        ensure_images(board, ["backend:lab", "haproxy:3.0"])
    with ExitStack() as stack:
        yield lambda services: stack.enter_context(open_project(services, tmp_path_factory.mktemp("project")))
