"""The service modules on a real Swarm of one node; the result is read with docker, not with our modules."""

from __future__ import annotations

import importlib
import json
import subprocess
import time
import uuid
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from ansible_collections.ops.runbooks.plugins.module_utils._docker_engine import DockerEngine
from ansible_collections.ops.runbooks.plugins.module_utils._service_swarm import SwarmEngine
from ansible_collections.ops.runbooks.plugins.module_utils._service_swarm_observer import SwarmObserver
from ansible_collections.ops.runbooks.plugins.module_utils._waiting import Clock

from lab.shell import ROOT
from tests.integration.containers import wait_for
from tests.integration.gate import Gate, on_occurrence
from tests.integration.services.balanced import DRAINING, Load
from tests.integration.services.conftest import BASE, HEALTH, SERVE
from tests.unit.plugins.module_utils.swarms import OrchestratedContract

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Call = Callable[..., dict[str, Any]]

pytestmark = [pytest.mark.integration, pytest.mark.slow]

MB = 1024 * 1024
SOCKET = "unix:///var/run/docker.sock"
MOODY = 'test "$MOOD" != gone || { echo db_password=hunter2 refused; exit 3; }; exec sleep 600'
FEELS_WELL = {**HEALTH, "test": ["CMD-SHELL", 'test "$$MOOD" != ill'], "interval": "300ms", "retries": 3}


def docker(*arguments: str) -> str:
    done = subprocess.run(["docker", *arguments], check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{arguments}: {done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def repository(swarm: None) -> Iterator[str]:
    """Have images of one repository that do and do not serve."""
    name = f"rbtest{uuid.uuid4().hex[:8]}/web"
    tags = {"1": "well", "2": "well", "gone": "gone"}
    container = docker("create", "runbooks-lab/backend:lab").strip()
    for tag, mood in tags.items():
        docker("commit", "--change", f"ENV MOOD={mood} TAG={tag}", container, f"{name}:{tag}")
    yield name
    docker("rm", container)
    docker("rmi", "--force", *(f"{name}:{tag}" for tag in tags))


@pytest.fixture(scope="module")
def stack(repository: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run a stack, and have nothing of it at the end."""
    name = f"rbtest{uuid.uuid4().hex[:8]}"
    common = {key: BASE[key] for key in ("labels", "init", "stop_grace_period")}
    moody = {**common, "image": f"{repository}:1", "command": ["sh", "-c", MOODY.replace("$", "$$")]}
    services = {
        "web": {**moody, "healthcheck": FEELS_WELL, "deploy": {"replicas": 2}},
        "seen": {
            **common,
            "image": f"{repository}:1",
            "command": ["sh", "-c", "echo one; echo ERROR order 7 password=hunter2; exec sleep 600"],
            "deploy": {"resources": {"limits": {"memory": "64M", "cpus": "0.5"}}},
        },
        "port": {
            **common,
            "image": f"{repository}:1",
            "command": ["python3", "-c", SERVE],
            "ports": [{"target": 8000, "published": 18490, "mode": "host"}],
        },
        "backend": {
            **common,
            "image": f"{repository}:1",
            "command": ["python3", "-c", DRAINING.replace("$", "$$")],
            "stop_grace_period": "15s",
            "healthcheck": {**HEALTH, "test": ["CMD", "http-ok", "8000", "/health"]},
            "deploy": {"replicas": 2, "endpoint_mode": "dnsrr", "update_config": {"monitor": "1s", "delay": "3s"}},
        },
        "lb": {
            "image": "runbooks-lab/haproxy:3.0",
            "ports": [{"target": 8080, "published": 18491, "mode": "host"}],
            "volumes": [f"{ROOT}/lab/config/haproxy.cfg:/etc/haproxy/haproxy.cfg:ro"],
        },
    }
    file = tmp_path_factory.mktemp("stack") / "stack.yml"
    file.write_text(yaml.safe_dump({"services": services}), encoding="utf-8")
    docker("stack", "deploy", "--detach=true", "--resolve-image=never", "-c", str(file), name)
    wait_for(lambda: all(running(f"{name}_{service}") for service in services), "The stack runs", 90)
    yield name
    docker("stack", "rm", name)
    wait_for(lambda: not docker("ps", "-aq", "--filter", f"label=com.docker.stack.namespace={name}"), "It has gone", 60)


def running(service: str) -> list[str]:
    """Return the images of the tasks that run; none before all do."""
    form = "{{.Image}}|{{.CurrentState}}"
    lines = docker("service", "ps", "--filter", "desired-state=running", "--format", form, service).split("\n")
    tasks = [line.split("|") for line in lines if line]
    return [image for image, _state in tasks] if all(state.startswith("Running") for _image, state in tasks) else []


def settled(service: str) -> bool:
    """Tell whether no update is under way and every task runs."""
    state = docker("service", "inspect", "--format", "{{with .UpdateStatus}}{{.State}}{{end}}", service).strip()
    return state != "updating" and bool(running(service))


def tasks(service: str) -> set[str]:
    return set(docker("service", "ps", "--filter", "desired-state=running", "--quiet", service).split())


@pytest.fixture
def call(stack: str, run_module: Call) -> Call:
    """Return a function that runs a module on a service of the stack."""

    def run(module: str, service: str | None, *, check: bool = False, **more: Any) -> dict[str, Any]:
        main = importlib.import_module(f"ansible_collections.ops.runbooks.plugins.modules.{module}").main
        given = {"project": stack, "engine": "swarm", **({"service": service} if service else {}), **more}
        if module != "service_info":
            given = {"timeout_seconds": 60, "stable_seconds": 1, **given}
        return run_module(main, given, check=check)

    return run


class TestSwarmEngine(OrchestratedContract):
    """The real engine does what the fake does."""

    @pytest.fixture
    def engine(self, stack: str) -> Iterator[SwarmEngine]:
        opened = DockerEngine(SOCKET)
        yield SwarmEngine(opened, stack)
        opened.client.close()

    @pytest.fixture
    def clock(self) -> Clock:
        return Clock()

    @pytest.fixture
    def served(self) -> str:
        return "web"

    @pytest.fixture
    def other_image(self, repository: str) -> str:
        return f"{repository}:2"


def test_info_tells_of_the_stack(stack: str, call: Call, repository: str) -> None:
    """Use beside limits, log errors without their secret, images."""
    read = call("service_info", None)
    assert read["_exit_code"] == 0, read
    seen = read["services"]["seen"]
    (one,) = seen["containers"]
    assert (one["name"], one["state"]) == (f"{stack}_seen.1", "running")
    assert (one["memory"]["limit_bytes"], one["cpu"]["limit"]) == (64 * MB, 0.5)
    assert one["memory"]["used_bytes"] > 0
    assert (seen["error_lines"], read["unreadable"]) == (1, [])
    assert read["services"]["web"]["replicas"] == 2
    assert "hunter2" not in json.dumps(read)


def test_scale_check_run_check_run(stack: str, call: Call) -> None:
    """Up, nothing more, and down again."""
    assert call("service_scale", "web", replicas=3, check=True)["changed"] is True
    assert len(tasks(f"{stack}_web")) == 2
    done = call("service_scale", "web", replicas=3)
    assert done["changed"] is True, done
    assert len(running(f"{stack}_web")) == 3
    assert call("service_scale", "web", replicas=3, check=True)["changed"] is False
    assert call("service_scale", "web", replicas=3)["changed"] is False
    assert call("service_scale", "web", replicas=2)["changed"] is True
    assert len(running(f"{stack}_web")) == 2
    refused = call("service_scale", "port", replicas=2)
    assert "publishes the fixed host port 18490" in refused["msg"]


def test_restart_check_run_check_run(stack: str, call: Call) -> None:
    """New tasks for all, then they are too young."""
    before = tasks(f"{stack}_web")
    assert call("service_restart", "web", check=True, minimum_age_seconds=0)["changed"] is True
    assert tasks(f"{stack}_web") == before
    done = call("service_restart", "web", minimum_age_seconds=0)
    assert done["changed"] is True, done
    assert not tasks(f"{stack}_web") & before
    assert len(running(f"{stack}_web")) == 2
    assert call("service_restart", "web", check=True, minimum_age_seconds=600)["changed"] is False
    assert call("service_restart", "web", minimum_age_seconds=600)["changed"] is False
    one = call("service_restart", "web", only_replicas=[f"{stack}_web.1"], minimum_age_seconds=0)
    assert "a Swarm restarts a service as a whole" in one["msg"]


def test_limits_check_run_check_run(stack: str, call: Call) -> None:
    """Kept by the Swarm, and in the new containers."""

    def told() -> Any:
        form = "{{json .Spec.TaskTemplate.Resources.Limits}}"
        return json.loads(docker("service", "inspect", "--format", form, f"{stack}_seen"))

    wanted = {"memory_bytes": 96 * MB, "cpus": 0.25, "pids": 77}
    assert call("service_limits", "seen", check=True, **wanted)["changed"] is True
    assert told()["MemoryBytes"] == 64 * MB
    done = call("service_limits", "seen", **wanted)
    assert done["changed"] is True, done
    assert told() == {"NanoCPUs": 250_000_000, "MemoryBytes": 96 * MB, "Pids": 77}
    (container,) = docker("ps", "-q", "--filter", f"label=com.docker.swarm.service.name={stack}_seen").split()
    assert docker("inspect", "--format", "{{.HostConfig.Memory}}", container).strip() == str(96 * MB)
    assert call("service_limits", "seen", check=True, **wanted)["changed"] is False
    assert call("service_limits", "seen", **wanted)["changed"] is False
    file = call("service_limits", "seen", cpus=0.1, override_file="/tmp/x")
    assert file["msg"] == "override_file is for Compose: a Swarm keeps what it was told. Leave it away."


def test_rollback_check_run_check_run(stack: str, call: Call, repository: str) -> None:
    """To what the Swarm was told before; a second run goes no further and not back."""
    web = f"{stack}_web"
    docker("service", "update", "--quiet", "--no-resolve-image", "--image", f"{repository}:1", web)
    docker("service", "update", "--quiet", "--no-resolve-image", "--image", f"{repository}:2", web)
    assert running(web) == [f"{repository}:2"] * 2
    planned = call("service_rollback", "web", check=True)
    assert planned["after"] == {"replicas": 2, "images": [f"{repository}:1"]}, planned
    assert running(web) == [f"{repository}:2"] * 2
    done = call("service_rollback", "web", expected_image=f"{repository}:2")
    assert done["changed"] is True, done
    assert running(web) == [f"{repository}:1"] * 2
    assert call("service_rollback", "web", check=True)["changed"] is False
    assert call("service_rollback", "web")["changed"] is False
    assert running(web) == [f"{repository}:1"] * 2


def test_an_image_that_does_not_serve_is_left_by_the_swarm(stack: str, call: Call, repository: str) -> None:
    """Natively forward again, with the last words of the task and without their secret; a missing image is refused."""
    web = f"{stack}_web"
    (image,) = set(running(web))
    result = call("service_rollback", "web", image=f"{repository}:gone")
    assert result["_exit_code"] == 1
    assert result["msg"].startswith(f"Cannot bring web to {repository}:gone: web did not come to serve in ")
    assert "exit code 3" in result["msg"]
    assert result["msg"].endswith("The engine returned to what was before.")
    assert result["changed"] is False
    assert "hunter2" not in json.dumps(result)
    assert set(running(web)) == {image}
    missing = call("service_rollback", "web", image=f"{repository}:99")
    assert "the host has no such image. Pull or load it first" in missing["msg"]
    stale = call("service_rollback", "web", expected_image="x:1")
    assert (stale["refused"], "expected x:1" in stale["msg"]) == (True, True)


def lost(call: Call, cut: Callable[[bytes], bool], module: str, **options: Any) -> dict[str, Any]:
    """Run a module on web whose engine goes away for good at a request."""
    with Gate(SOCKET.removeprefix("unix://"), refuse=cut).open() as gate:
        done = call(module, "web", docker_host=f"tcp://127.0.0.1:{gate.port}", **options)
        assert gate.shut, done
    assert done["_exit_code"] == 1, done
    assert "does not answer" in done["msg"]
    assert "Traceback" not in done["msg"]
    return done


def once_told() -> Callable[[bytes], bool]:
    """Return what is true of the first question after an update."""
    told = on_occurrence(b"/update", 1)
    return lambda sent: told(sent) and sent.startswith(b"GET ")


def described(service: str) -> Any:
    """Return what the Swarm was told of a service, the update configuration aside."""
    spec = json.loads(docker("service", "inspect", "--format", "{{json .Spec}}", service))
    return {key: value for key, value in spec.items() if key not in ("UpdateConfig", "RollbackConfig")}


@pytest.fixture(params=["restart", "up", "down", "limits", "rollback"])
def asked(request: pytest.FixtureRequest, stack: str, repository: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Return a module, and options with which it has something to do on web; two replicas are left."""
    web = f"{stack}_web"
    resources = json.loads(docker("service", "inspect", "--format", "{{json .Spec.TaskTemplate.Resources}}", web))
    memory = (resources.get("Limits") or {}).get("MemoryBytes", 0)
    (image,) = set(running(web))
    yield {
        "restart": ("service_restart", {"minimum_age_seconds": 0}),
        "up": ("service_scale", {"replicas": 3}),
        "down": ("service_scale", {"replicas": 1}),
        "limits": ("service_limits", {"memory_bytes": memory + 64 * MB}),
        "rollback": ("service_rollback", {"image": f"{repository}:{1 if image.endswith(':2') else 2}"}),
    }[request.param]
    if len(running(web)) != 2:
        docker("service", "scale", f"{web}=2")


def test_an_engine_that_goes_away_before_it_is_told(stack: str, call: Call, asked: tuple[str, dict[str, Any]]) -> None:
    """Nothing was changed, which cannot be known from here, and is not claimed; a second run does it."""
    web, (module, options) = f"{stack}_web", asked
    before = described(web)
    done = lost(call, on_occurrence(b"/update", 1), module, **options)
    assert described(web) == before
    assert module == "service_scale" or "Whether it had heard what to do is not known" in done["msg"]
    again = call(module, "web", **options)
    assert (again["_exit_code"], again["changed"]) == (0, True), again
    assert described(web) != before


def test_an_engine_that_goes_away_once_it_was_told(stack: str, call: Call, asked: tuple[str, dict[str, Any]]) -> None:
    """That it was told is said; it goes on by itself, and a second run finds it done."""
    web, (module, options) = f"{stack}_web", asked
    before = described(web)
    done = lost(call, once_told(), module, **options)
    assert done["changed"] is True
    assert "It had been told what to do" in done["msg"] or "Could not take back" in done["msg"]
    after = described(web)
    assert after != before
    wait_for(lambda: settled(web), "The Swarm has done it", 90)
    again = call(module, "web", **{**options, "minimum_age_seconds": 600} if module == "service_restart" else options)
    assert (again["_exit_code"], again["changed"]) == (0, False), again
    assert described(web) == after


@pytest.mark.parametrize(
    ("asked", "options", "message"),
    [
        (("service_scale", "nosuch"), {"replicas": 1}, "Cannot find service 'nosuch' in stack {s}."),
        (("service_restart", "web"), {"project": "nosuch"}, "Cannot find stack 'nosuch' at "),
        (("service_restart", "web"), {"expected_replicas": 9}, "web has 2 replicas, expected 9"),
        (("service_info", None), {"project": "nosuch"}, "Cannot find stack 'nosuch': it has no containers."),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_reason(
    stack: str, call: Call, asked: tuple[str, str | None], options: dict[str, Any], message: str
) -> None:
    """Before anything is changed."""
    result = call(*asked, **options)
    assert result["_exit_code"] == 1
    assert message.format(s=stack) in result["msg"]


def test_no_request_fails_while_the_swarm_restarts_two_replicas(stack: str, call: Call) -> None:
    """Behind the lab's load balancer, which finds the tasks by name."""
    url = "http://127.0.0.1:18491/"

    def serves() -> bool:
        with Load(url, per_second=20, workers=2) as load:
            time.sleep(0.5)
        return len(load.served) == 2 and not load.failures

    wait_for(serves, "Both replicas serve", 60)
    load = Load(url, per_second=30)
    with load:
        done = call("service_restart", "backend", minimum_age_seconds=0)
    assert done["changed"] is True, done
    assert load.requests > 50
    assert load.failures == []
    assert len(load.served) == 4


class TestSwarmObserver:
    """What is read of a replica that is not there any more is no failure."""

    def test_the_past_of_a_task_that_ended(self, stack: str) -> None:
        """By its place, with exit code and age."""
        opened = DockerEngine(SOCKET)
        observer = SwarmObserver(opened, stack)
        (container,) = docker("ps", "-q", "--filter", f"label=com.docker.swarm.service.name={stack}_port").split()
        docker("kill", container)
        wait_for(
            lambda: any(one.replica.service == "port" and one.replica.restarts for one in observer.observe()),
            "The Swarm has replaced the task",
            60,
        )
        (one,) = [one for one in observer.observe() if one.replica.service == "port"]
        past = observer.past(3600)[one.replica.id]
        assert past.exit_code == 137
        wait_for(lambda: running(f"{stack}_port"), "It runs again", 60)
        opened.client.close()
