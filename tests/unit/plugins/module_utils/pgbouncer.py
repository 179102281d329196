"""A PgBouncer in memory, and the contract that it shares with the real console."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import starmap
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.ops.runbooks.plugins.module_utils._errors import (
    ActionFailed,
    ConnectionFailed,
    OpsError,
    TimedOut,
    Unsupported,
)
from ansible_collections.ops.runbooks.plugins.module_utils._pgbouncer_pools import parse_config
from ansible_collections.ops.runbooks.plugins.module_utils._pgbouncer_ports import Console, Guard

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@dataclass
class FakeDatabase:
    """What PgBouncer keeps of one database; ``wildcard`` ones are listed only while they have connections."""

    clients: int = 0
    waiting: int = 0
    active: int = 0
    idle: int = 0
    pool_size: int = 5
    paused: bool = False
    disabled: bool = False
    wildcard: bool = False
    close_needed: int = 0

    @property
    def listed(self) -> bool:
        return not self.wildcard or bool(self.clients or self.waiting or self.active or self.idle)


@dataclass
class FakePgBouncer:
    """A server that keeps state and a log of what was sent to it.

    ``breaks`` maps the number of a command to what happens instead of an answer: ``lost`` (before it is done),
    ``lost after`` (it is done and nobody hears of it), ``refused`` or ``hangs``. ``unreachable`` logins fail first.
    """

    databases: dict[str, FakeDatabase] = field(default_factory=dict)
    login_retry: int = 15
    admin_users: str = "runbooks"
    state: str | None = "active"
    breaks: dict[int, str] = field(default_factory=dict)
    unreachable: int = 0
    log: list[str] = field(default_factory=list)
    open_consoles: int = 0

    def connect(self) -> FakeConsole:
        if self.unreachable:
            self.unreachable -= 1
            raise ConnectionFailed("Cannot connect: Connection refused.")
        self.open_consoles += 1
        return FakeConsole(self)


class FakeConsole(Console):
    """A connection to the server above."""

    def __init__(self, server: FakePgBouncer) -> None:
        self._server = server
        self._usable = True

    def show(self, what: str) -> list[dict[str, Any]]:
        self._check_usable()
        server = self._server
        listed = {name: database for name, database in server.databases.items() if database.listed}
        settings = {
            "server_login_retry": str(server.login_retry),
            "admin_users": server.admin_users,
            "auth_type": "scram-sha-256",
            "max_client_conn": "200",
            "query_wait_timeout": "120",
        }
        lists: dict[str, list[dict[str, Any]]] = {
            "CONFIG": [{"key": key, "value": value} for key, value in settings.items()],
            "DATABASES": [_database_row("pgbouncer", FakeDatabase()), *starmap(_database_row, listed.items())],
            "POOLS": [_pool_row("pgbouncer", FakeDatabase(clients=1)), *starmap(_pool_row, listed.items())],
            "SERVERS": [
                {"database": name, "close_needed": int(number < database.close_needed)}
                for name, database in listed.items()
                for number in range(database.active + database.idle)
            ],
            "LISTS": [{"list": "used_clients", "items": sum(database.clients for database in listed.values()) + 1}],
            "VERSION": [{"version": "PgBouncer 1.24.1"}],
        }
        if server.state is not None:
            lists["STATE"] = [
                {"key": key, "value": "yes" if key == server.state else "no"} for key in ("active", "paused")
            ]
        if what not in lists:
            raise Unsupported(f"PgBouncer refused SHOW {what}: invalid command.")
        return lists[what]

    def command(self, verb: str, database: str, *, timeout_seconds: float) -> None:
        assert timeout_seconds > 0
        self._answer(f"{verb} {database}", lambda: self._do(verb, database))

    def set_login_retry(self, seconds: int) -> None:
        def change() -> None:
            self._server.login_retry = seconds

        self._answer(f"SET {seconds}", change)

    def close(self) -> None:
        self._server.open_consoles -= 1

    def _do(self, verb: str, name: str) -> None:
        found = self._server.databases.setdefault(name, FakeDatabase(wildcard=True))
        if verb == "PAUSE":
            found.paused = True
            if found.active:
                self._usable = False
                raise TimedOut("PgBouncer did not answer PAUSE.")
            found.idle = 0
        elif verb == "KILL":
            found.paused = True
            found.clients = found.waiting = found.active = found.idle = found.close_needed = 0
        elif verb == "RESUME":
            found.paused = False
        elif verb == "RECONNECT":
            found.idle = 0
            found.close_needed = found.active
        else:
            raise ActionFailed(f"PgBouncer refused {verb}: invalid command.")

    def _answer(self, text: str, do: Callable[[], None]) -> None:
        self._check_usable()
        self._server.log.append(text)
        breaks = self._server.breaks.pop(len(self._server.log) - 1, None)
        if breaks == "refused":
            raise ActionFailed(f"PgBouncer refused {text}: no.")
        if breaks != "lost":
            do()
        if breaks is not None:
            self._usable = False
            raise TimedOut("no answer") if breaks == "hangs" else ConnectionFailed(f"Lost the connection at {text}.")

    def _check_usable(self) -> None:
        if not self._usable:
            raise ConnectionFailed("The connection is of no more use.")


def _database_row(name: str, database: FakeDatabase) -> dict[str, Any]:
    return {
        "name": name,
        "host": "192.0.2.10",
        "port": 5432,
        "pool_size": database.pool_size,
        "paused": int(database.paused),
        "disabled": int(database.disabled),
    }


def _pool_row(name: str, database: FakeDatabase) -> dict[str, Any]:
    return {
        "database": name,
        "user": "shop",
        "cl_active": database.clients,
        "cl_waiting": database.waiting,
        "sv_active": database.active,
        "sv_idle": database.idle,
        "sv_used": 0,
        "sv_tested": 0,
        "sv_login": 0,
        "maxwait": 2 if database.waiting else 0,
        "maxwait_us": 310_000 if database.waiting else 0,
        "pool_mode": "transaction",
    }


class FakeGuard(Guard):
    """Undo at once where a real guard would, which is when the block ends without a word from the module."""

    def __init__(self) -> None:
        self.watched = 0
        self.undone = 0

    @contextmanager
    def watch(self, undo: Callable[[], object]) -> Iterator[None]:
        self.watched += 1
        try:
            yield
        except BaseException:
            self.undone += 1
            undo()
            raise


class ConsoleContract:
    """What holds for every console; a subclass gives ``connect`` and a database ``app`` that has a connection.

    ``busy`` is a context in which a transaction of ``app`` is open.
    """

    def test_a_paused_database_shows_so_until_it_is_resumed(self, connect: Callable[[], Console]) -> None:
        """PAUSE and RESUME do what they say; RESUME of what is not paused, or not known, is no error."""
        console = connect()
        console.command("PAUSE", "app", timeout_seconds=5)
        assert self.paused(console)
        for _ in range(2):
            console.command("RESUME", "app", timeout_seconds=5)
            assert not self.paused(console)
        console.command("RESUME", "unknown", timeout_seconds=5)

    def test_kill_drops_the_connections_and_leaves_the_database_paused(self, connect: Callable[[], Console]) -> None:
        """Without RESUME, every client that comes back waits."""
        console = connect()
        console.command("KILL", "app", timeout_seconds=5)
        pools = [row for row in console.show("POOLS") if row["database"] == "app"]
        assert sum(row["cl_active"] + row["sv_active"] + row["sv_idle"] for row in pools) == 0
        console.command("RESUME", "app", timeout_seconds=5)

    def test_a_pause_that_waits_ends_at_the_limit_and_goes_on_without_us(
        self, connect: Callable[[], Console], busy: None
    ) -> None:
        """The connection is of no more use, and closing it does not resume."""
        waiting, other = connect(), connect()
        with pytest.raises(TimedOut):
            waiting.command("PAUSE", "app", timeout_seconds=0.5)
        with pytest.raises(OpsError):
            waiting.command("RESUME", "app", timeout_seconds=0.5)
        waiting.close()
        assert self.paused(other)
        other.command("RESUME", "app", timeout_seconds=5)

    def test_the_login_retry_is_set(self, connect: Callable[[], Console]) -> None:
        """SHOW CONFIG has what SET has set."""
        console = connect()
        console.set_login_retry(3)
        assert parse_config(console.show("CONFIG"))["server_login_retry"] == "3"
        console.set_login_retry(15)

    def test_every_list_that_is_used_is_there(self, connect: Callable[[], Console]) -> None:
        """The columns differ between versions, the lists do not."""
        console = connect()
        for what in ("CONFIG", "DATABASES", "LISTS", "POOLS", "SERVERS", "VERSION"):
            assert isinstance(console.show(what), list)

    def paused(self, console: Console) -> bool:
        (paused,) = (row["paused"] for row in console.show("DATABASES") if row["name"] == "app")
        return bool(paused)
