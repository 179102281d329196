# SPDX-License-Identifier: GPL-3.0-or-later
"""An incident: its events, the state they add up to, and the decision what comes next.

Nothing here reads a clock, a file or the network. `fold` turns events into a state and refuses an event that must not
follow; `decide` turns a state into the next step. Every rule about what may run stands in one of the two.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveFloat, PositiveInt, TypeAdapter

from alert_responder.alerts import Alert, Moment
from alert_responder.documents import Evidence, Outcome
from alert_responder.errors import ResponderError
from alert_responder.runbooks import judge
from alert_responder.trust import falls_back, trust

if TYPE_CHECKING:
    from alert_responder.runbooks import Option, Runbook

Action = Literal["diagnose", "rehearse", "option", "undo", "verify"]
Result = Literal["done", "failed_launch", "timed_out", "interrupted"]


class Status(Enum):
    """Where an incident stands."""

    OPEN = "open"  # the responder is at work, or waits to verify again
    UNMATCHED = "unmatched"  # no runbook answers this alert; nothing is ever run for it
    ESCALATED = "escalated"  # a person is needed; the reason and the next manual step are on record
    RECOVERED = "recovered"  # recovery was verified
    RESOLVED = "resolved"  # the alert ended, or a person closed it, without a verified recovery


class _Event(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    at: Moment


class Opened(_Event):
    """The first alert of an incident, and where it was routed."""

    kind: Literal["opened"] = "opened"
    alert: Alert
    service: str
    runbook: str | None
    problem: str


class Fired(_Event):
    """One more alert of the same identity began to fire, or fires again."""

    kind: Literal["fired"] = "fired"
    fingerprint: str
    starts_at: Moment


class Ended(_Event):
    """One alert of this incident was reported resolved."""

    kind: Literal["ended"] = "ended"
    fingerprint: str
    ends_at: Moment


class Considered(BaseModel):
    """Why one option was chosen or passed over."""

    model_config = ConfigDict(frozen=True)

    option: str
    chosen: bool
    holds: bool | None
    why: str
    values: Mapping[str, Any] = {}


class Started(_Event):
    """A playbook is about to start: on record before it does, so that a crash can never hide it."""

    kind: Literal["started"] = "started"
    run: str
    action: Action
    option: str = ""
    idempotent: bool = True
    approval: bool = False  # whether a person must have allowed it
    place: str = ""  # where the run leaves what it did; another place cannot tell how far it came
    reason: str
    considered: tuple[Considered, ...] = ()


class Finished(_Event):
    """A playbook has ended, or was found not to be running any more."""

    kind: Literal["finished"] = "finished"
    run: str
    result: Result
    began: bool  # whether a task had begun on the target; if not, nothing can have been changed
    reason: str = ""
    seconds: float = 0.0
    evidence: Evidence | None = None
    outcome: Outcome | None = None


class Asked(_Event):
    """An option waits for a person, who can see in ``run`` what it would change."""

    kind: Literal["asked"] = "asked"
    option: str
    run: str
    expires_at: Moment


class Approved(_Event):
    """A person allowed one option of this incident, having the dry run ``seen``."""

    kind: Literal["approved"] = "approved"
    option: str
    seen: str
    who: str
    reason: str


class Denied(_Event):
    """A person refused one option of this incident."""

    kind: Literal["denied"] = "denied"
    option: str
    seen: str
    who: str
    reason: str


class Held(_Event):
    """The ladder stops while another incident heals a service that this one's depends on."""

    kind: Literal["held"] = "held"
    incident: int
    service: str
    reason: str


class Released(_Event):
    """The ladder goes on, on fresh evidence."""

    kind: Literal["released"] = "released"
    incident: int
    reason: str


class Escalated(_Event):
    """The responder stops here: a person is needed."""

    kind: Literal["escalated"] = "escalated"
    reason: str
    next_step: str
    considered: tuple[Considered, ...] = ()


class Closed(_Event):
    """The incident is over."""

    kind: Literal["closed"] = "closed"
    status: Literal["recovered", "resolved"]
    reason: str
    who: str = "responder"


Event = Opened | Fired | Ended | Started | Finished | Asked | Approved | Denied | Held | Released | Escalated | Closed
EVENT: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="kind")])


class IllegalEvent(ResponderError):
    """This event must not follow the ones on record."""


# The steps that may change something on a target.
_CHANGING = frozenset({"option", "undo"})
# A dry run with one of these says that the option would not do its work.
_STOPPED = frozenset({"refused", "failed"})


@dataclass(frozen=True)
class Ran:
    """One step that has ended."""

    run: str
    action: Action
    option: str
    result: Result
    began: bool
    at: datetime
    reason: str
    idempotent: bool
    outcome: Outcome | None

    @property
    def verdict(self) -> str:
        """What the step proved; ``unknown`` when it proved nothing."""
        if self.outcome is None or self.outcome.verdict == "unchecked":
            return "unknown"
        return self.outcome.verdict

    @property
    def refused(self) -> bool:
        """Whether a precondition stopped the option before it changed anything."""
        return self.outcome is not None and self.outcome.status == "refused" and not self.outcome.changed

    @property
    def without_effect(self) -> bool:
        """Whether the step neither changed nor told anything, so that it may be tried again."""
        return self.result != "done" and (
            self.action not in _CHANGING or (self.result == "failed_launch" and not self.began)
        )

    @property
    def cut_short(self) -> bool:
        """Whether an option, or its undo, began and nobody knows how far it came."""
        return self.action in _CHANGING and self.result != "done" and not self.without_effect

    @property
    def undone(self) -> bool:
        """Whether an undo has taken back what its option did."""
        return self.outcome is not None and self.outcome.status in ("acted", "unchanged")

    @property
    def may_have_changed(self) -> bool:
        """Whether the target may be another than before."""
        if self.action not in _CHANGING or self.without_effect:
            return False
        return self.outcome is None or self.outcome.changed or self.outcome.status == "failed"


@dataclass(frozen=True)
class State:
    """What the events of one incident add up to."""

    alert: Alert
    service: str
    runbook: str | None
    problem: str
    status: Status
    open: bool
    firing: Mapping[str, datetime]
    opened_at: datetime
    updated_at: datetime
    sequence: int
    running: Started | None = None
    history: tuple[Ran, ...] = ()
    evidence: Evidence | None = None
    evidence_at: datetime | None = None
    first_evidence: Evidence | None = None
    asked: Asked | None = None
    approved: frozenset[str] = frozenset()
    denied: Mapping[str, Denied] = field(default_factory=dict)
    held: Held | None = None
    released: frozenset[int] = frozenset()
    reason: str = ""
    next_step: str = ""

    def attempts(self, letter: str | None = None) -> tuple[Ran, ...]:
        """Return the options that have (or may have) run, or those of one letter."""
        return tuple(
            ran
            for ran in self.history
            if ran.action == "option" and not ran.without_effect and letter in (None, ran.option)
        )


def past_runs(incident: int, events: Iterable[Event], *, runbook: str, service: str) -> list[PastRun]:
    """Return the options among some events of one incident that ran, or may have."""
    started = {}
    found = []
    for event in events:
        if isinstance(event, Started) and event.action == "option":
            started[event.run] = event.option
        elif isinstance(event, Finished) and event.run in started and (event.result == "done" or event.began):
            refused = event.outcome is not None and event.outcome.status == "refused"
            if not refused:
                verdict = event.outcome.verdict if event.outcome else "unknown"
                found.append(PastRun(incident, runbook, service, started[event.run], event.at, verdict))
    return found


def fold(events: Iterable[Event]) -> State:
    """Add the events up; raises IllegalEvent for one that must not follow."""
    state: State | None = None
    for event in events:
        state = apply(state, event)
    if state is None:
        raise IllegalEvent("An incident without events does not exist.")
    return state


def apply(state: State | None, event: Event) -> State:
    """Return the state after one more event; raises IllegalEvent if it must not follow."""
    if isinstance(event, Opened):
        if state is not None:
            raise IllegalEvent("An incident is opened once.")
        return _opened(event)
    if state is None:
        raise IllegalEvent(f"The first event of an incident opens it; this one is {event.kind}.")
    if not state.open:
        raise IllegalEvent(f"The incident is closed; {event.kind} cannot follow.")
    state = _applied(state, event)
    return replace(state, sequence=state.sequence + 1, updated_at=event.at)


def _opened(event: Opened) -> State:
    if event.runbook is None:
        status, reason = Status.UNMATCHED, event.problem
    else:
        status, reason = Status.OPEN, ""
    return State(
        alert=event.alert,
        service=event.service,
        runbook=event.runbook,
        problem=event.problem,
        status=status,
        open=True,
        firing={event.alert.fingerprint: event.alert.starts_at},
        opened_at=event.at,
        updated_at=event.at,
        sequence=1,
        reason=reason,
    )


def _applied(state: State, event: Event) -> State:  # noqa: C901, PLR0911, PLR0912 -- one case for each kind of event
    match event:
        case Fired():
            return replace(state, firing={**state.firing, event.fingerprint: event.starts_at})
        case Ended():
            left = {key: value for key, value in state.firing.items() if key != event.fingerprint}
            # Nobody works on an incident that is unmatched or with a person: the end of its alerts closes it.
            return replace(state, firing=left, open=bool(left) or state.status is Status.OPEN)
        case Started():
            _refuse_unless(state.status is Status.OPEN, f"The incident is {state.status.value}; nothing may start.")
            _refuse_unless(state.running is None, "A step is running; another must not start.")
            if event.action == "option":
                _check_option(state, event)
            elif event.action == "undo":
                undone = _to_undo(state)
                _refuse_unless(undone is not None and undone.option == event.option, "There is nothing to undo.")
            return replace(state, running=event)
        case Finished():
            if state.running is None or state.running.run != event.run:
                raise IllegalEvent(f"Run {event.run} is not the one that is running.")
            return _finished(state, state.running, event)
        case Asked():
            _refuse_unless(state.status is Status.OPEN and state.running is None, "Only an idle, open incident asks.")
            until = f"{event.expires_at:%Y-%m-%d %H:%M:%S}Z"
            return replace(state, asked=event, reason=f"Option {event.option} waits for approval until {until}.")
        case Approved() | Denied():
            return _answered(state, event)
        case Held():
            _refuse_unless(
                state.status is Status.OPEN and state.running is None, "Only an idle, open incident is held."
            )
            return replace(state, held=event, reason=event.reason)
        case Released():
            _refuse_unless(
                state.held is not None and state.held.incident == event.incident,
                f"Incident {event.incident} does not hold this one.",
            )
            # What was read while the other service was being healed says nothing about now.
            return replace(state, held=None, reason="", released=state.released | {event.incident}, evidence_at=None)
        case Escalated():
            _refuse_unless(
                state.status is Status.OPEN and state.running is None, "Only an idle, open incident escalates."
            )
            return replace(
                state,
                status=Status.ESCALATED,
                reason=event.reason,
                next_step=event.next_step,
                open=bool(state.firing),
            )
        case Closed():
            _refuse_unless(state.running is None, "A step is running; the incident cannot be closed under it.")
            return replace(state, status=Status(event.status), reason=event.reason, open=False)
        case _:
            raise IllegalEvent(f"{event.kind} cannot follow.")


def _check_option(state: State, event: Started) -> None:
    """Hold the two promises that matter most, whoever asks: never on a resolved alert, never blindly twice."""
    _refuse_unless(bool(state.firing), "The alert has ended; no option may start.")
    _refuse_unless(not event.approval or event.option in state.approved, f"Nobody has approved option {event.option}.")
    earlier = state.attempts(event.option)
    _refuse_unless(
        not earlier or event.idempotent, f"Option {event.option} has run and is not idempotent; it must not run again."
    )
    proving = _proofs(state)
    if proving:
        last = proving[-1]
        _refuse_unless(
            last.refused or last.verdict == "not_recovered",
            f"The last verdict is {last.verdict}; the next option may start only after not_recovered.",
        )


def _answered(state: State, event: Approved | Denied) -> State:
    asked = state.asked
    if asked is None or asked.option != event.option or asked.run != event.seen:
        raise IllegalEvent(f"Nobody was asked about option {event.option}, or it was another dry run.")
    _refuse_unless(event.at <= asked.expires_at, f"The question about option {event.option} has expired.")
    if isinstance(event, Approved):
        return replace(state, asked=None, reason="", approved=state.approved | {event.option})
    return replace(state, asked=None, reason="", denied={**state.denied, event.option: event})


def answer(state: State, option: str, *, yes: bool, who: str, reason: str, at: datetime) -> Approved | Denied:
    """Return a person's answer to what this incident asks; raises IllegalEvent if it asks no such thing."""
    if state.asked is None or state.asked.option != option:
        raise IllegalEvent(f"The incident does not ask about option {option}.")
    model = Approved if yes else Denied
    return model(at=at, option=option, seen=state.asked.run, who=who, reason=reason)


def _refuse_unless(allowed: bool, message: str) -> None:  # noqa: FBT001 -- reads like an assertion
    if not allowed:
        raise IllegalEvent(message)


def _finished(state: State, started: Started, event: Finished) -> State:
    ran = Ran(
        run=event.run,
        action=started.action,
        option=started.option,
        result=event.result,
        began=event.began,
        at=event.at,
        reason=event.reason,
        idempotent=started.idempotent,
        outcome=event.outcome,
    )
    state = replace(state, running=None, history=(*state.history, ran))
    if event.evidence is None:
        return state
    # The evidence from before the first change is what a person needs later; the responder decides on the newest.
    untouched = all(attempt.refused for attempt in state.attempts())
    return replace(
        state,
        evidence=event.evidence,
        evidence_at=event.at,
        first_evidence=event.evidence if untouched or state.first_evidence is None else state.first_evidence,
    )


class Policy(BaseModel):
    """The budgets of an incident; times are seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    launch_retries: PositiveInt = 2
    launch_retry_seconds: PositiveFloat = 10.0
    unknown_probes: PositiveInt = 3
    unknown_probe_seconds: PositiveFloat = 15.0
    decaying_probe_seconds: PositiveFloat = 30.0
    decaying_limit_seconds: PositiveFloat = 1800.0
    evidence_seconds: PositiveFloat = 300.0
    resumes: PositiveInt = 1
    settle_seconds: PositiveFloat = 900.0
    approval_seconds: PositiveFloat = 3600.0
    window_seconds: PositiveFloat = 3600.0
    runs_per_window: PositiveInt = 5
    breaker_failures: PositiveInt = 3
    fleet_breaker_failures: PositiveInt = 10
    cooldown_seconds: NonNegativeFloat = 0.0
    hold_probe_seconds: PositiveFloat = 10.0
    dependency_seconds: PositiveFloat = 900.0
    suggest_only: bool = False
    trust_runs: PositiveInt = 10
    fallback_runs: PositiveInt = 4
    fallback_ratio: Annotated[float, Field(ge=0, le=1)] = 0.5
    promote_ratio: Annotated[float, Field(ge=0, le=1)] = 0.95
    notice_seconds: PositiveFloat = 86400.0
    notice_retry_seconds: PositiveFloat = 10.0


@dataclass(frozen=True)
class PastRun:
    """An option that ran in some incident."""

    incident: int
    runbook: str
    service: str
    option: str
    at: datetime
    verdict: str


class Hold(BaseModel):
    """A pause or a maintenance window: no option starts for a service, or for any, until it ends or is lifted."""

    model_config = ConfigDict(frozen=True)

    id: int = 0
    service: str | None = None
    starts_at: Moment
    ends_at: Moment | None = None
    who: str
    reason: str


@dataclass(frozen=True)
class Healing:
    """An incident of a service that this incident's service depends on."""

    incident: int
    service: str
    status: Status


@dataclass(frozen=True)
class Surroundings:
    """What a decision must know beyond its own incident.

    What ran elsewhere lately, the holds in force, the incidents of services that its own service depends on, and what
    came of this runbook's options in earlier incidents.
    """

    incident: int = 0
    past: tuple[PastRun, ...] = ()
    holds: tuple[Hold, ...] = ()
    healing: tuple[Healing, ...] = ()
    earlier: tuple[PastRun, ...] = ()


ALONE = Surroundings()


@dataclass(frozen=True)
class Run:
    """Start a playbook now."""

    action: Action
    reason: str
    option: str = ""
    idempotent: bool = True
    approval: bool = False
    considered: tuple[Considered, ...] = ()


@dataclass(frozen=True)
class Ask:
    """Ask a person whether an option may run."""

    option: str
    run: str
    expires_at: datetime
    reason: str


@dataclass(frozen=True)
class Wait:
    """Decide again at ``until``, or when something new happens; never, if there is no time."""

    until: datetime | None
    reason: str


@dataclass(frozen=True)
class Escalate:
    """Hand over to a person."""

    reason: str
    next_step: str
    considered: tuple[Considered, ...] = field(default=())


@dataclass(frozen=True)
class Close:
    """End the incident."""

    status: Literal["recovered", "resolved"]
    reason: str


@dataclass(frozen=True)
class HoldBack:
    """Put on record that the ladder stops for another incident."""

    incident: int
    service: str
    reason: str


@dataclass(frozen=True)
class Release:
    """Put on record that the ladder goes on."""

    incident: int
    reason: str


Step = Run | Ask | Wait | HoldBack | Release | Escalate | Close


def decide(
    state: State, runbook: Runbook | None, now: datetime, policy: Policy, surroundings: Surroundings = ALONE
) -> Step:
    """Return what comes next.

    The rules, in the order in which they are asked: what is not open or is running is left alone; what must not run
    is escalated; a start that failed is repeated within its own budget; a proved recovery closes; the end of the alert
    closes; an option whose end nobody saw is verified; `unknown` and `decaying` verify again within their budgets;
    only `not_recovered` (or a refusal) leads on: the ladder stops while a service that this one depends on is healed,
    an option that changed something and did not help is undone, the next option follows; and an option that would start
    is held against what the surroundings allow.
    """
    if state.status is not Status.OPEN or not state.open:
        return Wait(None, f"The incident is {state.status.value}.")
    if state.running is not None:
        return Wait(None, f"Run {state.running.run} is in progress.")
    if not state.firing and not state.attempts():
        proved = bool(state.history) and state.history[-1].verdict == "recovered"
        return Close("recovered" if proved else "resolved", "The alert ended before anything was changed.")
    if state.problem or runbook is None:
        reason = state.problem or f"runbook {state.runbook} is not in the catalogue any more"
        return Escalate(
            f"Nothing was run: {reason}.", "Look at the alert's labels, then work through the runbook by hand."
        )
    step = _after_launches(state, runbook, now, policy, surroundings)
    if isinstance(step, Run) and step.action in _CHANGING:
        return _hold_back(step, state, runbook, now, policy, surroundings) or step
    return step


def _hold_back(  # noqa: PLR0917 -- the arguments of decide
    step: Run, state: State, runbook: Runbook, now: datetime, policy: Policy, surroundings: Surroundings
) -> Step | None:
    """Return what to do instead of starting an option, if something beyond the incident forbids it."""
    for hold in surroundings.holds:
        if hold.service in (None, state.service):
            until = now + timedelta(seconds=policy.hold_probe_seconds)
            return Wait(until, f"Held by {hold.who}: {hold.reason}")
    if step.approval or step.action == "undo":
        # A person has looked at this very case; taking back is no further attempt.
        return None
    since = now - timedelta(seconds=policy.window_seconds)
    past = [run for run in surroundings.past if run.incident != surroundings.incident and run.at > since]
    mine = [run for run in past if run.runbook == runbook.runbook]
    here = [run for run in mine if run.service == state.service]
    if len(here) >= policy.runs_per_window:
        why = f"Options of {runbook.runbook} ran {len(here)} times on {state.service}"
    elif runbook.runbook in (broken := open_breakers(past, policy)):
        why = f"The last {policy.breaker_failures} options of {runbook.runbook} did not heal"
    elif "all" in broken:
        why = f"The last {policy.fleet_breaker_failures} options of all runbooks did not heal"
    else:
        same = [run.at for run in here if run.option == step.option]
        cool = timedelta(seconds=policy.cooldown_seconds)
        if same and now - max(same) < cool:
            return Wait(max(same) + cool, f"Option {step.option} ran on {state.service} a short time ago.")
        return None
    history = ", ".join(f"incident {run.incident} option {run.option}: {run.verdict}" for run in past[-10:])
    return Escalate(
        f"{why} within {policy.window_seconds:.0f} s; repeating it hides a cause. {history}.",
        f"Find the cause. {_run_it(runbook, runbook.option(step.option))}",
        step.considered,
    )


def open_breakers(past: Iterable[PastRun], policy: Policy) -> set[str]:
    """Return the runbooks of which the last options did not heal; ``all`` if those of the whole fleet did not."""
    every = list(past)
    runbooks = {run.runbook for run in every}
    broken = {
        name
        for name in runbooks
        if _only_failures([run for run in every if run.runbook == name], policy.breaker_failures)
    }
    return broken | ({"all"} if _only_failures(every, policy.fleet_breaker_failures) else set())


def _only_failures(past: list[PastRun], count: int) -> bool:
    last = sorted(past, key=lambda run: run.at)[-count:]
    return len(last) == count and all(run.verdict not in ("recovered", "decaying") for run in last)


def _after_launches(state: State, runbook: Runbook, now: datetime, policy: Policy, surroundings: Surroundings) -> Step:
    last = state.history[-1] if state.history else None
    if last is not None and last.without_effect:
        failed = _failed_in_a_row(state, last)
        if failed > policy.launch_retries:
            return Escalate(
                f"Could not {_name(last.action, last.option)}: {failed} attempts failed, the last one: {last.reason}",
                _undo_by_hand(runbook, last.option)
                if last.action == "undo"
                else f"Start it by hand and read its output: {_command(runbook, last.action, last.option)}",
            )
        wait = _wait_after(last.at, policy.launch_retry_seconds * 2 ** (failed - 1), now, "Waiting to try again.")
        if wait is not None:
            return wait
    changed = _last_change(state)
    if changed is not None and changed.action == "undo" and not changed.undone:
        return Escalate(
            f"Option {changed.option} did not help, and taking it back failed: {_reason(changed)}",
            _undo_by_hand(runbook, changed.option),
        )
    return _after_proof(state, runbook, now, policy, surroundings)


def _after_proof(  # noqa: PLR0911 -- one return for each rule
    state: State, runbook: Runbook, now: datetime, policy: Policy, surroundings: Surroundings
) -> Step:
    """Act on what the last option or verification proved."""
    proofs = _proofs(state)
    if not proofs:
        return _climb(state, runbook, now, policy, surroundings)
    last = proofs[-1]
    if last.verdict == "recovered":
        return Close("recovered", last.outcome.reason if last.outcome else "")
    if last.refused:
        if not state.firing:
            return Close("resolved", "The alert ended.")
        return _climb(state, runbook, now, policy, surroundings)
    if last.cut_short:
        return Run(
            "verify", f"Option {last.option} did not end by itself ({last.reason}): what it left is verified first."
        )
    since_option = _since_last_option(proofs)
    if last.verdict == "unknown":
        return _probe_again(runbook, since_option, now, policy)
    if last.verdict == "decaying":
        return _let_decay(state, runbook, since_option, now, policy)
    if not state.firing:
        if any(attempt.cut_short for attempt in state.attempts()[-1:]):
            return Escalate(
                f"The alert ended, but option {state.attempts()[-1].option} was cut short and the service is not well.",
                _by_hand(runbook),
            )
        return Close("resolved", "The alert ended; the last verification still found: " + _reason(last))
    return _climb(state, runbook, now, policy, surroundings)


def _probe_again(runbook: Runbook, proofs: list[Ran], now: datetime, policy: Policy) -> Step:
    last = proofs[-1]
    probes = sum(1 for ran in proofs if ran.action == "verify" and ran.verdict == "unknown")
    if probes >= policy.unknown_probes:
        return Escalate(
            f"Could not verify: {probes} verifications could not tell, the last one: {_reason(last)}",
            f"Find out whether the service is well: {_command(runbook, 'verify', '')}",
        )
    if last.action == "verify":
        wait = _wait_after(last.at, policy.unknown_probe_seconds, now, "Waiting to verify again.")
        if wait is not None:
            return wait
    return Run("verify", f"It is not known whether the service has recovered: {_reason(last)}")


def _let_decay(state: State, runbook: Runbook, proofs: list[Ran], now: datetime, policy: Policy) -> Step:
    last = proofs[-1]
    if not state.firing:
        return Close("recovered", "The direct probe is good and the alert has ended.")
    first = next(ran for ran in proofs if ran.verdict == "decaying")
    if (last.at - first.at).total_seconds() > policy.decaying_limit_seconds:
        return Escalate(
            f"The direct probe is good, but the alert has not cleared for {policy.decaying_limit_seconds:.0f} s: "
            + _reason(last),
            _by_hand(runbook),
        )
    wait = _wait_after(last.at, policy.decaying_probe_seconds, now, "Waiting for the alert's window to empty.")
    return wait or Run("verify", "The direct probe was good; the alert's window may have emptied by now.")


def _climb(state: State, runbook: Runbook, now: datetime, policy: Policy, surroundings: Surroundings) -> Step:
    """Go on with the ladder: wait for what this service depends on, take back what did not help, then try the next."""
    return (
        _wait_for_dependency(state, now, policy, surroundings)
        or _take_back(state, runbook, policy)
        or _next_option(state, runbook, now, policy, surroundings)
    )


def _wait_for_dependency(state: State, now: datetime, policy: Policy, surroundings: Surroundings) -> Step | None:
    """Hold the ladder while a service that this one depends on is healed; let it go when that is over or takes long."""
    if state.evidence is None:
        # What was seen before any change belongs on record, whoever heals.
        return None
    healing = {one.incident: one for one in surroundings.healing}
    held = state.held
    if held is not None:
        status = healing[held.incident].status if held.incident in healing else None
        if status is not Status.OPEN:
            ended = f" ended as {status.value}" if status is not None else " is over"
            return Release(held.incident, f"Incident {held.incident} of {held.service}{ended}.")
        waited = (now - held.at).total_seconds()
        if waited > policy.dependency_seconds:
            still = f"Incident {held.incident} still heals {held.service} after {waited:.0f} s"
            return Release(held.incident, f"{still}; it is not waited for longer.")
        return Wait(now + timedelta(seconds=policy.hold_probe_seconds), held.reason)
    for one in surroundings.healing:
        if one.status is Status.OPEN and one.incident not in state.released:
            return HoldBack(
                one.incident,
                one.service,
                f"Waits for incident {one.incident}: it heals {one.service}, on which {state.service} depends.",
            )
    return None


def _take_back(state: State, runbook: Runbook, policy: Policy) -> Step | None:
    """Undo the last option if it may have changed something, did not help, has an undo, and is not to be resumed."""
    undone = _to_undo(state)
    if undone is None:
        return None
    option = next((one for one in runbook.options if one.letter == undone.option), None)
    if option is None or option.undo is None or not _spent(state, option, policy):
        return None
    return Run("undo", f"Option {option.letter} did not help: {_reason(undone)}", option.letter)


def _to_undo(state: State) -> Ran | None:
    """Return the last option if it may have changed something, is proved not to have helped and was not undone yet."""
    proofs = _proofs(state)
    if not state.firing or not proofs or proofs[-1].verdict != "not_recovered":
        return None
    last = _last_change(state)
    return last if last is not None and last.action == "option" and last.may_have_changed else None


def _last_change(state: State) -> Ran | None:
    """Return the last option or undo that began and was not refused; a refused undo counts, for it is a failure."""
    for ran in reversed(state.history):
        if ran.action in _CHANGING and not ran.without_effect and (ran.action == "undo" or not ran.refused):
            return ran
    return None


def _next_option(state: State, runbook: Runbook, now: datetime, policy: Policy, surroundings: Surroundings) -> Step:
    evidence = _fresh_evidence(state, now, policy)
    if evidence is None:
        return Run(
            "diagnose", "Evidence is read before anything is changed." if not state.attempts() else "An option ran."
        )
    considered, chosen = _choose(state, runbook, evidence, policy)
    if chosen is not None:
        doubt = _doubt(chosen, policy, surroundings)
        if chosen.automation == "auto" and not doubt:
            return Run("option", chosen.reason, chosen.letter, chosen.idempotent, considered=considered)
        if chosen.automation != "manual":
            return _with_approval(state, runbook, chosen, considered, now=now, policy=policy, why=doubt)
        return Escalate(
            f"Option {chosen.letter} ({chosen.title}) fits the evidence and is done by hand.",
            _run_it(runbook, chosen),
            considered,
        )
    if not any(ran.action == "verify" or not ran.refused for ran in _proofs(state)):
        # The service may have healed by itself: a person is not called before that is known.
        return Run("verify", "No option's evidence holds.", considered=considered)
    tried = ", ".join(dict.fromkeys(attempt.option for attempt in state.attempts())) or "none"
    return Escalate(
        f"No option is left whose evidence holds, and the service is not well. Tried: {tried}.",
        _by_hand(runbook),
        considered,
    )


def _doubt(option: Option, policy: Policy, surroundings: Surroundings) -> str:
    """Say why an option needs approval that is marked auto; empty if it does not."""
    if policy.suggest_only:
        return "policy.suggest_only is set"
    given = trust((run for run in surroundings.earlier if run.incident != surroundings.incident), option.letter, policy)
    if falls_back(given, policy):
        return f"{given}, and below {policy.fallback_ratio:.0%} a person decides"
    return ""


def _with_approval(
    state: State,
    runbook: Runbook,
    option: Option,
    considered: tuple[Considered, ...],
    *,
    now: datetime,
    policy: Policy,
    why: str,
) -> Step:
    """Rehearse, ask, and go on as the answer says."""
    letter, what = option.letter, f"Option {option.letter} ({option.title})"
    if letter in state.approved:
        return Run("option", option.reason, letter, option.idempotent, approval=True, considered=considered)
    if letter in state.denied:
        denied = state.denied[letter]
        return Escalate(f"{what} was denied by {denied.who}: {denied.reason}", _by_hand(runbook), considered)
    rehearsal = _rehearsal(state, letter)
    if rehearsal is None:
        because = f" ({why})" if why else ""
        reason = f"{what} needs approval{because}: what it would do comes first."
        return Run("rehearse", reason, letter, considered=considered)
    if state.asked is None or state.asked.option != letter:
        return Ask(letter, rehearsal.run, now + timedelta(seconds=policy.approval_seconds), option.reason)
    if now < state.asked.expires_at:
        return Wait(state.asked.expires_at, f"{what} waits for approval.")
    return Escalate(f"{what} fits the evidence and nobody answered in time.", _run_it(runbook, option), considered)


def _rehearsal(state: State, letter: str) -> Ran | None:
    """Return the newest dry run of an option, unless something was done since."""
    for ran in reversed(state.history):
        if ran.action in _CHANGING and not ran.without_effect and not ran.refused:
            return None
        if ran.action == "rehearse" and ran.option == letter and ran.result == "done":
            return ran
    return None


def _fresh_evidence(state: State, now: datetime, policy: Policy) -> Mapping[str, Any] | None:
    """Return the newest evidence unless something was (or may have been) changed since, or it is too old."""
    if state.evidence is None or state.evidence_at is None:
        return None
    if abs((now - state.evidence_at).total_seconds()) > policy.evidence_seconds:
        return None
    for ran in reversed(state.history):
        if ran.action == "diagnose" and ran.result == "done":
            return state.evidence.evidence
        if ran.action in _CHANGING and not ran.without_effect and not ran.refused:
            return None
    return None


def _choose(
    state: State, runbook: Runbook, evidence: Mapping[str, Any], policy: Policy
) -> tuple[tuple[Considered, ...], Option | None]:
    """Judge the options from the least invasive on, and stop at the first that may be used."""
    considered: list[Considered] = []
    for option in runbook.options:
        if _spent(state, option, policy):
            considered.append(
                Considered(option=option.letter, chosen=False, holds=None, why="It has been tried in this incident.")
            )
            continue
        judgement = judge(option.when, evidence)
        rehearsal = _rehearsal(state, option.letter)
        stopped = rehearsal is not None and rehearsal.outcome is not None and rehearsal.outcome.status in _STOPPED
        chosen = judgement.holds is True and not stopped
        if chosen:
            why = option.reason
        elif stopped and rehearsal is not None:
            why = f"Its dry run says: {_reason(rehearsal)}"
        elif judgement.holds is False:
            why = f"The evidence does not support it: {option.when}"
        else:
            why = f"It could not be judged: {judgement.problem}"
        considered.append(
            Considered(option=option.letter, chosen=chosen, holds=judgement.holds, why=why, values=judgement.values)
        )
        if chosen:
            return tuple(considered), option
    return tuple(considered), None


def _spent(state: State, option: Option, policy: Policy) -> bool:
    """An option is used once; only one that was interrupted and is idempotent is resumed, and that seldom."""
    attempts = state.attempts(option.letter)
    if not attempts:
        return False
    resumable = attempts[-1].cut_short and attempts[-1].result != "timed_out"
    return not (resumable and option.idempotent and len(attempts) <= policy.resumes)


def _failed_in_a_row(state: State, last: Ran) -> int:
    same = [ran for ran in state.history if (ran.action, ran.option) == (last.action, last.option)]
    effective = [index for index, ran in enumerate(same) if not ran.without_effect]
    return len(same) - (effective[-1] + 1 if effective else 0)


def _proofs(state: State) -> list[Ran]:
    """Return the steps that tell how the service is."""
    return [ran for ran in state.history if ran.action in ("option", "verify") and not ran.without_effect]


def _since_last_option(proofs: list[Ran]) -> list[Ran]:
    for index in range(len(proofs) - 1, -1, -1):
        if proofs[index].action == "option":
            return proofs[index:]
    return proofs


def _wait_after(start: datetime, seconds: float, now: datetime, reason: str) -> Wait | None:
    """Return the wait that is left; none when it is over, or when the clock was set back behind its start."""
    until = start + timedelta(seconds=seconds)
    return Wait(until, reason) if start <= now < until else None


def _reason(ran: Ran) -> str:
    return ran.outcome.reason if ran.outcome is not None and ran.outcome.reason else ran.reason or ran.verdict


def _name(action: Action, option: str) -> str:
    names = {
        "option": f"start option {option}",
        "rehearse": f"rehearse option {option}",
        "undo": f"undo option {option}",
    }
    return names.get(action, f"run {action}")


def _command(runbook: Runbook, action: Action, option: str) -> str:
    what = f"--option {option}" if option else f"--{action}"
    return f"alert-responder run {runbook.runbook} {what}{' --check' if action == 'rehearse' else ''}"


def _run_it(runbook: Runbook, option: Option) -> str:
    command = _command(runbook, "option", option.letter)
    return f"See what it would do: {command} --check; then run it without --check."


def _undo_by_hand(runbook: Runbook, letter: str) -> str:
    return f"Take back by hand what option {letter} did; its values before are on record. {_by_hand(runbook)}"


def _by_hand(runbook: Runbook) -> str:
    return f"Work through runbooks/{runbook.runbook}.md by hand; its owner is {runbook.owner}."
