"""Expectations of scaling, against an engine that plays along."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.ops.runbooks.plugins.module_utils._errors import (
    ActionFailed,
    ConnectionFailed,
    OpsError,
    PreconditionFailed,
)
from ansible_collections.ops.runbooks.plugins.module_utils._service_replicas import HostPort, Replica, leaving_order
from ansible_collections.ops.runbooks.plugins.module_utils._service_scale import Scaler, ScaleRequest
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import override

from tests.unit.plugins.module_utils.services import FakeEngine, replica


class Run:
    """One run of the scaler; keeps what it warned about."""

    def __init__(self, engine: FakeEngine, replicas: int, *, dry_run: bool = False, **more: Any) -> None:
        self.warnings: list[str] = []
        scaler = Scaler(engine, request(replicas, **more), self.warnings.append, engine.clock())
        self.result = scaler.run(dry_run=dry_run)


def request(replicas: int, **more: Any) -> ScaleRequest:
    defaults: dict[str, Any] = {
        "project": "shop",
        "service": "web",
        "replicas": replicas,
        "minimum": 1,
        "maximum": 10,
        "expected_replicas": None,
        "precondition_reaction": "fail",
        "stable_seconds": 5.0,
        "timeout_seconds": 30.0,
    }
    return ScaleRequest.from_params({**defaults, **more})


def run(engine: FakeEngine, replicas: int, *, dry_run: bool = False, **more: Any) -> dict[str, Any]:
    return Run(engine, replicas, dry_run=dry_run, **more).result


def test_scaling_up_waits_until_every_replica_is_healthy() -> None:
    """A starting replica is waited for; the result names what was started."""
    engine = FakeEngine(replica(1), replica(2), script=[("running", "starting")] * 3 + [("running", "healthy")])
    result = run(engine, 3)
    assert result["changed"] is True
    assert (result["before"]["replicas"], result["after"]["replicas"]) == (2, 3)
    assert result["actions"][0] == "Scaled web from 2 to 3: started shop-web-3."
    assert result["duration_seconds"] >= 3


@pytest.mark.parametrize(
    "script",
    [
        pytest.param([("running", "starting"), ("running", "unhealthy")], id="unhealthy"),
        pytest.param([("exited", "")], id="exited"),
        pytest.param([("restarting", "")], id="crash loop"),
        pytest.param([("running", "starting")], id="never ready"),
    ],
)
def test_a_replica_that_does_not_serve_is_taken_away_again(script: list[tuple[str, str]]) -> None:
    """A failed run leaves the service as it was and returns the last words of the new replica."""
    engine = FakeEngine(replica(1), replica(2), script=script)
    with pytest.raises(
        ActionFailed, match=r"^Cannot scale web to 3: shop-web-3 is .* Took shop-web-3 away again"
    ) as error:
        run(engine, 3)
    assert [r.name for r in engine.found] == ["shop-web-1", "shop-web-2"]
    assert error.value.details["log_tail"] == ["password=*** last words of shop-web-3"]
    assert error.value.details["changed"] is False


def test_an_engine_that_refuses_leaves_nothing_behind() -> None:
    """What a failing creation left half-done is removed."""
    engine = FakeEngine(replica(1))
    engine.failure = OpsError("No space left on device.")
    with pytest.raises(
        ActionFailed, match=r"^No space left on device\. Took shop-web-2 away again: web is as before\.$"
    ):
        run(engine, 2)
    assert [r.name for r in engine.found] == ["shop-web-1"]


def test_scaling_down_drains_the_last_first() -> None:
    """The replica that came last goes, and the Compose file's own number is mentioned."""
    engine = FakeEngine(replica(1), replica(2), replica(3))
    result = run(engine, 1)
    assert engine.calls == ["remove shop-web-3", "remove shop-web-2"]
    assert result["actions"] == [
        "Stopped and removed shop-web-3.",
        "Stopped and removed shop-web-2.",
        (
            "the Compose file says 2 replicas: the next `docker compose up` without --scale returns web to that. "
            "Set deploy.replicas to 1 there to keep it."
        ),
    ]


@pytest.mark.parametrize("state", ["paused", "restarting"])
def test_scaling_down_begins_with_what_does_not_serve(state: str) -> None:
    """A healthy replica stays while one that serves nobody can go."""
    engine = FakeEngine(replica(1, state=state), replica(2), replica(3, health="starting"))
    run(engine, 1)
    assert engine.calls == ["remove shop-web-1", "remove shop-web-3"]


@pytest.mark.parametrize("dry_run", [False, True])
def test_the_right_number_changes_nothing(dry_run: bool) -> None:
    """A second run is idle; a broken replica is mentioned, not healed."""
    engine = FakeEngine(replica(1), replica(2, health="unhealthy"))
    done = Run(engine, 2, dry_run=dry_run)
    assert (done.result["changed"], engine.calls) == (False, [])
    assert done.result["actions"] == ["Nothing to change: web has 2 replicas."]
    assert done.warnings == ["shop-web-2 is running and unhealthy: scaling does not heal a replica, a restart may."]


@pytest.mark.parametrize(("wanted", "more"), [(1, " and remove shop-web-2"), (4, "")])
def test_a_dry_run_says_what_would_change(wanted: int, more: str) -> None:
    """Check mode plans and touches nothing."""
    engine = FakeEngine(replica(1), replica(2))
    result = run(engine, wanted, dry_run=True)
    assert (result["changed"], engine.calls) == (True, [])
    assert result["actions"][0] == f"Would scale web from 2 to {wanted}{more}."


@pytest.mark.parametrize(
    ("definition", "message"),
    [
        pytest.param(
            {"container_name": "the-web"},
            "Cannot scale web to 2: the Compose file gives it the fixed container name 'the-web', which only one "
            "container can have. Remove container_name from it.",
            id="container name",
        ),
        pytest.param(
            {"host_ports": (HostPort("8080"),)},
            "Cannot scale web to 2: the Compose file publishes the fixed host port 8080, which only one container can "
            "have. Put a load balancer before it and remove the host port.",
            id="host port",
        ),
        pytest.param(
            {"one_per_node": True},
            "Cannot scale web: the Compose file runs it in global mode, one on each node. Add or drain nodes instead.",
            id="global mode",
        ),
    ],
)
def test_what_can_only_exist_once_is_not_scaled(definition: dict[str, Any], message: str) -> None:
    """The reason and the remedy are in the message."""
    engine = FakeEngine(replica(1), **definition)
    with pytest.raises(PreconditionFailed, match=f"^{re.escape(message)}$"):
        run(engine, 2)
    assert engine.calls == []


def test_a_range_of_host_ports_gives_each_replica_one() -> None:
    """Two ports are enough for two replicas, and not for three."""
    ports = (HostPort("8080-8081", 2),)
    assert run(FakeEngine(replica(1), host_ports=ports), 2)["changed"] is True
    with pytest.raises(PreconditionFailed, match="only 2 containers can have"):
        run(FakeEngine(replica(1), host_ports=ports), 3)


@pytest.mark.parametrize("given", [{"replicas": -1}, {"replicas": 1, "minimum": -1}])
def test_a_negative_count_is_a_mistake(given: dict[str, int]) -> None:
    """It is wrong whatever the service is."""
    with pytest.raises(ValueError, match="a number of replicas cannot be negative"):
        request(**given)


@pytest.mark.parametrize("replicas", [0, 11])
def test_nobody_scales_to_nothing_or_to_everything_by_a_slip(replicas: int) -> None:
    """Outside the limits nothing is changed, and the message names the limits."""
    engine = FakeEngine(replica(1))
    with pytest.raises(PreconditionFailed, match="minimum is 1 and maximum is 10"):
        run(engine, replicas)
    assert engine.calls == []


STALE = "it was scaled, or a replica went, since the decision was made"


def test_old_knowledge_stops_the_run_by_default() -> None:
    """Somebody else has scaled in the meantime: nothing is changed."""
    engine = FakeEngine(replica(1))
    with pytest.raises(PreconditionFailed, match=f"web has 1 replica, expected 2: {STALE}"):
        run(engine, 3, expected_replicas=2)
    assert engine.calls == []


def test_old_knowledge_can_leave_everything_alone() -> None:
    """Skip does nothing and says why."""
    engine = FakeEngine(replica(1))
    result = run(engine, 3, expected_replicas=2, precondition_reaction="skip")
    assert (result["changed"], engine.calls) == (False, [])
    assert result["actions"] == [f"Left everything alone: web has 1 replica, expected 2: {STALE}."]


def test_old_knowledge_can_be_a_warning() -> None:
    """Warn goes on and says so."""
    engine = FakeEngine(replica(1))
    done = Run(engine, 3, expected_replicas=2, precondition_reaction="warn")
    assert engine.calls == ["add 3"]
    assert done.warnings == [f"Scaled all the same: web has 1 replica, expected 2: {STALE}."]


def test_a_replica_that_had_exited_is_started_and_on_failure_stopped_again() -> None:
    """What was there before is there afterwards, in the state in which it was."""
    engine = FakeEngine(replica(1), replica(2, state="exited", health=""), script=[("running", "unhealthy")])
    with pytest.raises(ActionFailed, match=r"Took shop-web-2 away again: web is as before\."):
        run(engine, 2)
    assert engine.calls == ["add 2", "start shop-web-2", "stop shop-web-2"]


def test_nothing_that_serves_goes_when_nothing_that_stays_does() -> None:
    """Taking the only healthy replica away is an outage."""
    young = replace(replica(1, health=""), up_seconds=1)
    engine = FakeEngine(young, replica(2, health=""))
    with pytest.raises(PreconditionFailed, match="nothing that would stay serves"):
        run(engine, 1)
    assert engine.calls == []


def test_what_differs_from_the_running_replicas_is_a_warning() -> None:
    """The caller learns that a new replica is not the same as the old ones."""
    done = Run(FakeEngine(replica(1), drift=("web:1 is another image by now.",)), 2)
    assert done.warnings == ["A new replica of web differs from those that run: web:1 is another image by now."]


REPLICAS = st.lists(
    st.tuples(
        st.sampled_from(["running", "exited", "restarting", "paused"]), st.sampled_from(["", "healthy", "unhealthy"])
    ),
    min_size=1,
    max_size=6,
).map(lambda states: [replica(n, state, health) for n, (state, health) in enumerate(states, 1)])


@given(REPLICAS)
def test_nothing_that_serves_goes_before_what_does_not(replicas: list[Replica]) -> None:
    """Draining begins with what serves nobody."""
    serving = [r.ready(0) for r in leaving_order(replicas)]
    assert serving == sorted(serving)


@given(REPLICAS, st.integers(1, 10))
def test_check_mode_predicts_whether_a_run_changes_anything(replicas: list[Replica], wanted: int) -> None:
    """The plan and the run agree on `changed` and on the number of replicas."""
    planned = run(FakeEngine(*replicas), wanted, dry_run=True)
    engine = FakeEngine(*replicas)
    done = run(engine, wanted)
    assert planned["changed"] == done["changed"]
    assert planned["after"]["replicas"] == done["after"]["replicas"]


class Leaves(FakeEngine):
    """An engine that answers nothing any more after so many changes, until it is back."""

    left: int | None = None

    def _called(self, call: str) -> None:
        self._answer()
        super()._called(call)
        if self.left is not None:
            self.left -= 1

    def _answer(self) -> None:
        if self.left is not None and self.left <= 0:
            raise ConnectionFailed("Cannot go on: the engine does not answer.")

    @override
    def replicas(self, service: str) -> list[Replica]:
        self._answer()
        return super().replicas(service)


@given(REPLICAS, st.integers(1, 6), st.integers(1, 5))
def test_a_second_run_finishes_what_was_cut_off(replicas: list[Replica], wanted: int, calls: int) -> None:
    """The engine goes away after any change: a change is never denied, and a second run ends as one run would have."""
    engine = Leaves(*replicas)
    engine.left = calls
    counted = sum(r.counts for r in replicas)
    told: list[OpsError] = []
    try:
        run(engine, wanted)
    except OpsError as error:
        told.append(error)
    if told and sum(r.counts for r in engine.found) != counted:
        assert told[0].details["changed"] is True
    engine.left = None
    run(engine, wanted)
    assert sum(r.counts for r in engine.found) == wanted
