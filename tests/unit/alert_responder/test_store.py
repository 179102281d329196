"""The stores in memory and in SQLite keep one contract; the one in SQLite has some promises of its own."""

from __future__ import annotations

import sqlite3
import threading
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from alert_responder import migrations, store_sql
from alert_responder.errors import StoreUnavailable
from alert_responder.store_memory import MemoryStore
from alert_responder.store_sql import SqlStore, sqlite_engine
from tests.unit.alert_responder.makers import NOON
from tests.unit.alert_responder.store_contract import StoreContract, deliver

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from alert_responder.store import Store


class TestMemory(StoreContract):
    """The store of the tests."""

    @pytest.fixture
    def store(self) -> Store:
        return MemoryStore()


class TestSqlite(StoreContract):
    """The store of one responder."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[Store]:
        kept = SqlStore(sqlite_engine(tmp_path / "x.sqlite3"))
        yield kept
        kept.close()


# What only the adapter for SQLite promises.


@pytest.mark.parametrize("version", range(1, len(migrations.MIGRATIONS)))
def test_an_older_schema_is_brought_up_to_date_with_its_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: int
) -> None:
    """From every earlier version: the record is kept, and the schema is the one of a fresh file."""
    with monkeypatch.context() as patched:
        patched.setattr(migrations, "MIGRATIONS", migrations.MIGRATIONS[:version])
        old = SqlStore(sqlite_engine(tmp_path / "old.sqlite3"))
        old.receive([deliver()], now=NOON)
        old.close()
    SqlStore(sqlite_engine(tmp_path / "fresh.sqlite3")).close()
    migrated = SqlStore(sqlite_engine(tmp_path / "old.sqlite3"))

    assert [event.kind for event in migrated.events(1)] == ["opened"]
    migrated.close()
    schemas = []
    for name in ("old", "fresh"):
        connection = sqlite3.connect(tmp_path / f"{name}.sqlite3")
        schemas.append(sorted(connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")))
        connection.close()
    assert schemas[0] == schemas[1]


def test_the_file_is_opened_for_safety(tmp_path: Path) -> None:
    """Write-ahead log, full sync and foreign keys are in force."""
    engine = sqlite_engine(tmp_path / "x.sqlite3")
    with engine.connect() as connection:
        found = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    engine.dispose()

    assert found == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 10_000}


def test_the_record_survives_the_process(tmp_path: Path) -> None:
    """What was received is there for the next process that opens the file."""
    first = SqlStore(sqlite_engine(tmp_path / "x.sqlite3"))
    first.receive([deliver()], now=NOON)
    first.close()
    second = SqlStore(sqlite_engine(tmp_path / "x.sqlite3"))

    assert [line.id for line in second.summaries()] == [1]
    second.close()


@pytest.mark.parametrize("statement", ["DELETE FROM events", "UPDATE events SET kind = 'x'"])
def test_events_are_append_only(tmp_path: Path, statement: str) -> None:
    """The database itself refuses to change or delete an event."""
    store = SqlStore(sqlite_engine(tmp_path / "x.sqlite3"))
    store.receive([deliver()], now=NOON)
    store.close()
    connection = sqlite3.connect(tmp_path / "x.sqlite3")

    with pytest.raises(sqlite3.IntegrityError, match="events are append-only"):
        connection.execute(statement)
    connection.close()


def test_the_database_refuses_a_second_open_incident(tmp_path: Path) -> None:
    """One open incident per identity is a unique index, not only a habit."""
    store = SqlStore(sqlite_engine(tmp_path / "x.sqlite3"))
    store.receive([deliver()], now=NOON)
    store.close()
    connection = sqlite3.connect(tmp_path / "x.sqlite3")
    columns = "identity, alert, service, status, open, reason, opened_at, updated_at, newest_start"

    with pytest.raises(sqlite3.IntegrityError, match="UNIQUE"):
        connection.execute(f"INSERT INTO incidents ({columns}) SELECT {columns} FROM incidents")
    connection.close()


def test_the_tables_of_the_queries_are_the_tables_of_the_schema(tmp_path: Path) -> None:
    """The columns that the queries name are the ones that the migrations made."""
    engine = sqlite_engine(tmp_path / "x.sqlite3")
    SqlStore(engine)
    found = sa.MetaData()
    found.reflect(engine, only=[*store_sql._METADATA.tables])
    engine.dispose()

    assert {name: {column.name for column in table.columns} for name, table in found.tables.items()} == {
        name: {column.name for column in table.columns} for name, table in store_sql._METADATA.tables.items()
    }


def test_a_schema_from_the_future_is_not_touched(tmp_path: Path) -> None:
    """An older program refuses the file of a newer one."""
    SqlStore(sqlite_engine(tmp_path / "x.sqlite3")).close()
    connection = sqlite3.connect(tmp_path / "x.sqlite3")
    connection.execute("INSERT INTO schema_migrations VALUES (999, 'x')")
    connection.commit()
    connection.close()
    engine = sqlite_engine(tmp_path / "x.sqlite3")

    with pytest.raises(
        StoreUnavailable, match=f"its schema is version 999, this program knows {len(migrations.MIGRATIONS)}"
    ):
        SqlStore(engine)
    engine.dispose()


def test_a_migration_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A migration and its record are one transaction."""
    broken = (*migrations.MIGRATIONS, ("CREATE TABLE half (x)", "THIS IS NOT SQL"))
    monkeypatch.setattr(migrations, "MIGRATIONS", broken)
    engine = sqlite_engine(tmp_path / "x.sqlite3")
    with pytest.raises(StoreUnavailable, match="syntax error"):
        SqlStore(engine)

    assert sa.inspect(engine).get_table_names() == []
    engine.dispose()


def test_a_store_that_cannot_be_reached_says_which(tmp_path: Path) -> None:
    """A file that cannot be opened is reported with its path."""
    engine = sqlite_engine(tmp_path / "missing" / "x.sqlite3")

    with pytest.raises(StoreUnavailable, match=r"Cannot use the store sqlite:///.*missing/x.sqlite3: unable to open"):
        SqlStore(engine)
    engine.dispose()


def test_many_threads_and_two_processes_worth_of_engines_lose_nothing(tmp_path: Path) -> None:
    """Forty alerts of ten identities, sent at once through two engines on one file, make ten incidents."""
    stores = [SqlStore(sqlite_engine(tmp_path / "x.sqlite3")) for _ in range(2)]
    threads = [
        threading.Thread(target=stores[number % 2].receive, args=([deliver(f"i{number % 10}")],), kwargs={"now": NOON})
        for number in range(40)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(stores[0].summaries()) == 10
    for store in stores:
        store.close()
