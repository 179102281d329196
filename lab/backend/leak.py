"""A defect that a fault switches on in this process: something takes connections and never gives them back.

By a signal, not by a request: nobody who can only talk to the backend can reach it.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from typing import Any

from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from .app import MAX_OVERFLOW, POOL_SIZE, database

CAPACITY = POOL_SIZE + MAX_OVERFLOW
PAUSE_SECONDS = 0.05
# What a leak holds lives as long as the process.
_HELD: list[Any] = []


def leak(*, once: bool) -> None:
    """Take every connection of the pool, and of each pool that comes in its place unless ``once``.

    Each is left in a transaction that idles.
    """
    taken = 0
    while not once or taken < CAPACITY:
        # Looked at anew: a reset puts another pool here.
        if database.pool.checkedout() < CAPACITY:  # type: ignore[attr-defined]  # it is a QueuePool
            with contextlib.suppress(OperationalError, PoolTimeout):
                connection = database.connect()
                _HELD.append(connection)
                connection.execute(text("SELECT 1"))
                taken += 1
        time.sleep(PAUSE_SECONDS)


def listen() -> None:
    """Leak once on SIGUSR1; leak on and on, whatever becomes of it, on SIGUSR2."""
    for number, once in ((signal.SIGUSR1, True), (signal.SIGUSR2, False)):
        thread = threading.Thread(target=leak, kwargs={"once": once}, daemon=True)
        signal.signal(number, lambda *_, thread=thread: thread.start())
