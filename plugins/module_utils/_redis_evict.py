# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to the ops.runbooks collection: may change without notice.
"""Evict chosen keys in short slices: the work behind redis_evict."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ansible_collections.ops.runbooks.plugins.module_utils._arguments import ArgumentSpec
from ansible_collections.ops.runbooks.plugins.module_utils._errors import (
    ActionFailed,
    ConnectionFailed,
    PreconditionFailed,
)
from ansible_collections.ops.runbooks.plugins.module_utils._redis_criteria import MEANT, Criteria
from ansible_collections.ops.runbooks.plugins.module_utils._redis_memory import look
from ansible_collections.ops.runbooks.plugins.module_utils._redis_order import ORDERS, Estimate, bands, estimate
from ansible_collections.ops.runbooks.plugins.module_utils._redis_ports import Cut, Memory, Node, Slice
from ansible_collections.ops.runbooks.plugins.module_utils._waiting import Clock, wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FIRST_COUNT = 100
SMALLEST_COUNT = 10
LARGEST_COUNT_PER_MS = 2000
PAUSE = 0.2  # of the length of a slice
ROUNDS = 10
SETTLE_SECONDS = 5.0


def evict_spec() -> ArgumentSpec:
    """Return the options of redis_evict."""
    return ArgumentSpec(
        options={
            "patterns": {"type": "list", "elements": "str", "required": True},
            "protect": {"type": "list", "elements": "str", "default": []},
            "minimum_idle_seconds": {"type": "float"},
            "ttl": {"type": "str", "choices": ["any", "with", "without"], "default": "any"},
            "expires_within_seconds": {"type": "float"},
            "minimum_bytes": {"type": "int"},
            "order": {"type": "str", "choices": ORDERS, "default": "none"},
            "target_share": {"type": "float"},
            "max_keys": {"type": "int", "no_log": False},
            "only_above": {"type": "float"},
            "precondition_reaction": {"type": "str", "choices": ["fail", "skip", "warn"], "default": "fail"},
            "slice_milliseconds": {"type": "float", "default": 5.0},
            "sample_keys": {"type": "int", "default": 5000, "no_log": False},
        }
    )


@dataclass(frozen=True)
class EvictRequest:
    """What redis_evict is asked to do."""

    criteria: Criteria
    order: str
    target_share: float | None
    max_keys: int | None
    only_above: float | None
    precondition_reaction: str
    slice_seconds: float
    sample_keys: int

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> EvictRequest:
        """Build the request from the module's options; raises ValueError for what must not be asked."""
        for name in ("target_share", "only_above"):
            if params[name] is not None and not 0 <= params[name] <= 1:
                raise ValueError(f"{name} is {params[name]}, expected a share between 0 and 1.")
        for name in ("max_keys", "sample_keys"):
            if params[name] is not None and params[name] < 1:
                raise ValueError(f"{name} is {params[name]}, expected at least 1.")
        if not 0.5 <= params["slice_milliseconds"] <= 100:  # noqa: PLR2004 - what other clients can bear
            raise ValueError(f"slice_milliseconds is {params['slice_milliseconds']}, expected 0.5 to 100.")
        if not params["patterns"]:
            raise ValueError("patterns is empty. Name what may be evicted, as in session:*.")
        criteria = Criteria.from_params(params)
        if not criteria.narrows and params["max_keys"] is None and params["target_share"] is None:
            raise ValueError(
                "These criteria mean every key. Name a prefix, set a filter (minimum_idle_seconds, ttl, "
                "expires_within_seconds, minimum_bytes), or set where to stop (target_share, max_keys)."
            )
        return cls(
            criteria=criteria,
            order=params["order"],
            target_share=params["target_share"],
            max_keys=params["max_keys"],
            only_above=params["only_above"],
            precondition_reaction=params["precondition_reaction"],
            slice_seconds=params["slice_milliseconds"] / 1000,
            sample_keys=params["sample_keys"],
        )

    @property
    def stops(self) -> bool:
        """Whether there is a point at which matching keys are left."""
        return self.target_share is not None or self.max_keys is not None

    @property
    def measure(self) -> str:
        """Return what a sample has to look at beside size and expiry."""
        if self.order == "frequency":
            return "frequency"
        return "idle" if self.order == "idle" or self.criteria.minimum_idle_seconds is not None else "none"


@dataclass
class _Tally:
    """What was done until now, on every node."""

    scanned: int = 0
    evicted: int = 0
    protected: int = 0
    skipped: int = 0
    freed: float = 0.0
    slices: int = 0
    longest_seconds: float = 0.0

    def as_return(self) -> dict[str, Any]:
        return {
            "scanned": self.scanned,
            "evicted": self.evicted,
            "protected": self.protected,
            "skipped": self.skipped,
            "bytes_freed": round(self.freed),
            "slices": self.slices,
            "longest_slice_ms": round(self.longest_seconds * 1000, 3),
        }


def evict(
    nodes: Sequence[Node], request: EvictRequest, *, instance: str, dry_run: bool, clock: Clock | None = None
) -> dict[str, Any]:
    """Evict the keys that match, and return what was done; a dry run estimates from a sample and evicts nothing.

    Raises PreconditionFailed before anything is changed, ActionFailed or ConnectionFailed with what was done until
    then.
    """
    clock = clock or Clock()
    start = clock.now()
    for node in nodes:
        _refuse_replica(node)
    memories = [node.memory() for node in nodes]
    rows = [{"node": node.name, "before": _state(node, memory)} for node, memory in zip(nodes, memories)]
    tally = _Tally()
    result: dict[str, Any] = {
        "changed": False,
        "instance": instance,
        "actions": [],
        "warnings": [],
        "nodes": rows,
        "before": _total(rows, "before"),
        "after": _total(rows, "before"),
        "target_reached": None,
        **tally.as_return(),
    }
    for node, memory in zip(nodes, memories):
        _refuse_unfit(node, memory, request, result)
    problem = _not_above(memories, request.only_above, instance)
    if problem and request.precondition_reaction == "fail":
        raise PreconditionFailed(f"{problem} Lower only_above if keys shall be evicted all the same.", **result)
    if problem and request.precondition_reaction == "skip":
        result["actions"].append(f"Left everything alone: {problem}")
        return _timed(result, clock, start)
    if problem:
        result["warnings"].append(problem)
    if dry_run:
        _foretell(nodes, memories, request, result)
    else:
        _act(nodes, request, result, tally, clock)
    return _timed(result, clock, start)


def _refuse_replica(node: Node) -> None:
    info = node.info()
    if info.get("role") != "master":
        master = f"{info.get('master_host')}:{info.get('master_port')}"
        raise PreconditionFailed(
            f"Cannot evict keys on {node.name}: it is a replica of {master}. "
            "Connect to the master, or name the sentinels."
        )


def _refuse_unfit(node: Node, memory: Memory, request: EvictRequest, result: Mapping[str, Any]) -> None:
    """Stop before the first change if the server cannot know what is asked."""
    cause = None
    shares = [name for name in ("target_share", "only_above") if getattr(request, name) is not None]
    lfu = "lfu" in memory.policy
    if shares and not memory.limit:
        cause = f"{' and '.join(shares)} mean a share of maxmemory, and that is 0. Set it, or use max_keys and filters"
    elif request.order == "frequency" and not lfu:
        cause = f"order frequency needs an LFU policy, and maxmemory-policy is {memory.policy}. Use order idle"
    elif request.measure == "idle" and lfu:
        option = "order idle" if request.order == "idle" else "minimum_idle_seconds"
        cause = f"{option} is unknown under an LFU policy, and maxmemory-policy is {memory.policy}. Use order frequency"
    if cause:
        raise PreconditionFailed(f"Cannot evict keys on {node.name}: {cause}.", **result)


def _not_above(memories: Sequence[Memory], share: float | None, instance: str) -> str | None:
    if share is None:
        return None
    fullest = max(memory.share or 0.0 for memory in memories)
    if fullest >= share:
        return None
    return f"{fullest:.0%} of maxmemory is in use on {instance}, below the {share:.0%} from which keys are evicted."


def _need_bytes(memory: Memory, request: EvictRequest) -> float:
    return math.inf if request.target_share is None else max(0.0, memory.used - request.target_share * memory.limit)


def _foretell(nodes: Sequence[Node], memories: Sequence[Memory], request: EvictRequest, result: dict[str, Any]) -> None:
    """Say what a run would do, from a random sample."""
    expected, left = Estimate(), math.inf if request.max_keys is None else float(request.max_keys)
    for node, memory in zip(nodes, memories):
        keys = node.keys()
        sample = list(look(node, keys, request.sample_keys, measure=request.measure)) if keys else []
        meant = [one for one in sample if request.criteria.judge(one) == MEANT]
        if not all(one.may_unlink for one in meant):
            raise ActionFailed(
                f"Cannot evict keys on {node.name}: login_user may not UNLINK all of what matches. "
                "As an administrator, give it the command and the keys (ACL SETUSER).",
                **result,
            )
        need = _need_bytes(memory, request)
        found = estimate(
            meant,
            len(sample),
            keys,
            request.order,
            need_keys=left,
            need_bytes=need,
            typical_bytes=sum(one.bytes for one in sample) / max(1, len(sample)),
        )
        left -= round(found.keys)
        expected += found
    result["estimate"] = expected.as_return()
    result["changed"] = expected.keys > 0
    if result["changed"]:
        told = result["estimate"]
        margin = f" (± {told['keys_margin']})" if told["keys_margin"] else ""
        result["actions"].append(
            f"Would evict about {_count(told['keys'])}{margin} and free about {_size(told['bytes'])}."
        )
    else:
        result["actions"].append(_nothing(memories, request))


def _nothing(memories: Sequence[Memory], request: EvictRequest) -> str:
    if all(_need_bytes(memory, request) == 0 for memory in memories):
        return f"Nothing to evict: memory is at or below {request.target_share:.0%} of maxmemory."
    return "Nothing to evict: no key matches."


def _act(nodes: Sequence[Node], request: EvictRequest, result: dict[str, Any], tally: _Tally, clock: Clock) -> None:
    runs = [_Run(node, request, tally, clock) for node in nodes]
    memories = []
    for run, row in zip(runs, result["nodes"]):
        evicted = tally.evicted
        try:
            run.work()
            memories.append(run.settle())
            row["after"] = _state(run.node, memories[-1])
        except (ActionFailed, ConnectionFailed) as error:
            row["evicted"] = tally.evicted - evicted
            result.update(tally.as_return(), changed=bool(tally.evicted))
            unknown = " The slice that was under way may have evicted more." if run.in_flight else ""
            raise type(error)(
                f"{error} Before that, {_count(tally.evicted)} were evicted.{unknown} A second run goes on.",
                **{**result, **error.details},
            ) from error
        row["evicted"] = tally.evicted - evicted
    result.update(tally.as_return(), changed=bool(tally.evicted), after=_total(result["nodes"], "after"))
    if request.target_share is not None:
        result["target_reached"] = all(run.reached(memory) for run, memory in zip(runs, memories))
    _describe(request, result, memories)


def _describe(request: EvictRequest, result: dict[str, Any], memories: Sequence[Memory]) -> None:
    actions = result["actions"]
    if result["evicted"]:
        actions.append(f"Evicted {_count(result['evicted'])} and freed about {_size(result['bytes_freed'])}.")
    elif result["target_reached"] is not False:
        actions.append(_nothing(memories, request))
    if result["protected"]:
        actions.append(f"Left {_count(result['protected'])} alone: protected.")
    if result["skipped"]:
        actions.append(f"Left {_count(result['skipped'])} alone: a filter does not hold.")
    if result["target_reached"] is False and (request.max_keys is None or result["evicted"] < request.max_keys):
        warning = (
            f"Memory on {result['instance']} is still above {request.target_share:.0%} of maxmemory, and nothing else "
            "matches. Widen the criteria, or raise maxmemory."
        )
        result["warnings"].append(warning)
        actions.append(warning)


@dataclass
class _Run:
    """The work on one node. Its memory does not grow with the number of keys."""

    node: Node
    request: EvictRequest
    tally: _Tally
    clock: Clock
    count: float = FIRST_COUNT
    used: int = 0
    target: float | None = None
    mean: float = 0.0
    in_flight: bool = False
    counted: bool = field(default=False)

    def work(self) -> None:
        """Evict until the need is met or nothing more matches."""
        memory, keys = self.node.memory(), self.node.keys()
        self.used = memory.used
        self.mean = max(1.0, memory.used / max(1, keys))
        if self.request.target_share is not None:
            self.target = self.request.target_share * memory.limit
        if self.done():
            return
        if self.request.order == "none" or not self.request.stops:
            self._pass()
            return
        for _round in range(ROUNDS):
            histogram: dict[int, tuple[int, int]] = {}
            self._pass(order=self.request.order, histogram=histogram)
            evicted = 0
            need_bytes = math.inf if self.target is None else self.used - self.target
            for band in bands(histogram, self.request.order, self.left, need_bytes):
                evicted += self._pass(order=self.request.order, band=band)
                if self.done():
                    return
            if not evicted:
                return

    @property
    def left(self) -> float:
        """Keys that may still be evicted."""
        return math.inf if self.request.max_keys is None else self.request.max_keys - self.tally.evicted

    def done(self) -> bool:
        """Whether the need is met."""
        return self.left <= 0 or (self.target is not None and self.used <= self.target)

    def reached(self, memory: Memory) -> bool:
        """Whether the share that was asked for is reached."""
        return self.target is None or memory.used <= self.target

    def settle(self, seconds: float = SETTLE_SECONDS) -> Memory:
        """Return how full the node is when its threads have freed what was unlinked."""
        return wait_until(
            self.node.memory,
            lambda memory: not memory.pending,
            timeout_seconds=seconds,
            interval_seconds=0.005,
            clock=self.clock,
        ).state

    def _pass(
        self,
        order: str = "none",
        band: tuple[int, int] | None = None,
        histogram: dict[int, tuple[int, int]] | None = None,
    ) -> int:
        """Go once through the keys and return how many were evicted; with a histogram, measure in place of evicting."""
        keys, visited, evicted, cursor = self.node.keys(), 0, 0, 0
        first, self.counted = not self.counted, True
        while True:
            count = round(self.count)
            asked = Slice(self.request.criteria, cursor, count, order, histogram is not None, band, self._quota())
            cut = self._slice(asked)
            visited += 0 if cut.full else count
            evicted += cut.evicted
            if first and not cut.full:
                self.tally.protected += cut.protected
                self.tally.skipped += cut.skipped
            if histogram is not None:
                for place, (number, size) in cut.buckets.items():
                    known = histogram.get(place, (0, 0))
                    histogram[place] = (known[0] + number, known[1] + size)
            if cut.error:
                raise ActionFailed(cut.error)
            if self.target is not None and cut.evicted:
                self.used = self.settle(1.0).used
            cursor = cut.cursor
            over = not cut.full and not cursor
            if over or (histogram is None and self.done()):
                self.tally.scanned += keys if over else min(keys, visited)
                return evicted
            self.clock.sleep(self.request.slice_seconds * PAUSE)

    def _quota(self) -> int | None:
        """Return the most keys that the next slice may evict, so that neither limit is overshot by much."""
        limits = [self.left]
        if self.target is not None:
            limits.append(max(1.0, (self.used - self.target) / self.mean))
        smallest = min(limits)
        return None if smallest == math.inf else math.ceil(smallest)

    def _slice(self, asked: Slice) -> Cut:
        begin = self.clock.now()
        self.in_flight = True
        cut = self.node.slice(asked)
        self.in_flight = False
        seconds = self.clock.now() - begin
        tally = self.tally
        tally.slices += 1
        tally.longest_seconds = max(tally.longest_seconds, seconds)
        tally.evicted += cut.evicted
        if cut.weighed:
            self.mean = max(1.0, cut.weighed_bytes / cut.weighed)
            tally.freed += cut.evicted * cut.weighed_bytes / cut.weighed
        if not cut.full:
            # What lies ahead is like what lay behind, or not: never more than twice as much at once.
            factor = min(2.0, max(0.25, self.request.slice_seconds / max(seconds, 1e-6)))
            largest = LARGEST_COUNT_PER_MS * self.request.slice_seconds * 1000
            self.count = min(largest, max(SMALLEST_COUNT, self.count * factor))
        return cut


def _state(node: Node, memory: Memory) -> dict[str, Any]:
    return {
        "used_bytes": memory.used,
        "limit_bytes": memory.limit,
        "used_ratio": None if memory.share is None else round(memory.share, 4),
        "keys": node.keys(),
    }


def _total(rows: Sequence[Mapping[str, Any]], when: str) -> dict[str, Any]:
    """Add the nodes up; one node without a limit leaves the whole without one."""
    states = [row[when] for row in rows]
    used = sum(state["used_bytes"] for state in states)
    limit = sum(state["limit_bytes"] for state in states) if all(state["limit_bytes"] for state in states) else 0
    return {
        "used_bytes": used,
        "limit_bytes": limit,
        "used_ratio": round(used / limit, 4) if limit else None,
        "keys": sum(state["keys"] for state in states),
    }


def _count(keys: int) -> str:
    return "1 key" if keys == 1 else f"{keys} keys"


def _size(number: float) -> str:
    for unit in ("bytes", "KiB", "MiB"):
        if number < 1024:  # noqa: PLR2004 - bytes in a KiB
            return f"{number:.0f} {unit}" if unit == "bytes" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} GiB"


def _timed(result: dict[str, Any], clock: Clock, start: float) -> dict[str, Any]:
    result["duration_seconds"] = round(clock.now() - start, 3)
    return result
