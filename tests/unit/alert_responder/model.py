"""A responder in one thread, to which anything happens in any order; what it promises is checked after each step.

The worker, the decisions and the store are the real ones. The playbooks are not: each run ends as it was drawn, and
keeps what it did for the checks. A kill stops everything at one instant: before or after any transaction, or at the
beginning, in the middle or at the end of any run; then a new responder starts on what is left.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, cast

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from alert_responder.errors import ResponderError
from alert_responder.incidents import (
    Approved,
    Asked,
    Closed,
    Escalated,
    Event,
    Finished,
    Hold,
    IllegalEvent,
    Policy,
    Started,
    Status,
    answer,
    fold,
)
from alert_responder.metrics import Metrics
from alert_responder.routing import route
from alert_responder.runbooks import Catalog
from alert_responder.runner import Report, Request, Runner
from alert_responder.store import Delivery, Store
from alert_responder.worker import Worker
from tests.unit.alert_responder.makers import (
    NOON,
    make_alert,
    make_evidence,
    make_option,
    make_outcome,
    make_runbook,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# Options of the runbook "tiny": what is not idempotent, what is and can be undone, and what a person must allow.
OPTIONS = (
    make_option("A"),
    make_option("B", idempotent=True, undo="ops.tests.undo_b"),
    make_option("C", automation="approve"),
)
POLICY = Policy(runs_per_window=3, breaker_failures=3, fleet_breaker_failures=5, cooldown_seconds=60)
# The service "other" depends on "thing".
DEPENDENCIES = {"other": frozenset({"thing"})}
IDENTITIES = (("ThingFull", "thing", "db1"), ("ThingFull", "thing", "db2"), ("OtherFull", "other", "x"))

Kind = Literal[
    "recovered", "not_recovered", "decaying", "unknown", "refused", "failed", "launch", "timed_out", "silent"
]
KINDS: tuple[Kind, ...] = (
    "recovered",
    "not_recovered",
    "decaying",
    "unknown",
    "refused",
    "failed",
    "launch",
    "timed_out",
    "silent",
)


class Killed(BaseException):
    """The process is gone: nothing of it may go on."""


class InlineLoop(asyncio.SelectorEventLoop):
    """Runs what would go to a thread at once, so that a run can be repeated exactly."""

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except BaseException as error:  # noqa: BLE001 -- whatever it is belongs to who waits
            future.set_exception(error)
        return future


@dataclass
class Fate:
    """Counts the instants of one life, and ends it at the chosen one."""

    left: int | None = None
    dead: bool = False

    def instant(self) -> None:
        """Die here, or if death has come already."""
        if self.left is not None:
            self.left -= 1
            self.dead = self.dead or self.left < 0
        if self.dead:
            raise Killed


class MortalStore:
    """Every method of a store, with an instant before it and one after it is durable."""

    def __init__(self, store: Store, fate: Fate) -> None:
        self._store, self._fate = store, fate

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)

        def call(*arguments: Any, **options: Any) -> Any:
            self._fate.instant()
            result = method(*arguments, **options)
            self._fate.instant()
            return result

        return call


@dataclass(frozen=True)
class Execution:
    """One playbook that really began."""

    run: str
    incident: int
    what: str  # diagnose, verify, option_a, undo_b, ...
    check: bool
    effect: bool  # a task may have changed something


@dataclass
class ModelRunner(Runner):
    """Ends each run as it was drawn, and remembers what it did across the lives of the responder."""

    machine: Model
    executions: list[Execution] = field(default_factory=list)
    left: dict[str, Report] = field(default_factory=dict)
    at_work: Counter[str] = field(default_factory=Counter)

    async def run(self, request: Request) -> Report:
        machine = self.machine
        machine.fate.instant()
        incident = int(request.run.partition("-")[0])
        what = request.playbook.rpartition(".")[2]
        kind = machine.next_kind()
        execution = Execution(request.run, incident, what, request.check, effect=kind != "launch" and not request.check)
        machine.look_at(execution)
        self.executions.append(execution)
        # What a responder finds that was killed in the middle: a run that was ended with it, unless none had begun.
        self.left[request.run] = (
            self._report(kind, request) if kind == "launch" else Report("interrupted", began=True, reason="", seconds=0)
        )
        service = machine.services[incident]
        self.at_work[service] += 1
        try:
            machine.expect(self.at_work[service] == 1, f"two runs at once on {service}")
            await asyncio.sleep(0)
            machine.meanwhile()
            machine.fate.instant()
            # Its result is on disk: it outlives the responder.
            self.left[request.run] = self._report(kind, request)
            machine.fate.instant()
        finally:
            self.at_work[service] -= 1
        return self.left[request.run]

    async def recover(self, run: str) -> Report:
        return self.left.get(run, Report("failed_launch", began=False, reason="it had not begun", seconds=0.0))

    def clean_up(self) -> None:
        """Nothing is kept."""

    @staticmethod
    def _report(kind: Kind, request: Request) -> Report:
        if kind == "launch":
            return Report("failed_launch", began=False, reason="no host", seconds=0.1)
        if kind == "timed_out":
            return Report("timed_out", began=True, reason="its limit", seconds=5.0)
        published: dict[str, Any] = {}
        what = request.playbook.rpartition(".")[2]
        if kind != "silent" and what == "diagnose":
            # Which options the evidence supports depends on how the run was drawn to end.
            evidence = make_evidence(a=kind != "refused", b=kind != "failed", c=kind != "unknown")
            published = {"runbook_evidence": evidence.model_dump(by_alias=True)}
        elif kind != "silent":
            status = kind if kind in ("refused", "failed") else "acted"
            verdict = "unchecked" if request.check or kind == "refused" else kind
            verdict = "not_recovered" if verdict == "failed" else verdict
            outcome = make_outcome(verdict, status=status, changed=kind != "refused", check_mode=request.check)
            published = {"runbook_outcome": outcome.model_dump(by_alias=True)}
        return Report("done", began=True, reason="", seconds=1.0, published=published)


class Model(RuleBasedStateMachine):
    """The machine; which store it keeps its incidents in is said by who inherits."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOON
        self.fate = Fate()
        other = {**make_runbook().model_dump(mode="json")["alerts"][0], "name": "OtherFull", "service": "other"}
        self.catalog = Catalog(
            {
                "tiny": make_runbook(*OPTIONS),
                "other": make_runbook(*OPTIONS, runbook="other", service="other", alerts=[other]),
            }
        )
        self.metrics = Metrics()
        self.runner = ModelRunner(self)
        self.services: dict[int, str] = {}
        self.firing: dict[int, set[str]] = {}
        self.known: dict[int, list[Event]] = {}
        self.broken: list[str] = []
        self.kinds: list[Kind] = []
        self.happens: list[tuple[str, int, str]] = []
        self.store = self.open_store()
        self.worker = self.begin()

    def open_store(self) -> Store:
        """Open what the last life left."""
        raise NotImplementedError

    def clock(self) -> datetime:
        return self.now

    def begin(self) -> Worker:
        """Start a responder, as `serve` does."""
        self.fate = Fate()
        self.store.take_over(now=self.now)
        return Worker(
            cast("Store", MortalStore(self.store, self.fate)),
            self.runner,
            self.catalog,
            self.metrics,
            self.clock,
            policy=POLICY,
            dependencies=DEPENDENCIES,
            concurrency=2,
        )

    # What happens.

    @rule(
        identity=st.integers(0, len(IDENTITIES) - 1),
        fingerprint=st.sampled_from("ab"),
        ago=st.sampled_from([0, 1, 30, 600, -30]),
        copies=st.integers(1, 3),
    )
    def alert_fires(self, identity: int, fingerprint: str, ago: int, copies: int) -> None:
        self.deliver(identity, fingerprint, ago, copies)

    @rule(
        identity=st.integers(0, len(IDENTITIES) - 1),
        fingerprint=st.sampled_from("ab"),
        ago=st.sampled_from([0, 1, 3600]),
    )
    def alert_ends(self, identity: int, fingerprint: str, ago: int) -> None:
        self.deliver(identity, fingerprint, ago, 1, status="resolved")

    @rule(
        kinds=st.lists(st.sampled_from(KINDS), max_size=8),
        happens=st.lists(
            st.tuples(st.sampled_from(["fires", "ends", "clock", ""]), st.integers(0, 2), st.sampled_from("ab")),
            max_size=3,
        ),
        kill_at=st.one_of(st.none(), st.integers(0, 60)),
    )
    def responder_works(self, kinds: list[Kind], happens: list[tuple[str, int, str]], kill_at: int | None) -> None:
        self.kinds, self.happens = kinds, happens
        self.fate.left = kill_at
        self.work()
        self.fate.left = None
        if self.fate.dead:
            self.restart()
        self.kinds, self.happens = [], []

    @rule()
    def restart(self) -> None:
        self.runner.at_work.clear()
        self.store = self.open_store()
        self.worker = self.begin()

    @rule(seconds=st.sampled_from([0.1, 5, 20, 90, 400, 1000, 4000, -5, -400, -4000]))
    def clock_moves(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    @rule(service=st.sampled_from([None, "thing"]), seconds=st.sampled_from([None, 600]))
    def person_holds(self, service: str | None, seconds: int | None) -> None:
        ends_at = self.now + timedelta(seconds=seconds) if seconds else None
        self.store.hold(Hold(service=service, starts_at=self.now, ends_at=ends_at, who="kim", reason="release"))

    @rule()
    def person_lifts_every_hold(self) -> None:
        for hold in self.store.holds(now=self.now):
            self.store.lift(hold.id, who="kim", now=self.now)

    @rule(yes=st.booleans())
    @precondition(lambda self: any(fold(events).asked for events in self.known.values()))
    def person_answers(self, yes: bool) -> None:
        for incident in self.known:
            state = fold(self.store.events(incident))
            if state.asked is None or not state.open:
                continue
            event = answer(state, state.asked.option, yes=yes, who="kim", reason="seen", at=self.now)
            try:
                self.store.append(incident, [event], owner=None, expected=state.sequence)
            except IllegalEvent:
                self.expect(self.now > state.asked.expires_at, "an answer in time was refused")

    @rule()
    def person_closes_what_is_escalated(self) -> None:
        for line in self.store.summaries(status=Status.ESCALATED):
            if line.open:
                closed = Closed(at=self.now, status="resolved", reason="done by hand", who="kim")
                self.store.append(line.id, [closed], owner=None)

    # What must hold at the instant at which a playbook begins.

    def look_at(self, execution: Execution) -> None:
        events = self.store.events(execution.incident)
        last = events[-1]
        self.expect(isinstance(last, Started) and last.run == execution.run, "a run began that is not on record")
        if not isinstance(last, Started) or last.action not in ("option", "undo"):
            return
        service = self.services[execution.incident]
        holds = [hold for hold in self.store.holds(now=self.now) if hold.service in (None, service)]
        self.expect(not holds, f"{execution.what} began during a hold")
        older = [
            line.id
            for line in self.store.summaries(status=Status.OPEN)
            if line.service == service and line.id < execution.incident
        ]
        self.expect(not older, f"{execution.what} began while an older incident of {service} was open")
        if last.action == "undo":
            return
        self.expect(bool(self.firing[execution.incident]), "an option began although the alert had ended")
        self.expect(_may_follow(events[:-1]), "an option began on a verdict that does not allow it")
        if last.option == "C":
            self.expect(_allowed(events), "an option began that nobody had allowed")
        else:
            self.expect(self._within_limits(execution.incident, service), "an option began beyond its limit")

    def _within_limits(self, incident: int, service: str) -> bool:
        since = self.now - timedelta(seconds=POLICY.window_seconds)
        ran = [
            event
            for number, events in self.known.items()
            if number != incident and self.services[number] == service
            for event in events
            if isinstance(event, Finished) and event.at > since and _counts(event, events)
        ]
        return len(ran) < POLICY.runs_per_window

    # What must hold always.

    @invariant()
    def nothing_was_broken(self) -> None:
        assert self.broken == []
        assert self.metrics.registry.get_sample_value("alert_responder_errors_total", {"where": "worker"}) is None

    @invariant()
    def the_record_only_grows_and_adds_up(self) -> None:
        for incident, before in list(self.known.items()):
            events = self.store.events(incident)
            assert events[: len(before)] == before
            state = fold(events)
            self.known[incident] = events
            if len(events) == len(before):
                continue
            assert state.firing.keys() == self.firing[incident]
            evidence = [event.evidence for event in events if isinstance(event, Finished) and event.evidence]
            assert state.first_evidence is None or state.first_evidence in evidence
            last = events[-1]
            if isinstance(last, Escalated):
                assert last.reason
                assert last.next_step

    @invariant()
    def one_open_incident_for_each_identity(self) -> None:
        opened = Counter(line.identity for line in self.store.summaries() if line.open)
        assert all(count == 1 for count in opened.values())

    @invariant()
    def no_option_ran_twice_that_is_not_idempotent(self) -> None:
        ran = Counter(
            (execution.incident, execution.what)
            for execution in self.runner.executions
            if execution.effect and execution.what in ("option_a", "option_c")
        )
        assert all(count == 1 for count in ran.values()), ran

    @invariant()
    def what_was_cut_short_is_verified_before_anything_else(self) -> None:
        for events in self.known.values():
            starts = {event.run: event for event in events if isinstance(event, Started)}
            for position, event in enumerate(events):
                if isinstance(event, Finished) and event.result == "interrupted" and _changes(starts[event.run]):
                    following = [one for one in events[position + 1 :] if isinstance(one, Started)]
                    if following:
                        assert following[0].action in ("verify", "diagnose", "undo") or _may_follow(
                            events[: events.index(following[0])]
                        )

    def teardown(self) -> None:
        """In the end, when everything goes well, every incident comes to its end: nothing is stuck."""
        if not self.broken:
            # A clock that was set back leaves holds that are yet to come: they are lifted once they have.
            self.now += timedelta(hours=8)
            self.person_lifts_every_hold()
            for _ in range(60):
                self.work()
                if not self.store.summaries(status=Status.OPEN):
                    break
                self.now += timedelta(minutes=10)
            assert self.store.summaries(status=Status.OPEN) == []
        self.store.close()

    # How it is done.

    def expect(self, holds: bool, message: str) -> None:
        if not holds:
            self.broken.append(message)

    def next_kind(self) -> Kind:
        return self.kinds.pop(0) if self.kinds else "recovered"

    def meanwhile(self) -> None:
        """Let something happen in the middle of a run."""
        what, identity, fingerprint = self.happens.pop(0) if self.happens else ("", 0, "a")
        if what == "clock":
            self.now += timedelta(seconds=45)
        elif what:
            self.deliver(identity, fingerprint, 0, 1, status="firing" if what == "fires" else "resolved")

    def deliver(self, identity: int, fingerprint: str, ago: float, copies: int, *, status: str = "firing") -> None:
        name, service, instance = IDENTITIES[identity]
        moment = self.now - timedelta(seconds=ago)
        alert = make_alert(
            labels={"alertname": name, "service": service, "instance": instance},
            fingerprint=f"{identity}{fingerprint}",
            status=status,
            starts_at=moment,
            ends_at=moment if status == "resolved" else None,
        )
        deliveries = [Delivery(alert, route(alert, self.catalog))] * copies
        for receipt in self.store.receive(deliveries, now=self.now):
            if receipt.incident is None:
                continue
            if receipt.outcome == "opened":
                self.services[receipt.incident] = service
                self.firing[receipt.incident] = {alert.fingerprint}
                self.known[receipt.incident] = []
            elif receipt.outcome == "fired":
                self.firing[receipt.incident].add(alert.fingerprint)
            elif receipt.outcome == "ended":
                self.firing[receipt.incident].discard(alert.fingerprint)
            self.expect(receipt.incident in self.known, "an alert went to an incident that nobody opened")

    def work(self) -> None:
        """Let the worker go on until it has to wait."""

        async def until_it_waits() -> None:
            for _ in range(20):
                await self.worker.look_for_work()
                if not self.worker._at_work:
                    return
                await self.worker.idle()

        with asyncio.Runner(loop_factory=InlineLoop) as runner:
            try:
                runner.run(until_it_waits())
            except Killed:
                pass
            except ResponderError as error:
                self.broken.append(str(error))


def _changes(started: Started) -> bool:
    return started.action in ("option", "undo")


def _counts(finished: Finished, events: list[Event]) -> bool:
    started = next(event for event in events if isinstance(event, Started) and event.run == finished.run)
    refused = finished.outcome is not None and finished.outcome.status == "refused"
    return started.action == "option" and (finished.result == "done" or finished.began) and not refused


def _may_follow(events: list[Event]) -> bool:
    """Whether the newest proof allows an option: none yet, a refusal, or that the service is still bad."""
    starts: Mapping[str, Started] = {event.run: event for event in events if isinstance(event, Started)}
    for event in reversed(events):
        if not isinstance(event, Finished) or starts[event.run].action not in ("option", "verify"):
            continue
        option = starts[event.run].action == "option"
        if event.result != "done" and not (option and (event.began or event.result != "failed_launch")):
            continue
        outcome = event.outcome
        return outcome is not None and (
            outcome.verdict == "not_recovered" or (outcome.status == "refused" and not outcome.changed)
        )
    return True


def _allowed(events: list[Event]) -> bool:
    """Whether a person allowed option C, having been asked with its dry run."""
    asked = {event.run for event in events if isinstance(event, Asked) and event.option == "C"}
    return any(isinstance(event, Approved) and event.option == "C" and event.seen in asked for event in events)
