"""The store on a real PostgreSQL keeps the contract of every store, and what only it can promise."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import psycopg2
import pytest
import sqlalchemy as sa

from alert_responder import migrations, store_sql
from alert_responder.errors import StoreUnavailable
from alert_responder.store_sql import SqlStore, postgresql_engine
from tests.integration.responder.databases import PASSWORD, Server, connect
from tests.unit.alert_responder.makers import NOON
from tests.unit.alert_responder.store_contract import LEASE, SECOND, StoreContract, deliver, start

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.integration

COLUMNS = """
    SELECT table_name, column_name, data_type, is_nullable, column_default FROM information_schema.columns
    WHERE table_schema = 'public' ORDER BY 1, 2
"""
INDEXES = "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1"
TRIGGERS = "SELECT tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1"


@pytest.fixture
def store(database: str) -> Iterator[SqlStore]:
    """Return a store on an empty database."""
    kept = SqlStore(postgresql_engine(database))
    yield kept
    kept.close()


def ask(database: str, query: str) -> list[tuple[Any, ...]]:
    connection: Any = connect(database)
    try:
        with connection.cursor() as cursor:
            cursor.execute(query)
            rows: list[tuple[Any, ...]] = cursor.fetchall() if cursor.description else []
            return rows
    finally:
        connection.close()


class TestPostgresql(StoreContract):
    """The store that several responders share."""


def test_a_commit_is_on_disk_before_it_returns(store: SqlStore, database: str) -> None:
    """The database asks for synchronous_commit = off; every writing transaction of the store has it on."""
    assert ask(database, "SHOW synchronous_commit") == [("off",)]
    seen: dict[str, str] = {}

    @sa.event.listens_for(store._engine, "commit")
    def _look(connection: sa.Connection) -> None:
        if connection.get_execution_options().get("writing"):
            for name in ("synchronous_commit", "lock_timeout", "idle_in_transaction_session_timeout"):
                seen[name] = connection.exec_driver_sql(f"SHOW {name}").scalar_one()

    store.receive([deliver()], now=NOON)

    assert seen == {
        "synchronous_commit": "on",
        "lock_timeout": "10s",
        "idle_in_transaction_session_timeout": "10s",
    }


def test_a_server_without_fsync_is_refused(server: Server, database: str) -> None:
    """A server that does not write to its disk cannot answer for anything; the error names it without its password."""
    server.psql("ALTER SYSTEM SET fsync = off")
    server.psql("SELECT pg_reload_conf()")
    try:
        engine = postgresql_engine(database)
        with pytest.raises(StoreUnavailable, match="runs with fsync = off") as caught:
            SqlStore(engine)
        engine.dispose()
    finally:
        server.psql("ALTER SYSTEM RESET fsync")
        server.psql("SELECT pg_reload_conf()")
    assert PASSWORD not in str(caught.value)


@pytest.mark.parametrize("statement", ["DELETE FROM events", "UPDATE events SET kind = 'x'", "TRUNCATE events"])
def test_events_are_append_only(store: SqlStore, database: str, statement: str) -> None:
    """The database itself refuses to change or delete an event, even to its superuser."""
    store.receive([deliver()], now=NOON)

    with pytest.raises(psycopg2.IntegrityError, match="events are append-only"):
        ask(database, statement)
    assert len(store.events(1)) == 1


def test_the_database_refuses_a_second_open_incident(store: SqlStore, database: str) -> None:
    """One open incident per identity is a unique index, not only a habit."""
    store.receive([deliver()], now=NOON)
    columns = "identity, alert, service, status, open, reason, opened_at, updated_at, newest_start"

    with pytest.raises(psycopg2.errors.UniqueViolation, match="one_open_incident_per_identity"):
        ask(database, f"INSERT INTO incidents ({columns}) SELECT {columns} FROM incidents")


@pytest.mark.parametrize("version", range(1, len(migrations.MIGRATIONS)))
def test_an_older_schema_is_brought_up_to_date_with_its_data(
    server: Server, monkeypatch: pytest.MonkeyPatch, version: int
) -> None:
    """From every earlier version: the record is kept, and the schema is the one of a fresh database."""
    old, fresh = server.make_database(), server.make_database()
    with monkeypatch.context() as patched:
        patched.setattr(migrations, "MIGRATIONS", migrations.MIGRATIONS[:version])
        first = SqlStore(postgresql_engine(old))
        first.receive([deliver()], now=NOON)
        first.close()
    SqlStore(postgresql_engine(fresh)).close()
    migrated = SqlStore(postgresql_engine(old))

    assert [event.kind for event in migrated.events(1)] == ["opened"]
    migrated.close()
    for query in (COLUMNS, INDEXES, TRIGGERS, "SELECT number FROM schema_migrations ORDER BY 1"):
        assert ask(old, query) == ask(fresh, query) != []


def test_a_migration_that_fails_leaves_nothing(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A migration and its record are one transaction."""
    monkeypatch.setattr(migrations, "MIGRATIONS", (*migrations.MIGRATIONS, ("CREATE TABLE half (x int)", "NOT SQL")))
    engine = postgresql_engine(database)
    with pytest.raises(StoreUnavailable, match="syntax error"):
        SqlStore(engine)
    engine.dispose()

    assert ask(database, COLUMNS) == []


def test_the_tables_of_the_queries_are_the_tables_of_the_schema(store: SqlStore) -> None:
    """The columns that the queries name are the ones that the migrations made."""
    found = sa.MetaData()
    found.reflect(store._engine, only=list(store_sql._METADATA.tables))

    assert {name: {column.name for column in table.columns} for name, table in found.tables.items()} == {
        name: {column.name for column in table.columns} for name, table in store_sql._METADATA.tables.items()
    }


def test_responders_that_start_at_once_make_one_schema(database: str) -> None:
    """Four starts on an empty database: each works, and the migrations ran once."""
    stores: list[SqlStore] = []
    threads = [threading.Thread(target=lambda: stores.append(SqlStore(postgresql_engine(database)))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(stores) == 4
    assert ask(database, "SELECT count(*) FROM schema_migrations") == [(len(migrations.MIGRATIONS),)]
    for one in stores:
        one.close()


def test_two_responders_lose_nothing_and_share_nothing(database: str) -> None:
    """Two hundred alerts of forty identities and twenty services, to two at once: forty incidents."""
    stores = [SqlStore(postgresql_engine(database)) for _ in range(2)]
    claimed: list[int] = []
    lock = threading.Lock()

    def send(number: int) -> None:
        identity = number % 40
        stores[number % 2].receive([deliver(f"i{identity}", service=f"s{identity % 20}")], now=NOON)

    def claim(number: int) -> None:
        mine = stores[number % 2].claim(f"owner-{number}", now=NOON, lease=LEASE, limit=3)
        with lock:
            claimed.extend(mine)

    for work, count in ((send, 200), (claim, 12)):
        threads = [threading.Thread(target=work, args=(number,)) for number in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    lines = stores[0].summaries(limit=1000)
    assert len(lines) == 40
    assert len(claimed) == len(set(claimed)) == 20
    assert len({line.service for line in lines if line.id in claimed}) == 20
    for one in stores:
        one.close()


def test_an_older_incident_never_appears_behind_a_claimed_one(store: SqlStore, database: str) -> None:
    """Numbers are given out before they are committed; a claim waits until the lower one is there to be seen."""
    slow: Any = connect(database)
    slow.autocommit = False
    with slow.cursor() as cursor:
        cursor.execute(store_sql._BEGIN_WRITING)
        cursor.execute("SELECT nextval(pg_get_serial_sequence('incidents', 'id'))")
    receipts: list[Any] = []
    thread = threading.Thread(target=lambda: receipts.extend(store.receive([deliver()], now=NOON)))
    thread.start()
    time.sleep(0.2)
    assert receipts == []
    slow.commit()
    thread.join()

    assert [receipt.incident for receipt in receipts] == [2]
    slow.close()


def test_a_writer_that_hangs_blocks_nobody_for_long(store: SqlStore, database: str) -> None:
    """A machine that froze between two statements holds the lock; the server ends its session."""
    frozen: Any = connect(database)
    frozen.autocommit = False
    with frozen.cursor() as cursor:
        cursor.execute(store_sql._BEGIN_WRITING.replace("10s", "300ms"))

    assert [receipt.outcome for receipt in store.receive([deliver()], now=NOON)] == ["opened"]
    with pytest.raises(psycopg2.Error), frozen.cursor() as cursor:
        cursor.execute("SELECT 1")
    frozen.close()


def test_a_dead_owners_lease_ends_and_another_takes_over(database: str) -> None:
    """The second responder gets the incident with its unfinished run, and the first can write no more."""
    first, second = (SqlStore(postgresql_engine(database)) for _ in range(2))
    first.receive([deliver()], now=NOON)
    assert first.claim("first", now=NOON, lease=LEASE, limit=9) == [1]
    first.append(1, [start()], owner="first", expected=1)

    assert second.claim("second", now=NOON + LEASE, lease=LEASE, limit=9) == []
    assert second.claim("second", now=NOON + LEASE + SECOND, lease=LEASE, limit=9) == [1]
    assert [event.kind for event in second.events(1)] == ["opened", "started"]
    assert first.renew("first", [1], now=NOON + LEASE + SECOND, lease=LEASE) == []
    first.close()
    second.close()


def test_the_database_goes_away_and_comes_back(server: Server, store: SqlStore) -> None:
    """While it is away every call says so, without the password; afterwards the same store works on."""
    store.receive([deliver()], now=NOON)
    server.stop()
    with pytest.raises(StoreUnavailable) as caught:
        store.receive([deliver("two")], now=NOON)
    assert PASSWORD not in str(caught.value)
    with pytest.raises(StoreUnavailable):
        store.counts()
    server.start()

    assert [receipt.outcome for receipt in store.receive([deliver("two"), deliver()], now=NOON)] == [
        "opened",
        "repeated",
    ]
