"""How long from a webhook to the first task of a playbook, and how long 40 alerts take, beside ansible-rulebook.

Run `python -m benchmarks.first_task --rulebook /path/to/ansible-rulebook`. Both sides get the same webhook, run the
same playbook on the same inventory, in turns. ansible-rulebook lives in a virtual environment of its own and needs Java
17; without it, only our side is measured, and the output says so.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import httpx
import typer
import yaml

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TOKEN = "only-for-this-benchmark"  # noqa: S105 -- it opens nothing but this
AT_ONCE = 4
LONGEST_SECONDS = 900
STOP_SECONDS = 20
_POLL_SECONDS = 0.005

# The first task tells the time on the target; the rest is what the responder reads.
PLAYBOOK = """\
---
- name: Tell the time
  hosts: things
  gather_facts: false
  tasks:
    - name: Tell the time
      ansible.builtin.shell: {cmd: "date +%s.%N >> {{ marks }}"}
    - name: Publish
      ansible.builtin.set_stats:
        per_host: false
        aggregate: false
        data:
          runbook_evidence: {schema: 1, runbook: bench, collected_at: now, evidence: {seen: true}, unreadable: []}
"""

# One playbook for each alert: the diagnosis; what fits its evidence is done by hand.
RUNBOOK = """\
---
runbook: bench
title: A benchmark
service: any
owner: Nobody
reviewed: 2026-11-25
review_every_days: 90
target_group: things
alerts:
  - {name: Bench, severity: info, service: any, identity: [service], labels: []}
diagnose: {playbook: playbooks/tell.yml, expected_seconds: 2, timeout_seconds: 300}
verify: {playbook: playbooks/tell.yml, expected_seconds: 2, timeout_seconds: 300}
recovered: Never.
options:
  - letter: A
    title: By hand
    playbook: playbooks/tell.yml
    when: evidence.seen
    reason: It was seen.
    automation: manual
    idempotent: true
    expected_seconds: 2
    timeout_seconds: 300
    impact: None.
---

# A benchmark
"""


class Project:
    """The playbook, the inventory and the file in which the target tells the time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.marks = folder / "marks"
        self.marks.touch()
        for name in ("playbooks", "runbooks"):
            (folder / name).mkdir()
        (folder / "playbooks" / "tell.yml").write_text(PLAYBOOK)
        (folder / "runbooks" / "bench.md").write_text(RUNBOOK)
        self.inventory = folder / "inventory.yml"
        host = {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "marks": str(self.marks),
        }
        self.inventory.write_text(yaml.safe_dump({"things": {"hosts": {"here": host}}}))

    def times(self) -> list[float]:
        """Return when first tasks started, the earliest first."""
        return sorted(map(float, self.marks.read_text().split()))


@dataclass(frozen=True)
class Side:
    """Where one side listens."""

    url: str

    def post(self, name: str) -> None:
        """Send one firing alert, as Alertmanager does."""
        alert = {
            "status": "firing",
            "labels": {"alertname": "Bench", "service": name},
            "startsAt": "2026-11-25T12:00:00Z",
            "fingerprint": name,
        }
        body = {"version": "4", "receiver": "bench", "alerts": [alert]}
        httpx.post(self.url, json=body, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=30).raise_for_status()


def first_task(side: Side, project: Project, name: str) -> float:
    """Return the seconds from sending a webhook to the first task on the target."""
    known = len(project.times())
    sent = time.time()
    side.post(name)
    _until(lambda: len(project.times()) > known)
    return project.times()[-1] - sent


def many(side: Side, project: Project, name: str, count: int) -> float:
    """Return the seconds from the first of many webhooks to the first task of the last playbook."""
    known = len(project.times())
    sent = time.time()
    for number in range(count):
        side.post(f"{name}-{number}")
    _until(lambda: len(project.times()) >= known + count)
    return project.times()[-1] - sent


@contextmanager
def responder(project: Project) -> Iterator[Side]:
    """Run our side."""
    port = _free_port()
    config = project.folder / "responder.yml"
    settings: dict[str, Any] = {
        "project": str(project.folder),
        "inventory": str(project.inventory),
        "state": str(project.folder / "state"),
        "listen": f"127.0.0.1:{port}",
        "concurrency": AT_ONCE,
    }
    config.write_text(yaml.safe_dump(settings))
    command = [sys.executable, "-m", "alert_responder", "--config", str(config), "serve"]
    with _running(command, project.folder, {"ALERT_RESPONDER_TOKENS": TOKEN}) as process:
        _until(lambda: _answers(f"http://127.0.0.1:{port}/readyz", process))
        yield Side(f"http://127.0.0.1:{port}/")


@contextmanager
def rulebook(project: Project, program: Path) -> Iterator[Side]:
    """Run the other side: its built-in webhook, every event a playbook, as many at once as it likes."""
    port = _free_port()
    rules = project.folder / "rules.yml"
    source = {"eda.builtin.webhook": {"host": "127.0.0.1", "port": port, "token": TOKEN}}
    action = {"run_playbook": {"name": str(project.folder / "playbooks" / "tell.yml")}}
    rule = {"name": "Every alert", "condition": 'event.payload.version == "4"', "action": action}
    ruleset = {
        "name": "Bench",
        "hosts": "all",
        "execution_strategy": "parallel",
        "sources": [source],
        "rules": [rule],
    }
    rules.write_text(yaml.safe_dump([ruleset]))
    command = [str(program), "-r", str(rules), "-i", str(project.inventory)]
    path = os.pathsep.join((str(program.parent), os.environ["PATH"]))
    with _running(command, project.folder, {"PATH": path}) as process:
        _until(lambda: _listens(port, process))
        yield Side(f"http://127.0.0.1:{port}/endpoint")


@contextmanager
def _running(command: list[str], folder: Path, variables: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(
            command, cwd=folder, env={**os.environ, **variables}, stdout=log, stderr=log, start_new_session=True
        )
        try:
            yield process
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LONGEST_SECONDS
    while not reached():
        if time.monotonic() > deadline:
            raise typer.Exit(1)
        time.sleep(_POLL_SECONDS)


def _answers(url: str, process: subprocess.Popen[bytes]) -> bool:
    _alive(process)
    try:
        return httpx.get(url, timeout=5).is_success
    except httpx.TransportError:
        return False


def _listens(port: int, process: subprocess.Popen[bytes]) -> bool:
    _alive(process)
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _alive(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        typer.echo(f"{process.args!r} ended with {process.returncode}.", err=True)
        raise typer.Exit(1)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@dataclass(frozen=True)
class Measured:
    """Medians of the first task, and the time of many; the other side's are missing without it."""

    rounds: int
    count: int
    ours: tuple[float, float]
    theirs: tuple[float, float] | None
    load: float

    def table(self) -> str:
        """Return the numbers as a table in Markdown."""
        names = (
            f"webhook to first task, median of {self.rounds}",
            f"{self.count} alerts at once, until the last starts",
        )
        lines = ["| | alert_responder | ansible-rulebook | ratio |", "|---|---|---|---|"]
        for index, name in enumerate(names):
            mine = self.ours[index]
            other = self.theirs[index] if self.theirs else None
            told = ("not measured", "") if other is None else (f"{other:.2f} s", f"{mine / other:.2f}")
            lines.append(f"| {name} | {mine:.2f} s | {told[0]} | {told[1]} |")
        return "\n".join([*lines, "", f"The machine's load was {self.load:.1f} on {os.cpu_count()} cores."])


def measure(rounds: int, count: int, program: Path | None) -> Measured:
    """Measure both sides in turns; one first task of each is not counted, for what is done once."""
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        mine, theirs = Project(Path(one)), Project(Path(other))
        ours: list[float] = []
        others: list[float] = []
        with responder(mine) as here:
            if program is None:
                ours = [first_task(here, mine, f"one-{number}") for number in range(rounds + 1)]
                return Measured(
                    rounds,
                    count,
                    (statistics.median(ours[1:]), many(here, mine, "many", count)),
                    None,
                    os.getloadavg()[0],
                )
            with rulebook(theirs, program) as there:
                for number in range(rounds + 1):
                    ours.append(first_task(here, mine, f"one-{number}"))
                    others.append(first_task(there, theirs, f"one-{number}"))
                load = os.getloadavg()[0]
                all_ours, all_theirs = many(here, mine, "many", count), many(there, theirs, "many", count)
        medians = statistics.median(ours[1:]), statistics.median(others[1:])
        return Measured(rounds, count, (medians[0], all_ours), (medians[1], all_theirs), load)


def main(
    rulebook_program: Annotated[
        Path | None, typer.Option("--rulebook", help="The program ansible-rulebook of another virtual environment.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1)] = 10,
    count: Annotated[int, typer.Option(min=1)] = 40,
) -> None:
    """Print the table."""
    program = rulebook_program
    if program is not None and (not program.is_file() or shutil.which("java") is None):
        typer.echo(f"ansible-rulebook is not measured: {program} or Java is missing.", err=True)
        program = None
    typer.echo(measure(rounds, count, program).table())


if __name__ == "__main__":
    typer.run(main)
