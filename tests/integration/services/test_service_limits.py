"""service_limits against a real Compose project; the result is read from the kernel and with docker."""

from __future__ import annotations

import importlib
import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.services.conftest import BASE, NO_HEALTH

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.integration.services.conftest import Project, StartProject

    Limit = Callable[..., dict[str, Any]]

pytestmark = pytest.mark.integration

main = importlib.import_module("ansible_collections.ops.runbooks.plugins.modules.service_limits").main

MB = 1024 * 1024
SLEEP = {**BASE, "command": ["sleep", "600"], "healthcheck": NO_HEALTH}
HOLD = "held = b'x' * (40 << 20)\nimport time\ntime.sleep(600)"
READ = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.max"


@pytest.fixture(scope="module")
def project(make_project: StartProject) -> Project:
    """Run a project that states limits in each way."""
    deploy = {**SLEEP, "deploy": {"resources": {"limits": {"memory": "64m", "cpus": "0.5"}}}}
    old = {**SLEEP, "mem_limit": "64m", "memswap_limit": "80m", "cpus": 0.5, "pids_limit": 50}
    made = make_project(
        {
            "web": {**deploy, "scale": 2},
            "old": old,
            "kept-deploy": deploy,
            "kept-old": old,
            "free": SLEEP,
            "full": {**SLEEP, "command": ["python3", "-c", HOLD], "mem_limit": "128m"},
            "none": {**SLEEP, "profiles": ["never"]},
        }
    )
    made.compose("up", "-d")
    return made


@pytest.fixture
def limit(project: Project, run_module: Callable[..., dict[str, Any]]) -> Limit:
    """Return a function that limits a service of the project."""

    def run(service: str, *, check: bool = False, diff: bool = False, **more: Any) -> dict[str, Any]:
        return run_module(main, {"project": project.name, "service": service, **more}, check=check, diff=diff)

    return run


def configured(name: str) -> tuple[int, int, int, int]:
    """Return memory, swap, CPU and PIDs as docker has them."""
    done = subprocess.run(["docker", "inspect", name], check=True, capture_output=True, text=True)
    host = json.loads(done.stdout)[0]["HostConfig"]
    return host["Memory"], host["MemorySwap"], host["NanoCpus"], host["PidsLimit"] or 0


def test_check_run_check_run(project: Project, limit: Limit) -> None:
    """The kernel has the new limit, the containers run on, and a second run changes nothing."""
    before = project.containers("web")
    first = f"{project.name}-web-1"
    wanted = {"memory_bytes": 96 * MB, "cpus": 0.25, "pids": 77}
    assert limit("web", check=True, **wanted)["changed"] is True
    assert configured(first)[0] == 64 * MB
    done = limit("web", diff=True, **wanted)
    assert done["changed"] is True, done
    for name in before:
        assert configured(name) == (96 * MB, 192 * MB, 250_000_000, 77)
    assert project.compose("exec", "-T", "web", "sh", "-c", READ).strip() == str(96 * MB)
    assert project.containers("web") == before
    assert done["diff"]["after"]["containers"][0]["memory_bytes"] == 96 * MB
    assert limit("web", check=True, **wanted)["changed"] is False
    assert limit("web", **wanted)["changed"] is False


def test_what_had_no_limit_gets_one(project: Project, limit: Limit) -> None:
    """And one that was stated with its own swap keeps the distance."""
    assert limit("free", memory_bytes=64 * MB, cpus=0.5)["changed"] is True
    assert configured(f"{project.name}-free-1")[:3] == (64 * MB, 128 * MB, 500_000_000)
    assert limit("old", memory_bytes=128 * MB)["changed"] is True
    assert configured(f"{project.name}-old-1")[:2] == (128 * MB, 144 * MB)


def test_a_full_replica_is_not_squeezed(project: Project, limit: Limit) -> None:
    """What it uses is measured; it may have more, and not less than it needs."""
    name = f"{project.name}-full-1"
    refused = limit("full", memory_bytes=42 * MB)
    assert refused["refused"] is True
    assert refused["msg"].startswith(f"Cannot limit {name} to {42 * MB} bytes of memory: it uses ")
    assert configured(name)[0] == 128 * MB
    assert limit("full", memory_bytes=160 * MB)["changed"] is True


@pytest.mark.parametrize("service", ["kept-deploy", "kept-old"])
def test_the_override_keeps_the_limits_across_a_recreate(
    project: Project, limit: Limit, tmp_path: Path, service: str
) -> None:
    """Compose takes the file with the project's own, whichever way they state limits, and a new container has them."""
    override = tmp_path / "compose.limits.json"
    wanted = {"memory_bytes": 96 * MB, "cpus": 0.25, "pids": 77, "override_file": str(override)}
    assert limit(service, check=True, **wanted)["changed"] is True
    assert not override.exists()
    assert limit(service, **wanted)["changed"] is True
    assert limit(service, **wanted)["changed"] is False
    name = f"{project.name}-{service}-1"
    before = configured(name)
    project.compose("-f", str(override), "up", "-d", "--force-recreate", "--no-deps", service)
    assert configured(name) == before
    assert limit(service, **wanted)["changed"] is False


@pytest.mark.parametrize(
    ("service", "options", "message"),
    [
        pytest.param("nosuch", {"cpus": 1}, "Cannot find service 'nosuch'", id="unknown"),
        pytest.param("none", {"cpus": 1}, "Cannot limit none: it has no replicas.", id="no replicas"),
        pytest.param("web", {"cpus": 1000}, "the host has", id="more than the host has"),
        pytest.param("web", {"memory_bytes": 5}, "memory_bytes must be at least", id="too little"),
        pytest.param("web", {}, "one of the following is required: memory_bytes, cpus, pids", id="nothing"),
        pytest.param("web", {"cpus": 1, "expected_replicas": 9}, "web has 2 replicas, expected 9", id="stale"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_reason(
    limit: Limit, service: str, options: dict[str, Any], message: str
) -> None:
    """Before anything is changed."""
    result = limit(service, **options)
    assert result["_exit_code"] == 1
    assert message in result["msg"]


def test_an_engine_that_does_not_answer_is_named(limit: Limit) -> None:
    """The message says what to check."""
    result = limit("web", cpus=1, docker_host="tcp://127.0.0.1:1")
    assert result["msg"].startswith("Cannot reach the Docker engine at tcp://127.0.0.1:1: ")
