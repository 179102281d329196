"""Expectations of changing limits, against an engine that plays along."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.ops.runbooks.plugins.module_utils._errors import (
    ActionFailed,
    ConnectionFailed,
    OpsError,
    PreconditionFailed,
)
from ansible_collections.ops.runbooks.plugins.module_utils._service_compose import _stated, _swap
from ansible_collections.ops.runbooks.plugins.module_utils._service_limiter import resources
from ansible_collections.ops.runbooks.plugins.module_utils._service_limits import (
    Limiter,
    LimitsRequest,
    applied,
    keep,
)
from ansible_collections.ops.runbooks.plugins.module_utils._service_observed import Limits, Observed, Usage
from ansible_collections.ops.runbooks.plugins.module_utils._service_override import LocalOverrideFile, OverrideFile
from ansible_collections.ops.runbooks.plugins.module_utils._service_replicas import Definition
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import override

from tests.unit.plugins.module_utils.services import FakeEngine, FakeLimitsEngine, replica

if TYPE_CHECKING:
    from pathlib import Path

    from ansible_collections.ops.runbooks.plugins.module_utils._service_replicas import Replica

MB = 1024 * 1024
OLD = Limits(100 * MB, 0.5, None)


class Text(OverrideFile):
    """A file in memory."""

    name = "/srv/shop/limits.json"

    def __init__(self, text: str | None = None) -> None:
        self.text = text

    def read(self) -> str | None:
        return self.text

    def write(self, text: str) -> None:
        self.text = text


def project(*states: str, limits: Limits = OLD, used: int = 50 * MB) -> FakeLimitsEngine:
    seen = [
        Observed(replica(number, state), "web:1", limits, out_of_memory=False)
        for number, state in enumerate(states or ("running", "running"), 1)
    ]
    return FakeLimitsEngine(seen=seen, usages={one.replica.name: Usage(used, 0.1, 20) for one in seen})


class Run:
    """One run; keeps what it warned about."""

    def __init__(
        self, engine: FakeLimitsEngine, file: Text | None = None, *, dry_run: bool = False, **more: Any
    ) -> None:
        defaults: dict[str, Any] = {
            "project": "shop",
            "service": "web",
            "stable_seconds": 5.0,
            "timeout_seconds": 30.0,
            "memory_bytes": None,
            "cpus": None,
            "pids": None,
            "allow_below_use": False,
            "expected_replicas": None,
            "precondition_reaction": "fail",
        }
        self.warnings: list[str] = []
        request = LimitsRequest.from_params({**defaults, **more})
        limiter = Limiter(engine, FakeEngine(), request, self.warnings.append, file)
        self.result = limiter.run(dry_run=dry_run)


def run(engine: FakeLimitsEngine, file: Text | None = None, *, dry_run: bool = False, **more: Any) -> dict[str, Any]:
    return Run(engine, file, dry_run=dry_run, **more).result


def test_every_replica_gets_the_limits_and_a_second_run_is_idle() -> None:
    """What is not asked for stays; the result has what is needed to go back."""
    engine = project("running", "exited")
    planned = run(engine, memory_bytes=200 * MB, dry_run=True)
    assert (planned["changed"], engine.calls) == (True, [])
    done = run(engine, memory_bytes=200 * MB)
    assert engine.calls == ["shop-web-1", "shop-web-2"]
    assert [one.limits for one in engine.seen] == [Limits(200 * MB, 0.5, None)] * 2
    assert (done["before"], done["after"]) == (planned["before"], planned["after"])
    assert done["before"]["containers"][0]["memory_bytes"] == 100 * MB
    assert done["actions"] == [
        "Limited shop-web-1, shop-web-2: 209715200 bytes of memory.",
        "The next recreate returns to the limits of the Compose file. Set override_file to keep these.",
    ]
    again = run(engine, memory_bytes=200 * MB)
    assert (again["changed"], again["actions"]) == (False, ["Nothing to change: web has these limits."])


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"memory_bytes": 2_000_000_000}, "2000000000 bytes of memory: the host has 1000000000. Ask for less."),
        ({"cpus": 4.5}, "Cannot limit web to 4.5 CPUs: the host has 2. Ask for less."),
        ({"memory_bytes": 52 * MB}, "it uses 52428800 and would be killed. Ask for more, or set allow_below_use."),
        ({"pids": 21}, "to 21 processes and threads: it uses 20 and would fail to start more."),
    ],
)
def test_what_the_host_has_not_or_the_replica_would_not_survive_is_refused(
    wanted: dict[str, Any], message: str
) -> None:
    """Before anything is changed, with the numbers."""
    engine = project()
    with pytest.raises(PreconditionFailed) as error:
        run(engine, **wanted)
    assert message in str(error.value)
    assert engine.calls == []


def test_more_for_a_replica_that_is_full_is_not_refused() -> None:
    """It is what a full replica needs, even if it is little."""
    assert run(project(used=99 * MB), memory_bytes=101 * MB)["changed"] is True


def test_limits_below_use_can_be_asked_for() -> None:
    """The caller has named the danger."""
    assert run(project(), memory_bytes=40 * MB, allow_below_use=True)["changed"] is True


def test_replicas_before_one_that_fails_get_their_limits_back() -> None:
    """The service has one state, and what was unlimited and cannot be so again is told."""
    engine = project()
    engine.failures["update shop-web-2"] = OpsError("Cannot limit shop-web-2: no.")
    with pytest.raises(ActionFailed, match=r"^Cannot limit shop-web-2: no\. The others have their old limits\.$") as e:
        run(engine, memory_bytes=200 * MB)
    assert e.value.details["changed"] is False
    assert engine.seen[0].limits == OLD
    with pytest.raises(ActionFailed, match=r"shop-web-1 could not be given back the old limits\.") as e:
        run(engine, pids=200)
    assert e.value.details["changed"] is True
    engine.failures["update shop-web-1"] = OpsError("No.")
    with pytest.raises(ActionFailed, match=r"^No\. Nothing was changed\.$"):
        run(engine, memory_bytes=200 * MB)


def test_limits_that_cannot_be_given_back_are_told() -> None:
    """The replica is named; nobody believes that the service is as before."""

    class Once(FakeLimitsEngine):
        def update(self, replica: Any, limits: Limits) -> None:
            if self.calls:
                raise OpsError("No more.")
            super().update(replica, limits)

    engine = Once(seen=project().seen)
    with pytest.raises(ActionFailed, match=r"^No more\. shop-web-1 could not be given back the old limits\.") as error:
        run(engine, memory_bytes=200 * MB)
    assert error.value.details["changed"] is True


def test_an_engine_that_does_not_do_what_it_says_is_told() -> None:
    """The limits are read back."""

    class Deaf(FakeLimitsEngine):
        def update(self, replica: Any, limits: Limits) -> None:
            self.calls.append(replica.name)

    with pytest.raises(ActionFailed, match="the engine took the limits and shows others"):
        run(Deaf(seen=project().seen), memory_bytes=200 * MB)


def test_limits_that_add_up_to_more_than_the_host_has_are_a_warning() -> None:
    """Two replicas of 600 MB on a host of 1 GB."""
    assert len(Run(project(), memory_bytes=600_000_000).warnings) == 1
    assert Run(project("running", "exited"), memory_bytes=600_000_000).warnings == []


def test_the_file_keeps_the_limits() -> None:
    """Written once; a second run is idle; another limit joins; check mode writes nothing."""
    engine, file = project(), Text()
    run(engine, file, memory_bytes=200 * MB, dry_run=True)
    assert file.text is None
    done = run(engine, file, memory_bytes=200 * MB)
    assert done["actions"][-1].startswith("Wrote /srv/shop/limits.json. Name it as the last --file")
    assert run(engine, file, memory_bytes=200 * MB)["changed"] is False
    run(engine, file, cpus=0.25)
    assert file.text is not None
    limits = json.loads(file.text)["services"]["web"]["deploy"]["resources"]["limits"]
    assert limits == {"memory": str(200 * MB), "cpus": "0.25"}


@pytest.mark.parametrize("text", ["services: {}", "{}", "[]"])
def test_a_file_of_somebody_else_is_not_touched(text: str) -> None:
    """Refused before any limit is changed."""
    engine, file = project(), Text(text)
    with pytest.raises(PreconditionFailed, match=r"^Cannot keep the choice in /srv/shop/limits\.json: somebody else"):
        run(engine, file, memory_bytes=200 * MB)
    assert (engine.calls, file.text) == ([], text)


def test_limits_are_kept_in_the_way_of_the_project() -> None:
    """Compose refuses two ways that are not alike; swap stays as far beyond memory as the project says."""
    wanted = Limits(10, 0.5, 7)
    at_service = keep({}, Definition("web", "x", limits_stated=("service",), swap_beyond_memory=5), wanted)
    assert at_service["services"]["web"] == {"mem_limit": 10, "cpus": 0.5, "pids_limit": 7, "memswap_limit": 15}
    both = keep({}, Definition("web", "x", limits_stated=("service", "deploy")), wanted)["services"]["web"]
    assert both["deploy"]["resources"]["limits"] == {"memory": "10", "cpus": "0.5", "pids": 7}
    assert both["mem_limit"] == 10


@pytest.mark.parametrize(
    ("found", "stated", "swap"),
    [
        ({}, ("deploy",), None),
        ({"mem_limit": "10", "memswap_limit": "15"}, ("service",), 5),
        ({"cpus": 0.5}, ("service",), None),
        ({"deploy": {"resources": {"limits": {"memory": "10"}}}, "memswap_limit": "10"}, ("deploy",), 0),
        ({"cpus": 1, "deploy": {"resources": {"limits": {"cpus": 1}}}}, ("service", "deploy"), None),
    ],
)
def test_how_a_project_states_limits(found: dict[str, Any], stated: tuple[str, ...], swap: int | None) -> None:
    """At the service, under deploy, or both."""
    assert (_stated(found), _swap(found)) == (stated, swap)


@pytest.mark.parametrize(
    ("host_config", "limits", "told"),
    [
        ({"Memory": 10, "MemorySwap": 20}, Limits(memory_bytes=30), {"Memory": 30, "MemorySwap": 60}),
        ({"Memory": 10, "MemorySwap": 10}, Limits(memory_bytes=30), {"Memory": 30, "MemorySwap": 30}),
        ({"Memory": 10, "MemorySwap": -1}, Limits(memory_bytes=30), {"Memory": 30, "MemorySwap": -1}),
        ({"Memory": 0, "MemorySwap": 0}, Limits(memory_bytes=30), {"Memory": 30, "MemorySwap": 60}),
        ({}, Limits(cpus=0.25, pids=5), {"NanoCpus": 250_000_000, "PidsLimit": 5}),
        ({"CpuQuota": 5, "CpuPeriod": 1000}, Limits(cpus=0.25), {"CpuPeriod": 1000, "CpuQuota": 250}),
    ],
)
def test_what_the_engine_is_told(host_config: dict[str, Any], limits: Limits, told: dict[str, int]) -> None:
    """Swap keeps its distance, and CPU is stated as before."""
    assert resources(host_config, limits) == told


@pytest.mark.parametrize("wanted", [{"cpus": 0}, {"pids": -1}, {"memory_bytes": 1000}])
def test_a_limit_that_is_never_right_is_a_mistake(wanted: dict[str, Any]) -> None:
    """It is wrong whatever the service is."""
    with pytest.raises(ValueError, match="must be"):
        run(project(), **wanted)


def test_old_knowledge_can_leave_everything_alone() -> None:
    """Skip does nothing and says why; a service without replicas is refused."""
    engine = project()
    result = run(engine, cpus=1, expected_replicas=5, precondition_reaction="skip")
    assert (result["changed"], engine.calls) == (False, [])
    assert result["actions"][0].startswith("Left everything alone: web has 2 replicas, expected 5")
    with pytest.raises(PreconditionFailed, match="it has no replicas"):
        run(FakeLimitsEngine(), cpus=1)


def test_a_file_of_this_machine(tmp_path: Path) -> None:
    """Written as one step with the mode it had; nothing is left beside it; a bad path is told."""
    path = tmp_path / "limits.json"
    file = LocalOverrideFile(path)
    assert file.read() is None
    file.write("one")
    assert (file.read(), path.stat().st_mode & 0o777) == ("one", 0o644)
    path.chmod(0o600)
    file.write("two")
    assert (file.read(), path.stat().st_mode & 0o777) == ("two", 0o600)
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(ActionFailed, match=r"^Cannot write .*override_file"):
        LocalOverrideFile(tmp_path / "none" / "x").write("x")
    with pytest.raises(ActionFailed, match=r"^Cannot read "):
        LocalOverrideFile(tmp_path).read()


LIMITS = st.builds(
    Limits,
    st.none() | st.integers(6 * MB, 900 * MB),
    st.none() | st.sampled_from([0.1, 0.5, 2.0]),
    st.none() | st.integers(1, 100),
)


@given(LIMITS, LIMITS.filter(lambda limits: limits != Limits()), st.integers(0, 500 * MB))
def test_check_mode_predicts_the_run_and_nothing_lands_below_its_use(old: Limits, new: Limits, used: int) -> None:
    """Both refuse, or both have the same result; what runs has room below a limit that was changed."""
    wanted: dict[str, Any] = {"memory_bytes": new.memory_bytes, "cpus": new.cpus, "pids": new.pids}
    engine = project(limits=old, used=used)
    try:
        planned = run(engine, dry_run=True, **wanted)
    except PreconditionFailed:
        with pytest.raises(PreconditionFailed):
            run(engine, **wanted)
        assert engine.calls == []
        return
    done = run(engine, **wanted)
    assert (done["changed"], done["after"]) == (planned["changed"], planned["after"])
    assert all(one.limits == applied(old, new) for one in engine.seen)
    if new.memory_bytes is not None and new.memory_bytes < (old.memory_bytes or 10**12):
        assert used <= new.memory_bytes


class Leaves(FakeLimitsEngine):
    """An engine that answers no change any more after so many, until it is back."""

    left: int | None = None

    @override
    def update(self, replica: Replica, limits: Limits) -> None:
        if self.left is not None and len(self.calls) >= self.left:
            raise ConnectionFailed("Cannot go on: the engine does not answer.")
        super().update(replica, limits)


@given(st.integers(1, 4), st.integers(0, 4))
def test_a_second_run_finishes_what_was_cut_off(replicas: int, calls: int) -> None:
    """The engine goes away after any change: those that were changed are named, and a second run changes the others."""
    engine = Leaves(**vars(project(*["running"] * replicas)))
    engine.left = calls
    told: list[OpsError] = []
    try:
        run(engine, cpus=1)
    except OpsError as error:
        told.append(error)
    changed = [seen.replica.name for seen in engine.seen if seen.limits != OLD]
    for one in told:
        assert one.details["changed"] is bool(changed)
        assert all(name in str(one) for name in changed)
    engine.left = None
    run(engine, cpus=1)
    assert all(seen.limits.cpus == 1 for seen in engine.seen)
