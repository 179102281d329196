# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to the ops.runbooks collection: may change without notice.
"""Which keys are meant: a pure decision, made here for samples and in the slice's script for the real thing."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ansible_collections.ops.runbooks.plugins.module_utils._redis_glob import Glob

if TYPE_CHECKING:
    import re
    from collections.abc import Mapping

    from ansible_collections.ops.runbooks.plugins.module_utils._redis_ports import Facts

OTHER, PROTECTED, SKIPPED, MEANT = "other", "protected", "skipped", "meant"


@dataclass(frozen=True)
class Criteria:
    """A key is meant if it matches a pattern, no protected one, and every filter that is set."""

    patterns: tuple[Glob, ...]
    protect: tuple[Glob, ...] = ()
    minimum_idle_seconds: float | None = None
    ttl: str = "any"
    expires_within_seconds: float | None = None
    minimum_bytes: int | None = None

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> Criteria:
        """Build criteria from the module's options; raises ValueError for what cannot be meant."""
        for name in ("minimum_idle_seconds", "expires_within_seconds", "minimum_bytes"):
            if params[name] is not None and params[name] < 0:
                raise ValueError(f"{name} is {params[name]} and must not be negative.")
        if params["ttl"] == "without" and params["expires_within_seconds"] is not None:
            raise ValueError("expires_within_seconds asks for keys with an expiry, and ttl for keys without one.")
        return cls(
            patterns=tuple(Glob.parse(text) for text in params["patterns"]),
            protect=tuple(Glob.parse(text) for text in params["protect"]),
            minimum_idle_seconds=params["minimum_idle_seconds"],
            ttl=params["ttl"],
            expires_within_seconds=params["expires_within_seconds"],
            minimum_bytes=params["minimum_bytes"],
        )

    @property
    def filters(self) -> bool:
        """Whether anything but the name of a key is asked for."""
        limits = (self.minimum_idle_seconds, self.expires_within_seconds, self.minimum_bytes)
        return self.ttl != "any" or any(limit is not None for limit in limits)

    @property
    def narrows(self) -> bool:
        """Whether fewer than all keys may be meant."""
        return self.filters or all(pattern.narrows for pattern in self.patterns)

    @cached_property
    def _expressions(self) -> tuple[list[re.Pattern[bytes]], list[re.Pattern[bytes]]]:
        return [one.expression() for one in self.patterns], [one.expression() for one in self.protect]

    def judge(self, facts: Facts) -> str:
        """Return OTHER, PROTECTED, SKIPPED or MEANT."""
        patterns, protect = self._expressions
        if not any(one.fullmatch(facts.key) for one in patterns):
            return OTHER
        if any(one.fullmatch(facts.key) for one in protect):
            return PROTECTED
        return MEANT if self._passes(facts) else SKIPPED

    def _passes(self, facts: Facts) -> bool:
        if (self.ttl == "with" and facts.ttl_ms < 0) or (self.ttl == "without" and facts.ttl_ms >= 0):
            return False
        if self.expires_within_seconds is not None and not 0 <= facts.ttl_ms <= self.expires_within_seconds * 1000:
            return False
        if self.minimum_idle_seconds is not None and (facts.idle_seconds or 0) < self.minimum_idle_seconds:
            return False
        return self.minimum_bytes is None or facts.bytes >= self.minimum_bytes
