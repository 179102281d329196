# SPDX-License-Identifier: GPL-3.0-or-later
"""How much each source may ask for, so that one runaway sender does not take the place of the others."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

MOST_SOURCES = 1000


@dataclass
class RateLimit:
    """So many things a second for each source; what a quiet source saves up is one second's worth."""

    per_second: float
    clock: Callable[[], float] = time.monotonic
    _free_at: dict[str, float] = field(default_factory=dict)

    def wait(self, source: str) -> float:
        """Count one thing and return 0, or return the seconds after which it would be let through."""
        now = self.clock()
        free_at = max(self._free_at.pop(source, now), now)
        wait = max(0.0, free_at - now - 1.0)
        # What is turned away costs nothing: a source that asks too often is let through at its rate, not never.
        self._free_at[source] = free_at if wait else free_at + 1.0 / self.per_second
        if len(self._free_at) > MOST_SOURCES:
            del self._free_at[next(iter(self._free_at))]
        return wait
