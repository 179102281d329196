"""People read the same record as the machine, and nothing in it reaches their terminal as a command."""

from __future__ import annotations

from datetime import timedelta

import pytest

from alert_responder.incidents import (
    Approved,
    Asked,
    Closed,
    Considered,
    Ended,
    Escalated,
    Event,
    Finished,
    Fired,
    Held,
    Opened,
    Released,
    Started,
)
from alert_responder.timeline import elapsed, heading, plain, timeline
from tests.unit.alert_responder.makers import NOON, make_alert, make_evidence, make_outcome

CHECK = {"name": "slots", "value": 0.4, "expectation": "below 0.8", "good": True, "error": None}


def test_every_kind_of_event_has_its_line() -> None:
    """One incident with everything in it, as it is shown."""
    considered = Considered(option="A", chosen=True, holds=True, why="It is full.", values={"slots.used": 19})
    at = NOON
    events: list[Event] = [
        Opened(at=at, alert=make_alert(), service="thing", runbook="tiny", problem=""),
        Fired(at=at, fingerprint="f2", starts_at=at),
        Started(at=at, run="r1", action="diagnose", reason="Evidence first."),
        Finished(at=at, run="r1", result="done", began=False, seconds=1.5, evidence=make_evidence(slots={"used": 19})),
        Started(at=at, run="r2", action="option", option="A", reason="It is full.", considered=(considered,)),
        Finished(
            at=at,
            run="r2",
            result="done",
            began=True,
            seconds=2.0,
            outcome=make_outcome(
                "not_recovered", actions=["Ended 3 sessions."], before={"used": 19}, after={"used": 9}, checks=[CHECK]
            ),
        ),
        Started(at=at, run="r2u", action="undo", option="A", reason="It did not help."),
        Finished(at=at, run="r2u", result="done", began=True, seconds=1.0, outcome=make_outcome("unchecked")),
        Held(at=at, incident=7, service="postgres", reason="Waits for incident 7."),
        Released(at=at, incident=7, reason="Incident 7 ended."),
        Started(at=at, run="r3", action="verify", reason="Again."),
        Finished(at=at, run="r3", result="failed_launch", began=False, reason="no such host"),
        Started(at=at, run="r4", action="rehearse", option="D", reason="Needs approval."),
        Finished(at=at, run="r4", result="done", began=True, seconds=1.0, outcome=make_outcome("unchecked")),
        Asked(at=at, option="D", run="r4", expires_at=at),
        Approved(at=at, option="D", seen="r4", who="kim", reason="seen"),
        Ended(at=at, fingerprint="f2", ends_at=at),
        Escalated(at=at, reason="Nothing is left.", next_step="Call Team."),
        Closed(at=at, status="resolved", reason="done by hand", who="kim"),
    ]
    lines = [line for _, headline, details in timeline(events) for line in (headline, *details)]

    assert lines == [
        "Alert ThingFull opened the incident",
        "alertname = ThingFull",
        "service = thing",
        "instance = db1:5432",
        "Alert f2 fires",
        "Diagnose started: Evidence first.",
        "Diagnose: evidence read (1.5 s)",
        "slots.used = 19",
        "Option A started: It is full.",
        "option A chosen: It is full. [slots.used=19]",
        "Option A: acted, not_recovered (2.0 s): It is not_recovered.",
        "did: Ended 3 sessions.",
        "used: 19 → 9",
        "check slots: 0.4, expected below 0.8: good",
        "Undo of option A started: It did not help.",
        "Undo of option A: acted, unchecked (1.0 s): It is unchecked.",
        "Held: Waits for incident 7.",
        "Released: Incident 7 ended.",
        "Verify started: Again.",
        "Verify: failed launch (0.0 s)",
        "no such host",
        "Dry run of option D started: Needs approval.",
        "Dry run of option D: acted, unchecked (1.0 s): It is unchecked.",
        "Option D waits for approval until 2026-11-23 12:00:00Z",
        "kim approved option D: seen",
        "Alert f2 ended",
        "Escalated: Nothing is left.",
        "next step: Call Team.",
        "Closed as resolved by kim: done by hand",
    ]
    assert heading(events)[2:] == ["Status     resolved, closed", "Reason     done by hand", "Next step  Call Team."]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        pytest.param("\x1b[2Jgone\r\n", "\\x1b[2Jgone\\r\\n", id="terminal-commands"),
        pytest.param("\u202eevil", "\\u202eevil", id="right-to-left"),
        pytest.param("größe", "größe", id="letters"),
        pytest.param({"a": 1}, '{"a": 1}', id="data"),
        pytest.param("x" * 300, "x" * 200 + "…", id="long"),
    ],
)
def test_what_a_terminal_would_obey_is_only_shown(value: object, shown: str) -> None:
    """Outside text is escaped and bounded."""
    assert plain(value) == shown


@pytest.mark.parametrize(("seconds", "shown"), [(7, "+0:07"), (3727, "+1:02:07"), (-5, "+0:00")])
def test_elapsed(seconds: int, shown: str) -> None:
    """Durations are short; a clock that was set back gives none."""
    assert elapsed(timedelta(seconds=seconds)) == shown
