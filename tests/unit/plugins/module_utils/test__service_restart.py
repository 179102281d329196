"""Expectations of restarting, against an engine that plays along."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.ops.runbooks.plugins.module_utils._errors import ActionFailed, OpsError, PreconditionFailed
from ansible_collections.ops.runbooks.plugins.module_utils._service_restart import Restarter, RestartRequest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.plugins.module_utils.services import EngineContract, FakeEngine, replica

if TYPE_CHECKING:
    from ansible_collections.ops.runbooks.plugins.module_utils._service_replicas import Replica
    from ansible_collections.ops.runbooks.plugins.module_utils._waiting import Clock

STARTING = [("running", "starting")]
SLOW = [*STARTING * 3, ("running", "healthy")]


class TestFakeEngine(EngineContract):
    """The fake does what the real engine does."""

    @pytest.fixture
    def engine(self) -> FakeEngine:
        return FakeEngine(replica(1), replica(2), script=SLOW)

    @pytest.fixture
    def clock(self, engine: FakeEngine) -> Clock:
        return engine.clock()

    @pytest.fixture
    def served(self) -> str:
        return "web"


def request(**more: Any) -> RestartRequest:
    defaults: dict[str, Any] = {
        "project": "shop",
        "service": "web",
        "mode": "rolling",
        "only_unhealthy": False,
        "only_replicas": None,
        "dependents": [],
        "minimum_age_seconds": 30.0,
        "settle_seconds": 2.0,
        "expected_replicas": None,
        "precondition_reaction": "fail",
        "stable_seconds": 5.0,
        "timeout_seconds": 30.0,
    }
    return RestartRequest.from_params({**defaults, **more})


class Run:
    """One run; keeps what it warned about."""

    def __init__(self, engine: FakeEngine, *, dry_run: bool = False, **more: Any) -> None:
        self.warnings: list[str] = []
        restarter = Restarter(engine, request(**more), self.warnings.append, engine.clock())
        self.result = restarter.run(dry_run=dry_run)


def run(engine: FakeEngine, *, dry_run: bool = False, **more: Any) -> dict[str, Any]:
    return Run(engine, dry_run=dry_run, **more).result


def started(state: dict[str, Any]) -> dict[str, str]:
    return {one["name"]: one["started"] for one in state["containers"]}


def test_one_replica_after_the_other_each_after_the_one_before_serves() -> None:
    """The highest number goes first; of three, two always serve; the times before and after are returned."""
    engine = FakeEngine(replica(1), replica(2), replica(3), script=SLOW)
    result = run(engine)
    assert engine.calls == ["restart shop-web-3", "restart shop-web-2", "restart shop-web-1"]
    assert engine.fewest_serving == 2
    assert result["changed"] is True
    assert result["restarted"] == ["shop-web-3", "shop-web-2", "shop-web-1"]
    assert result["actions"][0] == "Restarted shop-web-3: it serves after 3.0 s."
    assert set(started(result["before"]).values()) == {"before"}
    assert "before" not in started(result["after"]).values()
    assert result["duration_seconds"] >= 3 * 3 + 2 * 2


def test_a_second_run_finds_every_replica_too_young() -> None:
    """The run right after the first one changes nothing and says why; one much later restarts again."""
    engine = FakeEngine(replica(1), replica(2))
    run(engine)
    engine.calls.clear()
    again = run(engine)
    assert (again["changed"], engine.calls) == (False, [])
    assert again["actions"] == [
        "Left shop-web-1 alone: it started 0 s ago (minimum_age_seconds is 30).",
        "Left shop-web-2 alone: it started 2 s ago (minimum_age_seconds is 30).",
        "Nothing to restart of web.",
    ]
    engine.clock().sleep(40)
    assert run(engine)["changed"] is True


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(replica(1, health="unhealthy"), id="unhealthy"),
        pytest.param(replica(1, "exited", ""), id="exited"),
        pytest.param(replica(1, "paused"), id="paused"),
        pytest.param(replica(1, "restarting", ""), id="crash loop"),
        pytest.param(replica(1, health="unhealthy", up=1), id="unhealthy and young"),
    ],
)
def test_what_does_not_serve_is_restarted_first(broken: Replica) -> None:
    """A broken replica is healed before one that serves goes, however young it is."""
    engine = FakeEngine(broken, replica(2), replica(3))
    run(engine)
    assert engine.calls[0] == "restart shop-web-1"
    engine = FakeEngine(broken, replica(2), replica(3))
    assert run(engine, only_unhealthy=True)["restarted"] == ["shop-web-1"]
    engine.clock().sleep(100)
    assert run(engine, only_unhealthy=True)["changed"] is False


@pytest.mark.parametrize(
    ("script", "state"),
    [
        pytest.param([*STARTING, ("running", "unhealthy")], "running and unhealthy after 1 s", id="unhealthy"),
        pytest.param([("exited", "")], "exited (exit code 0) after 0 s", id="exited"),
        pytest.param(STARTING, "running and starting after 30 s", id="never ready"),
    ],
)
def test_the_first_replica_that_does_not_come_back_ends_the_run(script: list[tuple[str, str]], state: str) -> None:
    """The others serve on; the error has the replica, why, and its last words without their secret."""
    engine = FakeEngine(replica(1), replica(2), replica(3), scripts={"shop-web-2": script})
    with pytest.raises(ActionFailed) as error:
        run(engine)
    assert str(error.value) == (
        f"Cannot restart web: shop-web-2 is {state}; its last line: password=*** last words of shop-web-2. "
        "Find out why it does not come to serve, then repeat. "
        "Restarted before it: shop-web-3. Left as they are: shop-web-1."
    )
    details: dict[str, Any] = error.value.details
    assert details["failed_replica"] == "shop-web-2"
    assert details["log_tail"] == ["password=*** last words of shop-web-2"]
    assert (details["changed"], details["restarted"]) == (True, ["shop-web-3"])
    assert started(details["after"])["shop-web-2"] != "before"
    assert [r.ready(0) for r in engine.found] == [True, False, True]


def test_a_replica_that_falls_after_it_came_back_ends_the_run() -> None:
    """What was restarted must still serve when the next one is to go."""
    falls = [("running", "healthy"), ("running", "unhealthy")]
    engine = FakeEngine(replica(1), replica(2), replica(3), scripts={"shop-web-3": falls})
    with pytest.raises(ActionFailed) as error:
        run(engine)
    assert str(error.value) == (
        "Cannot go on to restart shop-web-2: shop-web-3 is running and unhealthy. Restarted before: shop-web-3. "
        "Heal that first, then repeat."
    )
    assert engine.calls == ["restart shop-web-3"]


def test_an_engine_that_refuses_ends_the_run() -> None:
    """The engine's own words, and how far the run came."""
    engine = FakeEngine(replica(1), replica(2))
    engine.failures["restart shop-web-1"] = OpsError("Cannot restart shop-web-1: no space left on device.")
    with pytest.raises(ActionFailed) as error:
        run(engine)
    assert str(error.value) == ("Cannot restart shop-web-1: no space left on device. Restarted before it: shop-web-2.")
    assert error.value.details["restarted"] == ["shop-web-2"]


def test_an_engine_that_has_gone_away_is_told_and_not_asked_again() -> None:
    """The first error is the one that is reported; the last known state stays in the result."""

    class Dying(FakeEngine):
        def restart(self, replica: Replica) -> None:
            self.dead = True
            raise OpsError("The engine does not answer.")

        def replicas(self, service: str) -> list[Replica]:
            if getattr(self, "dead", False):
                raise OpsError("Nor now.")
            return super().replicas(service)

    with pytest.raises(ActionFailed, match=r"^The engine does not answer\. Nothing was restarted before it\.") as error:
        run(Dying(replica(1), replica(2)))
    details: dict[str, Any] = error.value.details
    assert details["after"]["replicas"] == 2


def test_a_replica_that_has_gone_is_named() -> None:
    """Somebody removed it while it was restarted: waiting ends at the limit."""

    class Removing(FakeEngine):
        def restart(self, replica: Replica) -> None:
            self.found = [r for r in self.found if r.id != replica.id]

    with pytest.raises(
        ActionFailed, match=r"^Cannot restart web: shop-web-2 did not start again in 30 s\. Somebody else may have"
    ):
        run(Removing(replica(1), replica(2)))


def test_the_only_replica_is_restarted_and_the_outage_said() -> None:
    """There is no other way, and nobody learns of it by surprise."""
    engine = FakeEngine(replica(1))
    assert run(engine, dry_run=True)["actions"] == [
        "Would restart shop-web-1.",
        "web will be down until it serves again.",
    ]
    assert run(engine)["actions"][-1] == "web has only this replica: it was down meanwhile."


def test_the_last_replica_that_serves_does_not_go() -> None:
    """What is broken is not among those to restart, so that nothing would serve: refused, unless at_once says so."""
    replicas = [replica(1, health="unhealthy"), replica(2)]
    engine = FakeEngine(*replicas)
    with pytest.raises(PreconditionFailed) as error:
        run(engine, only_replicas=["shop-web-2"])
    assert str(error.value) == (
        "Cannot restart shop-web-2: nothing else of web serves (shop-web-1 is running and unhealthy). Restart what "
        "does not serve first, or wait until it does; mode at_once accepts the outage."
    )
    assert engine.calls == []
    result = run(engine, only_replicas=["shop-web-2"], mode="at_once")
    assert result["actions"] == [
        "Restarted shop-web-2 at once: serving after 0.0 s.",
        "web was down meanwhile.",
    ]


def test_at_once_stops_all_before_it_starts_one() -> None:
    """No replica of before runs beside one of after."""
    engine = FakeEngine(replica(1), replica(2), replica(3, "exited", ""), script=SLOW)
    result = run(engine, mode="at_once")
    assert engine.calls == [
        "stop shop-web-2",
        "stop shop-web-1",
        "start shop-web-3",
        "start shop-web-2",
        "start shop-web-1",
    ]
    assert engine.fewest_serving == 0
    assert result["actions"] == [
        "Restarted shop-web-3, shop-web-2, shop-web-1 at once: serving after 3.0 s.",
        "web was down meanwhile.",
    ]


@pytest.mark.parametrize("call", ["stop all", "start shop-web-2"])
def test_at_once_leaves_nothing_stopped_that_can_run(call: str) -> None:
    """An error of the engine in the middle does not keep the others from starting."""
    engine = FakeEngine(replica(1), replica(2))
    engine.failures[call] = OpsError("The engine says no.")
    with pytest.raises(ActionFailed, match=r"^The engine says no\. All that could be started was started\.$"):
        run(engine, mode="at_once")
    assert all(r.state == "running" for r in engine.found)


def test_at_once_names_the_worst_replica() -> None:
    """Of several that do not come back, a broken one is told."""
    engine = FakeEngine(replica(1), replica(2), scripts={"shop-web-1": [("exited", "")], "shop-web-2": STARTING})
    with pytest.raises(ActionFailed, match=r"^Cannot restart web: shop-web-1 is exited") as error:
        run(engine, mode="at_once")
    assert error.value.details["restarted"] == []
    assert error.value.details["changed"] is True


def test_a_replica_without_health_check_must_stay_up() -> None:
    """Without a health check, being up for the stated time is what counts."""
    engine = FakeEngine(replica(1, health=""), replica(2, health=""), script=[("running", "")])
    result = run(engine)
    assert result["actions"][0] == "Restarted shop-web-2: it serves after 5.0 s."


def test_only_the_named_replicas_are_restarted() -> None:
    """The others are not touched; a name that does not exist is an error before anything is changed."""
    engine = FakeEngine(replica(1), replica(2), replica(3))
    assert run(engine, only_replicas=["shop-web-1"])["restarted"] == ["shop-web-1"]
    message = "Cannot restart shop-web-9: web has no such replica. It has shop-web-1, shop-web-2, shop-web-3."
    with pytest.raises(PreconditionFailed, match=f"^{re.escape(message)}$"):
        run(engine, only_replicas=["shop-web-9", "shop-web-2"])
    assert len(engine.calls) == 1


def test_dependents_follow_and_are_not_restarted_twice() -> None:
    """They come after the service, in the given order; a second run leaves all alone."""
    engine = FakeEngine(replica(1), replica(2), replica(1, service="worker"), replica(1, service="api"))
    result = run(engine, dependents=["worker", "api"])
    assert engine.calls == [f"restart shop-{name}" for name in ("web-2", "web-1", "worker-1", "api-1")]
    assert set(result["after"]["dependents"]) == {"worker", "api"}
    again = run(engine, dependents=["worker", "api"])
    assert again["changed"] is False
    assert "Left worker alone: it started after web." in again["actions"]
    assert len(engine.calls) == 4


def test_a_dependent_that_an_earlier_run_did_not_come_to_is_restarted() -> None:
    """The service is young by now; what runs since before it is still restarted, and nothing else."""
    engine = FakeEngine(replica(1, up=10), replica(1, service="worker"), replica(2, up=5, service="worker"))
    result = run(engine, dependents=["worker", "none"])
    assert engine.calls == ["restart shop-worker-1"]
    assert "none has no replicas: nothing to restart there." in result["actions"]


def test_dependents_of_a_service_with_nothing_to_heal_are_left_alone() -> None:
    """Nothing was unhealthy: nothing is restarted after it."""
    engine = FakeEngine(replica(1), replica(1, service="worker"))
    assert run(engine, only_unhealthy=True, dependents=["worker"])["changed"] is False


def test_dependents_are_left_alone_when_the_service_fails() -> None:
    """A service that does not come back is not made worse."""
    engine = FakeEngine(replica(1), replica(1, service="worker"), scripts={"shop-web-1": [("exited", "")]})
    with pytest.raises(ActionFailed, match="Nothing was restarted before it"):
        run(engine, dependents=["worker"])
    assert engine.calls == ["restart shop-web-1"]


def test_the_last_replica_of_a_dependent_is_guarded_too() -> None:
    """It is known before the service is touched."""
    engine = FakeEngine(
        replica(1, up=10), replica(1, service="worker"), replica(2, health="starting", up=5, service="worker")
    )
    with pytest.raises(PreconditionFailed, match=r"^Cannot restart shop-worker-1: nothing else of worker serves"):
        run(engine, dependents=["worker"])
    assert engine.calls == []


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        ({"minimum_age_seconds": -1}, "must not be negative"),
        ({"settle_seconds": -1}, "must not be negative"),
        ({"dependents": ["web"]}, "Cannot restart web after web: a service is named twice."),
        ({"dependents": ["a", "a"]}, "Cannot restart a, a after web: a service is named twice."),
    ],
)
def test_what_is_never_right_is_a_mistake(given_: dict[str, Any], message: str) -> None:
    """It is wrong whatever the service is."""
    with pytest.raises(ValueError, match=message):
        request(**given_)


def test_a_service_without_replicas_is_told() -> None:
    """There is nothing to restart, and the message has what to do instead."""
    with pytest.raises(
        PreconditionFailed, match=r"^Cannot restart web: it has no replicas\. Start it with `docker compose up"
    ):
        run(FakeEngine())


@pytest.mark.parametrize(("reaction", "calls"), [("fail", 0), ("skip", 0), ("warn", 1)])
def test_old_knowledge_fails_skips_or_warns(reaction: str, calls: int) -> None:
    """Somebody has scaled in the meantime: the caller chooses what that means."""
    engine = FakeEngine(replica(1), replica(2, "exited", ""))
    told = "web has 1 replica, expected 2: it was scaled, or a replica went, since the decision was made"
    options: dict[str, Any] = {
        "expected_replicas": 2,
        "precondition_reaction": reaction,
        "only_replicas": ["shop-web-2"],
    }
    if reaction == "fail":
        with pytest.raises(PreconditionFailed, match=f"^Cannot restart web: {told}"):
            run(engine, **options)
    else:
        done = Run(engine, **options)
        if reaction == "skip":
            assert done.result["actions"] == [f"Left everything alone: {told}."]
        else:
            assert done.warnings == [f"Restarted all the same: {told}."]
    assert len(engine.calls) == calls


REPLICAS = st.lists(
    st.tuples(
        st.sampled_from(["running", "running", "exited", "restarting", "paused"]),
        st.sampled_from(["", "healthy", "unhealthy", "starting"]),
        st.sampled_from([1.0, 60.0]),
        st.sampled_from([SLOW, [("exited", "")], [*STARTING, ("running", "unhealthy")], [("running", "")]]),
    ),
    min_size=1,
    max_size=6,
)
Rows = list[tuple[str, str, float, list[tuple[str, str]]]]


def engine_of(rows: Rows, kind: type[FakeEngine] = FakeEngine) -> FakeEngine:
    every = [replica(n, state, health, up=up) for n, (state, health, up, _script) in enumerate(rows, 1)]
    return kind(*every, scripts={one.name: row[3] for one, row in zip(every, rows, strict=True)})


class Guarded(FakeEngine):
    """Fails the test when the last of several serving replicas would go."""

    def restart(self, replica: Replica) -> None:
        others = [r for r in self.found if r.id != replica.id]
        if others and replica.ready(5):
            assert any(r.ready(5) for r in others), f"{replica.name} was the last to serve"
        super().restart(replica)


@given(REPLICAS, st.booleans())
def test_a_rolling_restart_takes_at_most_one_serving_replica_away(rows: Rows, only_unhealthy: bool) -> None:
    """Never two down at once, and never the last one of several, whatever fails on the way."""
    engine = engine_of(rows, Guarded)
    serving = engine.fewest_serving
    with contextlib.suppress(OpsError):
        run(engine, only_unhealthy=only_unhealthy)
    assert engine.fewest_serving >= serving - (not only_unhealthy)


@given(REPLICAS, st.booleans(), st.sampled_from(["rolling", "at_once"]))
def test_check_mode_predicts_what_a_run_restarts(rows: Rows, only_unhealthy: bool, mode: str) -> None:
    """Plan and run agree: both refuse, or what was to restart is what was tried, and all of it if nothing failed."""
    options: dict[str, Any] = {"only_unhealthy": only_unhealthy, "mode": mode}
    engine = engine_of(rows)
    try:
        planned = run(engine, dry_run=True, **options)
    except PreconditionFailed:
        with pytest.raises(PreconditionFailed):
            run(engine, **options)
        assert engine.calls == []
        return
    assert engine.calls == []
    wanted = {name for name, at in started(planned["after"]).items() if at == "by this run"}
    assert planned["changed"] == bool(wanted)
    try:
        done = run(engine, **options)
    except ActionFailed:
        assert {call.split()[1] for call in engine.calls} <= wanted
    else:
        assert set(done["restarted"]) == wanted
        assert done["changed"] == planned["changed"]


@given(REPLICAS)
def test_what_is_not_chosen_is_not_touched(rows: Rows) -> None:
    """A young replica that is not broken keeps its run."""
    engine = engine_of(rows)
    young = {r.name for r in engine.found if r.state == "running" and not r.broken and r.up_seconds < 30}
    with contextlib.suppress(OpsError):
        run(engine)
    assert all(r.started == "before" for r in engine.found if r.name in young)
