"""Expectations of what is told of services, against a project that stands still."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.ops.runbooks.plugins.module_utils._errors import ConnectionFailed, PreconditionFailed
from ansible_collections.ops.runbooks.plugins.module_utils._service_info import InfoRequest, read_info
from ansible_collections.ops.runbooks.plugins.module_utils._service_observed import (
    Image,
    Limits,
    Observed,
    Past,
    Usage,
    ratio,
    repository_of,
)
from ansible_collections.ops.runbooks.plugins.module_utils._service_observer import limits_of, usage_of

from tests.unit.plugins.module_utils.services import FakeObserver, ObserverContract, replica

OLD, NOW = "sha256:aaaaaaaaaaaa0", "sha256:bbbbbbbbbbbb0"
IMAGES = [
    Image(NOW, ("shop/web:2",), 100),
    Image(OLD, ("shop/web:1",), 900),
    Image("sha256:cccccccccccc0", ("shop/web:0",), 5000),
    Image("sha256:dddddddddddd0", ("shop/web:3",), 10),
]


def seen(number: int, state: str = "running", health: str = "healthy", **more: Any) -> Observed:
    own = {key: more.pop(key) for key in ("restarts", "exit_code") if key in more}
    one = replace(replica(number, state, health, service=more.pop("service", "web")), image=NOW, **own)
    return Observed(one, "shop/web:2", Limits(1000, 0.5, 100), out_of_memory=more.pop("out_of_memory", False), **more)


def project(**more: Any) -> FakeObserver:
    return FakeObserver(
        seen=[seen(1), seen(2, "exited", "", exit_code=3)],
        usages={"shop-web-1": Usage(900, 0.25, 10, 200, 50, 10, 5)},
        logs={"shop-web-1": ["served 1", "ERROR order 7 password=hunter2", "ERROR order 8 password=hunter2"]},
        happened={"id1": Past(137, 60), "id2": Past(3, 20)},
        on_host={"shop/web": IMAGES},
        **more,
    )


class TestFakeObserver(ObserverContract):
    """The fake tells what the real engine tells."""

    @pytest.fixture
    def observer(self) -> FakeObserver:
        return project()

    @pytest.fixture
    def served(self) -> str:
        return "web"


def request(**more: Any) -> InfoRequest:
    defaults: dict[str, Any] = {
        "project": "shop",
        "engine": "compose",
        "services": None,
        "since_seconds": 900.0,
        "log_lines": 500,
        "log_timeout_seconds": 5.0,
        "error_groups": 10,
    }
    return InfoRequest.from_params({**defaults, **more})


def test_a_service_is_told_by_its_replicas() -> None:
    """Counts for a decision, and each replica with health, ends, and use against limits."""
    web = read_info(project(), request())["services"]["web"]
    assert {key: web[key] for key in ("replicas", "healthy", "broken", "restarts", "out_of_memory")} == {
        "replicas": 1,
        "healthy": 1,
        "broken": ["shop-web-2"],
        "restarts": 0,
        "out_of_memory": [],
    }
    first, second = web["containers"]
    assert first["memory"] == {"used_bytes": 900, "limit_bytes": 1000, "used_ratio": 0.9}
    assert first["cpu"] == {
        "used": 0.25,
        "limit": 0.5,
        "used_ratio": 0.5,
        "throttled_ratio": 0.25,
        "throttled_now_ratio": 0.5,
    }
    assert first["pids"] == {"used": 10, "limit": 100, "used_ratio": 0.1}
    assert (first["last_exit_code"], first["last_exit_seconds_ago"]) == (137, 60)
    assert (second["last_exit_code"], second["up_seconds"]) == (3, 0.0)
    assert second["memory"]["used_bytes"] == 0


def test_an_end_that_the_engine_has_forgotten_is_null() -> None:
    """For a running replica null, for one that has exited its own code."""
    observer = project()
    observer.happened = {}
    first, second = read_info(observer, request())["services"]["web"]["containers"]
    assert (first["last_exit_code"], first["last_exit_seconds_ago"]) == (None, None)
    assert (second["last_exit_code"], second["last_exit_seconds_ago"]) == (3, None)


def test_errors_are_grouped_and_bounded_and_have_no_secret() -> None:
    """Two lines of one shape are one group; groups beyond the bound are counted."""
    observer = project()
    observer.logs["shop-web-2"] = ["fatal: gone"]
    result = read_info(observer, request(error_groups=1))
    web = result["services"]["web"]
    assert [(e["shape"], e["count"]) for e in web["errors"]] == [("ERROR order # password=***", 2)]
    assert (web["error_lines"], web["errors_left_out"]) == (3, 1)
    assert "hunter2" not in json.dumps(result)


def test_older_images_of_the_repository_are_listed_newest_first() -> None:
    """Neither the one that runs nor a newer one is something that was deployed before it."""
    before = read_info(project(), request())["services"]["web"]["images_before"]
    assert [(image["names"], image["id"]) for image in before] == [
        (["shop/web:1"], "sha256:aaaaaaaaaaaa"),
        (["shop/web:0"], "sha256:cccccccccccc"),
    ]


def test_what_cannot_be_read_is_listed_and_the_rest_is_told() -> None:
    """A diagnosis with a hole is better than none."""
    names = ("usage shop-web-1", "log shop-web-2", "past", "images shop/web")
    observer = project(failures={name: ConnectionFailed(f"No {name}.") for name in names})
    result = read_info(observer, request())
    assert [entry["what"] for entry in result["unreadable"]] == [
        "use of shop-web-1",
        "log of shop-web-2",
        "the past of the replicas",
        "images of shop/web",
    ]
    assert result["unreadable"][0]["why"] == "No usage shop-web-1."
    assert result["services"]["web"]["error_lines"] == 2


def test_the_health_check_is_quoted_without_its_secrets() -> None:
    """Its last lines say why a replica is unhealthy."""
    observer = FakeObserver(seen=[seen(1, health="unhealthy", health_output="a\ntoken=hunter2\n", out_of_memory=True)])
    web = read_info(observer, request())["services"]["web"]
    assert web["containers"][0]["health_output"] == "a\ntoken=***"
    assert (web["broken"], web["healthy"], web["out_of_memory"]) == (["shop-web-1"], 0, ["shop-web-1"])


def test_only_the_services_asked_for_are_read_and_missing_ones_named() -> None:
    """A service without containers is an answer, not an error."""
    observer = project()
    observer.seen.append(seen(1, service="worker"))
    result = read_info(observer, request(services=["worker", "gone"]))
    assert (list(result["services"]), result["missing"]) == (["worker"], ["gone"])


def test_a_project_without_containers_is_refused() -> None:
    """The name is probably wrong."""
    with pytest.raises(PreconditionFailed, match=r"^Cannot find Compose project 'shop': it has no containers\."):
        read_info(FakeObserver(), request())


@pytest.mark.parametrize("name", ["since_seconds", "log_lines", "log_timeout_seconds", "error_groups"])
def test_a_bound_is_above_zero(name: str) -> None:
    """Nothing is read without a bound."""
    with pytest.raises(ValueError, match="must be above 0"):
        request(**{name: 0})


@pytest.mark.parametrize(
    ("image", "repository"),
    [
        ("web", "web"),
        ("web:1", "web"),
        ("shop/web:1.2", "shop/web"),
        ("registry.example.com:5000/shop/web:1", "registry.example.com:5000/shop/web"),
        ("registry.example.com:5000/web", "registry.example.com:5000/web"),
        ("web:1@sha256:abc", "web"),
        ("sha256:abc", ""),
    ],
)
def test_the_repository_of_an_image(image: str, repository: str) -> None:
    """The name without tag and digest; a port is no tag."""
    assert repository_of(image) == repository


@pytest.mark.parametrize(
    ("written", "limits"),
    [
        ({"Memory": 0, "NanoCpus": 0, "PidsLimit": None}, Limits()),
        ({"Memory": 5, "NanoCpus": 750_000_000, "PidsLimit": -1}, Limits(5, 0.75, None)),
        ({"CpuQuota": 50_000, "CpuPeriod": 100_000, "PidsLimit": 9}, Limits(None, 0.5, 9)),
        ({"CpuQuota": 50_000, "CpuPeriod": 0}, Limits(None, 0.5, None)),
        ({"CpuQuota": -1}, Limits()),
    ],
)
def test_limits_as_the_engine_writes_them(written: dict[str, Any], limits: Limits) -> None:
    """None is written in several ways."""
    assert limits_of(written) == limits


def stats(**memory: Any) -> dict[str, Any]:
    cpu = {"cpu_usage": {"total_usage": 300}, "system_cpu_usage": 2000, "online_cpus": 2}
    before = {"cpu_usage": {"total_usage": 100}, "system_cpu_usage": 1000}
    return {"memory_stats": {"usage": 50, **memory}, "cpu_stats": cpu, "precpu_stats": before}


def test_use_as_the_docker_cli_reads_it() -> None:
    """Inactive page cache is not in use; CPU is the share of what all cores gave, in cores."""
    assert usage_of(stats(stats={"inactive_file": 20})) == Usage(30, 0.4, 0)
    assert usage_of(stats(stats={"total_inactive_file": 10, "inactive_file": 20})) == Usage(40, 0.4, 0)
    assert usage_of(stats(stats={"inactive_file": 60})) == Usage(50, 0.4, 0)
    assert usage_of({"memory_stats": {}}) is None


def test_use_without_an_earlier_measurement_has_no_cpu() -> None:
    """The first measurement of all has nothing before it; throttling counts from the start."""
    first = stats()
    first["precpu_stats"] = {"cpu_usage": {"total_usage": 0}}
    first["cpu_stats"]["throttling_data"] = {"periods": 10, "throttled_periods": 2}
    assert usage_of(first) == Usage(50, 0.0, 0, 10, 2, 10, 2)


def test_without_a_limit_there_is_no_share() -> None:
    """None, not zero: zero would read as plenty of room."""
    assert (ratio(5, None), ratio(5, 10)) == (None, 0.5)


def test_a_kill_for_memory_that_only_an_event_tells_counts() -> None:
    """An engine may not write into a container's state that the kernel killed a child in it."""
    observer = project()
    observer.happened = {"id1": Past(out_of_memory=True)}
    web = read_info(observer, request())["services"]["web"]
    assert web["out_of_memory"] == ["shop-web-1"]
    assert web["containers"][0]["last_exit_code"] is None
