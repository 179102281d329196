"""How many requests service_restart loses and how long it takes, beside `docker compose restart`.

Run `python -m benchmarks.service_restart`. Three replicas that drain serve steady requests behind the lab's load
balancer; both sides restart all of them, in turns, on the same project.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from lab.engine import ensure_engine
from lab.images import ensure_images
from lab.shell import Board
from tests.integration.containers import wait_for
from tests.integration.services.balanced import Load, balanced
from tests.integration.services.conftest import open_project

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integration.services.conftest import Project

ROOT = Path(__file__).resolve().parents[1]
# Longer than the load balancer needs to find every replica, so that each round starts from the same state.
CALM_SECONDS = 4


@dataclass(frozen=True)
class Side:
    """What one side did in one round, or in the median of all rounds."""

    seconds: float
    requests: int
    failed: int

    def row(self, what: str) -> str:
        """Return the numbers as a row of the table."""
        return f"| {what} | {self.seconds:.1f} s | {self.requests} | {self.failed} |"


@dataclass(frozen=True)
class Measured:
    """Both sides, medians of the duration and sums of the requests; and the cost of a run that restarts nothing."""

    replicas: int
    compose: Side
    module: Side
    start: float

    def table(self) -> str:
        """Return the numbers as a table in Markdown."""
        return "\n".join(
            [
                "| | Median duration | Requests | Failed |",
                "|---|---|---|---|",
                self.compose.row(f"`docker compose restart`, {self.replicas} replicas at once, until they serve"),
                self.module.row(f"service_restart, {self.replicas} replicas one after the other"),
                f"| the module's fixed cost: the same command, nothing to restart | {self.start:.1f} s | | |",
            ]
        )


def measure(replicas: int, per_second: int, rounds: int) -> Measured:
    """Measure both sides in turns on one project."""
    with Board() as board:
        ensure_engine(board)
        ensure_images(board, ["backend:lab", "haproxy:3.0"])
    compose, module, start = [], [], []
    with tempfile.TemporaryDirectory() as folder, open_project(balanced(replicas), Path(folder)) as project:
        project.compose("up", "-d", "--wait")
        url = f"http://127.0.0.1:{project.port('lb', 8080)}/"

        def loaded(restart: Callable[[], object]) -> Side:
            wait_for(lambda: _all_serve(url, replicas), "Every replica serves")
            with Load(url, per_second) as load:
                begin = time.perf_counter()
                restart()
                seconds = time.perf_counter() - begin
                time.sleep(CALM_SECONDS)
            return Side(seconds, load.requests, len(load.failures))

        for _round in range(rounds):
            compose.append(loaded(lambda: by_compose(project)))
            module.append(loaded(lambda: by_module(project, minimum_age_seconds=0, expected=replicas)))
            begin = time.perf_counter()
            by_module(project, minimum_age_seconds=3600, expected=0)
            start.append(time.perf_counter() - begin)
    return Measured(replicas, _middle(compose), _middle(module), statistics.median(start))


def _middle(sides: list[Side]) -> Side:
    seconds = statistics.median(side.seconds for side in sides)
    return Side(seconds, sum(side.requests for side in sides), sum(side.failed for side in sides))


def _all_serve(url: str, replicas: int) -> bool:
    with Load(url, per_second=50, workers=2) as load:
        time.sleep(0.5)
    return len(load.served) == replicas and not load.failures


def by_compose(project: Project) -> None:
    """Restart, then wait for health: `restart` itself waits for nothing."""
    project.compose("restart", "backend")
    project.compose("up", "-d", "--no-recreate", "--wait", "backend")


def by_module(project: Project, *, minimum_age_seconds: int, expected: int) -> None:
    """Restart as a person does, with the module's defaults."""
    arguments: dict[str, Any] = {
        "project": project.name,
        "service": "backend",
        "minimum_age_seconds": minimum_age_seconds,
    }
    command = [
        str(Path(sys.executable).with_name("ansible")),
        "localhost",
        *("-m", "ops.runbooks.service_restart", "-a", json.dumps(arguments)),
        *("-e", f"ansible_python_interpreter={sys.executable}"),
    ]
    environment = {
        **os.environ,
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections"),
        "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",
        "ANSIBLE_LOAD_CALLBACK_PLUGINS": "1",
        "ANSIBLE_STDOUT_CALLBACK": "json",
    }
    done = subprocess.run(command, env=environment, cwd=ROOT, check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"The module failed: {done.stdout}{done.stderr}")
    result = json.loads(done.stdout)["plays"][0]["tasks"][0]["hosts"]["localhost"]
    if len(result["restarted"]) != expected:
        raise RuntimeError(f"The module did not restart {expected} replicas: {result}")


def main(replicas: int = 3, per_second: int = 200, rounds: int = 3) -> None:
    """Measure and print; fails if the module lost a request."""
    measured = measure(replicas, per_second, rounds)
    typer.echo(measured.table())
    raise typer.Exit(code=int(measured.module.failed > 0))


if __name__ == "__main__":
    typer.run(main)
