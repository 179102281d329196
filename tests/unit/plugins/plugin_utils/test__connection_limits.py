"""Expectations of what a limit of connections may become, and when a server is restarted."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.ops.runbooks.plugins.plugin_utils._connection_limits import (
    MEBIBYTE,
    administrator,
    plan_raise,
    plan_undo,
)


def server(used: int = 52, most: int = 60, source: str = "configuration file", *, standby: bool = False) -> Any:
    return {
        "server": {"in_recovery": standby, "max_connections_source": source},
        "slots": {
            "max": most,
            "superuser_reserved": 3,
            "reserved": 3,
            "used": used,
            "used_ratio": round(used / (most - 6), 4),
        },
    }


def plan(info: Any, **changes: Any) -> dict[str, Any]:
    given: dict[str, Any] = {
        "max_connections": 0,
        "only_above": 0.8,
        "memory_limit_bytes": 512 * MEBIBYTE,
        "shared_bytes": 64 * MEBIBYTE,
        "session_bytes": 3 * MEBIBYTE,
    }
    return plan_raise(info, **{**given, **changes})


@pytest.mark.parametrize(
    ("changes", "limit"),
    [
        pytest.param({}, 90, id="two thirds, in steps of ten"),
        pytest.param({"max_connections": 75}, 75, id="as asked"),
        pytest.param({"max_connections": 5000, "memory_limit_bytes": None}, 5000, id="no limit of memory"),
        pytest.param({"max_connections": 115}, 115, id="just within the memory"),
    ],
)
def test_a_raise_is_planned(changes: dict[str, Any], limit: int) -> None:
    """The plan says what was and what will be."""
    assert plan(server(), **changes) == {
        "changed": True,
        "max_connections": limit,
        "actions": [f"Raise max_connections: 60, then {limit}. It is in force after a restart."],
        "before": {"max_connections": 60, "used": 52},
        "after": {"max_connections": limit},
    }


@pytest.mark.parametrize(
    ("info", "changes", "reason"),
    [
        pytest.param(server(used=40), {}, "74% of the slots are in use, below 80%.", id="not full"),
        pytest.param(
            server(), {"max_connections": 60}, "max_connections is 60 and 60 is asked for, which raises nothing.",
            id="no raise",
        ),
        pytest.param(
            server(source="command line"), {},
            "max_connections comes from the command line, which wins over ALTER SYSTEM. Change it where it is given.",
            id="command line",
        ),
        pytest.param(
            server(standby=True), {},
            "the server is a standby, whose limit must not be below that of its primary. Change the primary first.",
            id="standby",
        ),
        pytest.param(
            server(), {"max_connections": 116},
            "116 sessions may need 412 MiB, and 80% of the limit of 512 MiB is all that may be planned. Raise the "
            "memory limit first.",
            id="memory",
        ),
    ],
)  # fmt: skip
def test_a_raise_is_refused(info: Any, changes: dict[str, Any], reason: str) -> None:
    """The refusal is what an outcome understands, and changes nothing."""
    refused = plan(info, **changes)
    assert refused["msg"] == f"Refused to change max_connections: {reason}"
    assert (refused["failed"], refused["refused"], refused["changed"]) == (True, True, False)
    assert refused["before"]["max_connections"] == 60


@pytest.mark.parametrize(
    ("info", "changed", "limit", "verb"),
    [
        pytest.param(server(used=20, most=100), True, 60, "Lower", id="back"),
        pytest.param(server(used=20), False, 60, "Leave", id="already back"),
        pytest.param(server(used=20, most=50), False, 50, "Leave", id="never raised"),
    ],
)
def test_a_raise_is_taken_back(info: Any, changed: bool, limit: int, verb: str) -> None:
    """To the earlier limit, never above the present one."""
    undone = plan_undo(info, max_connections=60)
    assert (undone["changed"], undone["max_connections"]) == (changed, limit)
    assert undone["actions"][0].startswith(verb)


@pytest.mark.parametrize(
    ("info", "limit", "reason"),
    [
        pytest.param(server(used=44, most=100), 60, "44 sessions are open", id="load"),
        pytest.param(server(used=20, most=100, source="command line"), 60, "comes from the command line", id="source"),
        pytest.param(server(used=20, most=100), 0, "the earlier limit is not known", id="unknown"),
    ],
)
def test_a_raise_stays(info: Any, limit: int, reason: str) -> None:
    """While the sessions would not fit, or the limit comes from elsewhere, or nobody knows the earlier one."""
    refused = plan_undo(info, max_connections=limit)
    assert (refused["refused"], refused["changed"]) == (True, False)
    assert reason in refused["msg"]


@pytest.mark.parametrize(
    ("result", "state", "restarts"),
    [
        pytest.param({}, "accepted", False, id="accepted"),
        pytest.param({"failed": True, "msg": "FATAL: sorry, too many clients already"}, "no_slot", True, id="full"),
        pytest.param(
            {"failed": True, "msg": "FATAL: remaining connection slots are reserved for roles with SUPERUSER"},
            "no_slot", True, id="reserved slots full",
        ),
        pytest.param({"failed": True, "msg": "timeout expired"}, "no_answer", True, id="frozen"),
        pytest.param({"failed": True, "msg": "password authentication failed"}, "unclear", False, id="wrong password"),
        pytest.param({"failed": True}, "unclear", False, id="no message"),
    ],
)  # fmt: skip
def test_only_a_server_that_lets_nobody_in_is_restarted(result: dict[str, Any], state: str, restarts: bool) -> None:
    """Anything else is a refusal with its reason."""
    found = administrator(result)
    assert found["state"] == state
    assert ("failed" not in found) is restarts
    if not restarts:
        assert found["refused"] is True
        assert found["msg"].startswith("Refused to restart PostgreSQL: ")
