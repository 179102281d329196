# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to the ops.runbooks collection: may change without notice.
"""Which keys go first, and how many that will be: histograms and estimates, without a server."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ansible_collections.ops.runbooks.plugins.module_utils._redis_ports import BUCKETS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ansible_collections.ops.runbooks.plugins.module_utils._redis_ports import Facts

ORDERS = ["none", "idle", "frequency", "expiry", "size"]
LARGEST_FIRST = frozenset(["idle", "size"])
Z = 1.96  # 95 % of a normal distribution


def bands(
    histogram: Mapping[int, tuple[int, int]], order: str, need_keys: float, need_bytes: float
) -> list[tuple[int, int]]:
    """Return one or two ranges of buckets, to be evicted one after the other until there is enough.

    The first holds every bucket that has to go as a whole, the second the bucket in which the need ends.
    """
    keys, size = 0, 0
    for place in sorted(histogram, reverse=order in LARGEST_FIRST):
        before = (keys, size)
        keys += histogram[place][0]
        size += histogram[place][1]
        if keys >= need_keys or size >= need_bytes:
            if before == (0, 0):
                return [(place, place)]
            return [(place + 1, BUCKETS - 1) if order in LARGEST_FIRST else (0, place - 1), (place, place)]
    return [(0, BUCKETS - 1)] if histogram else []


def ranked(facts: Sequence[Facts], order: str) -> list[Facts]:
    """Return the facts in the order of eviction."""
    if order == "none":
        return list(facts)
    measures: dict[str, Callable[[Facts], float]] = {
        "idle": lambda one: -(one.idle_seconds or 0),
        "size": lambda one: -one.bytes,
        "frequency": lambda one: one.frequency or 0,
        "expiry": lambda one: one.ttl_ms if one.ttl_ms >= 0 else math.inf,
    }
    return sorted(facts, key=measures[order])


@dataclass(frozen=True)
class Estimate:
    """How many keys and bytes would go; the margins are halves of 95 % intervals."""

    keys: float = 0
    keys_margin: float = 0
    bytes: float = 0
    bytes_margin: float = 0
    sampled: int = 0

    def __add__(self, other: Estimate) -> Estimate:
        """Join the estimates of two nodes; their errors are independent."""
        return Estimate(
            self.keys + other.keys,
            math.hypot(self.keys_margin, other.keys_margin),
            self.bytes + other.bytes,
            math.hypot(self.bytes_margin, other.bytes_margin),
            self.sampled + other.sampled,
        )

    def as_return(self) -> dict[str, int]:
        """Return whole numbers; margins are rounded up."""
        return {
            "keys": round(self.keys),
            "keys_margin": math.ceil(self.keys_margin),
            "bytes": round(self.bytes),
            "bytes_margin": math.ceil(self.bytes_margin),
            "sampled": self.sampled,
        }


def estimate(
    meant: Sequence[Facts],
    sampled: int,
    total: int,
    order: str,
    *,
    need_keys: float,
    need_bytes: float,
    typical_bytes: float = 0,
) -> Estimate:
    """Scale what a random sample showed to the whole, and cut it where the need ends.

    A sample that is no smaller than the whole is the whole, and has no margin. ``typical_bytes`` is the mean of the
    sample, for the margin where nothing was meant.
    """
    if not sampled:
        return Estimate()
    exact = sampled >= total
    weight = 1.0 if exact else total / sampled
    keys, size, taken = 0.0, 0.0, 0
    for one in ranked(meant, order):
        if keys >= need_keys or size >= need_bytes:
            break
        keys, size, taken = keys + weight, size + weight * one.bytes, taken + 1
    keys = min(keys, need_keys)
    if exact:
        return Estimate(keys, 0, size, 0, sampled)
    whole, mean = taken == len(meant), size / weight / taken if taken else 0.0
    spread = math.sqrt(sum((one.bytes - mean) ** 2 for one in ranked(meant, order)[:taken]) / max(1, taken - 1))
    if not whole:
        # Where the need ends is known; how many keys of unknown size that takes is not.
        relative = Z * spread / mean / math.sqrt(taken) if mean and taken else 0.0
        if size >= need_bytes:
            return Estimate(keys, weight + relative * keys, need_bytes, weight * mean, sampled)
        return Estimate(keys, 0, keys * mean, weight * mean + relative * keys * mean, sampled)
    share = taken / sampled
    # Wilson's interval, which has a width even where the sample held none, widened to be even on both sides.
    centre = (share + Z * Z / (2 * sampled)) / (1 + Z * Z / sampled)
    half = Z * math.sqrt(share * (1 - share) / sampled + (Z / (2 * sampled)) ** 2) / (1 + Z * Z / sampled)
    margin = total * (half + abs(centre - share))
    # Of the bytes: how many keys there are, and how large each is, are uncertain apart from each other.
    unsure = keys * Z * spread / math.sqrt(taken) if taken else 0.0
    return Estimate(keys, margin, size, math.hypot(margin * (mean or typical_bytes), unsure), sampled)
