"""A Redis node in memory, and the contract that it shares with the real one."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.ops.runbooks.plugins.module_utils._errors import ConnectionFailed
from ansible_collections.ops.runbooks.plugins.module_utils._redis_criteria import MEANT, OTHER, PROTECTED, Criteria
from ansible_collections.ops.runbooks.plugins.module_utils._redis_glob import Glob
from ansible_collections.ops.runbooks.plugins.module_utils._redis_ports import (
    BUCKETS,
    Cut,
    Facts,
    Memory,
    Node,
    Slice,
    bucket,
)
from ansible_collections.ops.runbooks.plugins.module_utils._waiting import Clock
from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Callable

BASE = 1_000_000


def globs(*texts: str) -> tuple[Glob, ...]:
    return tuple(Glob.parse(text) for text in texts)


def criteria(*patterns: str, protect: tuple[str, ...] = (), **more: Any) -> Criteria:
    return Criteria(globs(*(patterns or ("*",))), globs(*protect), **more)


@dataclass
class FakeNode(Node):
    """A server that keeps facts of keys; ``lost_after`` slices, it goes away; keys of ``denied`` may not be removed."""

    known: dict[bytes, Facts] = field(default_factory=dict)
    limit: int = 0
    policy: str = "noeviction"
    role: str = "master"
    name: str = "cache1:6379"
    denied: frozenset[bytes] = frozenset()
    lost_after: int | None = None
    seconds_per_key: float = 1e-6
    seconds: float = 0.0
    log: list[Slice] = field(default_factory=list)
    between: Callable[[FakeNode], None] = lambda _node: None
    dice: random.Random = field(default_factory=lambda: random.Random(1))
    _places: list[bytes | None] = field(default_factory=list)

    def put(self, key: bytes, size: int = 100, ttl_ms: int = -1, idle: int = 0, frequency: int = 0) -> None:
        if key not in self.known:
            self._places.append(key)
        self.known[key] = Facts(key, ttl_ms, size, idle, frequency)

    def clock(self) -> Clock:
        return Clock(now=lambda: self.seconds, sleep=self._sleep)

    def _sleep(self, seconds: float) -> None:
        self.seconds += seconds

    @override
    def info(self) -> dict[str, Any]:
        return {
            "role": self.role,
            "master_host": "cache0",
            "master_port": 6379,
            "redis_version": "8.0.2",
            "used_memory": self.memory().used,
            "maxmemory": self.limit,
            "maxmemory_policy": self.policy,
            "keyspace_hits": 3,
            "keyspace_misses": 1,
            "db0": {"keys": len(self.known), "expires": sum(one.ttl_ms >= 0 for one in self.known.values())},
        }

    @override
    def memory(self) -> Memory:
        return Memory(BASE + sum(one.bytes for one in self.known.values()), self.limit, self.policy)

    @override
    def keys(self) -> int:
        return len(self.known)

    @override
    def sample(self, number: int, *, measure: str = "none") -> list[Facts]:
        names = list(self.known)
        return [self._seen(self.dice.choice(names), measure) for _number in range(number)] if names else []

    @override
    def walk(self, cursor: int, count: int, *, measure: str = "none") -> tuple[int, list[Facts]]:
        following, step = self._scan(cursor, count)
        return following, [self._seen(key, measure) for key in step]

    @override
    def slice(self, asked: Slice) -> Cut:
        self.log.append(asked)
        if self.lost_after is not None and len(self.log) > self.lost_after:
            raise ConnectionFailed("Lost the connection to Redis cache1:6379: closed by server.")
        following, step = self._scan(asked.cursor, asked.count)
        counted = {"seen": 0, "protected": 0, "skipped": 0, "evicted": 0, "weighed": 0, "weighed_bytes": 0}
        buckets: dict[int, tuple[int, int]] = {}
        full, error = False, None
        for key in step:
            facts = self.known[key]
            verdict = asked.criteria.judge(facts)
            if verdict == MEANT and asked.order != "none":
                place = place_of(facts, asked.order)
                if asked.measure:
                    number, size = buckets.get(place, (0, 0))
                    buckets[place] = (number + 1, size + facts.bytes)
                if asked.measure or (asked.band and not asked.band[0] <= place <= asked.band[1]):
                    counted["seen"] += 1
                    continue
            if verdict == MEANT:
                if asked.quota is not None and counted["evicted"] >= asked.quota:
                    full = True
                    break
                if key in self.denied:
                    error = "Redis cache1:6379 refused a command."
                    break
                counted["evicted"] += 1
                counted["weighed"] += 1
                counted["weighed_bytes"] += facts.bytes
                self._remove(key)
            elif verdict != OTHER:
                counted[PROTECTED if verdict == PROTECTED else "skipped"] += 1
            counted["seen"] += 1
        self.seconds += 1e-4 + asked.count * self.seconds_per_key
        self.between(self)
        return Cut(asked.cursor if full else following, full=full, error=error, buckets=buckets, **counted)

    def _scan(self, cursor: int, count: int) -> tuple[int, list[bytes]]:
        end = cursor + count
        step = [key for key in self._places[cursor:end] if key is not None]
        return (0 if end >= len(self._places) else end), step

    def _remove(self, key: bytes) -> None:
        del self.known[key]
        self._places[self._places.index(key)] = None

    def _seen(self, key: bytes, measure: str) -> Facts:
        facts = self.known[key]
        return replace(
            facts,
            idle_seconds=facts.idle_seconds if measure == "idle" else None,
            frequency=facts.frequency if measure == "frequency" else None,
            may_unlink=key not in self.denied,
        )


def place_of(facts: Facts, order: str) -> int:
    """Return the bucket of a key, as the slice's script does."""
    if order == "frequency":
        return facts.frequency or 0
    if order == "expiry":
        return BUCKETS - 1 if facts.ttl_ms < 0 else bucket(facts.ttl_ms)
    return bucket((facts.idle_seconds or 0) if order == "idle" else facts.bytes)


class World(ABC):
    """A node and its keys, real or not."""

    node: Node

    @abstractmethod
    def put(self, key: bytes, size: int = 10, ttl_ms: int | None = None) -> None:
        """Store a value of about so many bytes."""

    @abstractmethod
    def names(self) -> set[bytes]:
        """Return what is there, not through the node."""

    def cut(self, asked: Slice) -> Cut:
        """Carry out one step that is large enough for everything."""
        return self.node.slice(replace(asked, count=10_000))


# Pattern, keys that match, keys that do not.
PATTERNS: list[tuple[str, list[bytes], list[bytes]]] = [
    ("session:*", [b"session:", b"session:1"], [b"session", b"xsession:1"]),
    ("*:tmp", [b":tmp", b"a:tmp"], [b"a:tmp1"]),
    ("a?c", [b"abc", b"a\x00c", b"a\nc"], [b"ac", b"abbc"]),
    ("a[bc]d", [b"abd", b"acd"], [b"aed", b"ad"]),
    ("a[^bc]d", [b"aed"], [b"abd", b"ad"]),
    ("a[c-a]", [b"aa", b"ab", b"ac"], [b"ad", b"a-"]),
    ("a[b", [b"ab"], [b"a[b", b"a"]),
    ("a[b\\]]", [b"ab", b"a]"], [b"a\\"]),
    ("a[]", [], [b"a", b"a]", b"a[]"]),
    ("a[^]", [b"ab", b"a]"], [b"a"]),
    ("a\\*", [b"a*"], [b"ab", b"a\\*"]),
    ("a\\", [b"a\\"], [b"a"]),
    ("a%d.+-$^()", [b"a%d.+-$^()"], [b"a1x+-$^()"]),
    ("*a*b*", [b"ab", b"xaxbx"], [b"ba"]),
    ("é*", ["é1".encode()], [b"e1"]),
    ("a[x-]", [b"ax", b"a]"], [b"a-", b"ay"]),
]


class NodeContract:
    """What the modules rely on; a subclass gives the fixture ``world``."""

    @pytest.mark.parametrize(("pattern", "there", "not_there"), PATTERNS, ids=[row[0] for row in PATTERNS])
    def test_patterns_mean_what_they_mean_to_redis(
        self, world: World, pattern: str, there: list[bytes], not_there: list[bytes]
    ) -> None:
        """Alone it is the server's own matching, beside others the script's, and protection is the same."""
        for asked in (criteria(pattern), criteria(pattern, "never:[x]y")):
            for key in there + not_there:
                world.put(key)
            assert world.cut(Slice(asked)).evicted == len(there)
            assert world.names() == set(not_there)
        for key in there:
            world.put(key)
        cut = world.cut(Slice(criteria("*", protect=(pattern,))))
        assert (cut.evicted, cut.protected) == (len(not_there), len(there))
        assert world.names() == set(there)

    def test_a_sample_has_the_facts(self, world: World) -> None:
        """Size, expiry, and with repetition as many as were asked for."""
        world.put(b"a", 1000)
        world.put(b"b", 10, 60_000)
        found = {one.key: one for one in world.node.sample(300)}
        assert found.keys() == {b"a", b"b"}
        assert found[b"a"].ttl_ms == -1
        assert 50_000 < found[b"b"].ttl_ms <= 60_000
        assert 1000 <= found[b"a"].bytes < 2000
        assert found[b"a"].may_unlink
        assert len(world.node.sample(300)) == 300
        assert (found[b"a"].idle_seconds, found[b"a"].frequency) == (None, None)
        assert world.node.sample(1, measure="idle")[0].idle_seconds is not None

    def test_an_empty_node_has_no_sample(self, world: World) -> None:
        """Nothing there is nothing seen."""
        assert world.node.sample(10) == []
        assert world.node.walk(0, 10) == (0, [])
        assert world.node.keys() == 0

    def test_a_walk_sees_every_key(self, world: World) -> None:
        """Step by step, all of them."""
        for number in range(100):
            world.put(b"%d" % number)
        cursor, steps, seen = 0, 0, set()
        while steps == 0 or cursor:
            cursor, found = world.node.walk(cursor, 10)
            seen |= {one.key for one in found}
            steps += 1
        assert seen == world.names()
        assert steps > 1

    @pytest.mark.parametrize(
        ("asked", "left"),
        [
            ({"ttl": "with"}, {b"never"}),
            ({"ttl": "without"}, {b"soon", b"late"}),
            ({"expires_within_seconds": 1000}, {b"never", b"late"}),
            ({"minimum_bytes": 5000}, {b"soon", b"late"}),
            ({"minimum_idle_seconds": 1000}, {b"soon", b"late", b"never"}),
        ],
    )
    def test_filters_work_inside_the_server(self, world: World, asked: dict[str, Any], left: set[bytes]) -> None:
        """What does not pass is skipped and counted."""
        world.put(b"soon", 10, 100_000)
        world.put(b"late", 10, 10_000_000)
        world.put(b"never", 10_000)
        cut = world.cut(Slice(criteria("*", **asked)))
        assert world.names() == left
        assert (cut.skipped, cut.evicted) == (len(left), 3 - len(left))

    def test_a_quota_holds_and_the_cursor_stays(self, world: World) -> None:
        """The rest of the step is still there for the next slice."""
        for number in range(20):
            world.put(b"%d" % number)
        cut = world.cut(Slice(criteria(), quota=7))
        assert (cut.evicted, cut.full, cut.cursor) == (7, True, 0)
        assert len(world.names()) == 13
        assert world.cut(Slice(criteria(), quota=13)).evicted == 13

    def test_a_histogram_is_measured_and_a_band_evicted(self, world: World) -> None:
        """Measuring removes nothing; a band removes what lies in it."""
        for number in range(10):
            world.put(b"small%d" % number, 10)
        world.put(b"large", 100_000)
        cut = world.cut(Slice(criteria(), order="size", measure=True))
        assert len(world.names()) == 11
        assert sum(number for number, _size in cut.buckets.values()) == 11
        top = max(cut.buckets)
        assert cut.buckets[top][0] == 1
        assert 100_000 <= cut.buckets[top][1] < 200_000
        assert bucket(cut.buckets[top][1]) == top
        assert world.cut(Slice(criteria(), order="size", band=(top, top))).evicted == 1
        assert b"large" not in world.names()
        assert len(world.names()) == 10

    def test_what_expires_soonest_lies_lowest(self, world: World) -> None:
        """Keys without an expiry lie in the last bucket."""
        world.put(b"soon", 10, 50_000)
        world.put(b"late", 10, 5_000_000)
        world.put(b"never")
        places = sorted(world.cut(Slice(criteria(), order="expiry", measure=True)).buckets)
        assert len(places) == 3
        assert places[-1] == BUCKETS - 1
        world.cut(Slice(criteria(), order="expiry", band=(0, places[0])))
        assert world.names() == {b"late", b"never"}

    def test_evicted_bytes_are_weighed(self, world: World) -> None:
        """A part of what goes is weighed, so that its size is known."""
        for number in range(64):
            world.put(b"%d" % number, 1000)
        cut = world.cut(Slice(criteria()))
        assert cut.weighed >= 4
        assert 1000 <= cut.weighed_bytes / cut.weighed < 2000
