"""The Docker engine when things are not as they were a moment ago."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

import pytest
from ansible_collections.ops.runbooks.plugins.module_utils._docker_engine import DockerEngine
from ansible_collections.ops.runbooks.plugins.module_utils._errors import ActionFailed, ConnectionFailed
from ansible_collections.ops.runbooks.plugins.module_utils._service_limiter import ComposeLimiter
from ansible_collections.ops.runbooks.plugins.module_utils._service_observed import Limits

from tests.integration.containers import wait_for
from tests.integration.services.conftest import BASE, NO_HEALTH
from tests.unit.plugins.module_utils.services import replica

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.integration.services.conftest import Project, StartProject

pytestmark = pytest.mark.integration

SOCKET = "unix:///var/run/docker.sock"
GONE = "nosuchcontainer"


@pytest.fixture(scope="module")
def project(make_project: StartProject) -> Project:
    """Run a service that does not end at its stop signal, but after its grace period."""
    stubborn = ["sh", "-c", "trap '' TERM; while :; do sleep 0.2; done"]
    made = make_project({"stubborn": {**BASE, "command": stubborn, "healthcheck": NO_HEALTH}})
    made.compose("up", "-d")
    return made


@pytest.fixture
def engine() -> Iterator[DockerEngine]:
    connected = DockerEngine(SOCKET)
    yield connected
    connected.client.close()


def test_what_has_gone_is_nothing_to_stop_or_to_read(engine: DockerEngine) -> None:
    """Somebody else was faster: the state that was wanted is there."""
    assert engine.inspect(GONE) is None
    assert engine.stats(GONE, GONE) is None
    assert engine.image("nosuchimage:1") is None
    engine.stop(GONE, GONE)
    engine.remove(GONE, GONE, volumes=False)
    assert engine.log_tail(GONE, 5)[0].startswith("(the log cannot be read: ")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda engine: engine.restart(GONE, "web-1"), "Cannot restart web-1: it is no longer there."),
        (lambda engine: engine.start(GONE, "web-1"), "Cannot start web-1: No such container: nosuchcontainer."),
        (lambda engine: engine.update(GONE, "web-1", {}), "Cannot limit web-1: No such container: nosuchcontainer."),
        (
            lambda engine: engine.log_since(GONE, "web-1", seconds=5, lines=5, limit_seconds=5),
            "Cannot read the log of web-1: it is no longer there.",
        ),
        (
            lambda engine: ComposeLimiter(engine, "p", print).update(replica(1), Limits(cpus=1)),
            "Cannot limit shop-web-1: it is no longer there.",
        ),
    ],
)
def test_what_has_gone_cannot_be_changed(
    engine: DockerEngine, call: Callable[[DockerEngine], None], message: str
) -> None:
    """The engine's own words, with the name that a person knows."""
    with pytest.raises(ActionFailed) as error:
        call(engine)
    assert str(error.value).startswith(message)


def test_an_engine_that_stops_answering_is_told(engine: DockerEngine) -> None:
    """Reached once, and gone at the next call."""
    with pytest.raises(ConnectionFailed) as error, engine.doing("list the containers"):
        raise ConnectionResetError("Connection reset by peer")
    assert str(error.value) == (
        f"Cannot list the containers: the Docker engine at {SOCKET} does not answer: Connection reset by peer. "
        "Check that it runs."
    )


def test_a_time_that_was_never_set_has_no_age(engine: DockerEngine) -> None:
    """The engine writes the year 1 for what has not happened."""
    assert engine.seconds_since("0001-01-01T00:00:00Z") == 0.0


def test_a_run_that_is_killed_leaves_no_replica_stopped(project: Project, root: Path) -> None:
    """The engine stops and starts in one step: nobody has to be there for the second half."""
    ((name, before),) = project.containers("stubborn").items()
    code = f"""
        from tests import conftest
        from ansible_collections.ops.runbooks.plugins.module_utils._docker_engine import DockerEngine
        engine = DockerEngine({SOCKET!r})
        print("ready", flush=True)
        engine.restart({name!r}, {name!r})
        print("done", flush=True)
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "ready\n"
        with pytest.raises(subprocess.TimeoutExpired):  # within the grace period of 2 s
            running.wait(timeout=1)
        running.kill()
        assert running.stdout.read() == ""
    wait_for(lambda: project.containers("stubborn").get(name, before) != before, "The replica runs again")
