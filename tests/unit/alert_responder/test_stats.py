"""What the record says about runbooks: counted once, measured right, and turned into trust by two stated rules."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from alert_responder.incidents import (
    Closed,
    Escalated,
    Event,
    Finished,
    Opened,
    PastRun,
    Policy,
    Run,
    Started,
    Surroundings,
    decide,
    fold,
)
from alert_responder.runbooks import Catalog
from alert_responder.stats import Line, stats
from alert_responder.store import Record
from alert_responder.trust import Trust, earns_auto, falls_back, trust
from tests.unit.alert_responder.makers import NOON, make_alert, make_evidence, make_option, make_outcome, make_runbook

RUNBOOK = make_runbook(
    make_option("A", expected_seconds=2, timeout_seconds=9), make_option("B", automation="approve", timeout_seconds=9)
)
CATALOG = Catalog({"tiny": RUNBOOK})
SECOND = timedelta(seconds=1)


def record(
    number: int, *steps: tuple[str, str, float], ends: str = "recovered", at: float = 0, identity: str = "one"
) -> Record:
    """Return an incident in which options ran: letter, verdict, seconds; recovered ten seconds after each began."""
    opened = NOON + at * SECOND
    moment = opened
    alert = make_alert(starts_at=opened)
    events: list[Event] = [Opened(at=opened, alert=alert, service="thing", runbook="tiny", problem="")]
    for position, (letter, verdict, seconds) in enumerate(steps):
        run = f"{number}-{position}"
        events.append(Started(at=moment, run=run, action="option", option=letter, reason="x"))
        moment += 10 * SECOND
        finished: dict[str, Any] = {"at": moment, "run": run, "began": True, "seconds": seconds}
        if verdict == "interrupted":
            events.append(Finished(**finished, result="interrupted"))
        else:
            events.append(Finished(**finished, result="done", outcome=make_outcome(verdict)))
    if ends == "escalated":
        events.append(Escalated(at=moment, reason="x", next_step="y"))
    elif ends:
        events.append(Closed(at=moment, status="recovered" if ends == "recovered" else "resolved", reason="x"))
    return Record(number, identity, tuple(events))


def lines(*records: Record, **policy: Any) -> dict[str, Line]:
    return {line.option: line for line in stats(records, CATALOG, Policy(**policy))}


def test_runs_recoveries_and_escalations_are_counted() -> None:
    """A's failure and B's success in one incident, A's success in the next, an escalation in the third."""
    found = lines(
        record(1, ("A", "not_recovered", 1.0), ("B", "recovered", 4.0), identity="a"),
        record(2, ("A", "recovered", 3.0), identity="b"),
        record(3, ("A", "not_recovered", 5.0), ends="escalated", identity="c"),
        record(4, ends="resolved", identity="d"),
    )

    whole, a, b = found[""], found["A"], found["B"]
    assert (whole.incidents, whole.runs, whole.healed, whole.recoveries, whole.escalations) == (4, 4, 2, 2, 1)
    assert (a.incidents, a.runs, a.healed, a.recoveries, a.escalations) == (3, 3, 1, 1, 1)
    assert (b.incidents, b.runs, b.healed, b.recoveries, b.escalations) == (1, 1, 1, 1, 0)
    assert (whole.recovery_median, whole.recovery_95th, b.recovery_median) == (15.0, 20.0, 20.0)
    assert (a.expected, a.measured_median, a.measured_95th) == (2, 3.0, 5.0)
    assert (whole.expected, whole.measured_median, whole.automation, a.automation) == (None, None, "", "auto")
    assert a.document()["runbook"] == "tiny"


def test_an_escalation_without_a_run_belongs_to_the_runbook() -> None:
    """It is counted once."""
    assert lines(record(1, ends="escalated"))[""].escalations == 1


def test_the_95th_of_twenty_is_the_nineteenth() -> None:
    """One slow run among twenty does not make the 95th; two do."""
    runs = [("A", "not_recovered", float(seconds)) for seconds in range(1, 21)]
    assert lines(record(1, *runs))["A"].measured_95th == 19.0


@pytest.mark.parametrize(
    ("again", "flaps"),
    [
        pytest.param({"at": 600}, 1, id="back-soon"),
        pytest.param({"at": 3700}, 0, id="back-late"),
        pytest.param({"at": 600, "identity": "other"}, 0, id="another"),
    ],
)
def test_what_comes_back_after_a_recovery_is_a_flap(again: dict[str, Any], flaps: int) -> None:
    """Counted on the option that was believed to have healed, and on its runbook."""
    found = lines(record(1, ("A", "recovered", 1.0)), record(2, ("B", "recovered", 1.0), **again))
    assert (found["A"].flaps, found[""].flaps, found["B"].flaps) == (flaps, flaps, 0)


def test_what_did_not_end_and_what_no_runbook_answers() -> None:
    """A run that was cut short counts as a run and measures nothing; an unmatched alert counts nowhere."""
    nobody = Opened(at=NOON, alert=make_alert(), service="thing", runbook=None, problem="x")
    found = lines(record(1, ("A", "interrupted", 0.0), ends=""), Record(2, "x", (nobody,)))
    assert (found["A"].runs, found["A"].healed, found["A"].measured_median) == (1, 0, None)
    assert stats([record(1, ("Z", "recovered", 1.0))], Catalog({}), Policy())[1].expected is None


def past(*verdicts: str, letter: str = "A") -> list[PastRun]:
    return [
        PastRun(number, "tiny", "thing", letter, NOON + number * SECOND, verdict)
        for number, verdict in enumerate(verdicts, start=1)
    ]


def test_only_the_newest_runs_of_the_option_count() -> None:
    """Old failures are forgotten, and another option's are not this one's."""
    runs = past(*["not_recovered"] * 5, *["recovered"] * 9, "decaying")
    assert trust([*reversed(runs), *past("unknown", letter="B")], "A", Policy()) == Trust(10, 10)
    assert trust([], "A", Policy()).ratio == 0.0


@pytest.mark.parametrize(
    ("runs", "healed", "back", "auto"),
    [
        pytest.param(3, 0, False, False, id="too-few"),
        pytest.param(4, 1, True, False, id="below-half"),
        pytest.param(4, 2, False, False, id="half"),
        pytest.param(9, 9, False, False, id="not-yet-ten"),
        pytest.param(10, 10, False, True, id="ten-of-ten"),
        pytest.param(10, 9, False, False, id="nine-of-ten"),
    ],
)
def test_the_two_rules(runs: int, healed: int, back: bool, auto: bool) -> None:
    """Each threshold from both sides."""
    given = Trust(runs, healed)
    assert (falls_back(given, Policy()), earns_auto(given, Policy())) == (back, auto)


def decision(earlier: list[PastRun], **policy: Any) -> Run:
    events: list[Event] = [
        Opened(at=NOON, alert=make_alert(), service="thing", runbook="tiny", problem=""),
        Started(at=NOON, run="r1", action="diagnose", reason="x"),
        Finished(at=NOON, run="r1", result="done", began=False, evidence=make_evidence(a=True, b=False)),
    ]
    step = decide(fold(events), RUNBOOK, NOON, Policy(**policy), Surroundings(99, earlier=tuple(earlier)))
    assert isinstance(step, Run)
    return step


def test_an_auto_option_that_does_not_heal_falls_back_to_approval() -> None:
    """The dry run comes first, and the record says why, with the numbers."""
    failing = past("recovered", "not_recovered", "not_recovered", "unknown")

    step = decision(failing)
    assert (step.action, step.option) == ("rehearse", "A")
    assert "(1 of its last 4 runs healed, and below 50% a person decides)" in step.reason
    assert decision(failing[1:]).action == "option"
    assert decision(failing, fallback_ratio=0.25).action == "option"


def test_runs_of_this_incident_do_not_count_against_it() -> None:
    """The ladder judges its own attempts by its own rules."""
    mine = [PastRun(99, "tiny", "thing", "A", NOON, "unknown") for _ in range(9)]
    assert decision(mine).action == "option"


def test_it_is_auto_again_when_its_runs_heal() -> None:
    """Approved runs count like any other."""
    assert decision(past(*["not_recovered"] * 4, *["recovered"] * 4)).action == "option"


def test_stats_suggest_what_to_change() -> None:
    """Auto that does not heal, and approve that always does; with the numbers."""
    found = lines(
        *(record(number, ("A", "not_recovered", 1.0), at=number) for number in range(4)),
        *(record(number, ("B", "recovered", 1.0), at=number) for number in range(4, 14)),
    )
    assert found["A"].suggestion == "needs approval: 0 of its last 4 runs healed"
    assert found["B"].suggestion == "auto: 10 of its last 10 runs healed"
    assert found[""].suggestion == ""
