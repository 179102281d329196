"""service_info against a real Compose project; the result is read with docker, not with our module."""

from __future__ import annotations

import importlib
import json
import subprocess
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.ops.runbooks.plugins.module_utils._docker_engine import DockerEngine
from ansible_collections.ops.runbooks.plugins.module_utils._service_observer import ComposeObserver

from tests.integration.containers import wait_for
from tests.integration.services.conftest import BASE, HEALTH
from tests.unit.plugins.module_utils.services import ObserverContract

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.integration.services.conftest import Project, StartProject

    Info = Callable[..., dict[str, Any]]

pytestmark = pytest.mark.integration

main = importlib.import_module("ansible_collections.ops.runbooks.plugins.modules.service_info").main

SOCKET = "unix:///var/run/docker.sock"
TALK = "for n in $(seq 1 50); do echo \"ERROR order $n failed: 'x$n' db_password=hunter2\"; done; echo 0 errors; "
BURN = "import time\nwhile True: pass"
# Eats more than it may have, in a child: the container itself lives on.
EAT = "head -c 200M /dev/zero | tail -c 200M | wc -c"
# Ends with 3 when it is told to.
TALK_AND_WAIT = TALK + "trap 'exit 3' USR1; sleep 600 & wait"


def docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture(scope="module")
def image() -> Iterator[str]:
    """Return a name of an image that has an older one of the same repository."""
    repository = f"ops-runbooks-test/{uuid.uuid4().hex[:8]}"
    names = [f"{repository}:1", f"{repository}:2"]
    # Of the lab's images, one that is older than the other.
    pair = ["runbooks-lab/base:trixie", "runbooks-lab/backend:lab"]
    pair.sort(key=lambda name: docker("image", "inspect", "--format", "{{.Created}}", name))
    for known, name in zip(pair, names, strict=True):
        docker("tag", known, name)
    yield names[1]
    docker("rmi", *names)


@pytest.fixture(scope="module")
def project(make_project: StartProject, image: str) -> Project:
    """Run a project with services that are well, ill, busy, starved, and gone."""
    made = make_project(
        {
            "talker": {**BASE, "image": image, "command": ["sh", "-c", _escape(TALK_AND_WAIT)], "scale": 2},
            "busy": {**BASE, "command": ["python3", "-c", BURN], "cpus": 0.2, "mem_limit": "64m", "pids_limit": 50},
            "eater": {**BASE, "mem_limit": "32m", "memswap_limit": "32m"},
            "ill": {
                **BASE,
                "healthcheck": {**HEALTH, "test": ["CMD-SHELL", "echo token=hunter2; false"], "retries": 1},
            },
            "looping": {**BASE, "command": ["sh", "-c", "sleep 1; exit 7"], "restart": "always"},
        }
    )
    made.compose("up", "-d")
    # One of two replicas has ended with 3.
    second = f"{made.name}-talker-2"
    wait_for(lambda: "0 errors" in docker("logs", second), "The second replica has said everything")
    docker("kill", "--signal", "USR1", second)
    wait_for(lambda: docker("inspect", "--format", "{{.State.Status}}", second) == "exited", "The second replica ends")
    return made


def _escape(command: str) -> str:
    """Keep Compose from replacing the shell's own variables."""
    return command.replace("$", "$$")


@pytest.fixture
def info(project: Project, run_module: Callable[..., dict[str, Any]]) -> Info:
    """Return a function that reads the project."""

    def run(**more: Any) -> dict[str, Any]:
        return run_module(main, {"project": project.name, **more})

    return run


class TestComposeObserver(ObserverContract):
    """The real engine tells what the fake tells."""

    @pytest.fixture
    def observer(self, project: Project) -> Iterator[ComposeObserver]:
        engine = DockerEngine(SOCKET)
        yield ComposeObserver(engine, project.name)
        engine.client.close()

    @pytest.fixture
    def served(self) -> str:
        return "talker"


def test_every_service_is_told(project: Project, info: Info, image: str) -> None:
    """State, ends, images and errors of real containers; no secret anywhere, nothing unreadable, nothing changed."""
    result = info()
    assert result["_exit_code"] == 0, result
    assert (result["changed"], result["unreadable"], result["missing"]) == (False, [], [])
    assert "hunter2" not in json.dumps(result)
    talker = result["services"]["talker"]
    assert (talker["replicas"], talker["healthy"], talker["broken"]) == (1, 1, [f"{project.name}-talker-2"])
    first, second = talker["containers"]
    assert (first["state"], second["state"], second["last_exit_code"]) == ("running", "exited", 3)
    assert second["last_exit_seconds_ago"] < 300
    assert [one["names"] for one in talker["images_before"]] == [[image.replace(":2", ":1")]]
    assert talker["errors"] == [
        {
            "shape": 'ERROR order # failed: "*" db_password=***',
            "count": 100,
            "replicas": [f"{project.name}-talker-1", f"{project.name}-talker-2"],
            "last": "ERROR order 50 failed: 'x50' db_password=***",
        }
    ]


def test_a_bound_on_lines_holds(info: Info) -> None:
    """Ten lines of each replica, the newest ones."""
    talker = info(services=["talker"], log_lines=10)["services"]["talker"]
    assert [one["log_lines"] for one in talker["containers"]] == [10, 10]
    assert talker["error_lines"] == 18


def test_a_busy_replica_is_seen_at_its_limits(info: Info) -> None:
    """It burns what it may burn, and is cut short in nearly every period."""
    (busy,) = info(services=["busy"])["services"]["busy"]["containers"]
    assert busy["cpu"]["limit"] == 0.2
    assert 0.5 < busy["cpu"]["used_ratio"] < 1.5
    assert busy["cpu"]["throttled_ratio"] > 0.5
    assert busy["cpu"]["throttled_now_ratio"] > 0.5
    assert busy["memory"]["limit_bytes"] == 64 * 1024**2
    assert 0 < busy["memory"]["used_ratio"] < 1
    assert busy["pids"]["limit"] == 50


def test_a_kill_for_memory_is_seen(project: Project, info: Info) -> None:
    """The kernel killed a child: the container lives on, and the result tells."""
    # Only now: the engine remembers the last 256 events of all its containers, and health checks are events.
    docker("exec", f"{project.name}-eater-1", "sh", "-c", EAT)
    eater = info(services=["eater"])["services"]["eater"]
    assert eater["out_of_memory"] == [f"{project.name}-eater-1"]
    assert eater["containers"][0]["state"] == "running"


def test_an_unhealthy_replica_is_told_with_its_reason(project: Project, info: Info) -> None:
    """What the health check said, without its secret."""
    name = f"{project.name}-ill-1"
    form = "{{.State.Health.Status}}"
    wait_for(lambda: docker("inspect", "--format", form, name) == "unhealthy", "The replica is unhealthy")
    ill = info(services=["ill"])["services"]["ill"]
    assert (ill["replicas"], ill["healthy"], ill["broken"]) == (1, 0, [name])
    assert ill["containers"][0]["health_output"] == "token=***"


def test_a_replica_that_starts_again_and_again_is_told(project: Project, info: Info) -> None:
    """Restarts, and the exit code of the run before this one, also while it runs."""
    name = f"{project.name}-looping-1"
    wait_for(lambda: int(docker("inspect", "--format", "{{.RestartCount}}", name)) > 0, "It starts again")
    (looping,) = info(services=["looping"])["services"]["looping"]["containers"]
    assert looping["restarts"] > 0
    assert looping["last_exit_code"] == 7


def test_a_service_that_is_not_there_is_named(info: Info) -> None:
    """A diagnosis goes on; an unknown project is an error."""
    result = info(services=["gone"])
    assert (result["services"], result["missing"]) == ({}, ["gone"])
    unknown = info(project="nosuchproject")
    assert unknown["refused"] is True
    assert unknown["msg"].startswith("Cannot find Compose project 'nosuchproject': it has no containers.")


def test_an_engine_that_does_not_answer_is_named(info: Info) -> None:
    """The message says what to check."""
    result = info(docker_host="tcp://127.0.0.1:1")
    assert result["msg"].startswith("Cannot reach the Docker engine at tcp://127.0.0.1:1: ")
