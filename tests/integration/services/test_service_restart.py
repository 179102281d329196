"""service_restart against a real Compose project; the result is read with docker, not with our module."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from ansible_collections.ops.runbooks.plugins.module_utils._docker_engine import DockerEngine
from ansible_collections.ops.runbooks.plugins.module_utils._service_compose import ComposeEngine
from ansible_collections.ops.runbooks.plugins.module_utils._waiting import Clock

from tests.integration.containers import wait_for
from tests.integration.services.balanced import Load, balanced
from tests.integration.services.conftest import BASE, HEALTH, NO_HEALTH
from tests.unit.plugins.module_utils.services import EngineContract

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.integration.services.conftest import Project, StartProject

    Restart = Callable[..., dict[str, Any]]

pytestmark = pytest.mark.integration

main = importlib.import_module("ansible_collections.ops.runbooks.plugins.modules.service_restart").main

SOCKET = "unix:///var/run/docker.sock"
# Comes to serve unless this says otherwise; the file outlives a restart.
MOODY = "test ! -e /tmp/mood || { echo 'db_password=hunter2 refused'; exit 3; }; touch /tmp/well; exec sleep 600"


@pytest.fixture(scope="module")
def project(make_project: StartProject) -> Project:
    """Run a project with services that do and do not come back."""
    made = make_project(
        {
            "web": {**BASE, "healthcheck": HEALTH, "scale": 2},
            "worker": {**BASE, "command": ["sleep", "600"], "healthcheck": NO_HEALTH},
            "plain": {**BASE, "command": ["sleep", "600"], "healthcheck": NO_HEALTH, "scale": 2},
            "moody": {
                **BASE,
                "command": ["sh", "-c", MOODY],
                "healthcheck": {
                    **HEALTH,
                    "test": ["CMD", "test", "-e", "/tmp/well"],
                    "interval": "300ms",
                    "retries": 5,
                },
                "scale": 3,
            },
            "none": {**BASE, "profiles": ["never"]},
        }
    )
    made.compose("up", "-d", "web", "worker", "plain", "moody")
    made.compose("up", "-d", "--wait", "web", "moody")
    return made


@pytest.fixture
def restart(project: Project, run_module: Callable[..., dict[str, Any]]) -> Restart:
    """Return a function that restarts a service of the project."""

    def run(service: str, *, check: bool = False, diff: bool = False, **more: Any) -> dict[str, Any]:
        given = {
            "project": project.name,
            "service": service,
            "timeout_seconds": 30,
            "stable_seconds": 1,
            "settle_seconds": 0,
            **more,
        }
        return run_module(main, given, check=check, diff=diff)

    return run


def health(container: str) -> str:
    form = "{{.State.Status}} {{if .State.Health}}{{.State.Health.Status}}{{end}}"
    done = subprocess.run(
        ["docker", "inspect", "--format", form, container], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


class TestComposeEngine(EngineContract):
    """The real engine does what the fake does."""

    @pytest.fixture
    def engine(self, project: Project) -> Iterator[ComposeEngine]:
        docker = DockerEngine(SOCKET)
        yield ComposeEngine(docker, project.name, run=lambda command: (1, "", "not needed here"))
        docker.client.close()

    @pytest.fixture
    def clock(self) -> Clock:
        return Clock()

    @pytest.fixture
    def served(self) -> str:
        return "web"


def test_check_run_check_run(project: Project, restart: Restart) -> None:
    """Check mode touches nothing, a run restarts every replica, the second run finds them too young."""
    first = project.containers("web")
    planned = restart("web", check=True, minimum_age_seconds=0)
    assert planned["changed"] is True
    assert project.containers("web") == first

    done = restart("web", minimum_age_seconds=0, diff=True)
    assert done["changed"] is True, done
    second = project.containers("web")
    assert second.keys() == first.keys()
    assert not set(second.values()) & set(first.values())
    assert {one["name"]: one["started"] for one in done["diff"]["before"]["containers"]} == first
    assert {one["name"]: one["started"] for one in done["diff"]["after"]["containers"]} == second
    assert all(health(name) == "running healthy" for name in second)

    assert restart("web", check=True)["changed"] is False
    again = restart("web")
    assert again["changed"] is False
    assert again["actions"][-1] == "Nothing to restart of web."
    assert project.containers("web") == second


def test_a_service_without_health_check_must_stay_up(project: Project, restart: Restart) -> None:
    """Each replica is up for the stated time before the next one goes."""
    result = restart("plain", minimum_age_seconds=0)
    assert result["restarted"] == [f"{project.name}-plain-2", f"{project.name}-plain-1"]
    assert result["duration_seconds"] >= 2


def test_a_replica_that_does_not_come_back_ends_the_run(project: Project, restart: Restart) -> None:
    """The other replicas are as they were, the error has the last words without the secret, a repair is found later."""
    ill = f"{project.name}-moody-3"
    before = project.containers("moody")
    project.compose("exec", "-T", "--index", "3", "moody", "touch", "/tmp/mood")
    result = restart("moody", minimum_age_seconds=0)
    assert result["_exit_code"] == 1
    assert result["msg"].startswith(f"Cannot restart moody: {ill} is exited (exit code 3) after ")
    assert "its last line: db_password=*** refused. Find out why it does not come to serve" in result["msg"]
    assert f"Left as they are: {project.name}-moody-2, {project.name}-moody-1." in result["msg"]
    assert result["failed_replica"] == ill
    assert "hunter2" not in json.dumps(result)
    assert project.containers("moody") == {name: at for name, at in before.items() if name != ill}

    # The file goes with the container's own layer: only a new container is well again.
    subprocess.run(["docker", "rm", ill], check=True, capture_output=True)
    project.compose("up", "-d", "--wait", "--no-recreate", "moody")
    subprocess.run(["docker", "stop", ill], check=True, capture_output=True)
    healed = restart("moody", only_unhealthy=True)
    assert healed["restarted"] == [ill]
    assert restart("moody", only_unhealthy=True)["changed"] is False


def test_an_unhealthy_and_a_paused_replica_are_healed(project: Project, restart: Restart) -> None:
    """What does not serve is restarted, and nothing else is."""
    name = f"{project.name}-web-1"
    other = project.containers("web")[f"{project.name}-web-2"]
    subprocess.run(["docker", "pause", name], check=True, capture_output=True)
    wait_for(lambda: "paused" in health(name), "The replica is paused")
    refused = restart("web", only_replicas=[f"{project.name}-web-2"], minimum_age_seconds=0)
    assert refused["refused"] is True
    assert f"Cannot restart {project.name}-web-2: nothing else of web serves" in refused["msg"]
    assert restart("web", only_unhealthy=True)["restarted"] == [name]
    assert health(name) == "running healthy"
    assert project.containers("web")[f"{project.name}-web-2"] == other


def test_dependents_are_restarted_after_it(project: Project, restart: Restart) -> None:
    """At once, then the dependent; a second run changes nothing."""
    result = restart("web", mode="at_once", dependents=["worker"], minimum_age_seconds=0)
    assert result["changed"] is True, result
    assert result["restarted"][-1] == f"{project.name}-worker-1"
    assert max(project.containers("web").values()) < project.containers("worker")[f"{project.name}-worker-1"]
    again = restart("web", dependents=["worker"])
    assert (again["changed"], again["actions"][-2]) == (False, "Left worker alone: it started after web.")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param(
            {"service": "nosuch"},
            "Cannot find service 'nosuch' in project {p}. Its services are: moody, none, plain, web, worker.",
            id="unknown service",
        ),
        pytest.param({"service": "none"}, "Cannot restart none: it has no replicas.", id="no replicas"),
        pytest.param({"dependents": ["nosuch"]}, "Cannot find service 'nosuch' in project {p}.", id="dependent"),
        pytest.param({"only_replicas": ["web-9"]}, "web has no such replica. It has {p}-web-1, {p}-web-2.", id="name"),
        pytest.param({"expected_replicas": 5}, "Cannot restart web: web has 2 replicas, expected 5", id="stale"),
        pytest.param({"settle_seconds": -1}, "must not be negative", id="negative"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_reason(
    project: Project, restart: Restart, options: dict[str, Any], message: str
) -> None:
    """Refused before anything is changed."""
    before = project.containers("web")
    result = restart(**{"service": "web", "minimum_age_seconds": 0, **options})
    assert result["_exit_code"] == 1
    assert message.format(p=project.name) in result["msg"]
    assert project.containers("web") == before


def test_an_engine_that_does_not_answer_is_named(
    run_module: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message says what to check."""
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    result = run_module(main, {"project": "p", "service": "web"})
    assert result["msg"].startswith("Cannot reach the Docker engine at tcp://127.0.0.1:1: ")


@pytest.mark.slow
def test_no_request_fails_while_two_replicas_are_restarted(
    make_project: StartProject, run_module: Callable[..., dict[str, Any]]
) -> None:
    """Behind a load balancer, with what the module does by default, a restart is not noticed."""
    made = make_project(balanced(replicas=2))
    made.compose("up", "-d", "--wait")
    url = f"http://127.0.0.1:{made.port('lb', 8080)}/"
    load = Load(url, per_second=50)
    wait_for(lambda: _both_serve(url), "Both replicas serve")
    before = made.containers("backend")
    with load:
        done = run_module(main, {"project": made.name, "service": "backend", "minimum_age_seconds": 0})
    assert done["changed"] is True, done
    assert not set(made.containers("backend").values()) & set(before.values())
    assert load.requests > 100
    assert load.failures == []
    assert len(load.served) == 2


def _both_serve(url: str) -> bool:
    with Load(url, per_second=20, workers=2) as load:
        time.sleep(0.5)
    return len(load.served) == 2 and not load.failures


@pytest.mark.slow
def test_the_playbook_restarts_and_verifies(project: Project, root: Path, tmp_path: Path) -> None:
    """Check mode changes nothing, a run restarts and proves health; a name that is wrong fails and says so."""
    inventory = tmp_path / "hosts.yml"
    host = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    inventory.write_text(
        yaml.safe_dump({"docker_hosts": {"hosts": {"localhost": host}, "vars": {"compose_project": project.name}}})
    )

    def play(*arguments: str) -> subprocess.CompletedProcess[str]:
        playbook = Path(sys.executable).with_name("ansible-playbook")
        return subprocess.run(
            [str(playbook), "-i", str(inventory), "playbooks/restart.yml", *arguments],
            cwd=root,
            env={
                **{name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")},
                "ANSIBLE_COLLECTIONS_PATH": str(root / "collections"),
                "ANSIBLE_SHOW_CUSTOM_STATS": "true",
            },
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    before = project.containers("web")
    web = ("-e", "service=web", "-e", "minimum_age_seconds=0")
    checked = play(*web, "--check")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert project.containers("web") == before
    done = play(*web)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "verdict: recovered" in done.stdout
    assert not set(project.containers("web").values()) & set(before.values())
    wrong = play("-e", "service=nosuch")
    assert wrong.returncode != 0
    assert "Cannot find service 'nosuch'" in wrong.stdout
