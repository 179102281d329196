"""Expectations of reading a Redis server's memory, against a server in memory."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.ops.runbooks.plugins.module_utils._errors import ActionFailed
from ansible_collections.ops.runbooks.plugins.module_utils._redis_memory import (
    InfoRequest,
    evictable,
    info_spec,
    prefix,
    read_info,
)
from ansible_collections.ops.runbooks.plugins.module_utils._redis_ports import Facts
from typing_extensions import override

from tests.unit.plugins.module_utils.redis_nodes import FakeNode, NodeContract, World

DEFAULTS = {name: option.get("default") for name, option in info_spec().options.items()}


def read(*nodes: FakeNode, **given: Any) -> dict[str, Any]:
    return read_info(nodes, InfoRequest.from_params({**DEFAULTS, **given}), instance="cache1:6379")


class FakeWorld(World):
    """Keys of the node in memory."""

    def __init__(self) -> None:
        self.fake = FakeNode()
        self.node = self.fake

    @override
    def put(self, key: bytes, size: int = 10, ttl_ms: int | None = None) -> None:
        self.fake.put(key, size + 60, -1 if ttl_ms is None else ttl_ms)

    @override
    def names(self) -> set[bytes]:
        return set(self.fake.known)


class TestFakeNode(NodeContract):
    """The fake keeps the contract that a real server keeps in the integration tests."""

    @pytest.fixture
    def world(self) -> World:
        return FakeWorld()


def filled(**more: Any) -> FakeNode:
    node = FakeNode(**more)
    for number in range(900):
        node.put(b"session:%d" % number, 100, 1000)
    for number in range(100):
        node.put(b"report:%d" % number, 1900)
    return node


def test_no_limit_is_said_and_never_divided_by() -> None:
    """A maxmemory of 0 has no share."""
    result = read(filled())
    (row,) = result["nodes"]
    assert (row["limit_bytes"], row["limited"], row["used_ratio"]) == (0, False, None)
    (note,) = result["notes"]
    assert note.startswith("cache1:6379 has no memory limit (maxmemory 0), so there is no used share: ")


def test_a_small_database_is_counted_exactly() -> None:
    """A sample as large as the whole is the whole."""
    result = read(filled(limit=2_000_000))
    assert (result["sample"]["keys"], result["sample"]["exact"], result["sample"]["margin"]) == (1000, True, 0.0)
    assert result["prefixes"] == [
        {
            "prefix": "report:*",
            "keys": 100,
            "bytes": 190_000,
            "bytes_ratio": 0.6786,
            "without_expiry": 100,
            "largest_bytes": 1900,
        },
        {
            "prefix": "session:*",
            "keys": 900,
            "bytes": 90_000,
            "bytes_ratio": 0.3214,
            "without_expiry": 0,
            "largest_bytes": 100,
        },
    ]
    assert result["sample"]["without_expiry_ratio"] == 0.1
    assert result["nodes"][0]["used_ratio"] == 0.64
    assert result["nodes"][0]["hit_ratio"] == 0.75
    assert len(result["largest_without_expiry"]) == 10
    assert result["notes"] == []


def test_a_large_database_is_sampled_and_scaled() -> None:
    """A tenth of the keys is enough to see the shares within the margin."""
    result = read(filled(), sample_keys=300)
    assert (result["sample"]["keys"], result["sample"]["exact"]) == (300, False)
    assert abs(result["sample"]["without_expiry_ratio"] - 0.1) <= result["sample"]["margin"]
    assert sum(row["keys"] for row in result["prefixes"]) == pytest.approx(1000, abs=1)


def test_nodes_weigh_by_their_keys() -> None:
    """A cluster's sample is spread over its masters."""
    one, two = filled(), FakeNode(name="cache2:6379")
    two.put(b"other:1", 50)
    result = read(one, two)
    assert [row["node"] for row in result["nodes"]] == ["cache1:6379", "cache2:6379"]
    assert (result["sample"]["keys"], result["sample"]["of"]) == (1001, 1001)


@pytest.mark.parametrize("given", [{}, {"sample_keys": 0}])
def test_an_empty_server_has_nothing_to_divide(given: dict[str, Any]) -> None:
    """Null where there is no number."""
    result = read(FakeNode(), **given)
    assert result["sample"]["mean_bytes"] is None
    assert result["sample"]["without_expiry_ratio"] is None
    assert result["prefixes"] == []
    assert result["nodes"][0]["evictable_ratio"] is None


def test_no_sample_is_no_claim() -> None:
    """Zero keys seen of many have no margin."""
    assert read(filled(), sample_keys=0)["sample"]["margin"] is None


def test_a_walk_of_a_growing_database_ends() -> None:
    """Keys that arrive meanwhile cannot keep it going."""

    class Growing(FakeNode):
        @override
        def walk(self, cursor: int, count: int, *, measure: str = "none") -> tuple[int, list[Facts]]:
            return cursor + 1, [Facts(b"%d-%d" % (cursor, number), -1, 1) for number in range(count)]

    node = Growing()
    node.put(b"one")
    assert read(node, sample_keys=500)["sample"]["keys"] < 1500


def test_what_may_not_be_read_is_listed() -> None:
    """A login that may only ask INFO still gets the rest."""

    class Deaf(FakeNode):
        @override
        def walk(self, cursor: int, count: int, *, measure: str = "none") -> tuple[int, list[Facts]]:
            raise ActionFailed("Redis refused.")

    node = Deaf()
    node.put(b"one")
    result = read(node)
    assert result["unreadable"] == [{"what": "sizes and expiry of keys", "why": "Redis refused."}]
    assert result["nodes"][0]["keys"] == 1


@pytest.mark.parametrize(
    ("policy", "share"), [("noeviction", 0.0), ("allkeys-lru", 1.0), ("volatile-lru", 0.9), ("volatile-ttl", 0.9)]
)
def test_the_policy_says_what_it_may_evict(policy: str, share: float) -> None:
    """Under volatile policies only keys with an expiry count."""
    assert evictable(filled(policy=policy).info()) == share


def test_a_volatile_policy_without_expiry_is_noeviction() -> None:
    """And is said so."""
    node = FakeNode(limit=10**9, policy="volatile-lru")
    node.put(b"one")
    assert read(node)["notes"] == [
        "cache1:6379 has policy volatile-lru and no key with an expiry: it behaves like noeviction."
    ]


@pytest.mark.parametrize(
    ("key", "depth", "expected"),
    [
        (b"a:b:c", 1, "a:*"),
        (b"a:b:c", 2, "a:b:*"),
        (b"a:b", 2, "a:*"),
        (b"a", 1, "(no prefix)"),
        (b"\xff:1", 1, "\\xff:*"),
    ],
)
def test_a_prefix_is_the_first_parts(key: bytes, depth: int, expected: str) -> None:
    """The last part of a key is never a prefix."""
    assert prefix(key, InfoRequest(1, b":", depth, 1)) == expected


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"sample_keys": -1}, "sample_keys is -1"),
        ({"sample_keys": 100_001}, "sample_keys is 100001"),
        ({"prefix_depth": 0}, "prefix_depth is 0"),
        ({"top": 0}, "top is 0"),
        ({"prefix_separator": ""}, "prefix_separator is empty"),
    ],
)
def test_what_cannot_be_meant_is_refused(given: dict[str, Any], message: str) -> None:
    """With the value and what is expected."""
    with pytest.raises(ValueError, match=message):
        read(FakeNode(), **given)
