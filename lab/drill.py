"""Inject a fault and follow it through the real chain: Prometheus, Alertmanager, responder, playbook, recovered."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from lab import compose, responder
from lab.faults import FAULTS
from lab.shell import LabError

if TYPE_CHECKING:
    from collections.abc import Callable

FIRING_SECONDS = 90
INCIDENT_SECONDS = 60
END_SECONDS = 300
T = TypeVar("T")
OVER = ("recovered", "resolved", "escalated", "unmatched")


@dataclass
class Drill:
    """What happened, with the seconds since the fault was in effect."""

    fault: str
    alert: str
    said: str = ""
    firing_after: float | None = None
    incident: int | None = None
    opened_after: float | None = None
    status: str = ""
    ended_after: float | None = None
    events: list[dict[str, Any]] = field(default_factory=list)


def run_drill(
    fault: str,
    *,
    tell: Callable[[float, str], None] = lambda _seconds, _line: None,
    on_event: Callable[[float, list[dict[str, Any]]], None] = lambda _seconds, _events: None,
) -> Drill:
    """Break something and wait until its incident is over; the fault stays until it is undone.

    ``tell`` gets a line when something happens; ``on_event`` gets the events of the incident whenever there are more.

    Raises:
        LabError: The alert does not fire, no incident is opened, or it does not end in time.
    """
    what = FAULTS[fault]
    drill = Drill(fault=fault, alert=what.alert)
    known = {line["id"] for line in responder.incidents()}
    drill.said = what.inject()
    start = time.monotonic()

    def since() -> float:
        return time.monotonic() - start

    tell(since(), f"Fault in effect: {what.happens}")
    drill.firing_after = _wait(
        lambda: since() if _firing(what.alert) else None, FIRING_SECONDS, f"{what.alert} does not fire"
    )
    tell(since(), f"Prometheus: {what.alert} is firing")
    drill.incident = _wait(
        lambda: _new_incident(known, what.alert), INCIDENT_SECONDS, f"No incident for {what.alert} was opened"
    )
    drill.opened_after = since()

    def ended() -> str | None:
        # The status first: events that come between the two requests belong to it.
        (line,) = [line for line in responder.incidents() if line["id"] == drill.incident]
        found = responder.events(drill.incident or 0)
        if len(found) > len(drill.events):
            drill.events = found
            on_event(since(), found)
        return str(line["status"]) if line["status"] in OVER else None

    drill.status = _wait(ended, END_SECONDS, f"Incident {drill.incident} does not end")
    drill.ended_after = since()
    return drill


def wait_until_quiet(alert: str, seconds: float = 120) -> None:
    """Wait until an alert no longer fires, so that the next drill starts from a quiet system.

    Raises:
        LabError: It still fires.
    """
    _wait(lambda: None if _firing(alert) else True, seconds, f"{alert} still fires")


def _firing(alert: str) -> bool:
    return any(one["labels"]["alertname"] == alert and one["state"] == "firing" for one in compose.alerts())


def _new_incident(known: set[int], alert: str) -> int | None:
    new = [line["id"] for line in responder.incidents() if line["id"] not in known and line["alert"] == alert]
    return min(new) if new else None


def _wait(read: Callable[[], T | None], seconds: float, problem: str) -> T:
    deadline = time.monotonic() + seconds
    while True:
        found = read()
        if found is not None:
            return found
        if time.monotonic() > deadline:
            raise LabError(f"{problem} within {seconds:.0f} s. Look at `make lab-status` and {responder.LOG.name}.")
        time.sleep(0.3)
