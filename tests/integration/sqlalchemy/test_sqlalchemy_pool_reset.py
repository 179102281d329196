"""sqlalchemy_pool_reset on the replicas of the lab's backend; the server says which sessions there are."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import pytest

from lab.settings import read_settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.running_lab import Lab

pytestmark = [pytest.mark.integration, pytest.mark.slow]

main = importlib.import_module("ansible_collections.ops.runbooks.plugins.modules.sqlalchemy_pool_reset").main
SESSIONS = "SELECT pid FROM pg_stat_activity WHERE application_name = 'backend' ORDER BY pid"


@pytest.fixture
def reset(lab: Lab, run_module: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """Return a function that resets the pools of the lab's backend."""

    def run(*, check: bool = False, **more: Any) -> dict[str, Any]:
        token = read_settings()["POOL_RESET_TOKEN"]
        given = {"project": "runbooks-lab", "service": "backend", "token": token, **more}
        return run_module(main, given, check=check)

    return run


def pids(lab: Lab) -> set[str]:
    """Return the server's processes that serve the backend's pools."""
    return {row[0] for row in lab.sql(SESSIONS)}


def test_every_replica_is_reset_and_no_request_fails(lab: Lab, reset: Callable[..., dict[str, Any]]) -> None:
    """Check changes nothing; after a soft reset every connection is replaced as it is asked for."""
    before = lab.wait(lambda: pids(lab), lambda found: len(found) >= 2, 20)
    checked = reset(check=True)
    assert (checked["changed"], len(checked["replicas"])) == (True, 2), checked
    # Overflow connections come and go by themselves; those of the pool stay.
    assert before & pids(lab)

    done = reset()
    assert (done["changed"], done["_exit_code"]) == (True, 0), done
    assert {one["error"] for one in done["replicas"]} == {None}
    assert len({one["instance"] for one in done["replicas"]}) == 2
    assert [lab.http("/orders").status for _ in range(20)] == [200] * 20
    lab.wait(lambda: pids(lab) & before, lambda old: len(old) < len(before), 30)


def test_disposing_closes_what_idles_at_once(lab: Lab, reset: Callable[..., dict[str, Any]]) -> None:
    """With room on the server; what the pools say and what the server says agree."""
    before = lab.wait(lambda: pids(lab), lambda found: len(found) >= 2, 20)
    done = reset(mode="dispose", server_headroom=20)
    assert done["changed"] is True, done
    closed = lab.wait(lambda: before - pids(lab), lambda gone: gone, 10)
    assert closed
    assert lab.http("/orders").status == 200


def test_a_wrong_token_resets_nothing(lab: Lab, reset: Callable[..., dict[str, Any]]) -> None:
    """Both replicas are named with the reason, and the right token is not shown."""
    before = pids(lab)
    done = reset(token="wrong")
    assert done["_exit_code"] == 1
    assert done["msg"].count("HTTP 401") == 2
    assert before & pids(lab)


def test_a_precondition_can_leave_everything_alone(reset: Callable[..., dict[str, Any]]) -> None:
    """Pools that are not full are not reset by a runbook that asks for full ones."""
    done = reset(only_above=1.0, precondition_reaction="skip")
    assert (done["changed"], done["_exit_code"]) == (False, 0), done


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"service": "nosuch"}, "no container of it runs here"),
        ({"network": "nosuch"}, "Set network to one that this host can reach"),
        ({"docker_host": "tcp://127.0.0.1:1"}, "Cannot"),
        ({"service": "redis", "port": 6379, "timeout_seconds": 2}, "Cannot read the pools of any of 1 replicas"),
    ],
)
def test_what_cannot_be_found_is_told(reset: Callable[..., dict[str, Any]], given: dict[str, Any], said: str) -> None:
    """Where it looked and what to do."""
    done = reset(**given)
    assert done["_exit_code"] == 1
    assert said in done["msg"]
