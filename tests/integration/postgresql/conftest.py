"""PostgreSQL of the oldest and the newest version that is supported, with clients of every kind."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import psycopg2
import pytest
from psycopg2 import sql

from tests.integration.containers import Container, Containers, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

IMAGES = {"17": "runbooks-lab/postgres:17", "15": "runbooks-lab/postgres:15"}
PASSWORDS = {
    "postgres": "pg-secret-1",
    "runbooks": "rb-secret-2",
    "app": "ap-secret-3",
    "watcher": "wt-secret-4",
    "weak": "wk-secret-5",
}
MAX_CONNECTIONS = 40
# An application cannot get the three slots of superusers, nor, from version 16, the two that roles are granted.
APPLICATION_SLOTS = {"17": 35, "15": 37}
WAIT_SECONDS = 20
SIT_TIGHT = """
DO $$ BEGIN LOOP
  BEGIN PERFORM pg_sleep(100); EXCEPTION WHEN query_canceled THEN NULL; END;
END LOOP; END $$
"""


@dataclass
class Server:
    """A PostgreSQL server, and ways to use it and to look at it that are not ours."""

    version: str
    container: Container
    _open: list[Any] = field(default_factory=list)

    @cached_property
    def port(self) -> int:
        return self.container.port(5432)

    def login(self, user: str = "runbooks", **given: Any) -> dict[str, Any]:
        """Return the login options of the modules."""
        return {
            "login_host": "127.0.0.1",
            "login_port": self.port,
            "login_user": user,
            "login_password": PASSWORDS[user],
            "login_db": "app",
            **given,
        }

    def psql(self, statement: str, *, database: str = "app") -> list[list[str]]:
        """Ask as the superuser over the socket; needs no slot that an application could take."""
        output = self.container.run("psql", "-XAtqF", "\t", "-v", "ON_ERROR_STOP=1", "-d", database, "-c", statement)
        return [line.split("\t") for line in output.splitlines()]

    def pids(self, **wanted: str) -> set[int]:
        """Return the sessions whose columns in pg_stat_activity have these values."""
        where = " AND ".join(f"{column} = '{value}'" for column, value in wanted.items()) or "true"
        return {int(row[0]) for row in self.psql(f"SELECT pid FROM pg_stat_activity WHERE {where}")}

    def connect(self, application: str, user: str = "app") -> Any:
        """Connect as an application does; ``close`` ends it."""
        connection = psycopg2.connect(
            host="127.0.0.1",
            port=self.port,
            user=user,
            password=PASSWORDS[user],
            dbname="app",
            application_name=application,
            connect_timeout=WAIT_SECONDS,
        )
        connection.autocommit = True
        self._open.append(connection)
        return connection

    def idle(self, application: str, user: str = "app") -> int:
        return pid_of(self.connect(application, user))

    def in_transaction(self, application: str, user: str = "app", statement: str = "SELECT 1") -> int:
        """Connect and leave a transaction open."""
        connection = self.connect(application, user)
        connection.autocommit = False
        connection.cursor().execute(statement)
        return pid_of(connection)

    def busy(self, application: str, statement: str = "SELECT pg_sleep(300)", user: str = "app") -> int:
        """Connect and run a statement that lasts."""
        connection = self.connect(application, user)
        pid = pid_of(connection)

        def work() -> None:
            with contextlib.suppress(psycopg2.Error):
                connection.cursor().execute(statement)

        threading.Thread(target=work, daemon=True).start()
        wait_for(lambda: pid in self.pids(state="active"), "The statement runs", WAIT_SECONDS)
        return pid

    def begin(self, pid: int) -> None:
        """Have an idle session open a transaction."""
        (connection,) = [one for one in self._open if not one.closed and pid_of(one) == pid]
        connection.autocommit = False
        connection.cursor().execute("SELECT 1")

    def dismiss(self) -> None:
        """End every client of the tests."""
        self.psql("SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
                  "AND backend_type = 'client backend'")  # fmt: skip
        for connection in self._open:
            with contextlib.suppress(psycopg2.Error):
                connection.close()
        self._open.clear()


def pid_of(connection: Any) -> int:
    """Return the pid without asking the server."""
    pid: int = connection.info.backend_pid
    return pid


def _prepare(server: Server) -> None:
    """Make the roles of the tests, the way docs/ tells an administrator to."""
    dsn = f"host=127.0.0.1 port={server.port} user=postgres password={PASSWORDS['postgres']} dbname=postgres"
    with contextlib.closing(psycopg2.connect(dsn)) as connection:
        connection.autocommit = True
        cursor = connection.cursor()
        for user in ("runbooks", "app", "watcher", "weak"):
            make = sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}")
            cursor.execute(make.format(sql.Identifier(user), sql.Literal(PASSWORDS[user])))
        cursor.execute("GRANT pg_monitor TO runbooks, watcher")
        cursor.execute("GRANT pg_signal_backend TO runbooks")
        if server.version != "15":
            cursor.execute("GRANT pg_use_reserved_connections TO runbooks")
        cursor.execute("CREATE DATABASE app OWNER app")
    server.psql("CREATE TABLE queue (id int); ALTER TABLE queue OWNER TO app")


@pytest.fixture(scope="session", params=IMAGES)
def running(request: pytest.FixtureRequest, containers: Containers) -> Server:
    """Start a server of each version."""
    version = request.param
    settings = {"max_connections": str(MAX_CONNECTIONS), "wal_level": "replica"}
    if version != "15":
        settings["reserved_connections"] = "2"
    container = containers.start(
        IMAGES[version],
        alias=f"postgres-{version}",
        ports=[5432],
        environment={"POSTGRES_PASSWORD": PASSWORDS["postgres"]},
        command=[part for name, value in settings.items() for part in ("-c", f"{name}={value}")],
    )
    wait_for(lambda: container.run("pg_isready", "-h", "127.0.0.1"), "PostgreSQL serves")
    server = Server(version, container)
    _prepare(server)
    return server


@pytest.fixture
def server(running: Server) -> Iterator[Server]:
    """Give a test a server without clients."""
    running.dismiss()
    yield running
    running.dismiss()
