"""Expectations of scaling, against an engine that plays along."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.ops.runbooks.plugins.module_utils._errors import ActionFailed, OpsError, PreconditionFailed
from ansible_collections.ops.runbooks.plugins.module_utils._service_scale import (
    Definition,
    Replica,
    ScaleRequest,
    ServiceEngine,
    leaving_order,
    scale,
)
from ansible_collections.ops.runbooks.plugins.module_utils._waiting import Clock
from hypothesis import given
from hypothesis import strategies as st

WEB = Definition(name="web", container_name=None, host_ports=(), replicas=2, source="the Compose file")


def replica(number: int, state: str = "running", health: str = "healthy") -> Replica:
    return Replica(f"id{number}", f"shop-web-{number}", number, state, health, up_seconds=60)


class FakeEngine(ServiceEngine):
    """A service whose new replicas become what the script says, one step per second of the clock."""

    def __init__(self, *replicas: Replica, script: list[tuple[str, str]] | None = None, **definition: Any) -> None:
        self.found = list(replicas)
        self.script = script or [("running", "healthy")]
        self.fixed = replace(WEB, **definition)
        self.failure: OpsError | None = None
        self.calls: list[str] = []
        self.seconds = 0.0

    def clock(self) -> Clock:
        return Clock(now=lambda: self.seconds, sleep=self._sleep)

    def _sleep(self, seconds: float) -> None:
        self.seconds += seconds
        state, health = self.script[min(int(self.seconds), len(self.script) - 1)]
        self.found = [replace(r, state=state, health=health) if r.id.startswith("new") else r for r in self.found]

    def definition(self, service: str) -> Definition:
        return self.fixed

    def replicas(self, service: str) -> list[Replica]:
        return list(self.found)

    def add_replicas(self, service: str, total: int) -> None:
        self.calls.append(f"add {total}")
        state, health = self.script[0]
        running = sum(1 for r in self.found if r.counts)
        for number in range(running + 1, total + 1):
            self.found.append(Replica(f"new{number}", f"shop-web-{number}", number, state, health))
        if self.failure:
            raise self.failure

    def remove(self, replica: Replica) -> None:
        self.calls.append(f"remove {replica.name}")
        self.found = [r for r in self.found if r.id != replica.id]

    def log_tail(self, replica: Replica, lines: int) -> str:
        return f"last words of {replica.name}"


def request(replicas: int, **more: Any) -> ScaleRequest:
    defaults: dict[str, Any] = {
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
    return scale(engine, request(replicas, **more), dry_run=dry_run, clock=engine.clock())


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
    assert error.value.details["log_tail"] == "last words of shop-web-3"
    assert error.value.details["changed"] is False


def test_an_engine_that_refuses_leaves_nothing_behind() -> None:
    """What a failing creation left half-done is removed."""
    engine = FakeEngine(replica(1))
    engine.failure = OpsError("No space left on device.")
    with pytest.raises(ActionFailed, match=r"^No space left on device\. Took shop-web-2 away again\.$"):
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
            "the Compose file says 2: the next `docker compose up` returns to that. "
            "Set deploy.replicas to 1 there to keep it."
        ),
    ]


@pytest.mark.parametrize("state", ["paused", "restarting"])
def test_scaling_down_begins_with_what_does_not_serve(state: str) -> None:
    """A healthy replica stays while one that serves nobody can go."""
    engine = FakeEngine(replica(1, state=state), replica(2), replica(3, health="starting"))
    run(engine, 1)
    assert engine.calls == ["remove shop-web-3", "remove shop-web-1"]


@pytest.mark.parametrize("dry_run", [False, True])
def test_the_right_number_changes_nothing(dry_run: bool) -> None:
    """A second run is idle; a broken replica is mentioned, not healed."""
    engine = FakeEngine(replica(1), replica(2, health="unhealthy"))
    result = run(engine, 2, dry_run=dry_run)
    assert (result["changed"], engine.calls) == (False, [])
    assert result["actions"] == [
        "Nothing to change: web has 2 replicas.",
        "Left alone: shop-web-2 is not healthy, and scaling does not heal it.",
    ]


@pytest.mark.parametrize("wanted", [1, 4])
def test_a_dry_run_says_what_would_change(wanted: int) -> None:
    """Check mode plans and touches nothing."""
    engine = FakeEngine(replica(1), replica(2))
    result = run(engine, wanted, dry_run=True)
    assert (result["changed"], engine.calls) == (True, [])
    assert result["actions"][0] == f"Would scale web from 2 to {wanted}."


@pytest.mark.parametrize(
    ("definition", "message"),
    [
        pytest.param(
            {"container_name": "the-web"},
            "Cannot scale web: the Compose file gives it the fixed name 'the-web', which only one container can have. "
            "Remove container_name from it.",
            id="container name",
        ),
        pytest.param(
            {"host_ports": ("8080",)},
            "Cannot scale web: the Compose file binds the fixed host port 8080, which only one container can have. "
            "Put a load balancer before it and remove the host port.",
            id="host port",
        ),
    ],
)
def test_what_can_only_exist_once_is_not_scaled(definition: dict[str, Any], message: str) -> None:
    """The reason and the remedy are in the message."""
    engine = FakeEngine(replica(1), **definition)
    with pytest.raises(PreconditionFailed, match=f"^{re.escape(message)}$"):
        run(engine, 2)
    assert engine.calls == []


@pytest.mark.parametrize(
    ("replicas", "message"),
    [
        pytest.param(-1, "Cannot scale web to -1: a count cannot be negative.", id="negative"),
        pytest.param(0, "minimum is 1", id="below the minimum"),
        pytest.param(11, "maximum is 10", id="above the maximum"),
    ],
)
def test_a_count_that_is_never_right_is_refused(replicas: int, message: str) -> None:
    """Nobody scales to nothing, or to everything, by a slip."""
    with pytest.raises(ValueError, match=re.escape(message)):
        request(replicas)


@pytest.mark.parametrize(("reaction", "calls"), [("skip", []), ("warn", ["add 3"])])
def test_old_knowledge_is_answered_as_the_caller_wishes(reaction: str, calls: list[str]) -> None:
    """Skip does nothing, warn goes on and says so."""
    engine = FakeEngine(replica(1))
    result = run(engine, 3, expected_replicas=2, precondition_reaction=reaction)
    assert engine.calls == calls
    text = "Cannot scale web on old knowledge: it has 1 replica, expected 2. Look again, then decide."
    assert text in (result["warnings"] if calls else [result["actions"][0].removeprefix("Left everything alone: ")])


def test_old_knowledge_stops_the_run_by_default() -> None:
    """Somebody else has scaled in the meantime: nothing is changed."""
    engine = FakeEngine(replica(1))
    with pytest.raises(PreconditionFailed, match="on old knowledge"):
        run(engine, 3, expected_replicas=2)
    assert engine.calls == []


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
