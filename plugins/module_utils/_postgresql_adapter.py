# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to the ops.runbooks collection: may change without notice.
"""The only place that imports psycopg2: connections, and library errors in our words."""

from __future__ import annotations

import traceback
from functools import partial
from typing import TYPE_CHECKING, Any

from ansible_collections.ops.runbooks.plugins.module_utils._errors import (
    ConnectionFailed,
    MissingLibrary,
    OpsError,
)
from ansible_collections.ops.runbooks.plugins.module_utils._waiting import wait_until

try:
    import psycopg2
    import psycopg2.extensions
    import psycopg2.extras

    IMPORT_FAILURE: str | None = None
except ImportError:
    IMPORT_FAILURE = traceback.format_exc()

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ansible_collections.ops.runbooks.plugins.module_utils._postgresql_options import Login
    from ansible_collections.ops.runbooks.plugins.module_utils._waiting import Clock

APPLICATION_NAME = "ops.runbooks"

_RESERVED = "Log in as a role that may use reserved slots: a superuser or a member of pg_use_reserved_connections."
# How the server says that every slot is taken, those that are kept back included.
NO_SLOT = ("too many clients", "connection slots are reserved")
SLOT_SECONDS = 2
# What the server or the network says, and what to do about it; the first that matches is used.
_REMEDIES = (
    *((sign, _RESERVED) for sign in NO_SLOT),
    ("too many connections for", "Raise the CONNECTION LIMIT of the role or database, or log in as another role."),
    ("password authentication failed", "Check login_user and login_password."),
    ("no password supplied", "Set login_password."),
    ("no pg_hba.conf entry", "Allow this client in pg_hba.conf, or log in from another host."),
    ("does not exist", "Check login_db and login_user."),
    ("Connection refused", "Check login_host and login_port, and that the server runs."),
    ("could not translate host name", "Check login_host."),
    ("timeout expired", "Check that the server is not frozen and can be reached, or raise connect_timeout_seconds."),
    ("starting up", "The server is starting; try again when recovery has finished."),
    ("shutting down", "The server is shutting down; wait for it to come back."),
)


class Connection:
    """One connection in autocommit mode, so that each statement sees the server as it is at that moment."""

    def __init__(self, login: Login, *, statement_timeout_seconds: int = 30, read_only: bool = False) -> None:
        """Connect; raises ConnectionFailed with the reason and a remedy, never with the password."""
        if IMPORT_FAILURE is not None:
            raise MissingLibrary("psycopg2", IMPORT_FAILURE)
        self._login = login
        options = (
            f"-c statement_timeout={statement_timeout_seconds}s -c DateStyle=ISO -c TimeZone=UTC"
            f" -c default_transaction_read_only={'on' if read_only else 'off'}"
        )
        self._connection = log_in(login, partial(self._connect, login, options))
        self._connection.autocommit = True

    @staticmethod
    def _connect(login: Login, options: str) -> Any:
        try:
            return psycopg2.connect(
                host=login.host,
                port=login.port,
                user=login.user,
                password=login.password,
                dbname=login.database,
                sslmode=login.ssl_mode,
                sslrootcert=login.ca_cert,
                connect_timeout=login.connect_timeout_seconds,
                application_name=APPLICATION_NAME,
                options=options,
            )
        except psycopg2.Error as error:
            raise connection_failed(login, error) from None  # the library's text may repeat the DSN

    def rows(self, query: str, parameters: Mapping[str, Any] | Sequence[Any] | None = None) -> list[dict[str, Any]]:
        """Run one statement and return its rows.

        Raises OpsError with the SQLSTATE in ``details`` when the server refuses, ConnectionFailed when it went away.
        """
        try:
            with self._connection.cursor(cursor_factory=psycopg2.extras.RealDictCursor) as cursor:
                cursor.execute(query, parameters)
                names = [column.name for column in cursor.description or ()]
                if len(set(names)) < len(names):
                    raise OpsError(f"The statement gives two columns of one name: {', '.join(names)}. Use AS.")
                return [dict(row) for row in cursor.fetchall()] if names else []
        except (psycopg2.OperationalError, psycopg2.InterfaceError) as error:
            if self._connection.closed or not error.pgcode:
                raise connection_failed(self._login, error, "Lost the connection") from None
            raise self._refused(error) from error
        except psycopg2.Error as error:
            raise self._refused(error) from error

    def _refused(self, error: Any) -> OpsError:
        return OpsError(
            f"PostgreSQL {self._login.instance} refused a statement: {_first_line(error)}.", sqlstate=error.pgcode
        )

    def close(self) -> None:
        """Give the slot back."""
        self._connection.close()


def log_in(login: Login, connect: Callable[[], Any], clock: Clock | None = None) -> Any:
    """Connect, and wait a moment for a reserved slot: at the limit the exporter takes one now and then, too.

    Raises:
        ConnectionFailed: What the last attempt raised; at once for anything but a missing slot.
    """

    def attempt() -> Any:
        try:
            return connect()
        except ConnectionFailed as error:
            return error

    def settled(answer: Any) -> bool:
        return not (isinstance(answer, ConnectionFailed) and any(sign in str(answer) for sign in NO_SLOT))

    limit = min(SLOT_SECONDS, login.connect_timeout_seconds)
    answer = wait_until(attempt, settled, timeout_seconds=limit, interval_seconds=0.2, clock=clock).state
    if isinstance(answer, ConnectionFailed):
        raise answer
    return answer


def connection_failed(login: Login, error: BaseException, what: str = "Cannot connect") -> ConnectionFailed:
    """Translate a library error; the remedy follows from what the server said."""
    reason = str(error).strip()
    if login.password:
        reason = reason.replace(login.password, "********")
    remedy = next((remedy for sign, remedy in _REMEDIES if sign in reason), "Check that the server runs and answers.")
    return ConnectionFailed(
        f'{what} to database "{login.database}" on {login.instance} as "{login.user}": {_last_line(reason)}. {remedy}',
        instance=login.instance,
    )


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or ["no message"])[0].rstrip(".")


def _last_line(reason: str) -> str:
    """Return the last sentence of libpq, which names the cause; earlier lines name the address again."""
    lines = [line.strip() for line in reason.splitlines() if line.strip()]
    cause = next((line for line in lines if "failed:" in line or "FATAL" in line), lines[0] if lines else "no message")
    return cause.rstrip(".")
