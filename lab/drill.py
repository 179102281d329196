"""Inject a fault and follow it through the real chain: Prometheus, Alertmanager, responder, playbook, recovered."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import httpx

from lab import compose, responder
from lab.engine import ensure_engine
from lab.faults import FAULTS, HEALABLE
from lab.images import ensure_images
from lab.settings import port_variable
from lab.shell import LabError

if TYPE_CHECKING:
    from collections.abc import Callable

    from lab.faults import Fault
    from lab.shell import Board

FIRING_SECONDS = 90
INCIDENT_SECONDS = 60
END_SECONDS = 300
REST_SECONDS = 120
T = TypeVar("T")
OVER = ("recovered", "resolved", "escalated", "unmatched")
HEARTBEAT = "Watchdog"


@dataclass
class Drill:
    """What happened, with the seconds since the fault was in effect.

    A fault may raise more than one alert of its runbook; ``incident`` is the one in which an option ran.
    """

    fault: str
    alert: str
    said: str = ""
    firing_after: float | None = None
    incident: int | None = None
    opened_after: float | None = None
    status: str = ""
    ended_after: float | None = None
    events: list[dict[str, Any]] = field(default_factory=list)
    alerts: list[str] = field(default_factory=list)
    tried: list[str] = field(default_factory=list)
    why: str = ""
    changed_after: float | None = None
    recovered_after: float | None = None
    diagnosis_took: float | None = None
    option_took: float | None = None

    @property
    def passed(self) -> bool:
        """Whether the service has recovered by its option and no other; without one, whether nothing was tried."""
        option = FAULTS[self.fault].option
        return (self.status, self.tried) == (("recovered", [option]) if option else ("escalated", []))


def choose_fault(*, alert: str = "", runbook: str = "", option: str = "") -> str:
    """Return the fault of an alert, or that of an option; of several that heal, the one with the least invasive option.

    Raises:
        LabError: There is none; says which there are.
    """
    found = sorted(
        (fault.runbook, fault.option, fault.name)
        for fault in HEALABLE
        if alert in ("", fault.alert) and runbook in ("", fault.runbook) and option in ("", fault.option)
    )
    if not found:
        known = "; ".join(sorted(f"{fault.alert}: {fault.runbook} {fault.option}" for fault in HEALABLE))
        raise LabError(f"No fault fits. There are, by alert, runbook and option: {known}.")
    return found[0][2]


def run_drill(
    fault: str,
    *,
    approves: bool = True,
    tell: Callable[[float, str], None] = lambda _seconds, _line: None,
    on_event: Callable[[float, list[dict[str, Any]]], None] = lambda _seconds, _events: None,
) -> Drill:
    """Break something and wait until its incidents are over; the fault stays until it is undone.

    When an option needs approval, the command line of the responder gives it, to the option that the fault is for;
    anything else, or everything without ``approves``, is denied. ``tell`` gets a line when something happens;
    ``on_event`` gets the events of the first incident whenever there are more.

    Raises:
        LabError: The alert does not fire, no incident is opened, or it does not end in time.
    """
    what = FAULTS[fault]
    drill = Drill(fault=fault, alert=what.alert)
    known = {line["id"] for line in responder.incidents()}
    drill.said = what.inject()
    start, began = time.monotonic(), datetime.now(UTC)

    def since() -> float:
        return time.monotonic() - start

    def mine() -> list[dict[str, Any]]:
        lines = [one for one in responder.incidents() if one["id"] not in known and one["runbook"] == what.runbook]
        # The incident of the fault's own alert first.
        return sorted(lines, key=lambda one: (one["alert"] != what.alert, one["id"]))

    tell(since(), f"Fault in effect: {what.happens}")
    # Where Prometheus is the patient, the responder notices by itself.
    _wait(lambda: _fires(what.alert) or mine(), FIRING_SECONDS, f"{what.alert} does not fire")
    drill.firing_after = since()
    tell(since(), f"{what.alert} is firing")
    _wait(mine, INCIDENT_SECONDS, f"No incident for {what.alert} was opened")
    drill.opened_after = since()
    told, first = 0, mine()[0]["id"]
    followed: dict[int, list[dict[str, Any]]] = {}

    def ended() -> list[dict[str, Any]] | None:
        nonlocal told
        # The status first: events that come between the two requests belong to it.
        lines = mine()
        followed.update({line["id"]: responder.events(line["id"]) for line in lines})
        if len(followed[first]) > told:
            on_event(since(), followed[first])
            told = len(followed[first])
        for line in lines:
            _answer(line, followed[line["id"]], what, approves=approves)
        # A rule may end while another of the same alert goes on; that opens the next incident.
        settled = any(line["status"] != "resolved" for line in lines)
        return lines if settled and all(line["status"] in OVER for line in lines) else None

    lines = _wait(ended, END_SECONDS, f"An incident of {what.runbook} does not end")
    drill.ended_after = since()
    drill.alerts = [line["alert"] for line in lines]
    # Where two alerts speak of one fault, one incident heals and the other finds nothing left to do.
    line = max(reversed(lines), key=lambda one: len(_options(followed[one["id"]])))
    drill.incident, drill.status, drill.events = line["id"], line["status"], followed[line["id"]]
    _measure(drill, began)
    return drill


def prepare(board: Board) -> None:
    """Start the lab and the responder beside it; the lab is at rest."""
    ensure_engine(board)
    ensure_images(board)
    compose.up(board)
    with board.step("Undo older faults and wait until nothing fires"):
        settle()
    with board.step("Start the responder beside the stack"):
        responder.start()


def settle(seconds: float = REST_SECONDS) -> None:
    """Undo every fault and wait until the lab is at rest: every service healthy, no alert, on either side.

    Raises:
        LabError: It does not come to rest; says what is still going on.
    """
    for fault in FAULTS.values():
        fault.undo()
    deadline = time.monotonic() + seconds
    while unrest := _unrest():
        if time.monotonic() > deadline:
            raise LabError(f"The lab does not come to rest within {seconds:.0f} s: {', '.join(unrest)}.")
        time.sleep(0.5)


def hear_the_end(runbook: str, seconds: float = 30.0) -> None:
    """Wait until no incident of a runbook is open: it would take the next fault's alert for a part of itself.

    An end that got lost is not waited for any longer.
    """

    def is_open(line: dict[str, Any]) -> bool:
        return line["runbook"] == runbook and line["status"] in ("open", "escalated")

    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and any(map(is_open, responder.incidents())):
        time.sleep(0.5)


def _unrest() -> list[str]:
    ill = [f"{service.name} is not healthy" for service in compose.services() if not compose.is_well(service)]
    if ill:
        return ill
    try:
        return [f"{name} fires" for name in sorted(alerts_on_either_side() - {HEARTBEAT})]
    except LabError as error:
        return [str(error)]


def alerts_on_either_side() -> set[str]:
    """Return the names of the alerts that Prometheus holds, or Alertmanager still does.

    Raises:
        LabError: One of the two does not answer.
    """
    url = f"http://127.0.0.1:{compose.environment()[port_variable('alertmanager')]}/api/v2/alerts?active=true"
    try:
        told = httpx.get(url, timeout=5).raise_for_status().json()
    except (httpx.HTTPError, ValueError) as error:
        raise LabError(f"Alertmanager does not answer on {url}: {error}.") from error
    return {one["labels"]["alertname"] for one in [*compose.alerts(), *told]}


def _fires(alert: str) -> bool:
    try:
        return any(one["labels"]["alertname"] == alert and one["state"] == "firing" for one in compose.alerts())
    except LabError:
        return False


def _answer(line: dict[str, Any], events: list[dict[str, Any]], fault: Fault, *, approves: bool) -> None:
    """Approve or deny what an incident asks; the next look repeats what came too late."""
    asked = next((event for event in reversed(events) if event["kind"] in ("asked", "approved", "denied")), None)
    if line["status"] in OVER or asked is None or asked["kind"] != "asked":
        return
    yes = approves and asked["option"] == fault.option
    reason = f"A drill of {fault.name}, which option {fault.option} is for."
    given = ["--option", asked["option"], "--who", "drill", "--reason", reason]
    responder.run("incidents", "approve" if yes else "deny", str(line["id"]), *given)


def _options(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the starts of options."""
    return [event for event in events if event["kind"] == "started" and event["action"] == "option"]


def _measure(drill: Drill, began: datetime) -> None:
    """Fill in what the record of the incident says."""
    finished = {event["run"]: event for event in drill.events if event["kind"] == "finished"}

    def took(start: dict[str, Any]) -> float | None:
        end = finished.get(start["run"])
        return (_time(end) - _time(start)).total_seconds() if end else None

    diagnosed = next((one for one in drill.events if one["kind"] == "started" and one["action"] == "diagnose"), None)
    drill.diagnosis_took = took(diagnosed) if diagnosed else None
    for event in _options(drill.events):
        drill.tried.append(event["option"])
        drill.why = event["reason"]
        drill.option_took = took(event)
        outcome = (finished.get(event["run"]) or {}).get("outcome") or {}
        if drill.changed_after is None and outcome.get("changed"):
            drill.changed_after = (_time(event) - began).total_seconds()
    if drill.status == "recovered":
        drill.recovered_after = (_time(drill.events[-1]) - began).total_seconds()


def _time(event: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(event["at"])


def _wait(read: Callable[[], T | None], seconds: float, problem: str) -> T:
    deadline = time.monotonic() + seconds
    while True:
        found = read()
        if found:
            return found
        if time.monotonic() > deadline:
            raise LabError(f"{problem} within {seconds:.0f} s. Look at `make lab-status` and {responder.LOG.name}.")
        time.sleep(0.3)
