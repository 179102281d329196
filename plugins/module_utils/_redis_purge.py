# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to the ops.runbooks collection: may change without notice.
"""Have a Redis server return memory that its keys no longer need: the work behind redis_memory_purge."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ansible_collections.ops.runbooks.plugins.module_utils._arguments import ArgumentSpec
from ansible_collections.ops.runbooks.plugins.module_utils._errors import ActionFailed, OpsError, PreconditionFailed
from ansible_collections.ops.runbooks.plugins.module_utils._waiting import Clock, wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ansible_collections.ops.runbooks.plugins.module_utils._redis_adapter import Connection

# The server measures itself ten times a second.
SETTLE_SECONDS = 2.0
MEGABYTE = 1 << 20


def purge_spec() -> ArgumentSpec:
    """Return the options of redis_memory_purge."""
    return ArgumentSpec(
        options={
            "only_above_ratio": {"type": "float", "default": 1.5},
            "only_above_bytes": {"type": "int", "default": 64 * MEGABYTE},
            "precondition_reaction": {"type": "str", "choices": ["fail", "skip"], "default": "skip"},
            "active_defragmentation": {"type": "bool", "default": True},
            "timeout_seconds": {"type": "float", "default": 60.0},
        }
    )


@dataclass(frozen=True)
class PurgeRequest:
    """What redis_memory_purge is asked to do."""

    ratio: float
    bytes: int
    reaction: str
    defragment: bool
    timeout_seconds: float

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> PurgeRequest:
        """Build the request from the module's options; raises ValueError for what cannot be meant."""
        if params["only_above_ratio"] < 1 or params["only_above_bytes"] < 0 or params["timeout_seconds"] <= 0:
            raise ValueError("only_above_ratio must be at least 1, only_above_bytes 0, and timeout_seconds above 0.")
        return cls(
            params["only_above_ratio"],
            params["only_above_bytes"],
            params["precondition_reaction"],
            params["active_defragmentation"],
            params["timeout_seconds"],
        )


@dataclass(frozen=True)
class Held:
    """The memory of a process beside what it uses."""

    used: int
    resident: int

    @property
    def bytes(self) -> int:
        """Return what is held and not used."""
        return max(0, self.resident - self.used)

    @property
    def ratio(self) -> float:
        """Return how many times the used memory the process has."""
        return round(self.resident / self.used, 2)

    def above(self, request: PurgeRequest) -> bool:
        """Whether it is too much, by ratio and by amount: a small server has a high ratio always."""
        return self.ratio > request.ratio and self.bytes > request.bytes

    def as_return(self) -> dict[str, Any]:
        """Return the values of a result."""
        return {
            "used_bytes": self.used,
            "rss_bytes": self.resident,
            "held_bytes": self.bytes,
            "fragmentation_ratio": self.ratio,
        }


class Allocator(ABC):
    """The memory of one server. Every method raises ConnectionFailed, and ActionFailed if the server refuses."""

    name: str

    @abstractmethod
    def held(self) -> Held:
        """Read what the process holds."""

    @abstractmethod
    def purge(self) -> None:
        """Have the allocator return the pages in which nothing is."""

    @abstractmethod
    def defragmenting(self) -> bool:
        """Tell whether active defragmentation is on."""

    @abstractmethod
    def defragment(self, *, on: bool) -> None:
        """Switch active defragmentation; raises ActionFailed where the server was built without it."""


class RedisAllocator(Allocator):
    """The memory of the server behind a connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.name = connection.name

    def held(self) -> Held:
        info = self._connection.ask("INFO", "memory")
        return Held(used=info["used_memory"], resident=info["used_memory_rss"])

    def purge(self) -> None:
        self._connection.ask("MEMORY", "PURGE")

    def defragmenting(self) -> bool:
        return "yes" in str(self._connection.ask("CONFIG", "GET", "activedefrag"))

    def defragment(self, *, on: bool) -> None:
        self._connection.ask("CONFIG", "SET", "activedefrag", "yes" if on else "no")


def return_memory(
    allocators: Sequence[Allocator],
    request: PurgeRequest,
    *,
    instance: str,
    dry_run: bool,
    clock: Clock | None = None,
) -> dict[str, Any]:
    """Return memory on every node that holds too much; a dry run says what would be done.

    Raises PreconditionFailed if no node does and that is to fail. What an error carries is true at its time.
    """
    clock = clock or Clock()
    start = clock.now()
    found = [one.held() for one in allocators]
    result: dict[str, Any] = {"changed": False, "instance": instance, "actions": []}
    result["before"] = result["after"] = _worst(found)
    if not any(held.above(request) for held in found):
        worst = result["before"]
        problem = (
            f"{instance} holds {worst['held_bytes']} bytes beside what it uses, {worst['fragmentation_ratio']} times "
            "that, which is not too much"
        )
        if request.reaction == "fail":
            raise PreconditionFailed(f"Cannot return memory of {instance}: {problem}.", **result)
        result["actions"].append(f"Left everything alone: {problem}.")
        result["duration_seconds"] = 0.0
        return result
    try:
        for one, held in zip(allocators, found):
            if held.above(request):
                _return_of(one, held, request, result, clock, dry_run=dry_run)
        if not dry_run:
            result["after"] = _worst([one.held() for one in allocators])
    except OpsError as error:
        error.details = {**result, **error.details}
        raise
    result["duration_seconds"] = round(clock.now() - start, 3)
    return result


def _return_of(
    allocator: Allocator, held: Held, request: PurgeRequest, result: dict[str, Any], clock: Clock, *, dry_run: bool
) -> None:
    actions: list[str] = result["actions"]
    result["changed"] = True
    if dry_run:
        actions.append(f"Would have {allocator.name} return what it can of {held.bytes} bytes.")
        return
    allocator.purge()
    waited = wait_until(
        allocator.held,
        lambda now: not now.above(request),
        timeout_seconds=SETTLE_SECONDS,
        interval_seconds=0.1,
        clock=clock,
    )
    actions.append(f"{allocator.name} returned {max(0, held.resident - waited.state.resident)} bytes when purged.")
    if waited.reached or not request.defragment:
        return
    before = allocator.defragmenting()
    try:
        allocator.defragment(on=True)
    except ActionFailed as error:
        actions.append(f"{allocator.name} cannot move what is in the way: {error} A restart returns the rest.")
        return
    try:
        waited = wait_until(
            allocator.held,
            lambda now: not now.above(request),
            timeout_seconds=request.timeout_seconds,
            clock=clock,
        )
    finally:
        if not before:
            _switch_off(allocator)
    actions.append(f"{allocator.name} moved keys for {waited.seconds:.0f} s and then held {waited.state.bytes} bytes.")


def _switch_off(allocator: Allocator) -> None:
    try:
        allocator.defragment(on=False)
    except OpsError as error:
        # Whoever comes next would take it for what somebody wanted.
        error.args = (f"{error} Active defragmentation may still be on; switch it off: CONFIG SET activedefrag no.",)
        raise


def _worst(found: Sequence[Held]) -> dict[str, Any]:
    return max(found, key=lambda held: held.bytes).as_return()
