"""Expectations of what the plays of redis-down decide."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.ops.runbooks.plugins.plugin_utils._evidence import build_evidence
from ansible_collections.ops.runbooks.plugins.plugin_utils._redis_down import plan_limits, sum_up, tell_kept
from hypothesis import given
from hypothesis import strategies as st

MB = 1 << 20
DEFAULTS: dict[str, Any] = {
    "room_bytes": 256 * MB,
    "target_share": 0.7,
    "room_share": 0.7,
    "max_memory_bytes": 0,
    "policy": "",
}


def node(used: int, limit: int = 128, policy: str = "noeviction") -> dict[str, Any]:
    ratio = round(used / limit, 4) if limit else None
    return {"used_bytes": used * MB, "limit_bytes": limit * MB, "policy": policy, "used_ratio": ratio, "rss_bytes": 0}


def plan(used: int, limit: int = 128, **given_values: Any) -> dict[str, Any]:
    return plan_limits(node(used, limit), **{**DEFAULTS, **given_values})


def test_the_limit_is_raised_until_the_target_share_is_used() -> None:
    """And no further."""
    found = plan(122)
    assert (found["changed"], found["failed"]) == (True, False)
    assert found["after"]["max_memory_bytes"] == 175 * MB
    assert found["before"]["max_memory_bytes"] == 128 * MB
    assert found["actions"] == [f"maxmemory {128 * MB} -> {175 * MB} bytes, policy noeviction -> noeviction."]


@pytest.mark.parametrize(
    ("found", "said"),
    [
        pytest.param(plan(50), "which is not above 70%", id="room"),
        pytest.param(plan(50, 0), "there is no limit (maxmemory 0)", id="no-limit"),
        pytest.param(plan(50, policy="noeviction"), "limit and policy are as asked for", id="policy"),
        pytest.param(plan(50, max_memory_bytes=128 * MB), "limit and policy are as asked for", id="limit"),
    ],
)
def test_what_needs_no_change_is_left_alone(found: dict[str, Any], said: str) -> None:
    """With the reason."""
    assert (found["changed"], found["failed"], found["after"]) == (False, False, found["before"])
    assert said in found["actions"][0]


@pytest.mark.parametrize(
    ("found", "said"),
    [
        pytest.param(plan(126), "has 268435456, of which it may take 70%", id="room"),
        pytest.param(plan(10, max_memory_bytes=200 * MB), "of which it may take 70%", id="named"),
        pytest.param(plan(100, max_memory_bytes=110 * MB), "more than 90% of the 115343360 asked for", id="too-small"),
    ],
)
def test_what_would_harm_is_refused(found: dict[str, Any], said: str) -> None:
    """In the words of a refusal."""
    assert (found["changed"], found["failed"], found["refused"]) == (False, True, True)
    assert said in found["msg"]


def test_a_policy_that_evicts_everything_is_told() -> None:
    """The person who approves it reads this."""
    found = plan(122, policy="allkeys-lru")
    assert found["after"]["policy"] == "allkeys-lru"
    assert found["actions"][1] == "allkeys-lru evicts keys without an expiry too: queues, sessions, locks."


def test_the_way_back() -> None:
    """A limit that is named is taken where what is used fits, whatever room there is."""
    found = plan_limits(node(20, 175), **{**DEFAULTS, "room_bytes": MB, "max_memory_bytes": 128 * MB})
    assert (found["changed"], found["after"]["max_memory_bytes"]) == (True, 128 * MB)


@given(
    used=st.integers(1, 2000), limit=st.integers(1, 2000), room=st.integers(1, 4000), target=st.sampled_from([0.5, 0.7])
)
def test_no_plan_takes_more_than_its_room(used: int, limit: int, room: int, target: float) -> None:
    """And what is changed leaves the target share used, or less."""
    found = plan_limits(node(used, limit), **{**DEFAULTS, "room_bytes": room * MB, "target_share": target})
    after = found["after"]["max_memory_bytes"]
    assert after == limit * MB or after <= round(0.7 * room * MB)
    assert after >= limit * MB
    if found["changed"]:
        assert used * MB <= round(target * after)  # in whole bytes, as 0.7 is no number of a computer


def test_nothing_that_was_read_is_nothing() -> None:
    """A server that does not answer leaves numbers, not holes."""
    ping = {"checks": [{"good": False, "error": "no good answer: Connection refused"}]}
    empty: dict[str, Any] = {}
    found = sum_up(ping=ping, memory=empty, evictable=empty, clients=empty, persistence=empty, target_share=0.7)
    assert found == {
        "answers": False,
        "ping_error": "no good answer: Connection refused",
        "loading": False,
        "login_refused": False,
        "used_ratio": 0.0,
        "excess_bytes": 0,
        "evictable_keys": 0,
        "evictable_bytes": 0,
        "clients_ratio": 0.0,
        "idle_clients": 0,
        "held_bytes": 0,
        "held_ratio": 0.0,
        "persistence_damaged": False,
        "persistence": {},
    }


def test_what_was_read_is_summed_up() -> None:
    """With the bytes above the target, and those held beside what is used."""
    found = sum_up(
        ping={"checks": [{"good": True, "error": ""}]},
        memory={"nodes": [{**node(120), "rss_bytes": 240 * MB}]},
        evictable={"estimate": {"keys": 7, "bytes": 5}},
        clients={"before": {"used_ratio": 0.9}, "selected_count": 3},
        persistence={"damaged": True, "lost_bytes": 9, "changed": True},
        target_share=0.5,
    )
    assert found["excess_bytes"] == 56 * MB
    assert (found["held_bytes"], found["held_ratio"]) == (120 * MB, 2.0)
    assert (found["evictable_keys"], found["idle_clients"], found["clients_ratio"]) == (7, 3, 0.9)
    assert (found["persistence_damaged"], found["persistence"]) == (True, {"lost_bytes": 9})


@pytest.mark.parametrize(
    ("good", "error", "expected"),
    [
        (False, "Redis is loading the dataset in memory", (True, False)),
        (None, "Redis refused the login: invalid password", (False, True)),
    ],
)
def test_a_server_that_is_there_and_does_not_serve(good: bool | None, error: str, expected: tuple[bool, bool]) -> None:
    """A restart helps neither."""
    empty: dict[str, Any] = {}
    found = sum_up(
        ping={"checks": [{"good": good, "error": error}]}, memory=empty, evictable=empty, clients=empty,
        persistence=empty, target_share=0.7,
    )  # fmt: skip
    assert (found["loading"], found["login_refused"]) == expected


def test_a_repair_ends_with_what_is_there() -> None:
    """The keys are counted; a start that fails makes the whole a failure."""
    repaired = {"changed": True, "actions": ["Repaired."], "after": {"files": []}}
    started = {"changed": True, "actions": ["Restarted."]}
    found = tell_kept(repaired, started, {"nodes": [{"keys": 5}, {"keys": 2}]})
    assert found == {
        "changed": True,
        "actions": ["Repaired.", "Restarted.", "Redis serves 7 keys."],
        "after": {"files": [], "keys": 7},
    }
    failed = tell_kept(repaired, {"failed": True, "msg": "It does not serve."}, {})
    assert (failed["failed"], failed["msg"]) == (True, "It does not serve.")


def test_a_source_that_was_skipped_says_nothing() -> None:
    """It is neither evidence nor unreadable."""
    skipped = {"changed": False, "skipped": True, "skip_reason": "Conditional result was False"}
    found = build_evidence({"a": skipped, "b": skipped}, runbook="redis-down", collected_at="now", derived={})
    assert (found["evidence"], found["unreadable"]) == ({}, [])
