"""Expectations of the watcher of SQLAlchemy pools, on real engines."""

from __future__ import annotations

import gc
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from sqlalchemy import Connection, Engine, NullPool, QueuePool, create_engine, event, text
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy_pool import Pools

if TYPE_CHECKING:
    from collections.abc import Iterator


def open_engine(**options: Any) -> Engine:
    """Return an engine on a private database in memory, with the pool that a server's database has."""
    return create_engine(
        "sqlite://", **{"poolclass": QueuePool, "connect_args": {"check_same_thread": False}, **options}
    )


@pytest.fixture
def engine() -> Iterator[Engine]:
    opened = open_engine(pool_size=2, max_overflow=1, pool_timeout=0)
    yield opened
    opened.dispose()


def values(pools: Pools) -> dict[str, float]:
    """Return what Prometheus would scrape for the engine ``db``, buckets left out."""
    registry = CollectorRegistry()
    registry.register(pools)
    return {
        sample.name: sample.value
        for metric in registry.collect()
        for sample in metric.samples
        if sample.labels.get("engine") == "db" and not sample.name.endswith(("_bucket", "_created"))
    }


def test_the_gauges_follow_the_pool(engine: Engine) -> None:
    """What is in use, idle and beyond the size is read at the scrape."""
    pools = Pools(db=engine)
    held = [engine.connect() for _ in range(3)]
    full = values(pools)
    held.pop().close()
    assert (full["sqlalchemy_pool_checked_out"], full["sqlalchemy_pool_capacity"]) == (3, 3)
    assert (full["sqlalchemy_pool_size"], full["sqlalchemy_pool_overflow"]) == (2, 1)
    after = values(pools)
    assert (after["sqlalchemy_pool_checked_out"], after["sqlalchemy_pool_checked_in"]) == (2, 1)
    for connection in held:
        connection.close()


def test_overflow_is_never_below_zero(engine: Engine) -> None:
    """SQLAlchemy counts overflow from minus the size; nobody else does."""
    assert values(Pools(db=engine))["sqlalchemy_pool_overflow"] == 0


@pytest.mark.parametrize(
    "limits",
    [
        pytest.param({"pool_size": 5, "max_overflow": -1}, id="no limit to the overflow"),
        pytest.param({"pool_size": 0, "max_overflow": 5}, id="no limit to the size"),
    ],
)
def test_a_pool_without_a_limit_has_no_capacity(limits: dict[str, int]) -> None:
    """No number is better than one that makes a ratio lie; what is in use is still told."""
    engine = open_engine(**limits)
    pools = Pools(db=engine)
    with engine.connect(), engine.connect():
        found = values(pools)
    assert "sqlalchemy_pool_capacity" not in found
    assert found["sqlalchemy_pool_checked_out"] == 2
    engine.dispose()


def test_a_pool_that_pools_nothing_still_tells_its_waits() -> None:
    """NullPool has no numbers of its own, and the metrics say so by being absent."""
    engine = open_engine(poolclass=NullPool)
    pools = Pools(db=engine)
    with engine.connect():
        found = values(pools)
    assert set(found) == {
        "sqlalchemy_pool_abandoned",
        "sqlalchemy_pool_checkout_seconds_count",
        "sqlalchemy_pool_checkout_seconds_sum",
        "sqlalchemy_pool_timeouts_total",
    }
    assert found["sqlalchemy_pool_checkout_seconds_count"] == 1


def test_every_wait_in_vain_is_counted_once(engine: Engine) -> None:
    """Engines made with execution options share the pool, so their time-outs count too; so do those after a dispose."""
    pools = Pools(db=engine)
    assert values(pools)["sqlalchemy_pool_timeouts_total"] == 0
    with engine.connect(), engine.connect(), engine.connect():
        for source in (engine, engine.execution_options(isolation_level="AUTOCOMMIT")):
            with pytest.raises(PoolTimeout):
                source.connect()
    engine.dispose()
    with engine.connect(), engine.connect(), engine.connect(), pytest.raises(PoolTimeout):
        engine.raw_connection()
    found = values(pools)
    assert found["sqlalchemy_pool_timeouts_total"] == 3
    assert found["sqlalchemy_pool_checkout_seconds_count"] == 9


def test_a_database_that_refuses_is_no_time_out() -> None:
    """Only a wait for a free connection counts as a pool time-out."""
    engine = create_engine("sqlite:////no/such/folder/x.db", poolclass=QueuePool)
    pools = Pools(db=engine)
    with pytest.raises(Exception, match="unable to open database file"):
        engine.connect()
    assert values(pools)["sqlalchemy_pool_timeouts_total"] == 0


def test_dispose_does_not_hide_what_is_held(engine: Engine) -> None:
    """After dispose the pool reads empty; connections that are still open are told as abandoned until they are back."""
    pools = Pools(db=engine)
    held = [engine.connect(), engine.connect()]
    engine.dispose()
    found = values(pools)
    assert (found["sqlalchemy_pool_checked_out"], found["sqlalchemy_pool_abandoned"]) == (0, 2)
    with engine.connect():
        found = values(pools)
        assert (found["sqlalchemy_pool_checked_out"], found["sqlalchemy_pool_abandoned"]) == (1, 2)
    held.pop().close()
    assert values(pools)["sqlalchemy_pool_abandoned"] == 1
    held.pop().invalidate()
    assert values(pools)["sqlalchemy_pool_abandoned"] == 0


def test_a_connection_that_nobody_holds_any_more_is_not_abandoned(engine: Engine) -> None:
    """A dropped reference is a returned connection."""
    pools = Pools(db=engine)
    connection: Connection | None = engine.connect()
    engine.dispose()
    assert values(pools)["sqlalchemy_pool_abandoned"] == 1
    del connection
    gc.collect()
    assert values(pools)["sqlalchemy_pool_abandoned"] == 0


def test_a_detached_connection_is_its_owners_business(engine: Engine) -> None:
    """Who detaches a connection has taken it out of every pool on purpose."""
    pools = Pools(db=engine)
    connection = engine.connect()
    connection.detach()
    engine.dispose()
    assert values(pools)["sqlalchemy_pool_abandoned"] == 0
    connection.close()


def test_a_mark_replaces_each_connection_at_its_next_checkout(engine: Engine) -> None:
    """Idle ones at once, one in use after it has come back; meanwhile it works, and the capacity holds."""
    opened: list[Any] = []
    closed: list[Any] = []
    event.listen(engine, "connect", lambda connection, _entry: opened.append(connection))
    event.listen(engine, "close", lambda connection, _entry: closed.append(connection))
    pools = Pools(db=engine)
    held, idle = engine.connect(), engine.connect()
    idle.close()
    before = list(opened)
    assert pools.engines["db"].mark() == 2
    assert closed == []
    assert held.execute(text("SELECT 1")).scalar() == 1
    with engine.connect() as fresh:
        assert fresh.connection.dbapi_connection not in before
        assert closed == [before[1]]
    held.close()
    with engine.connect(), engine.connect():
        assert set(map(id, closed)) == set(map(id, before))
    assert len(opened) == 4


def test_a_connection_from_before_the_watch_is_marked_once_it_was_used(engine: Engine) -> None:
    """The watcher learns of a connection at its checkout."""
    engine.connect().close()
    pools = Pools(db=engine)
    assert pools.engines["db"].mark() == 0
    engine.connect().close()
    assert pools.engines["db"].mark() == 1


def test_what_belongs_to_a_replaced_pool_is_not_marked(engine: Engine) -> None:
    """It is never checked out again, so a mark would only raise the count."""
    pools = Pools(db=engine)
    with engine.connect():
        engine.dispose()
        assert pools.engines["db"].mark() == 0


def test_an_application_names_its_engines() -> None:
    """No engine is a mistake of the caller, told at the start."""
    with pytest.raises(ValueError, match="Name at least one engine"):
        Pools()


def test_reading_while_threads_check_out_is_safe() -> None:
    """Sixteen hundred checkouts in four threads beside two hundred readings leave nothing behind."""
    engine = open_engine(pool_size=2, max_overflow=1)
    pools = Pools(db=engine)

    def use() -> None:
        for _ in range(400):
            with engine.connect():
                pass

    with ThreadPoolExecutor(4) as threads:
        users = [threads.submit(use) for _ in range(4)]
        for _ in range(200):
            assert 0 <= values(pools)["sqlalchemy_pool_checked_out"] <= 3
        for user in users:
            user.result()
    found = values(pools)
    assert (found["sqlalchemy_pool_checked_out"], found["sqlalchemy_pool_abandoned"]) == (0, 0)
    assert found["sqlalchemy_pool_checkout_seconds_count"] == 1600
    engine.dispose()


@given(st.lists(st.sampled_from(["take", "return", "dispose", "mark", "drop"]), max_size=30))
def test_what_is_held_is_always_told(steps: list[str]) -> None:
    """Whatever is taken, returned, disposed of and marked: checked out and abandoned are together what is held."""
    engine = open_engine(pool_size=2, max_overflow=2, pool_timeout=0)
    pools = Pools(db=engine)
    held: list[Connection] = []
    refused = 0
    for step in steps:
        if step == "take":
            try:
                held.append(engine.connect())
            except PoolTimeout:
                refused += 1
        elif step == "return" and held:
            held.pop(0).close()
        elif step == "drop" and held:
            held.pop().invalidate()
        elif step == "dispose":
            engine.dispose()
        elif step == "mark":
            pools.engines["db"].mark()
        found = values(pools)
        assert found["sqlalchemy_pool_checked_out"] + found["sqlalchemy_pool_abandoned"] == len(held)
        assert found["sqlalchemy_pool_timeouts_total"] == refused
    for connection in held:
        connection.close()
    engine.dispose()
