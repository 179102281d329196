"""A PostgreSQL server for responders, and databases on it."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg2

from tests.integration.containers import Container, Containers, wait_for

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

IMAGE = "runbooks-lab/postgres:17"
PASSWORD = "rs-secret-6"


@dataclass(frozen=True)
class Server:
    """A running server."""

    container: Container

    def make_database(self) -> str:
        """Make an empty database whose server asks for less than full durability; return its address."""
        name = f"responder_{secrets.token_hex(4)}"
        self.psql(f"CREATE DATABASE {name}")
        # The store must not take this for an answer.
        self.psql(f"ALTER DATABASE {name} SET synchronous_commit = off")
        return f"postgresql://postgres:{PASSWORD}@127.0.0.1:{self.container.port(5432)}/{name}"

    def psql(self, statement: str, database: str = "postgres") -> str:
        """Ask over the socket, which is not the way of the store."""
        return self.container.run("psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", database, "-c", statement).strip()

    def stop(self) -> None:
        """Shut it down and cut every connection; after a kill it would first repair each database of the tests."""
        self.container.handle.stop(timeout=60)

    def start(self) -> None:
        self.container.handle.start()
        self.wait()

    def wait(self) -> None:
        wait_for(lambda: self.container.run("pg_isready", "-h", "127.0.0.1"), "PostgreSQL serves", 90)


def start_server(containers: Containers) -> Server:
    server = Server(
        containers.start(IMAGE, alias="responder-db", ports=[5432], environment={"POSTGRES_PASSWORD": PASSWORD})
    )
    server.wait()
    return server


def connect(url: str) -> AbstractContextManager[Any]:
    """Connect as somebody who is not the store."""
    connection = psycopg2.connect(url)
    connection.autocommit = True
    return connection
