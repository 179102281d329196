"""How long from a webhook to the first task of a playbook, and how long 40 alerts take, beside ansible-rulebook.

Run `python -m benchmarks.first_task`. Both executors of the responder and ansible-rulebook get the same webhook and run
the same playbook on the same inventory, in turns. Beside the times stands the processor time, which other work on the
machine hardly changes. ansible-rulebook is installed by name, with the ansible-core that runs here, into a virtual
environment of its own below .cache, and needs Java 17; without it, only our side is measured, and the output says so.
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
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
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
SETTLE_SECONDS = 5
_POLL_SECONDS = 0.005
RULEBOOK = "ansible-rulebook==1.3.2"
RULEBOOK_FOLDER = Path(".cache/ansible-rulebook")
EXECUTORS = ("local", "warm")
THEIRS = "ansible-rulebook"

# The first task and the last tell the time on the target; between them is what the responder reads.
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
    - name: Tell the end
      ansible.builtin.shell: {cmd: "date +%s.%N >> {{ marks }}.ends"}
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
        self.ends = folder / "marks.ends"
        self.marks.touch()
        self.ends.touch()
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
        return _times(self.marks)

    def end_times(self) -> list[float]:
        """Return when last tasks started, the earliest first."""
        return _times(self.ends)


def _times(file: Path) -> list[float]:
    # The last line may be half written.
    return sorted(float(line) for line in file.read_text().splitlines(keepends=True) if line.endswith("\n"))


@dataclass(frozen=True)
class Side:
    """Where one side listens, its process, and what its playbooks leave."""

    url: str
    project: Project
    process: int
    client: httpx.Client

    def post(self, name: str) -> None:
        """Send one firing alert, as Alertmanager does."""
        alert = {
            "status": "firing",
            "labels": {"alertname": "Bench", "service": name},
            "startsAt": "2026-11-25T12:00:00Z",
            "fingerprint": name,
        }
        body = {"version": "4", "receiver": "bench", "alerts": [alert]}
        self.client.post(self.url, json=body).raise_for_status()

    def first_task(self, name: str) -> float:
        """Return the seconds from sending a webhook to the first task on the target."""
        known, ended = len(self.project.times()), len(self.project.end_times())
        sent = time.time()
        self.post(name)
        # The next side begins when this one is at rest again.
        _until(lambda: len(self.project.end_times()) > ended)
        return self.project.times()[known] - sent

    def many(self, name: str, count: int) -> float:
        """Return the seconds from the first of many webhooks to the last task of the last playbook."""
        known = len(self.project.end_times())
        sent = time.time()
        for number in range(count):
            self.post(f"{name}-{number}")
        _until(lambda: len(self.project.end_times()) >= known + count)
        return self.project.end_times()[-1] - sent


def processor_seconds(top: int) -> float:
    """Return the processor time of a process, of those below it, and of those that they have waited for."""
    children: dict[int, list[int]] = {}
    used: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            # It has ended meanwhile.
            continue
        children.setdefault(int(fields[1]), []).append(int(entry.name))
        used[int(entry.name)] = sum(map(int, fields[11:15]))
    total, waiting = 0, [top]
    while waiting:
        one = waiting.pop()
        total += used.get(one, 0)
        waiting.extend(children.get(one, []))
    return total / os.sysconf("SC_CLK_TCK")


@contextmanager
def _side(url: str, project: Project, process: int) -> Iterator[Side]:
    # Made ahead: it takes longer than an answer.
    with httpx.Client(headers={"Authorization": f"Bearer {TOKEN}"}, timeout=30) as client:
        yield Side(url, project, process, client)


@contextmanager
def responder(project: Project, executor: str) -> Iterator[Side]:
    """Run our side."""
    port = _free_port()
    config = project.folder / "responder.yml"
    settings: dict[str, Any] = {
        "project": str(project.folder),
        "inventory": str(project.inventory),
        "state": str(project.folder / "state"),
        "listen": f"127.0.0.1:{port}",
        "concurrency": AT_ONCE,
        "executor": executor,
    }
    config.write_text(yaml.safe_dump(settings))
    command = [sys.executable, "-m", "alert_responder", "--config", str(config), "serve"]
    with _running(command, project.folder, {"ALERT_RESPONDER_TOKENS": TOKEN}) as process:
        _until(lambda: _answers(f"http://127.0.0.1:{port}/readyz", process))
        with _side(f"http://127.0.0.1:{port}/", project, process.pid) as side:
            yield side


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
        with _side(f"http://127.0.0.1:{port}/endpoint", project, process.pid) as side:
            yield side


def install_rulebook() -> Path | None:
    """Install ansible-rulebook beside ours, once; None, and the reason in the log, if that cannot be."""
    program = (RULEBOOK_FOLDER / "bin" / "ansible-rulebook").absolute()
    try:
        if shutil.which("java") is None:
            raise FileNotFoundError("there is no java on the path")
        if not program.exists():
            subprocess.run([sys.executable, "-m", "venv", str(RULEBOOK_FOLDER)], check=True)
            wanted = [RULEBOOK, f"ansible-core=={version('ansible-core')}"]
            subprocess.run([str(program.parent / "pip"), "install", "--quiet", *wanted], check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        typer.echo(f"ansible-rulebook is not measured: {error}", err=True)
        return None
    return program


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
    """The rows of the table: what was measured, and each side's seconds."""

    rows: dict[str, dict[str, float]]
    load: float

    def table(self) -> str:
        """Return the numbers as a table in Markdown; each ratio is to the other side's time, if it was measured."""
        sides = list(next(iter(self.rows.values())))
        lines = ["| | " + " | ".join(sides) + " |", "|---" * (len(sides) + 1) + "|"]
        for what, seconds in self.rows.items():
            theirs = seconds.get(THEIRS)
            cells = []
            for side in sides:
                ratio = f" ({seconds[side] / theirs:.2f})" if theirs and side != THEIRS else ""
                cells.append(f"{seconds[side]:.2f} s{ratio}")
            lines.append(f"| {what} | " + " | ".join(cells) + " |")
        return "\n".join([*lines, "", f"The machine's load was {self.load:.1f} on {os.cpu_count()} cores."])


def measure(rounds: int, many_rounds: int, count: int, program: Path | None) -> Measured:
    """Measure every side in turns; one first task of each is not counted, for what is done once."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        sides = {name: stack.enter_context(responder(_project(folder, name), name)) for name in EXECUTORS}
        if program is not None:
            sides[THEIRS] = stack.enter_context(rulebook(_project(folder, THEIRS), program))
        firsts: dict[str, list[float]] = {name: [] for name in sides}
        alls: dict[str, list[float]] = {name: [] for name in sides}
        used: dict[str, list[float]] = {name: [] for name in sides}
        for number in range(rounds + 1):
            for name, side in sides.items():
                firsts[name].append(side.first_task(f"one-{number}"))
        load = os.getloadavg()[0]
        for number in range(many_rounds):
            for name, side in sides.items():
                before = processor_seconds(side.process)
                alls[name].append(side.many(f"many-{number}", count))
                # The last playbook ends after its last task began.
                time.sleep(SETTLE_SECONDS)
                used[name].append((processor_seconds(side.process) - before) / count)
        rows = {
            f"webhook to first task, median of {rounds}": {n: statistics.median(firsts[n][1:]) for n in sides},
            # The one that other work on the machine disturbed least.
            f"webhook to first task, fastest of {rounds}": {n: min(firsts[n][1:]) for n in sides},
            f"{count} alerts at once, until the last task of the last playbook, median of {many_rounds}": {
                name: statistics.median(alls[name]) for name in sides
            },
            "processor time for each of them": {name: statistics.median(used[name]) for name in sides},
        }
        return Measured(rows, load)


def _project(folder: Path, name: str) -> Project:
    (folder / name).mkdir()
    return Project(folder / name)


def main(
    *,
    rounds: Annotated[int, typer.Option(min=1)] = 10,
    many_rounds: Annotated[int, typer.Option(min=1)] = 3,
    count: Annotated[int, typer.Option(min=1)] = 40,
    ours_only: Annotated[bool, typer.Option("--ours-only", help="Measure the responder alone.")] = False,
) -> None:
    """Print the table."""
    typer.echo(measure(rounds, many_rounds, count, None if ours_only else install_rulebook()).table())


if __name__ == "__main__":
    typer.run(main)
