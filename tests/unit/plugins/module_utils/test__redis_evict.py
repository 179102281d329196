"""Expectations of evicting keys, against a server in memory."""

from __future__ import annotations

import random
from typing import Any

import pytest
from ansible_collections.ops.runbooks.plugins.module_utils._errors import (
    ActionFailed,
    ConnectionFailed,
    PreconditionFailed,
)
from ansible_collections.ops.runbooks.plugins.module_utils._redis_criteria import MEANT
from ansible_collections.ops.runbooks.plugins.module_utils._redis_evict import EvictRequest, evict, evict_spec
from ansible_collections.ops.runbooks.plugins.module_utils._redis_order import LARGEST_FIRST, ORDERS, bands, estimate
from ansible_collections.ops.runbooks.plugins.module_utils._redis_ports import Facts, Memory
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import override

from tests.unit.plugins.module_utils.redis_nodes import BASE, FakeNode, criteria, place_of

DEFAULTS = {name: option.get("default") for name, option in evict_spec().options.items()}


def asked(**given: Any) -> EvictRequest:
    return EvictRequest.from_params({**DEFAULTS, "patterns": ["*"], **given})


def run(*nodes: FakeNode, dry_run: bool = False, **given: Any) -> dict[str, Any]:
    return evict(nodes, asked(**given), instance="cache1:6379", dry_run=dry_run, clock=nodes[0].clock())


def filled(number: int = 1000, **more: Any) -> FakeNode:
    node = FakeNode(**more)
    for index in range(number):
        node.put(b"session:%d" % index, 1000, 1000 + index, index, index % 256)
    return node


KEYS = st.lists(
    st.tuples(
        st.sampled_from([b"a:", b"b:", b"keep:", b"a:keep:"]),
        st.integers(0, 40),
        st.integers(50, 5000),
        st.one_of(st.just(-1), st.integers(0, 100_000)),
        st.integers(0, 5000),
        st.integers(0, 255),
    ),
    max_size=40,
)
ASKED = st.fixed_dictionaries(
    {
        "patterns": st.sampled_from([["a:*"], ["a:*", "b:*"], ["keep:*"], ["[ab]:?"], ["*:1*"]]),
        "protect": st.sampled_from([[], ["*keep:*"], ["a:keep:*"], ["b:[0-4]*"]]),
        "ttl": st.sampled_from(["any", "with", "without"]),
        "minimum_bytes": st.none() | st.integers(0, 5000),
        "minimum_idle_seconds": st.none() | st.floats(0, 5000),
        "order": st.sampled_from([order for order in ORDERS if order != "frequency"]),
        "max_keys": st.none() | st.integers(1, 30),
        "target_share": st.none() | st.floats(0, 1),
        "slice_milliseconds": st.floats(0.5, 100),
    }
)


def build(keys: list[tuple[bytes, int, int, int, int, int]], **more: Any) -> FakeNode:
    node = FakeNode(**more)
    for prefix, number, size, ttl, idle, frequency in keys:
        node.put(prefix + b"%d" % number, size, ttl, idle, frequency)
    return node


@given(KEYS, ASKED)
def test_only_what_is_meant_goes_and_limits_hold(keys: list[Any], given_options: dict[str, Any]) -> None:
    """Nothing protected, nothing a filter spares, never more than max_keys; and the account is true."""
    node = build(keys, limit=BASE + 40_000)
    request = asked(**given_options)
    was = dict(node.known)
    result = run(node, **given_options)
    gone = was.keys() - node.known.keys()
    assert all(request.criteria.judge(was[key]) == MEANT for key in gone)
    assert not any(one.expression().fullmatch(key) for one in request.criteria.protect for key in gone)
    assert result["evicted"] == len(gone)
    assert result["bytes_freed"] == sum(was[key].bytes for key in gone)
    assert result["changed"] == bool(gone)
    assert result["after"] == {**result["after"], "keys": len(node.known), "used_bytes": node.memory().used}
    if request.max_keys is not None:
        assert len(gone) <= request.max_keys
    left = [one for one in node.known.values() if request.criteria.judge(one) == MEANT]
    if request.max_keys is None and request.target_share is None:
        assert left == []
    elif request.target_share is not None:
        need = request.target_share * node.limit
        # One key fewer would not have been enough, and what is missing was not to be had.
        assert not gone or node.memory().used + max(was[key].bytes for key in gone) * 40 > need
        assert node.memory().used <= need or not left or len(gone) == request.max_keys


@given(KEYS, ASKED)
def test_the_check_predicts_the_run(keys: list[Any], given_options: dict[str, Any]) -> None:
    """A database that is counted in full is predicted in full: whether anything changes, and without a target, how."""
    node = build(keys, limit=BASE + 40_000)
    expected = run(node, **given_options, dry_run=True)
    assert node.log == []
    done = run(node, **given_options)
    assert expected["changed"] == done["changed"]
    if given_options["target_share"] is None:
        assert expected["estimate"]["keys"] == done["evicted"]
        if given_options["max_keys"] is None:
            assert expected["estimate"]["bytes"] == done["bytes_freed"]
    assert expected["estimate"]["keys_margin"] == 0


@given(KEYS, st.sampled_from(ORDERS[1:]), st.integers(1, 20))
def test_the_order_is_kept(keys: list[Any], order: str, number: int) -> None:
    """No key that stays comes before a key that went, to the step of the histogram."""
    node = build(keys, policy="allkeys-lfu" if order == "frequency" else "noeviction")
    was = dict(node.known)
    run(node, order=order, max_keys=number)
    gone = [place_of(was[key], order) for key in was.keys() - node.known.keys()]
    left = [place_of(one, order) for one in node.known.values()]
    assert len(gone) == min(number, len(was))
    if gone and left:
        assert min(gone) >= max(left) if order in LARGEST_FIRST else max(gone) <= min(left)


@given(st.dictionaries(st.integers(0, 511), st.tuples(st.integers(1, 9), st.integers(1, 999))), st.sampled_from(ORDERS))
def test_bands_hold_enough_and_the_first_alone_does_not(histogram: dict[int, tuple[int, int]], order: str) -> None:
    """The need ends in the last band."""
    found = bands(histogram, order, 10, 1000)
    held = [sum(number for place, (number, _size) in histogram.items() if low <= place <= high) for low, high in found]
    weigh = [sum(size for place, (_number, size) in histogram.items() if low <= place <= high) for low, high in found]
    everything = sum(number for number, _size in histogram.values())
    assert sum(held) >= min(10, everything) or sum(weigh) >= 1000
    if len(found) == 2:
        assert held[0] < 10
        assert weigh[0] < 1000


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 1.0])
def test_the_margin_of_a_sample_holds_the_truth(share: float) -> None:
    """In at least nine of ten samples, keys and bytes lie within their margins of the truth."""
    dice = random.Random(7)
    total = 100_000
    kept = criteria("a*")
    inside = 0
    for _attempt in range(100):
        facts = [
            Facts(b"a" if dice.random() < share else b"b", -1, dice.choice([50, 100, 1000])) for _number in range(1000)
        ]
        meant = [one for one in facts if kept.judge(one) == MEANT]
        told = estimate(meant, 1000, total, "none", need_keys=1e9, need_bytes=1e9, typical_bytes=383)
        truth = share * total
        size = truth * (50 + 100 + 1000) / 3
        right = abs(told.keys - truth) <= told.keys_margin
        inside += right and (share == 0 or abs(told.bytes - size) <= told.bytes_margin or told.keys == 0)
    assert inside >= 90


def test_a_large_database_is_estimated_and_a_target_cuts_it() -> None:
    """About so many keys of about so many bytes, with a margin that the run keeps."""
    node = filled(4000, limit=BASE + 4_000_000)
    plain = run(node, patterns=["session:1*"], sample_keys=500, dry_run=True)["estimate"]
    assert plain["sampled"] == 500
    assert abs(plain["keys"] - 1111) <= plain["keys_margin"]
    half: dict[str, Any] = {"order": "idle", "target_share": 0.6, "sample_keys": 500}
    told = run(node, **half, dry_run=True)
    assert told["actions"][0].startswith("Would evict about 2")
    done = run(node, **half)
    assert abs(told["estimate"]["keys"] - done["evicted"]) <= told["estimate"]["keys_margin"]
    assert abs(told["estimate"]["bytes"] - done["bytes_freed"]) <= told["estimate"]["bytes_margin"]
    few = run(node, max_keys=10, sample_keys=500, dry_run=True)["estimate"]
    assert (few["keys"], few["keys_margin"], few["bytes"]) == (10, 0, 10_000)


def test_the_target_is_reached_and_not_overshot() -> None:
    """Down to the share that was asked for, within one key."""
    node = filled(limit=BASE + 1_000_000)
    result = run(node, target_share=0.75)
    assert result["target_reached"] is True
    assert 0 <= 0.75 * node.limit - node.memory().used < 1000
    assert result["evicted"] == 500
    again = run(node, target_share=0.75)
    assert (again["changed"], again["slices"]) == (False, 0)
    assert again["actions"] == ["Nothing to evict: memory is at or below 75% of maxmemory."]
    assert run(node, target_share=0.75, dry_run=True)["actions"] == again["actions"]


def test_a_target_that_cannot_be_reached_is_said() -> None:
    """What matches is gone, and it was not enough."""
    node = filled(100, limit=BASE)
    result = run(node, patterns=["session:1*"], target_share=0.5)
    assert result["target_reached"] is False
    assert result["evicted"] == 11
    (warning,) = result["warnings"]
    assert warning.startswith("Memory on cache1:6379 is still above 50% of maxmemory, and nothing else matches.")


def test_an_order_goes_on_until_the_target() -> None:
    """What was measured too small is measured again."""
    node = filled(300, limit=BASE + 300_000)

    def refill(fake: FakeNode) -> None:
        if len(fake.log) == 3:
            for index in range(50):
                fake.put(b"new:%d" % index, 1000, -1, 10_000)

    node.between = refill
    result = run(node, order="idle", target_share=0.9)
    assert result["target_reached"] is True
    assert run(filled(5, limit=BASE), order="size", target_share=0.1)["target_reached"] is False


def test_slices_grow_to_their_time_and_pause() -> None:
    """A slice takes about as long as was asked for, and nobody is locked out between two."""
    node = filled(20_000, seconds_per_key=1e-6)
    result = run(node, patterns=["session:*"], slice_milliseconds=2)
    longest = max(one.count for one in node.log)
    assert 1500 < longest <= 4000
    assert 1.5 < result["longest_slice_ms"] < 4.5
    assert result["duration_seconds"] > result["slices"] * 0.0004
    slow = filled(2000, seconds_per_key=1e-3)
    run(slow, patterns=["session:*"])
    assert min(one.count for one in slow.log) == 10


def test_every_node_is_worked_on_with_one_limit_for_all() -> None:
    """Keys are counted over all masters; shares are those of each."""
    one, two = filled(100), filled(100, name="cache2:6379")
    result = run(one, two, max_keys=150)
    assert [row["evicted"] for row in result["nodes"]] == [100, 50]
    assert result["after"]["keys"] == 50
    told = run(filled(100), filled(100), max_keys=150, dry_run=True)
    assert told["estimate"]["keys"] == 150
    full, empty = filled(1000, limit=BASE + 1_000_000), filled(10, limit=BASE + 1_000_000, name="cache2:6379")
    result = run(full, empty, target_share=0.8, only_above=0.9)
    assert [row["evicted"] for row in result["nodes"]] == [400, 0]
    assert result["before"]["limit_bytes"] == 2 * (BASE + 1_000_000)


@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize(
    ("node", "given_options", "message"),
    [
        (
            {"role": "slave"},
            {"max_keys": 1},
            "it is a replica of cache0:6379. Connect to the master, or name the sentinels.",
        ),
        ({}, {"target_share": 0.5}, "target_share mean a share of maxmemory, and that is 0."),
        ({}, {"max_keys": 1, "only_above": 0.5}, "only_above mean a share of maxmemory, and that is 0."),
        (
            {},
            {"max_keys": 1, "order": "frequency"},
            "order frequency needs an LFU policy, and maxmemory-policy is noevi",
        ),
        ({"policy": "allkeys-lfu"}, {"max_keys": 1, "order": "idle"}, "order idle is unknown under an LFU policy"),
        ({"policy": "allkeys-lfu"}, {"minimum_idle_seconds": 1}, "minimum_idle_seconds is unknown under an LFU policy"),
        (
            {"limit": BASE * 10},
            {"max_keys": 1, "only_above": 0.5},
            "11% of maxmemory is in use on cache1:6379, below the 50% from which keys are evicted. Lower only_above",
        ),
    ],
)
def test_what_would_be_wrong_is_refused_before_anything_changes(
    node: dict[str, Any], given_options: dict[str, Any], message: str, dry_run: bool
) -> None:
    """In check mode as well, with the reason."""
    server = filled(100, **node)
    with pytest.raises(PreconditionFailed) as raised:
        run(server, **given_options, dry_run=dry_run)
    assert message in str(raised.value)
    assert server.log == []


def test_below_the_precondition_a_run_can_be_skipped_or_warned() -> None:
    """As the person chose."""
    options: dict[str, Any] = {"max_keys": 5, "only_above": 0.5}
    node = filled(100, limit=BASE * 10)
    skipped = run(node, **options, precondition_reaction="skip")
    assert skipped["changed"] is False
    assert skipped["actions"][0].startswith("Left everything alone: 11% of maxmemory")
    warned = run(node, **options, precondition_reaction="warn")
    assert warned["evicted"] == 5
    assert "below the 50%" in warned["warnings"][0]


@pytest.mark.parametrize(
    ("given_options", "message"),
    [
        ({}, "These criteria mean every key."),
        ({"patterns": ["session:*", "*"]}, "These criteria mean every key."),
        ({"protect": ["a:*"]}, "These criteria mean every key."),
        ({"patterns": []}, "patterns is empty"),
        ({"patterns": [""]}, "A pattern is empty"),
        ({"max_keys": 0}, "max_keys is 0"),
        ({"max_keys": 1, "sample_keys": 0}, "sample_keys is 0"),
        ({"target_share": 1.5}, "target_share is 1.5"),
        ({"max_keys": 1, "only_above": -1}, "only_above is -1"),
        ({"max_keys": 1, "slice_milliseconds": 500}, "slice_milliseconds is 500"),
        ({"minimum_bytes": -1}, "minimum_bytes is -1 and must not be negative"),
        ({"ttl": "without", "expires_within_seconds": 5}, "and ttl for keys without one"),
    ],
)
def test_what_must_not_be_asked_is_refused(given_options: dict[str, Any], message: str) -> None:
    """Nobody evicts everything by leaving something out."""
    with pytest.raises(ValueError, match=message):
        asked(**given_options)


@pytest.mark.parametrize(
    "given_options",
    [
        {"patterns": ["a*"]},
        {"ttl": "with"},
        {"minimum_idle_seconds": 0},
        {"expires_within_seconds": 5},
        {"minimum_bytes": 1},
        {"max_keys": 1},
        {"target_share": 0.5},
    ],
)
def test_one_limit_is_enough(given_options: dict[str, Any]) -> None:
    """Each way of narrowing counts."""
    asked(**given_options)


def test_a_connection_lost_half_way_carries_what_was_done() -> None:
    """The message counts, and says that one slice is unknown."""
    node = filled(1000, lost_after=3)
    with pytest.raises(ConnectionFailed) as raised:
        run(node, patterns=["session:*"])
    gone = 1000 - len(node.known)
    assert gone > 0
    assert str(raised.value) == (
        f"Lost the connection to Redis cache1:6379: closed by server. Before that, {gone} keys were evicted. The slice "
        "that was under way may have evicted more. A second run goes on."
    )
    assert (raised.value.details["evicted"], raised.value.details["changed"]) == (gone, True)


def test_a_refusal_half_way_carries_what_was_done() -> None:
    """What went before in the same slice is counted too."""
    node = filled(1000, denied=frozenset([b"session:500"]))
    with pytest.raises(ActionFailed, match=r"Before that, 500 keys were evicted\. A second run goes on."):
        run(node, patterns=["session:*"])
    with pytest.raises(ActionFailed, match="login_user may not UNLINK all of what matches"):
        run(node, patterns=["session:*"], dry_run=True)
    assert len(node.known) == 500


def test_the_server_is_given_time_to_free() -> None:
    """What its threads still free is waited for, so that not too much is evicted."""

    class Slow(FakeNode):
        asked = 0

        @override
        def memory(self) -> Memory:
            self.asked += 1
            known = super().memory()
            return Memory(known.used, known.limit, known.policy, pending=self.asked % 3)

    node = Slow(limit=BASE + 100_000)
    for index in range(100):
        node.put(b"a:%d" % index, 1000)
    result = run(node, target_share=0.95)
    assert result["target_reached"] is True
    assert node.asked > result["slices"]


def test_sentences_say_what_was_left_and_why() -> None:
    """Protected, filtered, nothing there."""
    node = filled(10)
    node.put(b"session:keep:1", 5)
    done = run(node, patterns=["session:*"], protect=["*keep*"], minimum_bytes=1000)
    assert done["actions"] == ["Evicted 10 keys and freed about 9.8 KiB.", "Left 1 key alone: protected."]
    again = run(node, patterns=["session:*"], minimum_bytes=1000)
    assert again["actions"] == ["Nothing to evict: no key matches.", "Left 1 key alone: a filter does not hold."]
    assert run(FakeNode(), patterns=["a*"], dry_run=True)["actions"] == ["Nothing to evict: no key matches."]
    large = FakeNode()
    large.put(b"a", 5 << 30)
    assert run(large, patterns=["a"], dry_run=True)["actions"] == ["Would evict about 1 key and free about 5.0 GiB."]
