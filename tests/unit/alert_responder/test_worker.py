"""The worker does what is decided, and the record is ahead of every start."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from alert_responder.errors import StoreUnavailable
from alert_responder.incidents import Closed, Ended, Finished, Policy, Started, fold
from alert_responder.metrics import Metrics
from alert_responder.routing import Route, route
from alert_responder.runbooks import Catalog
from alert_responder.runner import Report, Request, Runner
from alert_responder.silences import Silences
from alert_responder.store import Delivery
from alert_responder.store_memory import MemoryStore
from alert_responder.worker import Worker, read_report
from tests.unit.alert_responder.makers import NOON, make_alert, make_evidence, make_option, make_outcome, make_runbook

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from datetime import datetime

EVIDENCE = {"runbook_evidence": make_evidence(a=True, b=True, c=True).model_dump(by_alias=True)}


def outcome(verdict: str, **changes: Any) -> dict[str, Any]:
    return {"runbook_outcome": make_outcome(verdict, **changes).model_dump(by_alias=True)}


def done(published: dict[str, Any]) -> Report:
    return Report("done", began=True, reason="", seconds=1.0, published=published)


@dataclass
class FakeRunner(Runner):
    """Replays what it was given for each playbook; ``on_run`` sees each request at its start."""

    replies: dict[str, list[Report]] = field(default_factory=dict)
    on_run: Callable[[Request], None] = lambda _request: None
    requests: list[Request] = field(default_factory=list)
    recovered: list[str] = field(default_factory=list)

    async def run(self, request: Request) -> Report:
        self.requests.append(request)
        self.on_run(request)
        replies = self.replies[request.playbook.rpartition(".")[2]]
        await asyncio.sleep(0)
        return replies.pop(0)

    async def recover(self, run: str) -> Report:
        self.recovered.append(run)
        return Report("interrupted", began=True, reason="the responder stopped while it ran", seconds=0.0)

    def clean_up(self) -> None:
        """Nothing is kept."""


class World:
    """A store with one incident, a scripted runner and a clock that stands still until it is moved."""

    def __init__(self, **replies: list[Report]) -> None:
        self.now = NOON
        self.store = MemoryStore()
        self.runner = FakeRunner({"diagnose": [done(EVIDENCE) for _ in range(9)], **replies})
        self.catalog = Catalog({"tiny": make_runbook()})
        self.metrics = Metrics()
        self.worker = self.make_worker()
        self.disturb: Callable[[], object] = lambda: None
        self.deliver()

    def make_worker(self) -> Worker:
        return Worker(
            self.store, self.runner, self.catalog, self.metrics, self.clock, policy=Policy(), poll_seconds=0.01
        )

    def clock(self) -> datetime:
        return self.now

    def deliver(self, **changes: Any) -> None:
        alert = make_alert(**changes)
        self.store.receive([Delivery(alert, route(alert, self.catalog))], now=self.now)

    def work(self) -> list[str]:
        async def once() -> None:
            await self.worker.look_for_work()
            await self.worker.idle()

        asyncio.run(once())
        return self.kinds()

    def kinds(self, incident: int = 1) -> list[str]:
        return [event.kind for event in self.store.events(incident)]


def test_from_alert_to_recovered() -> None:
    """Diagnosis and option run in order, with the declared labels wrapped, and the incident closes."""
    world = World(option_a=[done(outcome("recovered"))])

    assert world.work() == ["opened", "started", "finished", "started", "finished", "closed"]
    assert [request.playbook for request in world.runner.requests] == ["ops.tests.diagnose", "ops.tests.option_a"]
    variables = world.runner.requests[1].variables
    assert variables["runbook_alert"]["labels"] == {"instance": {"__ansible_unsafe": "db1:5432"}}
    assert variables["runbook_run"]["incident"] == {"__ansible_unsafe": "1"}
    assert world.metrics.registry.get_sample_value(
        "alert_responder_incidents_ended_total", {"runbook": "tiny", "status": "recovered"}
    )


def test_the_start_is_on_record_before_the_run_begins() -> None:
    """A crash during a run always finds its start in the store."""
    world = World(option_a=[done(outcome("recovered"))])
    seen: list[str | None] = []

    def look(request: Request) -> None:
        running = fold(world.store.events(1)).running
        seen.append(running.run if running else None)

    world.runner.on_run = look
    world.work()

    assert seen == [request.run for request in world.runner.requests]


def test_a_wait_is_given_back_and_taken_up_when_due() -> None:
    """A decaying alert costs no worker while its window empties."""
    world = World(option_a=[done(outcome("decaying"))], verify=[done(outcome("recovered"))])
    world.work()
    assert world.store.summaries()[0].due_at == NOON + timedelta(seconds=30)
    assert world.work()[-1] == "finished"
    world.now += timedelta(seconds=30)

    assert world.work()[-3:] == ["started", "finished", "closed"]


def test_an_alert_that_ends_between_decision_and_start_is_heard() -> None:
    """What arrived meanwhile makes the worker decide again: nothing starts on an ended alert."""
    world = World()

    def end_after_diagnosis(_request: Request) -> None:
        world.deliver(status="resolved", ends_at=NOON + timedelta(seconds=1))

    world.runner.on_run = end_after_diagnosis

    assert world.work() == ["opened", "started", "ended", "finished", "closed"]


def test_a_decision_that_came_too_late_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The store refuses a start on a state that has moved on, and the worker reads it again."""
    world = World()
    append = world.store.append

    def end_first(incident: int, events: Any, **given: Any) -> Any:
        if isinstance(events[0], Started) and events[0].action == "option":
            monkeypatch.setattr(world.store, "append", append)
            world.store.append(incident, [Ended(at=NOON, fingerprint="f1", ends_at=NOON)], owner=None)
        return append(incident, events, **given)

    monkeypatch.setattr(world.store, "append", end_first)

    assert world.work() == ["opened", "started", "finished", "ended", "closed"]


def test_an_interrupted_option_is_verified_first() -> None:
    """After a restart the unfinished run is settled, then verified, and not started again."""
    world = World(verify=[done(outcome("recovered"))])
    world.store.claim("dead", now=NOON, lease=timedelta(seconds=60), limit=1)
    started = Started(at=NOON, run="r9", action="option", option="A", idempotent=False, reason="x")
    world.store.append(1, [started], owner="dead")
    world.store.take_over(now=NOON)

    assert world.work() == ["opened", "started", "finished", "started", "finished", "closed"]
    assert world.runner.recovered == ["r9"]
    assert [request.playbook for request in world.runner.requests] == ["ops.tests.verify"]


def test_an_option_that_did_not_help_is_undone_with_its_values() -> None:
    """The undo runs before the next option and receives what its option found and left, never as a template."""
    failed = outcome("not_recovered", before={"replicas": 2, "names": ["{{ x }}"]}, after={"replicas": 3})
    world = World(option_a=[done(failed)], undo=[done(outcome("unchecked"))], option_b=[done(outcome("recovered"))])
    options = [make_option("A", undo="ops.tests.undo"), make_option("B")]
    world.catalog = world.worker.catalog = Catalog({"tiny": make_runbook(*options)})
    world.work()

    asked = [request.playbook.rpartition(".")[2] for request in world.runner.requests]
    assert asked == ["diagnose", "option_a", "undo", "diagnose", "option_b"]
    assert world.runner.requests[2].variables["runbook_undo"] == {
        "option": {"__ansible_unsafe": "A"},
        "before": {"replicas": 2, "names": [{"__ansible_unsafe": "{{ x }}"}]},
        "after": {"replicas": 3},
    }
    assert "runbook_undo" not in world.runner.requests[1].variables


def test_a_half_done_option_is_undone_without_values() -> None:
    """Nothing is known of it: its undo receives no values and finds out by itself."""
    world = World(
        option_a=[Report("timed_out", began=True, reason="limit", seconds=5.0)],
        verify=[done(outcome("not_recovered"))],
        undo=[done(outcome("unchecked"))],
        option_b=[done(outcome("recovered"))],
    )
    options = [make_option("A", undo="ops.tests.undo"), make_option("B")]
    world.catalog = world.worker.catalog = Catalog({"tiny": make_runbook(*options)})
    assert world.work()[-1] == "closed"

    undo = next(request for request in world.runner.requests if request.playbook == "ops.tests.undo")
    assert (undo.variables["runbook_undo"]["before"], undo.timeout_seconds) == ({}, 5)


def test_a_dependent_waits_until_the_other_incident_is_over() -> None:
    """Evidence is read, the ladder stops with its reason on record, and goes on with fresh evidence."""
    world = World(option_a=[done(outcome("recovered"))])
    world.worker.dependencies = {"thing": frozenset({"base"})}
    world.store.receive([Delivery(make_alert(fingerprint="f9"), Route("other", "base", "gone", ""))], now=NOON)
    # Somebody else is at work on it.
    world.store.claim("other", now=NOON, lease=timedelta(seconds=60), limit=9)
    world.store.append(2, [Started(at=NOON, run="r9", action="diagnose", reason="x")], owner="other")
    world.store.release(1, "other", due_at=NOON, expected=1)

    assert world.work() == ["opened", "started", "finished", "held"]
    world.now += timedelta(seconds=10)
    assert world.work() == ["opened", "started", "finished", "held"]
    world.store.append(2, [Finished(at=NOON, run="r9", result="done", began=False)], owner=None)
    world.store.append(2, [Closed(at=NOON, status="recovered", reason="x")], owner=None)
    world.now += timedelta(seconds=10)

    assert world.work()[4:] == ["released", "started", "finished", "started", "finished", "closed"]
    assert world.store.events(1)[4].model_dump()["reason"] == "Incident 2 of base ended as recovered."


def test_what_ran_elsewhere_is_taken_for_interrupted() -> None:
    """The folder of a run stands on the machine that has died; its absence here says nothing about how far it came."""
    world = World(verify=[done(outcome("recovered"))])
    world.runner.place = "here/1"
    world.store.claim("dead", now=NOON, lease=timedelta(seconds=60), limit=1)
    started = Started(at=NOON, run="r9", action="option", option="A", idempotent=False, place="there/2", reason="x")
    world.store.append(1, [started], owner="dead")
    world.now += timedelta(seconds=61)

    assert world.work() == ["opened", "started", "finished", "started", "finished", "closed"]
    assert world.runner.recovered == []
    [_, _, finished, verify, *_] = world.store.events(1)
    assert isinstance(finished, Finished)
    assert (finished.result, finished.began) == ("interrupted", True)
    assert "there/2" in finished.reason
    assert isinstance(verify, Started)
    assert (verify.action, verify.place) == ("verify", "here/1")


async def _renew_in_the_middle(world: World, *, unheard_seconds: float = 0.0) -> list[str]:
    """Let the worker renew its lease while a run lasts; return what became of the incident's work."""
    running, ended = asyncio.Event(), []

    async def last(request: Request) -> Report:
        running.set()
        try:
            await asyncio.sleep(0.2)
        except asyncio.CancelledError:
            ended.append("ended")
            raise
        return done(EVIDENCE)

    world.runner.run = last  # type: ignore[method-assign] # a run that lasts
    await world.worker.renew()
    await world.worker.look_for_work()
    await running.wait()
    world.worker._renewed_at -= unheard_seconds
    world.disturb()
    await world.worker.renew()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return list(ended)


def test_a_run_whose_lease_was_taken_is_ended() -> None:
    """A responder that was frozen finds its incident with another, and does not act beside it."""
    world = World()

    def take() -> None:
        world.store.claim("other", now=NOON + timedelta(seconds=61), lease=timedelta(seconds=60), limit=1)

    world.disturb = take
    assert asyncio.run(_renew_in_the_middle(world)) == ["ended"]
    assert world.metrics.registry.get_sample_value("alert_responder_leases_lost_total") == 1


@pytest.mark.parametrize(
    ("shared", "unheard_seconds", "ended"),
    [
        pytest.param(True, 30, ["ended"], id="another-could-take-it"),
        pytest.param(True, 0, [], id="once-is-not-long"),
        pytest.param(False, 3600, [], id="nobody-else-is-there"),
    ],
)
def test_work_whose_lease_cannot_be_renewed(shared: bool, unheard_seconds: float, ended: list[str]) -> None:
    """Half a lease without the store ends a run where another responder would soon go on, and only there."""
    world = World()
    world.worker.shared = shared

    def cut() -> None:
        world.store.down = True

    world.disturb = cut
    assert asyncio.run(_renew_in_the_middle(world, unheard_seconds=unheard_seconds)) == ended


@dataclass
class FakeSilences(Silences):
    """Keeps which incidents are silent."""

    silent: dict[int, tuple[dict[str, str], float, str]] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)

    async def put(self, incident: int, labels: Mapping[str, str], *, seconds: float, reason: str) -> None:
        self.calls.append(f"put {incident}")
        self.silent[incident] = (dict(labels), seconds, reason)

    async def lift(self, incident: int) -> None:
        self.calls.append(f"lift {incident}")
        self.silent.pop(incident, None)

    async def sweep(self, keep: Collection[int]) -> None:
        self.calls.append(f"sweep {sorted(keep)}")
        self.silent = {incident: one for incident, one in self.silent.items() if incident in keep}


@pytest.mark.parametrize("how", ["recovered", "decaying", "unknown", "explodes"])
def test_an_incident_is_silent_only_while_an_option_runs(how: str) -> None:
    """From the start of its option, for its limit, until it waits, ends or fails."""
    world = World(option_a=[done(outcome(how))] if how != "explodes" else [], verify=[done(outcome("unknown"))] * 9)
    silences = world.worker.silences = FakeSilences()
    seen = []
    world.runner.on_run = lambda request: seen.append((request.playbook, dict(silences.silent)))
    world.work()

    silent = {1: ({"alertname": "ThingFull", "instance": "db1:5432"}, 5, "option A of tiny runs.")}
    assert seen[:2] == [("ops.tests.diagnose", {}), ("ops.tests.option_a", silent)]
    assert silences.silent == {}


def test_what_a_dead_responder_left_silent_is_swept_at_the_start() -> None:
    """The silences of incidents at work are kept; the others are ended before long."""
    world = World(option_a=[done(outcome("recovered"))])
    silences = world.worker.silences = FakeSilences({1: ({}, 5, ""), 99: ({}, 5, "")})

    async def serve() -> None:
        stop = asyncio.Event()
        serving = asyncio.create_task(world.worker.serve(stop))
        while 99 in silences.silent or not silences.calls:  # noqa: ASYNC110 -- the fake tells nobody
            await asyncio.sleep(0.01)
        stop.set()
        await serving

    asyncio.run(asyncio.wait_for(serve(), 10))
    assert any(call.startswith("sweep") for call in silences.calls)


def test_a_store_that_fails_after_a_run_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The lease ends by itself and the next attempt settles the run from what it left."""
    world = World(verify=[done(outcome("recovered"))], option_a=[done(outcome("recovered"))])
    append = world.store.append

    def fail_once(incident: int, events: Any, **given: Any) -> Any:
        if isinstance(events[0], Finished):
            monkeypatch.setattr(world.store, "append", append)
            raise StoreUnavailable("disk full")
        return append(incident, events, **given)

    monkeypatch.setattr(world.store, "append", fail_once)
    assert world.work() == ["opened", "started"]
    assert world.work() == ["opened", "started"]
    world.now += timedelta(seconds=61)
    world.work()
    assert len(world.runner.recovered) == 1
    world.now += timedelta(seconds=10)

    assert world.work()[-1] == "closed"


def test_a_store_that_is_down_is_waited_for() -> None:
    """Looking for work survives the store's absence and counts it."""
    world = World(option_a=[done(outcome("recovered"))])
    world.store.down = True
    asyncio.run(world.worker.look_for_work())
    assert world.metrics.registry.get_sample_value("alert_responder_errors_total", {"where": "store"}) == 1
    world.store.down = False

    assert world.work()[-1] == "closed"


def test_contact_with_the_store_and_the_loop_itself_are_told_apart() -> None:
    """Without its store the worker still looks for work, and says since when it has not reached it."""
    world = World(option_a=[done(outcome("recovered"))])
    world.work()
    world.store.down = True
    world.now += timedelta(seconds=50)
    asyncio.run(world.worker.look_for_work())

    value = world.metrics.registry.get_sample_value
    assert value("alert_responder_heartbeat_timestamp_seconds") == (NOON + timedelta(seconds=50)).timestamp()
    assert value("alert_responder_store_contact_timestamp_seconds") == NOON.timestamp()


def test_an_open_breaker_is_shown_and_closes_with_its_window() -> None:
    """Three options in a row that did not heal; looked at every ten seconds."""
    world = World()
    for number in range(1, 4):
        started = Started(at=NOON, run=f"r{number}", action="option", option="ABC"[number - 1], reason="x")
        failed = read_report(done(outcome("not_recovered")), started, runbook="tiny", at=NOON)
        world.store.append(1, [started, failed], owner=None)
    world.store.append(1, [Closed(at=NOON, status="resolved", reason="x")], owner=None)

    def shown() -> list[float | None]:
        asyncio.run(world.worker.look_for_work())
        names = ("tiny", "all")
        get = world.metrics.registry.get_sample_value
        return [get("alert_responder_breaker_open", {"runbook": name}) for name in names]

    assert shown() == [1, 0]
    world.worker.policy = Policy(fleet_breaker_failures=3)
    world.now += timedelta(seconds=9)
    assert shown() == [1, 0]
    world.now += timedelta(seconds=1)
    assert shown() == [1, 1]
    world.now += timedelta(hours=1)
    assert shown() == [0, 0]


def test_one_incident_that_breaks_the_worker_stops_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """An unexpected error is counted, its lease ends by itself, and other services are worked on."""
    world = World()

    def explode(_request: Request) -> None:
        raise RuntimeError("boom")

    world.runner.on_run = explode
    assert world.work() == ["opened", "started"]
    assert world.metrics.registry.get_sample_value("alert_responder_errors_total", {"where": "worker"}) == 1


def test_no_more_than_the_limit_at_once() -> None:
    """Incidents beyond the concurrency wait their turn."""
    runbooks = {
        name: make_runbook(
            runbook=name,
            service=name,
            alerts=[{"name": "ThingFull", "severity": "critical", "service": name, "identity": [], "labels": []}],
        )
        for name in ("a", "b", "c")
    }
    world = World()
    world.store = world.worker.store = MemoryStore()
    world.catalog = world.worker.catalog = Catalog(runbooks)
    for name in runbooks:
        world.deliver(labels={"service": name}, fingerprint=name)
    world.worker.concurrency = 2

    async def look() -> int:
        await world.worker.look_for_work()
        at_work = len(world.worker._at_work)
        await world.worker.idle()
        return at_work

    assert asyncio.run(look()) == 2


def test_serving_ends_when_told_and_a_step_may_end_first() -> None:
    """A stop lets the running step come to its end and takes nothing new."""
    world = World(option_a=[done(outcome("recovered"))])

    async def serve() -> None:
        stop = asyncio.Event()
        serving = asyncio.create_task(world.worker.serve(stop))
        while world.kinds()[-1] != "closed":  # noqa: ASYNC110 -- the fake store tells nobody
            await asyncio.sleep(0.01)
        stop.set()
        await serving

    asyncio.run(asyncio.wait_for(serve(), 10))
    assert world.metrics.registry.get_sample_value("alert_responder_heartbeat_timestamp_seconds") == NOON.timestamp()


@pytest.mark.parametrize(
    ("action", "published", "said"),
    [
        pytest.param("verify", {"other": 1}, "the play published no runbook_outcome", id="missing"),
        pytest.param("diagnose", outcome("recovered"), "the play published no runbook_evidence", id="the-other-one"),
        pytest.param("verify", outcome("recovered", runbook="big"), "of runbook 'big', expected 'tiny'", id="runbook"),
        pytest.param("verify", {"runbook_outcome": {"schema": 2}}, "that is not valid: schema is 2", id="schema"),
        pytest.param(
            "verify", outcome("recovered", after={"x": "y" * 600_000}), "of more than 524288 characters", id="large"
        ),
    ],
)
def test_a_run_without_its_document_has_failed_to_launch(action: Any, published: dict[str, Any], said: str) -> None:
    """Each row is a launch that failed, with the reason."""
    started = Started(at=NOON, run="r1", action=action, reason="x")
    finished = read_report(done(published), started, runbook="tiny", at=NOON)

    assert finished.result == "failed_launch"
    assert said in finished.reason
