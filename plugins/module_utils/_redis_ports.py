# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to the ops.runbooks collection: may change without notice.
"""What the modules need of one Redis node, and the values that travel."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ansible_collections.ops.runbooks.plugins.module_utils._redis_criteria import Criteria

BUCKETS = 512
PER_OCTAVE = 8


def bucket(value: float) -> int:
    """Return the place of a measure in the histogram: the same formula as in the slice's script."""
    return 0 if value < 1 else min(BUCKETS - 1, 1 + math.floor(math.log(value) / math.log(2) * PER_OCTAVE))


@dataclass(frozen=True)
class Facts:
    """What one key is like; idle and frequency are None where nobody asked, or the policy does not keep them."""

    key: bytes
    ttl_ms: int  # -1: no expiry
    bytes: int
    idle_seconds: int | None = None
    frequency: int | None = None
    may_unlink: bool = True


@dataclass(frozen=True)
class Memory:
    """How full a node is. A limit of 0 means that there is none."""

    used: int
    limit: int
    policy: str
    pending: int = 0  # objects that a thread of the server still frees

    @property
    def share(self) -> float | None:
        """Return the used share of the limit, or None without a limit."""
        return self.used / self.limit if self.limit else None


@dataclass(frozen=True)
class Slice:
    """One bounded step through the keys, filtered and carried out inside the server."""

    criteria: Criteria
    cursor: int = 0
    count: int = 100
    order: str = "none"
    measure: bool = False
    band: tuple[int, int] | None = None
    quota: int | None = None


@dataclass(frozen=True)
class Cut:
    """What a slice did. ``full`` means that the quota ran out before the step was over: the cursor has not moved."""

    cursor: int
    seen: int = 0
    protected: int = 0
    skipped: int = 0
    evicted: int = 0
    full: bool = False
    weighed: int = 0
    weighed_bytes: int = 0
    error: str | None = None
    buckets: Mapping[int, tuple[int, int]] = field(default_factory=dict)


class Node(ABC):
    """One Redis server."""

    name: str

    @abstractmethod
    def info(self) -> dict[str, Any]:
        """Return what INFO says, all of its default sections in one mapping."""

    @abstractmethod
    def memory(self) -> Memory:
        """Return how full the node is."""

    @abstractmethod
    def keys(self) -> int:
        """Return the number of keys in the database."""

    @abstractmethod
    def sample(self, number: int, *, measure: str = "none") -> list[Facts]:
        """Return the facts of so many random keys, with repetition; ``measure`` adds idle or frequency."""

    @abstractmethod
    def walk(self, cursor: int, count: int, *, measure: str = "none") -> tuple[int, list[Facts]]:
        """Return the facts of the keys of one bounded step, and the next cursor."""

    @abstractmethod
    def slice(self, asked: Slice) -> Cut:
        """Carry out one step."""
