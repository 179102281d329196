"""The engine goes away while a service is changed: what is said is true, and a second run finishes."""

from __future__ import annotations

import importlib
import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.gate import Gate, on_occurrence
from tests.integration.services.conftest import BASE, HEALTH

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integration.services.conftest import Project, StartProject

    RunModule = Callable[..., dict[str, Any]]

pytestmark = [pytest.mark.integration, pytest.mark.slow]

MODULES = "ansible_collections.ops.runbooks.plugins.modules."
restart = importlib.import_module(f"{MODULES}service_restart").main
scale = importlib.import_module(f"{MODULES}service_scale").main
limits = importlib.import_module(f"{MODULES}service_limits").main

SOCKET = "/var/run/docker.sock"
MB = 1 << 20


@pytest.fixture
def project(make_project: StartProject) -> Project:
    """Run two healthy replicas of a service."""
    made = make_project(
        {"web": {**BASE, "healthcheck": HEALTH, "mem_limit": "64m", "memswap_limit": "64m", "scale": 2}}
    )
    made.compose("up", "-d", "--wait")
    return made


def lost(
    run_module: RunModule, main: Callable[[], None], given: dict[str, Any], request: bytes, number: int
) -> dict[str, Any]:
    """Run a module whose engine goes away for good before the ``number``th request of a kind."""
    with Gate(SOCKET, refuse=on_occurrence(request, number)).open() as gate:
        done = run_module(main, {**given, "docker_host": f"tcp://127.0.0.1:{gate.port}"})
        assert gate.shut, done
    assert done["_exit_code"] == 1, done
    assert "Traceback" not in done["msg"]
    return done


def memory(name: str) -> int:
    found = subprocess.run(["docker", "inspect", name], check=True, capture_output=True, text=True).stdout
    limit: int = json.loads(found)[0]["HostConfig"]["Memory"]
    return limit


def test_a_restart(project: Project, run_module: RunModule) -> None:
    """The first replica is restarted, the second is not, and that is said; then both are."""
    before = project.containers("web")
    given = {
        "project": project.name,
        "service": "web",
        "minimum_age_seconds": 0,
        "settle_seconds": 0,
        "stable_seconds": 1,
        "timeout_seconds": 120,
    }
    done = lost(run_module, restart, given, b"/restart", 2)
    after = project.containers("web")
    changed = [name for name in before if before[name] != after[name]]
    assert (done["restarted"], done["changed"]) == (changed, True)
    assert len(changed) == 1
    assert "does not answer" in done["msg"]

    again = run_module(restart, given)
    assert (again["_exit_code"], sorted(again["restarted"])) == (0, sorted(before)), again
    assert not set(before.values()) & set(project.containers("web").values())


def test_new_limits(project: Project, run_module: RunModule) -> None:
    """One replica has the new limit, and the others get it from the second run; a third changes nothing."""
    names = sorted(project.containers("web"))
    given = {"project": project.name, "service": "web", "memory_bytes": 96 * MB}
    done = lost(run_module, limits, given, b"/update", 2)
    assert sorted(memory(name) for name in names) == [64 * MB, 96 * MB]
    assert done["changed"] is True
    again = run_module(limits, given)
    assert (again["_exit_code"], again["changed"]) == (0, True), again
    assert [memory(name) for name in names] == [96 * MB, 96 * MB]
    assert run_module(limits, given)["changed"] is False


@pytest.mark.parametrize(("replicas", "request_"), [(3, b"/containers/create"), (1, b"/stop")], ids=["up", "down"])
def test_another_number_of_replicas(project: Project, run_module: RunModule, replicas: int, request_: bytes) -> None:
    """Nothing is changed before the engine is asked to; a second run has as many as asked."""
    before = project.containers("web")
    given = {"project": project.name, "service": "web", "replicas": replicas, "timeout_seconds": 120}
    done = lost(run_module, scale, given, request_, 1)
    assert project.containers("web") == before
    assert "web" in done["msg"]
    again = run_module(scale, given)
    assert (again["_exit_code"], again["changed"]) == (0, True), again
    assert len(project.containers("web")) == replicas
    assert run_module(scale, given)["changed"] is False
