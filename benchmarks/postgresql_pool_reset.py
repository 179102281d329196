"""How long postgresql_pool_reset takes to end 500 sessions, beside the same SQL statement sent by psql.

Run `python -m benchmarks.postgresql_pool_reset`. Both sides end sessions of the same kind on the same server, in turns,
and wait until they are gone. The fixed cost of a module is that of the same command with criteria that match nothing.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg2
import typer

from lab.engine import ensure_engine
from lab.images import ensure_images
from lab.shell import Board
from tests.integration.containers import Container, open_containers, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[1]
IMAGE = "postgres:17"
PASSWORD = "bench"  # noqa: S105 - of a container that lives as long as this run
APPLICATION = "bench"
LIMIT = 1.5
COUNT = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'bench' AND state = 'idle'"
END = """
\\timing on
SELECT count(*) FROM (SELECT pg_terminate_backend(pid) FROM pg_stat_activity
  WHERE backend_type = 'client backend' AND application_name = 'bench' AND state = 'idle') AS told;
DO $$ BEGIN
  WHILE EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'bench') LOOP
    PERFORM pg_sleep(0.005);
    PERFORM pg_stat_clear_snapshot();
  END LOOP;
END $$;
"""


@dataclass(frozen=True)
class Measured:
    """Medians in seconds."""

    sessions: int
    psql: float
    start: float
    module: float

    @property
    def ratio(self) -> float:
        """What the module takes beyond its start, against psql."""
        return (self.module - self.start) / self.psql

    def table(self) -> str:
        """Return the numbers as a table in Markdown."""
        rows = [
            (f"psql: end {self.sessions} sessions, wait until they are gone", self.psql),
            ("the module's fixed cost: the same command, nothing matches", self.start),
            (f"the module ends {self.sessions} sessions", self.module),
        ]
        lines = [f"| {what} | {seconds:.3f} s |" for what, seconds in rows]
        return "\n".join(
            [
                "| | Median |",
                "|---|---|",
                *lines,
                f"| (module - fixed cost) / psql, at most {LIMIT} | {self.ratio:.2f} |",
            ]
        )


def measure(sessions: int, rounds: int) -> Measured:
    """Measure both sides in turns on one server."""
    with Board() as board:
        ensure_engine(board)
        ensure_images(board, [IMAGE])
    psql, start, module = [], [], []
    with open_containers() as containers:
        server = containers.start(
            f"runbooks-lab/{IMAGE}",
            alias="bench",
            ports=[5432],
            environment={"POSTGRES_PASSWORD": PASSWORD},
            command=["-c", f"max_connections={sessions + 20}"],
        )
        wait_for(lambda: server.run("pg_isready", "-h", "127.0.0.1"), "PostgreSQL serves")
        for _round in range(rounds):
            with clients(server, sessions):
                psql.append(by_psql(server))
            start.append(by_module(server, ["nobody"], expected=0))
            with clients(server, sessions):
                module.append(by_module(server, [APPLICATION], expected=sessions))
    return Measured(sessions, *map(statistics.median, (psql, start, module)))


@contextmanager
def clients(server: Container, sessions: int) -> Iterator[None]:
    """Hold idle sessions."""
    dsn = f"host=127.0.0.1 port={server.port(5432)} user=postgres password={PASSWORD} application_name={APPLICATION}"
    held = [psycopg2.connect(dsn) for _number in range(sessions)]
    wait_for(lambda: _count(server) == sessions, "The sessions are idle")
    try:
        yield
    finally:
        for connection in held:
            connection.close()


def _count(server: Container) -> int:
    return int(server.run("psql", "-XAtqc", COUNT))


def by_psql(server: Container) -> float:
    """Return the seconds that psql reports for the statement and for the wait."""
    printed = server.run("sh", "-c", f"psql -XAtq <<'STOP'{END}STOP")
    times = [line for line in printed.splitlines() if line.startswith("Time: ")]
    return sum(float(line.split()[1]) for line in times) / 1000


def by_module(server: Container, applications: list[str], *, expected: int) -> float:
    """Return the seconds of the whole command."""
    arguments: dict[str, Any] = {
        "login_host": "127.0.0.1",
        "login_port": server.port(5432),
        "login_password": PASSWORD,
        "states": ["idle"],
        "applications": applications,
        "users": ["postgres"],
        "allow_superusers": True,
        "keep_per_application": 0,
        "limit": 10_000,
    }
    command = [
        str(Path(sys.executable).with_name("ansible")),
        "localhost",
        *("-m", "ops.runbooks.postgresql_pool_reset", "-a", json.dumps(arguments)),
        *("-e", f"ansible_python_interpreter={sys.executable}"),
    ]
    environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections")}
    begin = time.perf_counter()
    done = subprocess.run(command, env=environment, cwd=ROOT, check=False, capture_output=True, text=True)
    seconds = time.perf_counter() - begin
    if done.returncode or f"terminated: {expected}\n" not in done.stdout:
        raise RuntimeError(f"The module did not end {expected} sessions: {done.stdout}{done.stderr}")
    return seconds


def main(sessions: int = 500, rounds: int = 5) -> None:
    """Measure and print; fails above the limit."""
    measured = measure(sessions, rounds)
    typer.echo(measured.table())
    raise typer.Exit(code=int(measured.ratio > LIMIT))


if __name__ == "__main__":
    typer.run(main)
