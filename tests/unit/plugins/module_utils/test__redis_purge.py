"""Expectations of returning memory, against an allocator that lives in memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from ansible_collections.ops.runbooks.plugins.module_utils._errors import ActionFailed, ConnectionFailed, OpsError
from ansible_collections.ops.runbooks.plugins.module_utils._redis_purge import (
    Allocator,
    Held,
    PurgeRequest,
    purge_spec,
    return_memory,
)
from ansible_collections.ops.runbooks.plugins.module_utils._waiting import Clock
from typing_extensions import override

MB = 1 << 20
DEFAULTS = {name: option["default"] for name, option in purge_spec().options.items()}


@dataclass
class FakeAllocator(Allocator):
    """Holds pages that are empty, and pages in which something stands; moving keys frees some of these each second."""

    used: int = 10 * MB
    empty: int = 0
    scattered: int = 0
    built_for_it: bool = True
    on: bool = False
    lost: bool = False
    name: str = "cache1:6379"
    asked: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def clock(self) -> Clock:
        return Clock(now=lambda: self.seconds, sleep=self._sleep)

    def _sleep(self, seconds: float) -> None:
        self.seconds += seconds
        if self.on:
            self.scattered = max(0, self.scattered - round(10 * MB * seconds))

    @override
    def held(self) -> Held:
        if self.lost:
            raise ConnectionFailed("Lost the connection.")
        return Held(self.used, self.used + self.empty + self.scattered)

    @override
    def purge(self) -> None:
        self.asked.append("purge")
        self.empty = 0

    @override
    def defragmenting(self) -> bool:
        return self.on

    @override
    def defragment(self, *, on: bool) -> None:
        self.asked.append(f"defragment {on}")
        if on and not self.built_for_it:
            raise ActionFailed("Redis refused a command: it requires a modified Jemalloc.")
        self.on = on


def run(*allocators: FakeAllocator, dry_run: bool = False, **given: Any) -> dict[str, Any]:
    request = PurgeRequest.from_params({**DEFAULTS, **given})
    clock = allocators[0].clock()
    return return_memory(allocators, request, instance="cache1:6379", dry_run=dry_run, clock=clock)


def test_empty_pages_are_returned() -> None:
    """Check mode says so and does nothing; a second run changes nothing."""
    one = FakeAllocator(empty=100 * MB)
    checked = run(one, dry_run=True)
    assert (checked["changed"], one.asked) == (True, [])
    assert checked["actions"] == [f"Would have cache1:6379 return what it can of {100 * MB} bytes."]
    done = run(one)
    assert (done["changed"], one.asked) == (True, ["purge"])
    assert done["actions"] == [f"cache1:6379 returned {100 * MB} bytes when purged."]
    assert (done["before"]["held_bytes"], done["after"]["held_bytes"]) == (100 * MB, 0)
    assert run(one)["changed"] is False


def test_scattered_keys_are_moved_and_the_setting_is_as_before() -> None:
    """Until little enough is held."""
    one = FakeAllocator(scattered=200 * MB)
    done = run(one)
    assert one.asked == ["purge", "defragment True", "defragment False"]
    assert done["after"]["held_bytes"] <= 64 * MB
    already = FakeAllocator(scattered=200 * MB, on=True)
    run(already)
    assert already.on


def test_a_server_that_cannot_move_keys_is_told() -> None:
    """That is no failure: what could be returned was."""
    one = FakeAllocator(empty=80 * MB, scattered=80 * MB, built_for_it=False)
    done = run(one)
    assert done["changed"] is True
    assert done["actions"][-1].endswith("it requires a modified Jemalloc. A restart returns the rest.")
    assert run(FakeAllocator(scattered=80 * MB), active_defragmentation=False)["after"]["held_bytes"] == 80 * MB


@pytest.mark.parametrize(
    "one",
    [
        pytest.param(FakeAllocator(used=MB, empty=20 * MB), id="small"),
        pytest.param(FakeAllocator(used=1000 * MB, empty=100 * MB), id="large"),
    ],
)
def test_below_a_threshold_nothing_is_done(one: FakeAllocator) -> None:
    """A high ratio of little, and little of much; or that is a refusal."""
    done = run(one)
    assert (done["changed"], one.asked) == (False, [])
    assert done["actions"][0].startswith("Left everything alone: cache1:6379 holds ")
    with pytest.raises(OpsError, match="which is not too much"):
        run(one, precondition_reaction="fail")


def test_only_the_nodes_that_hold_too_much_are_asked() -> None:
    """The others of a cluster are left alone."""
    well, ill = FakeAllocator(), FakeAllocator(empty=100 * MB, name="cache2:6379")
    run(well, ill)
    assert (well.asked, ill.asked) == ([], ["purge"])


def test_a_server_that_goes_away_leaves_what_is_true() -> None:
    """The error says that something was done, and the setting is tried to be put back."""

    class Leaving(FakeAllocator):
        @override
        def purge(self) -> None:
            super().purge()
            self.lost = True

    with pytest.raises(ConnectionFailed) as failed:
        run(Leaving(empty=100 * MB))
    assert failed.value.details["changed"] is True
    assert str(failed.value.details["before"]).startswith(f"{{'used_bytes': {10 * MB}, ")


def test_a_setting_that_cannot_be_put_back_is_told() -> None:
    """Nobody else would switch it off."""

    class Stuck(FakeAllocator):
        @override
        def defragment(self, *, on: bool) -> None:
            super().defragment(on=on)
            if not on:
                raise ConnectionFailed("Cannot connect to Redis cache1:6379.")

    with pytest.raises(ConnectionFailed) as failed:
        run(Stuck(scattered=200 * MB))
    assert str(failed.value) == (
        "Cannot connect to Redis cache1:6379. Active defragmentation may still be on; switch it off: "
        "CONFIG SET activedefrag no."
    )
    assert failed.value.details["changed"] is True


@pytest.mark.parametrize("wrong", [{"only_above_ratio": 0.5}, {"only_above_bytes": -1}, {"timeout_seconds": 0.0}])
def test_thresholds_that_cannot_be(wrong: dict[str, Any]) -> None:
    """They are named."""
    with pytest.raises(ValueError, match="only_above_ratio must be at least 1"):
        run(FakeAllocator(), **wrong)
