"""service_scale against a real Compose project; the result is read with docker, not with our module."""

from __future__ import annotations

import importlib
import os
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.services.conftest import BASE, HEALTH, NO_HEALTH

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.integration.services.conftest import Project, StartProject

pytestmark = pytest.mark.integration

main = importlib.import_module("ansible_collections.ops.runbooks.plugins.modules.service_scale").main


@pytest.fixture(scope="module")
def project(make_project: StartProject) -> Project:
    """Run a project with a service that scales, one that falls ill, and two that exist only once."""
    made = make_project(
        {
            "web": {**BASE, "healthcheck": HEALTH},
            "plain": {**BASE, "command": ["sleep", "600"], "healthcheck": NO_HEALTH},
            "ill": {
                **BASE,
                "healthcheck": {
                    **HEALTH,
                    "test": ["CMD", "test", "-e", "/tmp/well"],
                    "interval": "300ms",
                    "retries": 5,
                },
            },
            "named": {**BASE, "container_name": f"named-{uuid.uuid4().hex[:8]}", "healthcheck": NO_HEALTH},
            "bound": {**BASE, "ports": ["127.0.0.1:0:8000", "127.0.0.1:48719:8001"], "profiles": ["never"]},
        }
    )
    made.compose("up", "-d", "web", "plain", "ill", "named")
    # The first replica of the ill service is well, so that only new ones are not.
    made.compose("exec", "-T", "ill", "touch", "/tmp/well")
    made.compose("up", "-d", "--wait", "web", "ill")
    return made


@pytest.fixture
def scale(project: Project, run_module: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """Return a function that scales a service of the project."""

    def run(service: str, replicas: int, *, check: bool = False, diff: bool = False, **more: Any) -> dict[str, Any]:
        given = {"project": project.name, "service": service, "replicas": replicas, "timeout_seconds": 60, **more}
        return run_module(main, given, check=check, diff=diff)

    return run


def test_up_and_down_twice_each_in_check_and_normal_mode(project: Project, scale: Callable[..., Any]) -> None:
    """Check mode changes nothing, a run does, a second run does not; the first replica is never touched."""
    first = project.containers("web")
    assert len(first) == 1
    assert scale("web", 3, check=True)["changed"] is True
    assert project.containers("web") == first

    up = scale("web", 3, diff=True)
    assert up["changed"] is True, up
    assert len(project.containers("web")) == 3
    assert (up["diff"]["before"]["replicas"], up["diff"]["after"]["replicas"]) == (1, 3)
    assert all(one["health"] == "healthy" for one in up["after"]["containers"])
    assert scale("web", 3, check=True)["changed"] is False
    assert scale("web", 3)["changed"] is False

    assert scale("web", 1, check=True)["changed"] is True
    assert len(project.containers("web")) == 3
    assert scale("web", 1)["changed"] is True
    assert project.containers("web") == first
    assert scale("web", 1)["changed"] is False


def test_a_service_without_health_check_must_stay_up(project: Project, scale: Callable[..., Any]) -> None:
    """Without a health check, being up for the stated time is what counts."""
    result = scale("plain", 2, stable_seconds=2)
    assert result["changed"] is True, result
    assert result["duration_seconds"] >= 2
    assert len(project.containers("plain")) == 2


def test_a_new_replica_that_falls_ill_is_taken_away(project: Project, scale: Callable[..., Any]) -> None:
    """The service is as it was, and the message names the replica and its state."""
    before = project.containers("ill")
    result = scale("ill", 2)
    assert result["_exit_code"] == 1
    assert result["msg"].startswith(f"Cannot scale ill to 2: {project.name}-ill-2 is running and unhealthy after ")
    assert f"Took {project.name}-ill-2 away again: ill is as before." in result["msg"]
    assert "log_tail" in result
    assert project.containers("ill") == before


@pytest.mark.parametrize(
    ("service", "replicas", "message"),
    [
        pytest.param(
            "nosuch",
            2,
            "Cannot find service 'nosuch' in project {p}. Its services are: bound, ill, named, plain, web.",
            id="?",
        ),
        pytest.param("web", -1, "a number of replicas cannot be negative", id="negative"),
        pytest.param("named", 2, "gives it the fixed container name 'named-", id="container name"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_reason(
    project: Project, scale: Callable[..., Any], service: str, replicas: int, message: str
) -> None:
    """Unknown service, negative count, fixed name: refused before anything is changed."""
    result = scale(service, replicas)
    assert result["_exit_code"] == 1
    assert message.format(p=project.name) in result["msg"]


def test_a_fixed_host_port_is_refused(project: Project, scale: Callable[..., Any]) -> None:
    """A port of the host that the author chose can be bound only once; one that the engine chooses can."""
    result = scale("bound", 2)
    assert result["refused"] is True
    assert "Cannot scale bound to 2: the Compose file publishes the fixed host port 48719" in result["msg"]


def test_old_knowledge_is_refused(scale: Callable[..., Any]) -> None:
    """A caller who believes in five replicas is told how many there are."""
    result = scale("web", 6, expected_replicas=5)
    assert result["refused"] is True
    assert "expected 5" in result["msg"]


def test_an_unknown_project_is_named(run_module: Callable[..., dict[str, Any]]) -> None:
    """A project without containers cannot be found, and the message says how to look."""
    result = run_module(main, {"project": "nosuchproject", "service": "web", "replicas": 2})
    assert result["msg"] == (
        "Cannot find Compose project 'nosuchproject' at unix:///var/run/docker.sock: it has no containers there. "
        "Check the name (docker compose ls --all), or set project_src."
    )


def test_an_engine_that_does_not_answer_is_named(
    run_module: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message says what to check."""
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    result = run_module(main, {"project": "p", "service": "web", "replicas": 2})
    assert result["msg"].startswith("Cannot reach the Docker engine at tcp://127.0.0.1:1: ")
    assert result["msg"].endswith("Check that it runs, that this user may use it, and docker_host.")


def test_a_missing_cli_is_named(
    project: Project, scale: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without the Docker CLI nothing is changed and the remedy is in the message."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert os.environ["PATH"] == str(tmp_path)
    result = scale("web", 2)
    assert result["_exit_code"] == 1
    assert "Install the Docker CLI with Compose v2." in result["msg"]
