"""service_rollback against real Compose projects; the result is read with docker, not with our module."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import time
import uuid
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.integration.containers import wait_for
from tests.integration.gate import Gate, on_occurrence
from tests.integration.services.balanced import Load, balanced
from tests.integration.services.conftest import BASE, HEALTH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.integration.services.conftest import Project, StartProject

    Rollback = Callable[..., dict[str, Any]]

pytestmark = pytest.mark.integration

main = importlib.import_module("ansible_collections.ops.runbooks.plugins.modules.service_rollback").main

# What the image carries decides how its replicas are.
MOODY = 'test "$$MOOD" != gone || { echo db_password=hunter2 refused; exit 3; }; exec sleep 600'
FEELS_WELL = {**HEALTH, "test": ["CMD-SHELL", 'test "$$MOOD" = well'], "interval": "300ms", "retries": 3}


@pytest.fixture(scope="module")
def repository(make_project: StartProject) -> Iterator[str]:
    """Have images of one repository, the oldest with the lowest tag."""
    name = f"rbtest{uuid.uuid4().hex[:8]}/web"
    tags = {"ill": "ill", "gone": "gone", "1": "well", "2": "well", "3": "ill"}
    container = docker("create", "runbooks-lab/backend:lab").strip()
    try:
        for tag, mood in tags.items():
            docker("commit", "--change", f"ENV MOOD={mood} TAG={tag}", container, f"{name}:{tag}")
            time.sleep(1.1)  # the engine tells of an image's age in whole seconds
        yield name
    finally:
        docker("rm", container)
        docker("rmi", "--force", *(f"{name}:{tag}" for tag in tags))


def docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], check=True, capture_output=True, text=True).stdout


def images_of(project: Project, service: str) -> list[str]:
    """Return the image of each running container, as docker has it."""
    names = sorted(project.containers(service))
    return [docker("inspect", "--format", "{{.Config.Image}}", name).strip() for name in names]


@pytest.fixture
def deployed(make_project: StartProject, repository: str) -> Callable[..., Project]:
    """Return a function that runs a project of one service ``web``."""

    def run(tag: str, **more: Any) -> Project:
        web = {
            **BASE,
            "image": f"{repository}:{tag}",
            "command": ["sh", "-c", MOODY],
            "healthcheck": FEELS_WELL,
            "scale": 2,
            **more,
        }
        made = make_project({"web": web})
        made.compose("up", "-d")
        return made

    return run


@pytest.fixture
def rollback(run_module: Callable[..., dict[str, Any]], tmp_path: Path) -> Rollback:
    """Return a function that rolls a service of a project back."""

    def run(made: Project, service: str = "web", *, check: bool = False, diff: bool = False, **more: Any) -> Any:
        given = {
            "project": made.name,
            "service": service,
            "override_file": str(tmp_path / "kept.json"),
            "timeout_seconds": 30,
            "stable_seconds": 1,
            "settle_seconds": 0,
            **more,
        }
        return run_module(main, given, check=check, diff=diff)

    return run


def test_check_run_check_run(
    deployed: Callable[..., Project], rollback: Rollback, repository: str, tmp_path: Path
) -> None:
    """Check mode touches nothing, a run changes every image, a second run none; a recreate keeps it."""
    made = deployed("3")
    before = made.containers("web")
    planned = rollback(made, check=True)
    assert planned["changed"] is True, planned
    assert planned["after"] == {"replicas": 2, "images": [f"{repository}:2"]}
    assert made.containers("web") == before
    assert not (tmp_path / "kept.json").exists()

    done = rollback(made, diff=True)
    assert done["changed"] is True, done
    assert images_of(made, "web") == [f"{repository}:2"] * 2
    assert done["diff"]["before"]["images"] == [f"{repository}:3"]
    assert done["diff"]["after"]["images"] == [f"{repository}:2"]
    after = made.containers("web")

    assert rollback(made, check=True)["changed"] is False
    assert rollback(made)["changed"] is False
    assert made.containers("web") == after
    made.compose("-f", str(tmp_path / "kept.json"), "up", "-d", "--force-recreate", "--wait", "web")
    assert images_of(made, "web") == [f"{repository}:2"] * 2
    further = rollback(made, image=f"{repository}:1", expected_image=f"{repository}:2")
    assert further["changed"] is True, further
    assert images_of(made, "web") == [f"{repository}:1"] * 2


@pytest.mark.parametrize(("tag", "state"), [("ill", "running and unhealthy"), ("gone", "exited (exit code 3)")])
def test_an_image_that_does_not_serve_is_left_again(
    deployed: Callable[..., Project], rollback: Rollback, repository: str, tag: str, state: str
) -> None:
    """Every container is the one it was, the error has the last words without the secret; a scaling works on."""
    made = deployed("2")
    made.compose("up", "-d", "--wait")
    before = made.containers("web")
    result = rollback(made, image=f"{repository}:{tag}")
    assert result["_exit_code"] == 1
    assert result["msg"].startswith(f"Cannot bring web to {repository}:{tag}: {made.name}-web-3 is {state} after ")
    assert result["msg"].endswith(f"Took {made.name}-web-3 away again. web is as before.")
    assert result["changed"] is False
    assert "hunter2" not in json.dumps(result)
    assert made.containers("web") == before
    made.compose("up", "-d", "--wait")
    assert made.containers("web") == before


def test_the_only_replica_with_data_is_replaced_in_its_place(
    deployed: Callable[..., Project], rollback: Rollback, repository: str
) -> None:
    """Its volume without a name goes over; forward again, it is there, too."""
    made = deployed("3", scale=1, volumes=["/data"])
    name = f"{made.name}-web-1"
    docker("exec", "--user", "0", name, "sh", "-c", "echo kept > /data/file")
    assert "with a short outage" in rollback(made, check=True)["actions"][0]
    assert rollback(made)["changed"] is True
    assert images_of(made, "web") == [f"{repository}:2"]
    assert docker("exec", name, "cat", "/data/file") == "kept\n"
    forward = rollback(made, image=f"{repository}:gone")
    assert forward["msg"].endswith(f"Rolled forward: web serves {repository}:2 again."), forward
    assert images_of(made, "web") == [f"{repository}:2"]
    assert docker("exec", name, "cat", "/data/file") == "kept\n"


def test_replicas_with_fixed_ports_make_room_first(
    deployed: Callable[..., Project], rollback: Rollback, repository: str
) -> None:
    """There is no port for a third one."""
    made = deployed("3", ports=["127.0.0.1:18480-18481:8000"])
    done = rollback(made)
    assert done["changed"] is True, done
    assert done["actions"][0].startswith("Stopped and removed ")
    assert images_of(made, "web") == [f"{repository}:2"] * 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"service": "nosuch"}, "Cannot find service 'nosuch'", id="service"),
        pytest.param({"image": "{r}:99"}, "the host has no such image. Pull or load it first", id="missing image"),
        pytest.param({"expected_image": "{r}:1"}, "web runs {r}:2, expected {r}:1", id="another image"),
        pytest.param({"expected_replicas": 7}, "web has 2 replicas, expected 7", id="another number"),
        pytest.param({"docker_host": "tcp://127.0.0.1:1"}, "Cannot reach the Docker engine at", id="no engine"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_reason(
    refusing: Project, rollback: Rollback, repository: str, options: dict[str, Any], message: str
) -> None:
    """Before anything is changed."""
    before = refusing.containers("web")
    result = rollback(refusing, **{key: str(value).format(r=repository) for key, value in options.items()})
    assert result["_exit_code"] == 1
    assert message.format(r=repository) in result["msg"]
    assert refusing.containers("web") == before


@pytest.fixture(scope="module")
def refusing(make_project: StartProject, repository: str) -> Project:
    """Run a project that stays as it is."""
    made = make_project({"web": {**BASE, "image": f"{repository}:2", "command": ["sleep", "600"], "scale": 2}})
    made.compose("up", "-d")
    return made


def test_a_second_run_finishes_what_was_cut_off(
    deployed: Callable[..., Project], rollback: Rollback, repository: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine no longer answers after the first replica was replaced: the error is true, the rest comes later."""
    from ansible_collections.ops.runbooks.plugins.module_utils._docker_engine import DockerEngine  # noqa: PLC0415

    made = deployed("3")
    remove = DockerEngine.remove

    def cut(self: DockerEngine, identifier: str, name: str, *, volumes: bool) -> None:
        remove(self, identifier, name, volumes=volumes)
        self.client.close()
        self.client.api.base_url = "http://127.0.0.1:1"
        self.client.api.adapters.clear()
        self.client.api.mount("http://", __import__("requests").adapters.HTTPAdapter())
        self.host = "tcp://127.0.0.1:1"

    with monkeypatch.context() as patched:
        patched.setattr(DockerEngine, "remove", cut)
        result = rollback(made)
    assert result["_exit_code"] == 1
    assert "does not answer" in result["msg"]
    assert "repeat to finish." in result["msg"]
    assert result["changed"] is True
    assert sorted(images_of(made, "web")) == [f"{repository}:2", f"{repository}:3"]
    assert rollback(made)["changed"] is True
    assert images_of(made, "web") == [f"{repository}:2"] * 2
    assert rollback(made)["changed"] is False


@pytest.mark.slow
def test_no_request_fails_while_a_bad_image_is_left(
    make_project: StartProject, rollback: Rollback, repository: str
) -> None:
    """Good, then bad, then good again behind a load balancer, with what the module does by default."""
    services = balanced(replicas=2)
    services["backend"]["image"] = f"{repository}:1"
    made = make_project(services)
    made.compose("up", "-d", "--wait")
    services["backend"]["image"] = f"{repository}:2"
    made.file.write_text(yaml.safe_dump({"services": services}), encoding="utf-8")
    made.compose("up", "-d", "--wait")
    assert images_of(made, "backend") == [f"{repository}:2"] * 2
    url = f"http://127.0.0.1:{made.port('lb', 8080)}/"

    def both_serve() -> bool:
        with Load(url, per_second=20, workers=2) as load:
            time.sleep(0.5)
        return len(load.served) == 2 and not load.failures

    wait_for(both_serve, "Both replicas serve")
    load = Load(url, per_second=50)
    with load:
        done = rollback(made, "backend", settle_seconds=3)
    assert done["changed"] is True, done
    assert images_of(made, "backend") == [f"{repository}:1"] * 2
    assert load.requests > 100
    assert load.failures == []
    assert len(load.served) == 4


@pytest.mark.parametrize("number", [1, 2])
def test_an_engine_that_goes_away_in_the_middle_is_told_and_a_second_run_finishes(
    deployed: Callable[..., Project], rollback: Rollback, repository: str, tmp_path: Path, number: int
) -> None:
    """Before a replica is made anew, or the next one; both run the image from before in the end."""
    made = deployed("3")
    before = made.containers("web")
    with Gate("/var/run/docker.sock", refuse=on_occurrence(b"/containers/create", number)).open() as gate:
        done = rollback(made, docker_host=f"tcp://127.0.0.1:{gate.port}")
        assert gate.shut, done
    assert done["_exit_code"] == 1, done
    assert "Traceback" not in done["msg"]
    seen = re.search(rf"When last seen, (\d) of 2 replicas ran {repository}:2: repeat to finish\.", done["msg"])
    assert seen, done
    assert int(seen[1]) <= images_of(made, "web").count(f"{repository}:2")
    # That a rollback is under way is noted before the first replica goes.
    assert done["changed"] is (made.containers("web") != before or (tmp_path / "kept.json").exists())
    again = rollback(made)
    assert again["_exit_code"] == 0, (done, again)
    assert images_of(made, "web") == [f"{repository}:2"] * 2
