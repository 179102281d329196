"""PgBouncer of two versions before one PostgreSQL."""

from __future__ import annotations

import subprocess
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import psycopg2
import pytest

from tests.integration.containers import Container, Containers, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PASSWORDS = {"postgres": "pg-secret-1", "runbooks": "rb-secret-2", "watcher": "wt-secret-3", "nobody": "nb-secret-4"}
POOL_SIZE = 3

# Debian 12's PgBouncer, made like the lab's, which is Debian 13's.
BOOKWORM = """
FROM runbooks-lab/base:bookworm
COPY --chmod=755 apt-install pgbouncer-start /usr/local/bin/
RUN apt-install pgbouncer && install -d -o postgres -g postgres -m 0700 /run/lab
USER postgres
STOPSIGNAL SIGINT
ENTRYPOINT ["pgbouncer-start"]
"""
IMAGES = {"1.24": "runbooks-lab/pgbouncer:1.24", "1.18": "ops-runbooks-test/pgbouncer:1.18"}


@dataclass(frozen=True)
class Bouncer:
    """A PgBouncer, and ways to look at it and at its server that are not ours."""

    version: str
    container: Container
    postgres: Container

    @cached_property
    def port(self) -> int:
        return self.container.port(6432)

    @cached_property
    def address(self) -> str:
        return self.container.address()

    def login(self, user: str = "runbooks", **given: Any) -> dict[str, Any]:
        """Return the login options of the modules."""
        return {
            "login_host": "127.0.0.1",
            "login_port": self.port,
            "login_user": user,
            "login_password": PASSWORDS[user],
            **given,
        }

    def ask(self, statement: str, *, database: str = "pgbouncer", user: str = "runbooks") -> list[tuple[Any, ...]]:
        """Ask through PgBouncer."""
        return _ask(self.port, database, user, statement)

    def server(self, statement: str) -> list[tuple[Any, ...]]:
        """Ask the server itself."""
        return _ask(self.postgres.port(5432), "postgres", "postgres", statement)

    def psql(self, statement: str) -> list[list[str]]:
        """Ask PgBouncer's console with psql."""
        where = ["-h", self.container.name, "-p", "6432", "-U", "runbooks", "-d", "pgbouncer"]
        command = ["psql", "-XAtqF", "\t", "-v", "ON_ERROR_STOP=1", *where, "-c", statement]
        output = self.postgres.run(*command, environment={"PGPASSWORD": PASSWORDS["runbooks"]})
        return [line.split("\t") for line in output.splitlines()]

    def config(self, key: str) -> str:
        (value,) = (row[1] for row in self.ask("SHOW CONFIG") if row[0] == key)
        return str(value)

    def paused(self) -> list[str]:
        """Return the databases that are paused."""
        column = -2  # the last but one, in every version
        return [row[0] for row in self.ask("SHOW DATABASES") if row[column]]

    def serves(self, database: str = "app") -> bool:
        """Tell whether a new client is served, which a database that is paused and not listed cannot do."""
        return self.ask("SELECT 'served'", database=database, user="postgres") == [("served",)]

    def backends(self, database: str = "app") -> set[int]:
        """Return the server's processes that serve this PgBouncer for the database."""
        query = f"SELECT pid FROM pg_stat_activity WHERE datname = '{database}' AND client_addr = '{self.address}'"
        return {pid for (pid,) in self.server(query)}

    def client(self, database: str = "app", *, autocommit: bool = True) -> Any:
        """Connect as an application does."""
        connection = _connect(self.port, database, "postgres")
        connection.autocommit = autocommit
        return connection


def _connect(port: int, database: str, user: str) -> Any:
    return psycopg2.connect(
        host="127.0.0.1", port=port, user=user, password=PASSWORDS[user], dbname=database, connect_timeout=20
    )


def _ask(port: int, database: str, user: str, statement: str) -> list[tuple[Any, ...]]:
    with closing(_connect(port, database, user)) as connection:
        connection.autocommit = True  # the console knows no BEGIN
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall()) if cursor.description else []


@pytest.fixture(scope="session")
def postgres(containers: Containers) -> Container:
    started = containers.start(
        "runbooks-lab/postgres:17",
        alias="postgres",
        ports=[5432],
        environment={"POSTGRES_PASSWORD": PASSWORDS["postgres"]},
        command=["-c", "max_connections=60"],
    )
    wait_for(lambda: started.run("pg_isready", "-h", "127.0.0.1"), "PostgreSQL serves")
    started.run("psql", "-c", "CREATE DATABASE app")
    return started


@pytest.fixture(scope="session", params=IMAGES)
def running(request: pytest.FixtureRequest, root: Path, containers: Containers, postgres: Container) -> Bouncer:
    version = request.param
    if version == "1.18":
        build = ["docker", "build", "--quiet", "--tag", IMAGES[version], "--file", "-", str(root / "lab" / "images")]
        subprocess.run(build, input=BOOKWORM, text=True, check=True, stdout=subprocess.DEVNULL, timeout=300)
    started = containers.start(
        IMAGES[version],
        alias=f"pgbouncer-{version.replace('.', '-')}",
        ports=[6432],
        environment={
            "USERLIST": "\n".join(f'"{user}" "{password}"' for user, password in PASSWORDS.items()),
            # The image has one variable per line that this test needs; the second line rides along.
            "ADMIN_USERS": "runbooks\nstats_users = watcher",
            "DEFAULT_POOL_SIZE": str(POOL_SIZE),
        },
    )
    bouncer = Bouncer(version, started, postgres)
    wait_for(lambda: bouncer.serves("postgres"), "PgBouncer serves")
    return bouncer


@pytest.fixture
def bouncer(running: Bouncer) -> Iterator[Bouncer]:
    """Give a test a PgBouncer at rest, and see that it leaves one: nothing paused, settings as they were."""
    assert running.serves("app")
    yield running
    assert running.paused() == []
    assert running.serves("app")
    assert running.config("server_login_retry") == "15"
