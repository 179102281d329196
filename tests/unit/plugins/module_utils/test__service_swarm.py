"""Expectations of services that a Swarm replaces, against one that plays along."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.ops.runbooks.plugins.module_utils._errors import (
    ActionFailed,
    ConnectionFailed,
    PreconditionFailed,
    Unsupported,
)
from ansible_collections.ops.runbooks.plugins.module_utils._service_limits import Host, Limiter, LimitsSource
from ansible_collections.ops.runbooks.plugins.module_utils._service_limits import LimitsRequest as Limiting
from ansible_collections.ops.runbooks.plugins.module_utils._service_observed import Limits, Observed
from ansible_collections.ops.runbooks.plugins.module_utils._service_ports import Change, Data
from ansible_collections.ops.runbooks.plugins.module_utils._service_restart import Restarter, RestartRequest
from ansible_collections.ops.runbooks.plugins.module_utils._service_rollback import RollbackRequest
from ansible_collections.ops.runbooks.plugins.module_utils._service_rollback_stack import StackRollbacker
from ansible_collections.ops.runbooks.plugins.module_utils._service_scale import Scaler, ScaleRequest
from ansible_collections.ops.runbooks.plugins.module_utils._service_swarm import (
    NANO,
    SwarmEngine,
    limited,
    update_config,
)
from ansible_collections.ops.runbooks.plugins.module_utils._service_swarm_observer import SwarmObserver
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import override

from tests.unit.plugins.module_utils.services import FakeObserver
from tests.unit.plugins.module_utils.swarms import FakeSwarm, OrchestratedContract

if TYPE_CHECKING:
    from ansible_collections.ops.runbooks.plugins.module_utils._waiting import Clock

COMMON: dict[str, Any] = {
    "project": "shop",
    "service": "web",
    "stable_seconds": 1.0,
    "timeout_seconds": 30.0,
    "expected_replicas": None,
    "precondition_reaction": "fail",
}
RESTART: dict[str, Any] = {
    **COMMON,
    "mode": "rolling",
    "only_unhealthy": False,
    "only_replicas": None,
    "dependents": [],
    "minimum_age_seconds": 30.0,
    "settle_seconds": 0.0,
}


class TestFakeSwarm(OrchestratedContract):
    """The fake does what the real engine does."""

    @pytest.fixture
    def engine(self) -> FakeSwarm:
        return FakeSwarm()

    @pytest.fixture
    def clock(self, engine: FakeSwarm) -> Clock:
        return engine.clock()

    @pytest.fixture
    def served(self) -> str:
        return "web"

    @pytest.fixture
    def other_image(self) -> str:
        return "web:0"


def no_warning(text: str) -> None:
    raise AssertionError(text)


def restart(engine: FakeSwarm, *, dry_run: bool = False, **more: Any) -> dict[str, Any]:
    request = RestartRequest.from_params({**RESTART, **more})
    return Restarter(engine, request, no_warning, engine.clock()).run(dry_run=dry_run)


def rollback(
    engine: FakeSwarm, *, dry_run: bool = False, warnings: list[str] | None = None, **more: Any
) -> dict[str, Any]:
    options = {**COMMON, "image": None, "expected_image": None, "settle_seconds": 0.0, **more}
    told = [] if warnings is None else warnings
    rollbacker = StackRollbacker(engine, RollbackRequest.from_params(options), warn=told.append, clock=engine.clock())
    return rollbacker.run(dry_run=dry_run)


def test_a_restart_is_a_change_of_nothing() -> None:
    """All replicas are others, watched until they serve; check mode says so; then they are too young."""
    engine = FakeSwarm()
    before = engine.replicas("web")
    assert (restart(engine, dry_run=True)["changed"], engine.changes) == (True, [])
    result = restart(engine)
    assert engine.changes == [Change()]
    assert result["restarted"] == ["shop_web.1", "shop_web.2"]
    assert result["actions"] == [
        "The Swarm replaced shop_web.1, shop_web.2: serving after 2.0 s.",
        "The update configuration of web is now another one.",
    ]
    assert not {r.started for r in before} & {r.started for r in engine.replicas("web")}


@pytest.mark.parametrize(
    ("more", "options", "change"),
    [
        pytest.param({}, {"mode": "at_once"}, Change(at_once=True), id="at once"),
        pytest.param({"replicas": 1, "data": Data(shared=True)}, {}, Change(start_first=False), id="one with data"),
        pytest.param({"one_per_node": True}, {}, Change(start_first=False), id="global"),
    ],
)
def test_how_the_swarm_is_told_to_restart(more: dict[str, Any], options: dict[str, Any], change: Change) -> None:
    """As the caller asks, and as the service allows."""
    engine = FakeSwarm(**more)
    restart(engine, **options)
    assert engine.changes == [change]


def test_a_restart_of_some_is_refused() -> None:
    """A Swarm has no such thing."""
    with pytest.raises(PreconditionFailed, match="a Swarm restarts a service as a whole"):
        restart(FakeSwarm(), only_replicas=["shop_web.1"])


def test_a_restart_that_does_not_end_well_has_the_reason() -> None:
    """The Swarm stopped, or is not done in time; the secret is masked."""
    with pytest.raises(ActionFailed) as error:
        restart(FakeSwarm(ill=["web:2"]))
    assert str(error.value) == (
        "Cannot restart web: web did not come to serve in 2 s: shop_web.1 is exited (exit code 3) (task: non-zero exit "
        "(3)); its last line: password=*** last words. The engine stopped there and left the others as they are. Find "
        "out why, then repeat."
    )
    with pytest.raises(ActionFailed, match=r"in 30 s: .*The engine goes on by itself"):
        restart(FakeSwarm(takes=1000))


def test_a_rollback_to_what_the_swarm_remembers() -> None:
    """Check says it, a run does it, a second run goes neither further nor forth; the same bad one is left again."""
    engine = FakeSwarm()
    planned = rollback(engine, dry_run=True)
    assert (planned["changed"], planned["after"]) == (True, {"replicas": 2, "images": ["web:1"]})
    done = rollback(engine, expected_image="web:2")
    assert done["after"]["images"] == ["web:1"]
    assert engine.changes == [Change(image="web:1", note=json.dumps({"from": "web:2", "to": "web:1"}), undo=True)]
    assert [rollback(engine, dry_run=True)["changed"], rollback(engine)["changed"]] == [False, False]
    assert "To go further back, name an image." in rollback(engine)["actions"][0]
    assert rollback(engine, image="web:1")["changed"] is False
    assert rollback(engine, image="web:0")["after"]["images"] == ["web:0"]
    engine = FakeSwarm()
    rollback(engine)
    rollback(engine, image="web:2")
    assert rollback(engine, image="web:1")["changed"] is True


def test_what_is_already_as_it_is_to_be_stays() -> None:
    """The deployment of the bad image came only half-way."""
    engine = FakeSwarm()
    engine.there[0] = replace(engine.there[0], image="web:1", started="long ago")
    assert rollback(engine)["changed"] is True
    first, second = engine.replicas("web")
    assert (first.started, first.image, second.image) == ("long ago", "web:1", "web:1")


def test_a_redeployed_bad_image_is_left_for_the_same_one() -> None:
    """Although the Swarm's own memory is of something else."""
    engine = FakeSwarm()
    rollback(engine)
    engine.state = engine.state.__class__("web:2", "web:2", engine.state.note, everywhere_here=True)
    assert rollback(engine)["after"]["images"] == ["web:1"]


def test_an_image_that_does_not_serve_is_left_by_the_swarm() -> None:
    """All is as before, and the error says so; what is lost in the middle is told as far as it is known."""
    engine = FakeSwarm(ill=["web:9"])
    with pytest.raises(ActionFailed, match=r"^Cannot bring web to web:9: .*returned to what was before\.$") as error:
        rollback(engine, image="web:9")
    assert error.value.details["changed"] is False
    assert "hunter2" not in str(error.value)
    assert engine.told("web").image == "web:2"

    class Lost(FakeSwarm):
        def _end(self) -> None:
            super()._end()
            self.failure = ConnectionFailed("Cannot go on: the engine does not answer.")

    lost = Lost()
    with pytest.raises(ConnectionFailed, match="does not answer") as gone:
        rollback(lost)
    assert gone.value.details["changed"] is True
    lost.failure = None
    assert rollback(lost)["changed"] is False
    assert lost.told("web").image == "web:1"


@pytest.mark.parametrize(
    ("more", "options", "message"),
    [
        ({"former": None}, {}, "the Swarm remembers no image before web:2. Name one."),
        ({"former": "web:2"}, {}, "the Swarm remembers no image before web:2. Name one."),
        ({}, {"image": "web:7"}, "Cannot roll back web to web:7: the host has no such image. Pull or load it first"),
        ({}, {"expected_image": "web:7"}, "web runs web:2, expected web:7"),
        ({}, {"expected_replicas": 7}, "web has 2 replicas, expected 7"),
        ({"data": Data(own=True)}, {}, "keeps data in a volume without a name"),
    ],
)
def test_a_refusal_has_the_reason(more: dict[str, Any], options: dict[str, Any], message: str) -> None:
    """Nothing is changed."""
    engine = FakeSwarm(**more)
    with pytest.raises(PreconditionFailed) as error:
        rollback(engine, **options)
    assert message in str(error.value)
    assert engine.changes == []


def test_other_reactions_and_other_nodes() -> None:
    """Skip leaves everything alone, warn goes on; nodes pull what this host does not have."""
    engine, warnings = FakeSwarm(nodes=3), list[str]()
    assert rollback(engine, expected_image="web:7", precondition_reaction="skip")["changed"] is False
    assert rollback(engine, expected_image="web:7", precondition_reaction="warn", warnings=warnings)["changed"] is True
    assert warnings[0].startswith("Rolled back all the same: web runs web:2, expected web:7")
    assert rollback(engine, image="web:77")["after"]["images"] == ["web:77"]


class Source(FakeObserver, LimitsSource):
    """The limits that a Swarm was told."""

    def __init__(self, engine: FakeSwarm) -> None:
        super().__init__()
        self._engine = engine

    @override
    def host(self) -> Host:
        return Host(1000 * 2**20, 2)

    @override
    def observe(self) -> list[Observed]:
        return [Observed(r, "web", self._engine.limits, out_of_memory=False) for r in self._engine.replicas("web")]


@pytest.mark.parametrize("ill", [False, True])
def test_limits_are_kept_by_the_swarm(ill: bool) -> None:
    """Which replaces the replicas and returns to the old limits if they do not serve."""
    engine = FakeSwarm(ill=["web:2"] if ill else [])
    options = {**COMMON, "memory_bytes": None, "cpus": 0.5, "pids": None, "allow_below_use": False}
    limiter = Limiter(Source(engine), engine, Limiting.from_params(options), no_warning, clock=engine.clock())
    if ill:
        with pytest.raises(ActionFailed, match=r"^Cannot limit web: .*returned to what was before\.$") as error:
            limiter.run(dry_run=False)
        assert error.value.details["changed"] is False
        return
    result = limiter.run(dry_run=False)
    assert engine.changes == [Change(limits=Limits(cpus=0.5), undo=True)]
    assert result["after"]["containers"][0]["cpus"] == 0.5
    assert "The next recreate" not in " ".join(result["actions"])


@given(st.integers(1, 5), st.integers(0, 6))
def test_a_scaling_ends_with_what_was_asked_for(there: int, wanted: int) -> None:
    """Check mode says what a run does; a second run does nothing."""
    engine = FakeSwarm(there)
    request = ScaleRequest.from_params({**COMMON, "replicas": wanted, "minimum": 0, "maximum": 10})

    def run(*, dry_run: bool) -> dict[str, Any]:
        return Scaler(engine, request, no_warning, engine.clock()).run(dry_run=dry_run)

    planned = run(dry_run=True)
    assert len(engine.there) == there
    done = run(dry_run=False)
    assert (done["changed"], done["after"]["replicas"]) == (planned["changed"], planned["after"]["replicas"])
    assert (len(engine.there), run(dry_run=False)["changed"]) == (wanted, False)


def test_how_the_swarm_goes_about_it() -> None:
    """What the caller needs, and of the rest what was there."""
    assert update_config({}, Change(undo=True)) == {
        "MaxFailureRatio": 0,
        "Parallelism": 1,
        "Order": "start-first",
        "FailureAction": "rollback",
        "Monitor": 5 * NANO,
    }
    before = {"Delay": 3 * NANO, "Monitor": 60 * NANO, "Parallelism": 4}
    now = update_config(before, Change(at_once=True))
    assert (now["Delay"], now["Monitor"], now["Parallelism"], now["Order"]) == (3 * NANO, 60 * NANO, 0, "stop-first")
    assert now["FailureAction"] == "pause"


def test_limits_that_are_not_asked_for_stay() -> None:
    """Reservations, too."""
    told = limited({"Reservations": {"x": 1}, "Limits": {"Pids": 5}}, Limits(cpus=0.5))
    assert told == {"Reservations": {"x": 1}, "Limits": {"Pids": 5, "NanoCPUs": 500_000_000}}


class NoManager:
    """An engine outside of any Swarm."""

    host = "unix:///somewhere"
    info: dict[str, Any] = {"Swarm": {"ControlAvailable": False}}  # noqa: RUF012 - read only


@pytest.mark.parametrize("opened", [SwarmEngine, SwarmObserver])
def test_an_engine_that_manages_no_swarm_is_named(opened: Any) -> None:
    """With what to do."""
    with pytest.raises(Unsupported, match=r"^Cannot treat stack shop at unix:///somewhere: this engine is no manager"):
        opened(NoManager(), "shop")
