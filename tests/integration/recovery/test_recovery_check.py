"""recovery_check against the running lab: every kind of probe, every verdict, and what breaks between."""

from __future__ import annotations

import importlib
import threading
from typing import TYPE_CHECKING, Any

import pytest

from lab.settings import port_variable, read_settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.running_lab import Lab

pytestmark = [pytest.mark.integration, pytest.mark.slow]

main = importlib.import_module("ansible_collections.ops.runbooks.plugins.modules.recovery_check").main


@pytest.fixture
def check(run_module: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """Return a function that takes samples of probes quickly."""

    def run(*probes: dict[str, Any], check_mode: bool = False, **more: Any) -> dict[str, Any]:
        given = {"probes": list(probes), "consecutive": 2, "interval_seconds": 0.2, "timeout_seconds": 3, **more}
        return run_module(main, given, check=check_mode)

    return run


def postgres(query: str, **more: Any) -> dict[str, Any]:
    settings = read_settings()
    return {
        "login_host": "127.0.0.1",
        "login_port": int(settings[port_variable("postgres")]),
        "login_user": "runbooks",
        "login_password": settings["RUNBOOKS_DB_PASSWORD"],
        "login_db": "app",
        "query": query,
        **more,
    }


def redis(**more: Any) -> dict[str, Any]:
    settings = read_settings()
    return {
        "login_host": "127.0.0.1",
        "login_port": int(settings[port_variable("redis")]),
        "login_password": settings["REDIS_PASSWORD"],
        **more,
    }


def every_kind(lab: Lab) -> list[dict[str, Any]]:
    """Return one probe of each kind, all good on a healthy lab."""
    front = int(read_settings()[port_variable("lb")])
    return [
        {"name": "application", "http": {"url": f"{lab.address('lb')}/ready"}},
        {"name": "front door", "tcp": {"host": "127.0.0.1", "port": front}},
        {"name": "database", "sql": postgres("SELECT %s + 1", parameters=[41]), "equals": 42},
        {"name": "redis", "redis": redis(), "equals": "PONG"},
        {
            "name": "redis clients",
            "redis": redis(command="INFO", arguments=["clients"], field="connected_clients"),
            "at_least": 1,
        },
        {"name": "replicas", "container": {"project": "runbooks-lab", "service": "backend", "minimum": 2}},
        {
            "name": "targets",
            "windowed": True,
            "promql": {"url": lab.address("prometheus"), "query": "min(up)"},
            "at_least": 1,
        },
    ]


@pytest.mark.parametrize("check_mode", [True, False])
def test_every_kind_of_probe_agrees_that_the_lab_is_well(running_lab: Lab, check: Any, check_mode: bool) -> None:
    """All at once, as often in a row as asked, in check mode as well; never a change."""
    result = check(*every_kind(running_lab), check_mode=check_mode, consecutive=3)
    assert (result["verdict"], result["changed"]) == ("recovered", False), result
    assert [one["good"] for one in result["checks"]] == [True] * len(every_kind(running_lab))
    assert result["duration_seconds"] < 3
    assert read_settings()["RUNBOOKS_DB_PASSWORD"] not in str({k: v for k, v in result.items() if k != "invocation"})


@pytest.mark.parametrize(
    ("probe", "verdict"),
    [
        pytest.param({"http": {"url": "{lb}/nosuch"}}, "not_recovered", id="wrong status"),
        pytest.param({"http": {"url": "{lb}/ready", "body_contains": "xyzzy"}}, "not_recovered", id="wrong body"),
        pytest.param({"http": {"url": "http://127.0.0.1:1/"}}, "not_recovered", id="nobody answers"),
        pytest.param({"tcp": {"host": "127.0.0.1", "port": 1}}, "not_recovered", id="closed port"),
        pytest.param(
            {"container": {"project": "runbooks-lab", "service": "backend", "minimum": 9}},
            "not_recovered",
            id="replicas missing",
        ),
        pytest.param(
            {"promql": {"url": "http://127.0.0.1:1", "query": "up"}, "at_least": 1}, "unknown", id="no Prometheus"
        ),
        pytest.param(
            {"promql": {"url": "{prometheus}", "query": "up ==="}, "at_least": 1}, "unknown", id="wrong query"
        ),
        pytest.param({"promql": {"url": "{prometheus}", "query": "up"}, "at_least": 1}, "unknown", id="many series"),
        pytest.param({"promql": {"url": "{prometheus}", "query": "nosuch"}, "at_least": 1}, "unknown", id="no data"),
        pytest.param({"promql": {"url": "{prometheus}", "query": "0/0"}, "at_least": 1}, "unknown", id="NaN"),
    ],
)
def test_what_is_not_well_is_called_by_its_name(
    running_lab: Lab, check: Any, probe: dict[str, Any], verdict: str
) -> None:
    """Bad is bad, and what could not be told is unknown; the reason names the probe."""
    text = {"lb": running_lab.address("lb"), "prometheus": running_lab.address("prometheus")}
    given = {
        key: {k: v.format(**text) if isinstance(v, str) else v for k, v in value.items()}
        if isinstance(value, dict)
        else value
        for key, value in probe.items()
    }
    well = {"name": "well", "tcp": {"host": "127.0.0.1", "port": int(read_settings()[port_variable("lb")])}}
    result = check({"name": "ill", **given}, well, timeout_seconds=1)
    assert result["verdict"] == verdict, result
    assert "ill" in result["reason"]
    (bad,) = [one for one in result["checks"] if one["name"] == "ill"]
    assert bad["good"] is (None if verdict == "unknown" else False)


@pytest.mark.parametrize(
    ("probe", "verdict", "said"),
    [
        pytest.param({"sql": {"query": "SELECT nosuch"}, "equals": 1}, "unknown", "nosuch", id="wrong query"),
        pytest.param({"sql": {"query": "SELECT 1, 2"}, "equals": 1}, "unknown", "two columns", id="one name"),
        pytest.param({"sql": {"query": "SELECT 1 AS a, 2 AS b"}, "equals": 1}, "unknown", "one row", id="two values"),
        pytest.param(
            {"sql": {"query": "SELECT pg_sleep(9)", "timeout_seconds": 1}, "equals": ""},
            "not_recovered",
            "statement timeout",
            id="slow",
        ),
        pytest.param(
            {"sql": {"query": "CREATE TABLE pwned (a int)"}, "equals": 1}, "unknown", "read-only", id="writes"
        ),
        pytest.param({"redis": {"login_password": "wrong"}, "equals": "PONG"}, "unknown", "refused", id="login"),
        pytest.param(
            {"redis": {"command": "INFO", "field": "nosuch"}, "at_least": 1}, "unknown", "nosuch", id="no field"
        ),
    ],
)
def test_a_store_that_answers_oddly_is_told_apart(
    running_lab: Lab, check: Any, probe: dict[str, Any], verdict: str, said: str
) -> None:
    """A query that is wrong is not an outage, one that takes too long is; a probe cannot write."""
    given = {**probe}
    if "sql" in probe:
        given["sql"] = postgres(**probe["sql"])
    else:
        given["redis"] = redis(**probe["redis"])
    result = check({"name": "store", **given}, timeout_seconds=1.5)
    assert result["verdict"] == verdict, result
    assert said in str(result["checks"])
    assert running_lab.sql("SELECT to_regclass('pwned')") == [[""]]


def test_a_database_that_stops_is_seen_and_so_is_its_return(lab: Lab, check: Any) -> None:
    """Not recovered while it is frozen; the probe that waits sees it come back."""
    probe = {"name": "database", "sql": postgres("SELECT 1", connect_timeout_seconds=2), "equals": 1}
    lab.compose("pause", "postgres")
    back = threading.Timer(6, lab.compose, ("unpause", "postgres"))
    try:
        assert check(probe, timeout_seconds=1)["verdict"] == "not_recovered"
        back.start()
        result = check(probe, timeout_seconds=30)
    finally:
        back.join()
    assert result["verdict"] == "recovered", result
    assert result["duration_seconds"] > 0.2


def test_a_window_that_has_not_emptied_is_decaying(lab: Lab, check: Any) -> None:
    """The service is well, the condition of the alert lags behind: neither success nor failure."""
    direct = {"name": "application", "http": {"url": f"{lab.address('lb')}/ready"}}
    lagging = {
        "name": "condition",
        "windowed": True,
        "promql": {"url": lab.address("prometheus"), "query": "max(max_over_time(up[5m]))"},
    }
    result = check(direct, {**lagging, "below": 1}, timeout_seconds=2)
    assert result["verdict"] == "decaying", result
    failed = check(direct, {**lagging, "below": 1}, timeout_seconds=2, require_recovered=True)
    assert failed["_exit_code"] == 1
    assert "decaying" in failed["msg"]


def test_no_prometheus_is_not_a_recovery(lab: Lab, check: Any) -> None:
    """With the metrics gone the verdict is unknown, although the service is well."""
    probes = every_kind(lab)
    lab.compose("stop", "prometheus")
    try:
        result = check(*probes, timeout_seconds=2)
    finally:
        lab.compose("start", "prometheus")
    assert result["verdict"] == "unknown", result
