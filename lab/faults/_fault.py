"""What a fault is, and how the ones that need a client of their own run it."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lab.compose import PROJECT, compose, environment
from lab.shell import STATE, LabError, run

if TYPE_CHECKING:
    from collections.abc import Callable

LABEL = "ops.runbooks.fault"
IN_EFFECT = "IN EFFECT"
EFFECT_SECONDS = 60


@dataclass(frozen=True)
class Fault:
    """Something that really happens to the stack; ``inject`` returns once it has, ``undo`` may run at any time.

    ``option`` of ``runbook`` is what heals it; empty if none does, and its incident must end escalated, with nothing
    changed. ``wrong`` is another option of the same runbook, which does not heal it. ``ends`` takes the cause away and
    nothing else: what an option changed stays, for its own undo to take back.
    """

    name: str
    runbook: str
    option: str
    wrong: str
    alert: str
    happens: str
    inject: Callable[[], str]
    undo: Callable[[], None]
    ends: Callable[[], None] | None = None


def remembered(fault: Fault) -> Fault:
    """Return a fault that knows whether it was injected: to look at everything, only to find it well, costs seconds."""
    mark = STATE / "faults" / fault.name

    def inject() -> str:
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()
        return fault.inject()

    def undo() -> None:
        if mark.exists():
            fault.undo()
            mark.unlink(missing_ok=True)

    return replace(fault, inject=inject, undo=undo)


def containers_of(name: str) -> list[str]:
    """Return the containers that a fault has started."""
    mine = ["--filter", f"label=com.docker.compose.project={PROJECT}", "--filter", f"label={LABEL}={name}"]
    return run(["docker", "ps", "--all", "--quiet", *mine]).split()


def start_client(name: str, *command: str) -> str:
    """Run a client in the project's network until the fault is undone; return what it says when it is in effect.

    A client of its own, because a leak inside the backend would go with the first restart, and inside the database
    would be no client at all.

    Raises:
        LabError: The fault is there already, the lab does not run, or the client did not get that far.
    """
    if containers_of(name):
        raise LabError(f"The fault {name} is injected already: undo it with `python -m lab reset`.")
    label = ["--label", f"{LABEL}={name}"]
    start = compose("run", "--detach", "--no-deps", *label, "fault", "python3", *command)
    container = run(start, environment=environment()).split()[-1]
    deadline = time.monotonic() + EFFECT_SECONDS
    while time.monotonic() < deadline:
        said = run(["docker", "logs", container]).splitlines()
        for line in said:
            if line.startswith(IN_EFFECT):
                return line.removeprefix(IN_EFFECT).strip()
        if run(["docker", "inspect", "--format", "{{.State.Running}}", container]).strip() != "true":
            break
        time.sleep(0.2)
    said_last = run(["sh", "-c", 'docker logs "$0" 2>&1 | tail -1', container]).strip()
    remove_client(name)
    raise LabError(f"The fault {name} did not take effect: {said_last or 'its client said nothing'}.")


def remove_client(name: str) -> None:
    """Remove the client of a fault, if there is one."""
    containers = containers_of(name)
    if containers:
        run(["docker", "rm", "--force", "--volumes", *containers])
