# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Watch SQLAlchemy engines: metrics for Prometheus, and a reset that never breaks a connection in use."""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict, dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, WeakSet, ref

from prometheus_client import Counter, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy import Engine, event
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import QueuePool

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from prometheus_client import Metric
    from sqlalchemy.ext.asyncio import AsyncEngine
    from sqlalchemy.pool import ConnectionPoolEntry, Pool, PoolProxiedConnection

WAIT_BUCKETS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


@dataclass(frozen=True)
class PoolStatus:
    """The numbers of one pool at one moment; what a kind of pool does not know is None.

    ``capacity`` is size and overflow together, None without a limit. ``abandoned`` counts connections that the
    application still holds from pools that ``dispose()`` has replaced: the present pool knows nothing of them, and the
    server still does.
    """

    kind: str
    size: int | None
    capacity: int | None
    checked_in: int | None
    checked_out: int | None
    overflow: int | None
    abandoned: int


class WatchedEngine:
    """Know what the application holds of an engine, across every pool that ``dispose()`` puts in place of another."""

    def __init__(self, engine: Engine | AsyncEngine, waits: Histogram, timeouts: Counter) -> None:
        self._engine = engine
        self.sync_engine = engine if isinstance(engine, Engine) else engine.sync_engine
        self._waits = waits
        self._timeouts = timeouts
        self._lock = Lock()
        self._held: WeakKeyDictionary[PoolProxiedConnection, ref[Pool]] = WeakKeyDictionary()
        self._entries: WeakSet[ConnectionPoolEntry] = WeakSet()
        # Listeners on the engine, unlike those on a pool, are carried over to the pool that dispose() puts in place.
        event.listen(self.sync_engine, "checkout", self._on_checkout)
        event.listen(self.sync_engine, "engine_disposed", self._on_disposed)
        self._watch_pool()

    def _watch_pool(self) -> None:
        """Wrap the present pool's ``connect``: every checkout goes through it, and no event tells of a wait in vain."""
        pool = self.sync_engine.pool
        connect = pool.connect
        origin = ref(pool)

        def watched() -> PoolProxiedConnection:
            start = time.perf_counter()
            try:
                proxied = connect()
            except PoolTimeout:
                self._timeouts.inc()
                raise
            finally:
                self._waits.observe(time.perf_counter() - start)
            with self._lock:
                self._held[proxied] = origin
            return proxied

        pool.connect = watched  # type: ignore[method-assign]  # this pool's only: the class belongs to everybody

    def _on_disposed(self, _engine: Engine) -> None:
        with self._lock:
            self._entries.clear()  # what belongs to the pool before is never checked out again
        self._watch_pool()

    def _on_checkout(self, _connection: Any, entry: ConnectionPoolEntry, _proxied: PoolProxiedConnection) -> None:
        with self._lock:
            self._entries.add(entry)

    def status(self) -> PoolStatus:
        """Read the pool that the engine uses now."""
        pool = self.sync_engine.pool
        with self._lock:
            held = list(self._held.items())
        abandoned = sum(
            1 for proxied, origin in held if proxied.is_valid and not proxied.is_detached and origin() is not pool
        )
        kind = type(pool).__name__
        if not isinstance(pool, QueuePool):
            return PoolStatus(kind, None, None, None, None, None, abandoned)
        size = pool.size()
        # Private, but in every release since 0.x, and there is no public way; it cannot disagree with the pool.
        most = pool._max_overflow  # noqa: SLF001
        return PoolStatus(
            kind=kind,
            size=size,
            capacity=None if most < 0 else size + most,
            checked_in=pool.checkedin(),
            checked_out=pool.checkedout(),
            overflow=max(0, pool.overflow()),  # runs from -size
            abandoned=abandoned,
        )

    def mark(self) -> int:
        """Have every open connection replaced at its next checkout; return how many there are.

        Nothing is closed now: a connection in use stays with its user, and the pool never grows past its capacity.
        """
        with self._lock:
            entries = list(self._entries)
        opened = [entry for entry in entries if entry.dbapi_connection is not None]
        for entry in opened:
            entry.invalidate(soft=True)
        return len(opened)

    async def dispose(self) -> int:
        """Close the idle connections and put an empty pool in place; return how many were idle.

        A connection in use stays open, on the server too, and is counted as abandoned from now on.
        """
        idle = self.status().checked_in or 0
        if isinstance(self._engine, Engine):
            await asyncio.to_thread(self._engine.dispose)  # each connection says good-bye to the server
        else:
            await self._engine.dispose()
        return idle


class Pools(Collector):
    """The engines of an application by name; register it with a Prometheus registry."""

    def __init__(self, **engines: Engine | AsyncEngine) -> None:
        if not engines:
            raise ValueError("Name at least one engine: Pools(database=engine).")
        self._waits = Histogram(
            "sqlalchemy_pool_checkout_seconds",
            "Time to get a connection, or to give up: waiting for a free one, opening it, testing it.",
            ["engine"],
            buckets=WAIT_BUCKETS,
            registry=None,
        )
        self._timeouts = Counter(
            "sqlalchemy_pool_timeouts", "Checkouts that got no connection in time.", ["engine"], registry=None
        )
        self.engines: Mapping[str, WatchedEngine] = {
            name: WatchedEngine(engine, self._waits.labels(name), self._timeouts.labels(name))
            for name, engine in engines.items()
        }

    def status(self) -> dict[str, dict[str, Any]]:
        """Return the numbers of each engine's pool."""
        return {name: asdict(watched.status()) for name, watched in self.engines.items()}

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics, read now: ``dispose()`` replaces the pool, and the old one's numbers mean nothing."""
        gauges = {
            "checked_out": "Connections in use.",
            "checked_in": "Idle connections that are kept open.",
            "capacity": "Most connections the pool opens, size and overflow together; absent without a limit.",
            "size": "Most connections the pool keeps open.",
            "overflow": "Connections open beyond the size.",
            "abandoned": "Connections in use that belong to a pool that dispose() has replaced.",
        }
        status = self.status()
        for field, description in gauges.items():
            family = GaugeMetricFamily(f"sqlalchemy_pool_{field}", description, labels=["engine"])
            for name, numbers in status.items():
                if numbers[field] is not None:
                    family.add_metric([name], numbers[field])
            yield family
        yield from self._waits.collect()
        yield from self._timeouts.collect()
