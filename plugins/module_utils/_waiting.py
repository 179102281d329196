# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to the ops.runbooks collection: may change without notice.
"""Wait for a state with a limit, on a clock that tests can replace."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

State = TypeVar("State")


@dataclass(frozen=True)
class Clock:
    """Monotonic seconds and a way to let them pass."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


@dataclass(frozen=True)
class Waited(Generic[State]):
    """The last state seen, whether it was the wanted one, and the seconds it took."""

    state: State
    reached: bool
    seconds: float


def wait_until(
    read: Callable[[], State],
    wanted: Callable[[State], bool],
    *,
    timeout_seconds: float,
    interval_seconds: float = 0.5,
    clock: Clock | None = None,
) -> Waited[State]:
    """Read at once and then at every interval until the state is wanted or the limit has passed.

    Never raises on a timeout: the caller decides what the last state means.
    """
    clock = clock or Clock()
    start = clock.now()
    while True:
        state = read()
        elapsed = clock.now() - start
        if wanted(state):
            return Waited(state, reached=True, seconds=elapsed)
        if elapsed >= timeout_seconds:
            return Waited(state, reached=False, seconds=elapsed)
        clock.sleep(min(interval_seconds, timeout_seconds - elapsed))
