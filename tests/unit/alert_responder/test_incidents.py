"""What comes next is a function of what happened: one table, and arbitrary orders of everything."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alert_responder.incidents import (
    ALONE,
    Ask,
    Asked,
    Close,
    Closed,
    Ended,
    Escalate,
    Escalated,
    Finished,
    Fired,
    Healing,
    Held,
    Hold,
    HoldBack,
    IllegalEvent,
    Opened,
    PastRun,
    Policy,
    Release,
    Released,
    Run,
    Started,
    State,
    Status,
    Step,
    Surroundings,
    Wait,
    answer,
    decide,
    fold,
)
from tests.unit.alert_responder.makers import NOON, make_alert, make_evidence, make_option, make_outcome, make_runbook

if TYPE_CHECKING:
    from datetime import datetime

    from alert_responder.incidents import Event
    from alert_responder.runbooks import Runbook

POLICY = Policy(
    launch_retries=2,
    launch_retry_seconds=10,
    unknown_probes=3,
    unknown_probe_seconds=15,
    decaying_probe_seconds=30,
    decaying_limit_seconds=100,
    evidence_seconds=300,
    resumes=1,
)
# Where the runs of a table's row end; every event takes one second.
OPENED = Opened(at=NOON, alert=make_alert(), service="thing", runbook="tiny", problem="")


@dataclass
class Story:
    """The events of one incident, told in short words.

    ``d`` a diagnosis, ``v:VERDICT`` a verification, ``A:VERDICT`` an option (``A!`` when it is idempotent, ``A+`` when
    it needs approval), ``A?:VERDICT`` its dry run, ``A-:HOW`` its undo;
    in place of a verdict: ``refused``, ``nolaunch``, ``nodocument``, ``timeout``, ``crash``, ``running``.
    ``wait:SECONDS`` lets time pass, ``ended`` and ``fired`` are alerts;
    ``ask:D``, ``approve:D`` and ``deny:D`` are approvals; ``held:7`` and ``free:7`` are what incident 7 holds back.
    """

    evidence: dict[str, Any] = field(default_factory=lambda: {"a": True, "b": True, "c": True})
    opened: Opened = OPENED
    now: datetime = NOON
    events: list[Event] = field(default_factory=list)

    def tell(self, words: str) -> State:
        self.events = [self.opened]
        for word in words.split():
            self._word(word)
        return fold(self.events)

    def _word(self, word: str) -> None:
        self.now += timedelta(seconds=1)
        what, _, how = word.partition(":")
        if what == "wait":
            self.now += timedelta(seconds=float(how) - 1)
        elif what == "ended":
            self.events.append(Ended(at=self.now, fingerprint=how or "f1", ends_at=self.now))
        elif what == "fired":
            self.events.append(Fired(at=self.now, fingerprint=how or "f1", starts_at=self.now))
        elif what == "ask":
            rehearsal = next(ran.run for ran in fold(self.events).history if ran.action == "rehearse")
            expires_at = self.now + timedelta(seconds=60)
            self.events.append(Asked(at=self.now, option=how, run=rehearsal, expires_at=expires_at))
        elif what == "held":
            self.events.append(Held(at=self.now, incident=int(how), service="base", reason="x"))
        elif what == "free":
            self.events.append(Released(at=self.now, incident=int(how), reason="x"))
        elif what in ("approve", "deny"):
            state, yes = fold(self.events), what == "approve"
            self.events.append(answer(state, how, yes=yes, who="kim", reason="seen", at=self.now))
        else:
            self._run(what, how)

    def _run(self, what: str, how: str) -> None:
        run = f"run-{len(self.events)}"
        others = {"d": "diagnose", "v": "verify"}
        action: Any = others.get(what) or {"?": "rehearse", "-": "undo"}.get(what[-1], "option")
        letter = "" if what in others else what[0]
        self.events.append(
            Started(
                at=self.now,
                run=run,
                action=action,
                option=letter,
                idempotent=what.endswith("!"),
                approval=what.endswith("+"),
                reason="x",
            )
        )
        if how == "running":
            return
        results: dict[str, tuple[Any, bool]] = {
            "nolaunch": ("failed_launch", False),
            "nodocument": ("failed_launch", True),
            "timeout": ("timed_out", True),
            "crash": ("interrupted", True),
        }
        result, began = results.get(how, ("done", True))
        outcome = evidence = None
        if result == "done" and action == "diagnose":
            evidence = make_evidence(**self.evidence)
        elif how == "refused":
            outcome = make_outcome("unchecked", status="refused", changed=False)
        elif how in ("failed", "unchanged"):
            outcome = make_outcome("unchecked", status=how, changed=False)
        elif how == "idle":
            outcome = make_outcome("not_recovered", status="unchanged", changed=False)
        elif result == "done":
            outcome = make_outcome(how)
        self.events.append(
            Finished(
                at=self.now,
                run=run,
                result=result,
                began=began,
                reason="" if result == "done" else f"{how}.",
                evidence=evidence,
                outcome=outcome,
            )
        )


def short(step: Step) -> str:  # noqa: PLR0911 -- one for each kind
    """Write a step as the table does."""
    match step:
        case Run(action="option"):
            return step.option
        case Run(action="undo"):
            return f"{step.option}-"
        case Run():
            return step.action
        case Wait():
            return "wait" if step.until else "idle"
        case Ask():
            return "ask"
        case HoldBack():
            return f"held:{step.incident}"
        case Release():
            return f"free:{step.incident}"
        case Close():
            return step.status
        case Escalate():
            return "escalate"


@pytest.mark.parametrize(
    ("story", "expected"),
    [
        pytest.param("", "diagnose", id="evidence-comes-first"),
        pytest.param("d:running", "idle", id="a-running-step-is-left-alone"),
        pytest.param("d", "A", id="least-invasive-option-first"),
        pytest.param("d A:recovered", "recovered", id="recovered-closes"),
        pytest.param("d A:not_recovered", "diagnose", id="fresh-evidence-after-a-change"),
        pytest.param("d A:not_recovered d", "B", id="next-option-after-not-recovered"),
        pytest.param("d A:not_recovered d B:not_recovered d C:not_recovered d", "escalate", id="no-option-left"),
        pytest.param("d A:refused", "B", id="refused-leads-on-with-the-same-evidence"),
        pytest.param(
            "d A:refused B:refused C:refused", "verify", id="all-refused-is-verified-before-a-person-is-called"
        ),
        pytest.param("d A:refused B:refused C:refused v:not_recovered", "escalate", id="all-refused-and-not-well"),
        pytest.param("d wait:301", "diagnose", id="old-evidence-is-read-again"),
        # unknown: the probe again, never the next option
        pytest.param("d A:unknown", "verify", id="unknown-is-verified"),
        pytest.param("d A:unknown v:unknown", "wait", id="unknown-twice-waits"),
        pytest.param("d A:unknown v:unknown wait:15", "verify", id="unknown-twice-verifies-again"),
        pytest.param("d A:unknown v:unknown v:unknown v:unknown", "escalate", id="unknown-is-bounded"),
        pytest.param("d A:unknown v:not_recovered d", "B", id="unknown-then-not-recovered-leads-on"),
        pytest.param("d A:unknown v:recovered", "recovered", id="unknown-then-recovered-closes"),
        # decaying: waits, and verifies again
        pytest.param("d A:decaying", "wait", id="decaying-waits"),
        pytest.param("d A:decaying wait:30", "verify", id="decaying-verifies-again"),
        pytest.param("d A:decaying wait:30 v:decaying", "wait", id="decaying-again-waits-again"),
        pytest.param("d A:decaying wait:102 v:decaying", "escalate", id="decaying-is-bounded"),
        pytest.param("d A:decaying wait:30 v:recovered", "recovered", id="decayed"),
        pytest.param("d A:decaying wait:30 v:not_recovered", "diagnose", id="decayed-the-wrong-way"),
        # a failed launch is not a failed option
        pytest.param("d:nolaunch", "wait", id="launch-is-tried-again-later"),
        pytest.param("d:nolaunch wait:10", "diagnose", id="launch-is-tried-again"),
        pytest.param("d:nolaunch d:nolaunch wait:10", "wait", id="the-second-wait-is-longer"),
        pytest.param("d:nolaunch d:nolaunch wait:20", "diagnose", id="launch-is-tried-a-third-time"),
        pytest.param("d:nolaunch d:nolaunch d:nolaunch", "escalate", id="launches-are-bounded"),
        pytest.param("d A:nolaunch wait:10", "A", id="an-option-that-did-not-begin-is-not-spent"),
        pytest.param("d A:nolaunch A:nolaunch A:nolaunch", "escalate", id="an-option-that-never-begins-is-bounded"),
        pytest.param(
            "d A:nolaunch d A:nolaunch d A:nolaunch", "escalate", id="a-diagnosis-between-does-not-renew-the-budget"
        ),
        pytest.param("d A:unknown v:nolaunch wait:10", "verify", id="a-verification-that-did-not-begin-is-repeated"),
        pytest.param(
            "d A:unknown v:timeout v:timeout v:timeout", "escalate", id="a-verification-that-hangs-is-bounded"
        ),
        # interrupted: verified first, then resumed or skipped
        pytest.param("d A:crash", "verify", id="crash-is-verified-first"),
        pytest.param("d A!:crash", "verify", id="crash-of-an-idempotent-option-is-verified-first-too"),
        pytest.param("d A:crash v:recovered", "recovered", id="crash-that-healed"),
        pytest.param("d A:crash v:not_recovered", "diagnose", id="crash-needs-fresh-evidence"),
        pytest.param("d A:crash v:not_recovered d", "B", id="crash-of-an-option-that-is-not-idempotent-skips-it"),
        pytest.param("d A:nodocument v:not_recovered d", "B", id="an-option-that-began-and-said-nothing-is-spent"),
        pytest.param("d A:timeout", "verify", id="a-hanging-option-is-verified"),
        pytest.param("d A:timeout v:not_recovered d", "B", id="a-hanging-option-is-spent"),
        # the end of the alert
        pytest.param("ended", "resolved", id="ended-before-anything"),
        pytest.param("d ended", "resolved", id="ended-after-the-diagnosis"),
        pytest.param("d v:recovered ended", "recovered", id="ended-and-proved"),
        pytest.param("d A:not_recovered ended", "resolved", id="ended-never-starts-an-option"),
        pytest.param("d A:refused ended", "resolved", id="ended-after-a-refusal"),
        pytest.param("d A:decaying ended", "recovered", id="ended-is-what-decaying-waits-for"),
        pytest.param("d A:unknown ended", "verify", id="ended-and-unknown-is-verified"),
        pytest.param("d A:crash ended", "verify", id="ended-and-cut-short-is-verified"),
        pytest.param("d A:crash ended v:not_recovered", "escalate", id="ended-and-cut-short-and-not-well"),
        pytest.param("d A:crash ended v:recovered", "recovered", id="ended-and-cut-short-and-well"),
        pytest.param("d A:not_recovered ended fired", "diagnose", id="fires-again-goes-on"),
        pytest.param("d fired:f2 ended:f1", "A", id="one-of-two-alerts-ended"),
    ],
)
def test_next_step(story: str, expected: str) -> None:
    """Each row: what happened, and what comes next."""
    told = Story()
    state = told.tell(story)

    assert short(decide(state, make_runbook(), told.now, POLICY)) == expected


@pytest.mark.parametrize(
    ("story", "expected"),
    [
        pytest.param("d A!:crash v:not_recovered d", "A", id="resumed"),
        pytest.param("d A!:crash v:not_recovered d A!:crash v:not_recovered d", "B", id="resumed-once"),
        pytest.param("d A!:not_recovered d", "B", id="an-option-that-ran-to-its-end-is-not-repeated"),
        pytest.param("d A!:timeout v:not_recovered d", "B", id="an-option-that-hung-is-not-repeated"),
        pytest.param("d A!:nodocument v:not_recovered d", "A", id="an-option-that-said-nothing-is-resumed"),
    ],
)
def test_an_idempotent_option_is_resumed(story: str, expected: str) -> None:
    """Only an option that was interrupted and is idempotent runs a second time, and only once more."""
    told = Story()
    state = told.tell(story)
    runbook = make_runbook(make_option("A", idempotent=True), make_option("B"))

    assert short(decide(state, runbook, told.now, POLICY)) == expected


@pytest.mark.parametrize(
    ("evidence", "expected", "why"),
    [
        pytest.param({"a": False, "b": True}, "B", "The evidence does not support it: evidence.a", id="does-not-hold"),
        pytest.param({"b": True}, "B", "It could not be judged: 'dict object' has no attribute 'a'", id="missing"),
    ],
)
def test_why_an_option_is_passed_over_is_on_record(evidence: dict[str, Any], expected: str, why: str) -> None:
    """The step carries each option that was considered, with the values it was judged on."""
    told = Story(evidence=evidence)
    step = decide(told.tell("d"), make_runbook(), told.now, POLICY)

    assert isinstance(step, Run)
    assert short(step) == expected
    assert [(item.option, item.chosen, item.why) for item in step.considered] == [
        ("A", False, why),
        ("B", True, "Reason B."),
    ]
    assert step.considered[1].values == {"b": True}


def test_no_evidence_holds_is_verified_before_a_person_is_called() -> None:
    """A service that healed by itself closes; one that did not is escalated with every option's reason."""
    told = Story(evidence={"a": False, "b": False})
    assert short(decide(told.tell("d"), make_runbook(), told.now, POLICY)) == "verify"
    assert short(decide(told.tell("d v:recovered"), make_runbook(), told.now, POLICY)) == "recovered"

    step = decide(told.tell("d v:not_recovered"), make_runbook(), told.now, POLICY)

    assert isinstance(step, Escalate)
    assert step.reason == "No option is left whose evidence holds, and the service is not well. Tried: none."
    assert step.next_step == "Work through runbooks/tiny.md by hand; its owner is Team."
    assert [item.holds for item in step.considered] == [False, False, None]


def test_an_option_that_is_done_by_hand_escalates_with_the_command() -> None:
    """The responder neither runs it nor goes on to a more invasive one."""
    runbook = make_runbook(make_option("A", automation="manual"), make_option("B"))
    told = Story()
    step = decide(told.tell("d"), runbook, told.now, POLICY)

    assert isinstance(step, Escalate)
    assert step.reason == "Option A (Title A) fits the evidence and is done by hand."
    assert "alert-responder run tiny --option A --check" in step.next_step


@pytest.mark.parametrize(
    ("story", "expected"),
    [
        pytest.param("d", "rehearse", id="the-dry-run-comes-first"),
        pytest.param("d A?:nolaunch", "wait", id="a-dry-run-that-did-not-start-is-tried-again"),
        pytest.param("d A?:unchecked", "ask", id="then-a-person-is-asked"),
        pytest.param("d A?:unchecked ask:A", "wait", id="and-waited-for"),
        pytest.param("d A?:unchecked ask:A wait:62", "escalate", id="not-for-ever"),
        pytest.param("d A?:unchecked ask:A approve:A", "A", id="approved"),
        pytest.param("d A?:unchecked ask:A deny:A", "escalate", id="denied"),
        pytest.param("d A?:unchecked ask:A approve:A wait:301", "diagnose", id="approved-on-fresh-evidence-only"),
        pytest.param("d A?:refused", "B", id="a-dry-run-that-refuses-leads-on"),
        pytest.param("d A?:unchecked ask:A ended", "resolved", id="the-alert-ended-while-waiting"),
        pytest.param("d A?:unchecked ask:A approve:A ended", "resolved", id="the-alert-ended-after-the-approval"),
        pytest.param("d A?:unchecked ask:A approve:A A+:not_recovered d", "B", id="approved-and-did-not-help"),
    ],
)
def test_an_option_that_needs_approval(story: str, expected: str) -> None:
    """Each row: what happened, and what comes next."""
    told = Story()
    runbook = make_runbook(make_option("A", automation="approve"), make_option("B"))

    assert short(decide(told.tell(story), runbook, told.now, POLICY)) == expected


def test_an_answer_is_to_the_question_that_was_asked() -> None:
    """No approval without a question, for another option, for another dry run, or too late."""
    told = Story()
    state = told.tell("d A?:unchecked ask:A")
    with pytest.raises(IllegalEvent, match="does not ask about option B"):
        answer(state, "B", yes=True, who="kim", reason="x", at=told.now)
    given = answer(state, "A", yes=True, who="kim", reason="x", at=told.now)
    with pytest.raises(IllegalEvent, match="another dry run"):
        fold([*told.events, given.model_copy(update={"seen": "other"})])
    with pytest.raises(IllegalEvent, match="has expired"):
        fold([*told.events, given.model_copy(update={"at": told.now + timedelta(hours=1)})])
    with pytest.raises(IllegalEvent, match="Nobody was asked"):
        fold([*told.events, given, given])


def test_a_denial_names_who_and_why() -> None:
    """The escalation says who refused, and the reason."""
    told = Story()
    step = decide(
        told.tell("d A?:unchecked ask:A deny:A"),
        make_runbook(make_option("A", automation="approve")),
        told.now,
        POLICY,
    )

    assert isinstance(step, Escalate)
    assert step.reason == "Option A (Title A) was denied by kim: seen"


@pytest.mark.parametrize(
    ("opened", "runbook", "said"),
    [
        pytest.param(
            OPENED.model_copy(update={"problem": "label instance is missing"}),
            make_runbook(),
            "Nothing was run: label instance is missing.",
            id="hostile-label",
        ),
        pytest.param(OPENED, None, "Nothing was run: runbook tiny is not in the catalogue any more.", id="no-runbook"),
    ],
)
def test_what_must_not_run_is_escalated(opened: Opened, runbook: Runbook | None, said: str) -> None:
    """Nothing starts for an alert with unusable labels or without its runbook."""
    told = Story(opened=opened)
    step = decide(told.tell(""), runbook, told.now, POLICY)

    assert isinstance(step, Escalate)
    assert step.reason == said


def past(count: int, verdict: str = "not_recovered", **changes: Any) -> tuple[PastRun, ...]:
    made = {"runbook": "tiny", "service": "thing", "option": "A", "at": NOON, "verdict": verdict, **changes}
    return tuple(PastRun(incident=100 + number, **made) for number in range(count))


def held(**changes: Any) -> tuple[Hold, ...]:
    return (Hold.model_validate({"id": 1, "starts_at": NOON, "who": "kim", "reason": "release", **changes}),)


@pytest.mark.parametrize(
    ("surroundings", "expected", "said"),
    [
        pytest.param(Surroundings(1), "A", "Reason A.", id="nothing"),
        pytest.param(Surroundings(1, holds=held()), "wait", "Held by kim: release", id="paused"),
        pytest.param(Surroundings(1, holds=held(service="thing")), "wait", "Held by kim: release", id="maintenance"),
        pytest.param(Surroundings(1, holds=held(service="other")), "A", "Reason A.", id="maintenance-elsewhere"),
        pytest.param(Surroundings(1, past(4, "recovered")), "A", "Reason A.", id="below-the-limit"),
        pytest.param(
            Surroundings(1, past(5, "recovered")), "escalate", "Options of tiny ran 5 times on thing", id="chronic"
        ),
        pytest.param(Surroundings(1, past(5, "recovered", service="other")), "A", "Reason A.", id="another-target"),
        pytest.param(Surroundings(1, past(5, at=NOON - timedelta(hours=2))), "A", "Reason A.", id="long-ago"),
        pytest.param(
            Surroundings(1, past(3, service="other")),
            "escalate",
            "The last 3 options of tiny did not heal",
            id="breaker",
        ),
        pytest.param(
            Surroundings(1, (*past(3), *past(1, "recovered", at=NOON + timedelta(seconds=1)))),
            "A",
            "Reason A.",
            id="breaker-closed-by-a-success",
        ),
        pytest.param(
            Surroundings(1, past(10, runbook="other", service="other")),
            "escalate",
            "The last 10 options of all runbooks did not heal",
            id="fleet-breaker",
        ),
        pytest.param(Surroundings(100, past(1)), "A", "Reason A.", id="its-own-runs-do-not-count"),
    ],
)
def test_what_the_surroundings_forbid(surroundings: Surroundings, expected: str, said: str) -> None:
    """Each row: what ran elsewhere and what is held, and what becomes of option A."""
    told = Story()
    step = decide(told.tell("d"), make_runbook(), told.now, POLICY, surroundings)

    assert short(step) == expected
    assert not isinstance(step, Close | Ask)
    assert step.reason.startswith(said)


@pytest.mark.parametrize(
    ("story", "expected"),
    [
        pytest.param("d A:not_recovered", "A-", id="what-did-not-help-is-taken-back"),
        pytest.param("d A:not_recovered A-:unchecked", "diagnose", id="then-evidence-is-read-again"),
        pytest.param("d A:not_recovered A-:unchecked d", "B", id="then-the-next-option"),
        pytest.param("d A:not_recovered A-:unchanged d", "B", id="nothing-was-left-to-take-back"),
        pytest.param("d A:idle", "diagnose", id="an-option-that-changed-nothing-has-nothing-to-take-back"),
        pytest.param("d A:refused", "B", id="neither-has-one-that-refused"),
        pytest.param("d A:unknown", "verify", id="not-while-it-is-unknown"),
        pytest.param("d A:unknown v:not_recovered", "A-", id="once-it-is-known"),
        pytest.param("d A:decaying wait:30 v:not_recovered", "A-", id="decayed-the-wrong-way"),
        pytest.param("d A:decaying wait:30", "verify", id="not-while-it-decays"),
        pytest.param("d A:timeout v:not_recovered", "A-", id="a-half-done-option-is-taken-back-too"),
        pytest.param("d A:not_recovered ended", "resolved", id="not-when-the-alert-has-ended"),
        pytest.param("d A:not_recovered A-:nolaunch", "wait", id="a-launch-that-failed-waits"),
        pytest.param("d A:not_recovered A-:nolaunch wait:10", "A-", id="and-is-tried-again"),
        pytest.param("d A:not_recovered A-:nolaunch A-:nolaunch A-:nolaunch", "escalate", id="within-its-budget"),
        pytest.param("d A:not_recovered A-:failed", "escalate", id="an-undo-that-fails-calls-a-person"),
        pytest.param("d A:not_recovered A-:refused", "escalate", id="so-does-one-that-refuses"),
        pytest.param("d A:not_recovered A-:timeout", "escalate", id="and-one-that-hangs"),
        pytest.param("d A:not_recovered A-:crash", "escalate", id="and-one-that-was-cut-short"),
        pytest.param("d A:not_recovered A-:nodocument", "escalate", id="and-one-that-says-nothing"),
        pytest.param("d A:not_recovered A-:failed ended", "escalate", id="even-when-the-alert-has-ended"),
        pytest.param("d A:not_recovered A-:unchecked d B:not_recovered", "diagnose", id="b-has-none"),
        pytest.param("d A:not_recovered A-:unchecked d B:not_recovered d C:not_recovered", "C-", id="the-last-one-too"),
        pytest.param(
            "d A:not_recovered A-:unchecked d B:not_recovered d C:not_recovered C-:unchecked d",
            "escalate",
            id="the-end",
        ),
    ],
)
def test_what_did_not_help_is_undone(story: str, expected: str) -> None:
    """Each row: A and C have an undo, B has none."""
    told = Story()
    undo = "ops.tests.undo"
    runbook = make_runbook(make_option("A", undo=undo), make_option("B"), make_option("C", undo=undo))

    assert short(decide(told.tell(story), runbook, told.now, POLICY)) == expected


def test_an_option_that_will_be_resumed_is_not_undone_before() -> None:
    """An idempotent option that was interrupted runs again first; then it is taken back."""
    told = Story()
    runbook = make_runbook(make_option("A", idempotent=True, undo="ops.tests.undo"), make_option("B"))

    assert short(decide(told.tell("d A!:crash v:not_recovered"), runbook, told.now, POLICY)) == "diagnose"
    assert short(decide(told.tell("d A!:crash v:not_recovered d A!:not_recovered"), runbook, told.now, POLICY)) == "A-"


def test_an_undo_passes_the_limits_but_not_a_hold() -> None:
    """Taking back is no further attempt; a pause is meant for everything that changes something."""
    told = Story()
    state = told.tell("d A:not_recovered")
    runbook = make_runbook(make_option("A", undo="ops.tests.undo"))

    assert short(decide(state, runbook, told.now, POLICY, Surroundings(1, past(20)))) == "A-"
    assert short(decide(state, runbook, told.now, POLICY, Surroundings(1, (), held()))) == "wait"


def test_the_next_step_after_a_failed_undo_says_what_is_left() -> None:
    """A person learns that the change of the option is still there."""
    told = Story()
    runbook = make_runbook(make_option("A", undo="ops.tests.undo"))
    for story in ("d A:not_recovered A-:failed", "d A:not_recovered A-:nolaunch A-:nolaunch A-:nolaunch"):
        step = decide(told.tell(story), runbook, told.now, POLICY)
        assert isinstance(step, Escalate)
        assert step.next_step.startswith("Take back by hand what option A did")


def healing(status: Status = Status.OPEN, incident: int = 7) -> Surroundings:
    return Surroundings(1, healing=(Healing(incident, "base", status),))


@pytest.mark.parametrize(
    ("story", "surroundings", "expected"),
    [
        pytest.param("", healing(), "diagnose", id="evidence-from-before-any-change-comes-first"),
        pytest.param("d", healing(), "held:7", id="then-the-ladder-stops"),
        pytest.param("d held:7", healing(), "wait", id="and-waits"),
        pytest.param("d held:7 wait:400", healing(), "wait", id="without-reading-evidence-again"),
        pytest.param("d held:7", healing(Status.RECOVERED), "free:7", id="released-when-healed"),
        pytest.param("d held:7", healing(Status.ESCALATED), "free:7", id="released-when-not-healed"),
        pytest.param("d held:7", Surroundings(1), "free:7", id="released-when-nothing-is-known-of-it"),
        pytest.param("d held:7 wait:601", healing(), "free:7", id="released-when-it-takes-too-long"),
        pytest.param("d held:7 free:7", healing(Status.RECOVERED), "diagnose", id="goes-on-with-fresh-evidence"),
        pytest.param("d held:7 free:7 d", healing(), "A", id="is-not-held-twice-by-the-same"),
        pytest.param("d held:7 free:7 d", healing(incident=8), "held:8", id="but-by-another"),
        pytest.param("d held:7 ended", healing(), "resolved", id="the-end-of-the-alert-ends-it"),
        pytest.param("d A:not_recovered", healing(), "held:7", id="the-next-option-waits-too"),
        pytest.param("d A:unknown", healing(), "verify", id="verification-goes-on"),
        pytest.param("d A:recovered", healing(), "recovered", id="so-does-the-end"),
        pytest.param("d A?:unchecked", healing(), "held:7", id="nobody-is-asked-meanwhile"),
    ],
)
def test_a_dependent_waits(story: str, surroundings: Surroundings, expected: str) -> None:
    """Each row: what incident 7 of a service that this one depends on is doing, and what comes next here."""
    told = Story()
    policy = POLICY.model_copy(update={"dependency_seconds": 600.0})
    runbook = make_runbook(make_option("A", automation="approve" if "A?" in story else "auto"), make_option("B"))

    assert short(decide(told.tell(story), runbook, told.now, policy, surroundings)) == expected


def test_the_reasons_of_holding_and_releasing_are_told() -> None:
    """The record says who was waited for, and how that ended."""
    told = Story()
    hold = decide(told.tell("d"), make_runbook(), told.now, POLICY, healing())
    assert isinstance(hold, HoldBack)
    assert hold.reason == "Waits for incident 7: it heals base, on which thing depends."
    free = decide(told.tell("d held:7"), make_runbook(), told.now, POLICY, healing(Status.ESCALATED))
    assert isinstance(free, Release)
    assert free.reason == "Incident 7 of base ended as escalated."
    assert fold(told.events).reason == "x"


def test_an_option_cools_down_on_its_service() -> None:
    """The same option on the same service waits until its last run is long enough ago."""
    told = Story()
    policy = POLICY.model_copy(update={"cooldown_seconds": 60.0})
    step = decide(told.tell("d"), make_runbook(), told.now, policy, Surroundings(1, past(1, "recovered")))

    assert isinstance(step, Wait)
    assert step.until == NOON + timedelta(seconds=60)


def test_an_approved_option_passes_the_limits_but_not_a_hold() -> None:
    """A person has looked at this very case; a pause is meant for everybody."""
    told = Story()
    state = told.tell("d A?:unchecked ask:A approve:A")
    runbook = make_runbook(make_option("A", automation="approve"))

    assert short(decide(state, runbook, told.now, POLICY, Surroundings(1, past(20)))) == "A"
    assert short(decide(state, runbook, told.now, POLICY, Surroundings(1, past(20), held()))) == "wait"


def test_suggest_only_asks_about_everything() -> None:
    """An automatic option needs approval, one that is done by hand stays so."""
    told = Story()
    policy = POLICY.model_copy(update={"suggest_only": True})

    assert short(decide(told.tell("d"), make_runbook(), told.now, policy)) == "rehearse"
    by_hand = make_runbook(make_option("A", automation="manual"))
    assert short(decide(told.tell("d"), by_hand, told.now, policy)) == "escalate"


def test_a_clock_that_was_set_back_does_not_hold_an_incident() -> None:
    """A wait that began in the future is over."""
    told = Story()
    state = told.tell("d A:decaying")

    assert short(decide(state, make_runbook(), told.now - timedelta(days=1), POLICY)) == "verify"


def test_the_evidence_from_before_the_first_change_is_kept() -> None:
    """The newest evidence decides; the one from before the first change stays for the escalation."""
    told = Story()
    told.tell("d A:not_recovered")
    told.evidence = {"a": False}
    told._word("d")

    state = fold(told.events)

    assert state.evidence is not None
    assert state.first_evidence is not None
    assert state.evidence.evidence == {"a": False}
    assert state.first_evidence.evidence["a"] is True


@pytest.mark.parametrize(
    ("story", "event", "said"),
    [
        pytest.param("d:running", {"kind": "started", "action": "verify"}, "A step is running", id="two-at-once"),
        pytest.param(
            "d ended", {"kind": "started", "action": "option", "option": "A"}, "The alert has ended", id="ended"
        ),
        pytest.param(
            "d A:not_recovered d",
            {"kind": "started", "action": "option", "option": "A", "idempotent": False},
            "Option A has run and is not idempotent",
            id="twice",
        ),
        pytest.param(
            "d A:unknown",
            {"kind": "started", "action": "option", "option": "B"},
            "The last verdict is unknown",
            id="after-unknown",
        ),
        pytest.param(
            "d A:crash",
            {"kind": "started", "action": "option", "option": "B"},
            "The last verdict is unknown",
            id="after-a-crash",
        ),
        pytest.param(
            "d:running", {"kind": "closed", "status": "resolved", "reason": "x"}, "A step is running", id="close"
        ),
        pytest.param(
            "d:running", {"kind": "escalated", "reason": "x", "next_step": "y"}, "Only an idle", id="escalate"
        ),
        pytest.param(
            "d A:recovered",
            {"kind": "started", "action": "undo", "option": "A"},
            "There is nothing to undo",
            id="undo-of-what-helped",
        ),
        pytest.param(
            "d A:not_recovered A-:unchecked",
            {"kind": "started", "action": "undo", "option": "A"},
            "There is nothing to undo",
            id="undo-twice",
        ),
        pytest.param(
            "d held:7", {"kind": "released", "incident": 8, "reason": "x"}, "Incident 8 does not hold", id="release"
        ),
        pytest.param(
            "d:running",
            {"kind": "held", "incident": 8, "service": "base", "reason": "x"},
            "Only an idle, open incident is held",
            id="held-while-running",
        ),
        pytest.param("", {"kind": "finished", "run": "other", "result": "done", "began": True}, "Run other", id="run"),
        pytest.param("", {"kind": "opened", **OPENED.model_dump(exclude={"kind", "at"})}, "opened once", id="opened"),
    ],
)
def test_an_event_that_must_not_follow_is_refused(story: str, event: dict[str, Any], said: str) -> None:
    """The record itself refuses to say that something forbidden happened."""
    kinds = {
        "started": Started,
        "closed": Closed,
        "escalated": Escalated,
        "finished": Finished,
        "opened": Opened,
        "held": Held,
        "released": Released,
    }
    told = Story()
    told.tell(story)
    fields = {"run": "new", "reason": "x", **event} if event["kind"] == "started" else event
    told.events.append(kinds[event["kind"]](at=told.now, **fields))

    with pytest.raises(IllegalEvent, match=said):
        fold(told.events)


def test_an_incident_begins_with_its_opening_and_ends_with_its_closing() -> None:
    """No event stands before the first or after the last."""
    told = Story()
    told.tell("")
    with pytest.raises(IllegalEvent, match="first event of an incident opens it"):
        fold([Ended(at=NOON, fingerprint="f1", ends_at=NOON)])
    with pytest.raises(IllegalEvent, match="without events"):
        fold([])
    closed = Closed(at=NOON, status="resolved", reason="x")
    with pytest.raises(IllegalEvent, match="The incident is closed; closed cannot follow"):
        fold([*told.events, closed, closed])


def test_the_end_of_its_alerts_closes_an_incident_that_nobody_works_on() -> None:
    """An unmatched or escalated incident keeps its status and stops being open when the last alert ends."""
    unmatched = OPENED.model_copy(update={"runbook": None, "problem": "no runbook"})
    ended = Ended(at=NOON, fingerprint="f1", ends_at=NOON)
    escalated = Escalated(at=NOON, reason="x", next_step="y")

    cases: list[tuple[list[Event], Status]] = [
        ([unmatched], Status.UNMATCHED),
        ([OPENED, escalated], Status.ESCALATED),
    ]
    for events, status in cases:
        assert (fold(events).status, fold(events).open) == (status, True)
        state = fold([*events, ended])
        assert (state.status, state.open) == (status, False)
        assert short(decide(state, make_runbook(), NOON, POLICY)) == "idle"


OUTCOMES = st.sampled_from(
    ["recovered", "not_recovered", "unknown", "decaying", "refused", "nolaunch", "nodocument", "timeout", "crash"]
)
BETWEEN = st.sampled_from(["", "", "", "ended", "fired", "fired:f2", "ended:f2", "wait:700", "back"])


@settings(max_examples=3 * settings().max_examples)
@given(
    idempotent=st.lists(st.booleans(), min_size=3, max_size=3),
    evidence=st.fixed_dictionaries({}, optional={letter: st.booleans() for letter in "abc"}),
    outcomes=st.lists(OUTCOMES, min_size=60, max_size=60),
    between=st.lists(BETWEEN, min_size=120, max_size=120),
    approve=st.sampled_from(["", "", "A", "B"]),
    undo=st.sampled_from(["", "", "A", "AB", "ABC"]),
    others=st.lists(st.sampled_from(["", "", "", "open", "recovered", "escalated"]), min_size=120, max_size=120),
    answers=st.lists(st.sampled_from(["approve", "deny", ""]), min_size=4, max_size=4),
)
def test_every_order_of_events_keeps_the_promises_and_ends(  # noqa: C901, PLR0912, PLR0915 -- one branch for each kind of step
    *,
    idempotent: list[bool],
    evidence: dict[str, bool],
    outcomes: list[str],
    between: list[str],
    approve: str,
    undo: str,
    others: list[str],
    answers: list[str],
) -> None:
    """Whatever happens: no option twice unless idempotent, none after doubt, none on an ended alert, and it ends."""
    runbook = make_runbook(
        *(
            make_option(
                letter,
                idempotent=flag,
                automation="approve" if letter == approve else "auto",
                undo="ops.tests.undo" if letter in undo else None,
            )
            for letter, flag in zip("ABC", idempotent, strict=True)
        )
    )
    told = Story(evidence=evidence)
    told.tell("")
    firing = {"f1"}
    proof = "none"
    begun: dict[str, list[str]] = {}
    approved: set[str] = set()
    asks = 0
    to_undo = ""
    free: list[int] = []
    for word, other, outcome in zip(between, others, outcomes * 2, strict=True):
        # What the world does between two decisions: alerts come and go, time passes, the clock steps back.
        if word == "back":
            told.now -= timedelta(hours=1)
        elif word and fold(told.events).open:
            told._word(word)
            name = word.partition(":")[2] or "f1"
            if word.startswith("fired"):
                firing.add(name)
            elif word.startswith("ended"):
                firing.discard(name)
        state = fold(told.events)
        # The service that this one depends on has an incident that comes, goes, and comes back under another number.
        number = 7 + len(free)
        surroundings = healing(Status(other), number) if other else ALONE
        step = decide(state, runbook, told.now, POLICY, surroundings)
        if state.held is not None:
            changing = isinstance(step, Run) and step.action not in ("verify", "diagnose")
            assert not changing, "a change while what it depends on is healed"
            assert not isinstance(step, Ask), "a question while what it depends on is healed"
        match step:
            case HoldBack(incident=incident):
                assert other == "open"
                assert incident not in free
                told._word(f"held:{incident}")
            case Release(incident=incident):
                told._word(f"free:{incident}")
                free.append(incident)
            case Run(action="undo", option=letter):
                assert firing, "an undo on an ended alert"
                assert proof == "not_recovered", f"an undo after {proof}"
                assert letter == to_undo
                told._word(f"{letter}-:{outcome}")
                if outcome != "nolaunch":
                    to_undo = ""
                    undone = outcome in ("recovered", "not_recovered", "unknown", "decaying")
                    proof = proof if undone else "a failed undo"
            case Run(action="option", option=letter):
                assert firing, "an option on an ended alert"
                assert proof in ("none", "not_recovered", "refused"), f"an option after {proof}"
                earlier = begun.setdefault(letter, [])
                assert not earlier or (runbook.option(letter).idempotent and earlier == [earlier[0]])
                assert all(how in ("crash", "nodocument") for how in earlier)
                assert letter != approve or letter in approved
                told._word(f"{letter}{'!' if runbook.option(letter).idempotent else ''}:{outcome}")
                assert not to_undo or to_undo == letter, "the next option before the last one was taken back"
                if outcome != "nolaunch":
                    earlier.append(outcome)
                    proof = outcome
                if outcome not in ("nolaunch", "refused") and letter in undo:
                    to_undo = letter
            case Run(action="rehearse", option=letter):
                told._word(f"{letter}?:{'unchecked' if outcome in ('recovered', 'not_recovered') else outcome}")
            case Ask(option=letter):
                told._word(f"ask:{letter}")
                if asks < len(answers) and answers[asks]:
                    told._word(f"{answers[asks]}:{letter}")
                    approved |= {letter} if answers[asks] == "approve" else set()
                asks += 1
            case Run(action=action):
                how = "recovered" if outcome == "refused" else outcome
                told._word(f"{action[0]}:{how}")
                if action == "verify" and how in ("recovered", "not_recovered", "unknown", "decaying"):
                    proof = how
            case Wait(until=until) if until is not None:
                assert until > told.now
                told.now = until
            case Close() if step.status == "recovered":
                assert proof == "recovered" or (proof == "decaying" and not firing)
                return
            case Close():
                assert not firing
                return
            case Escalate() | Wait():
                return
    pytest.fail("120 decisions did not end the incident")
