# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to the ops.runbooks collection: may change without notice.
"""PgBouncer's admin console through psycopg2, with a limit on every wait."""

from __future__ import annotations

import select
import time
import traceback
from typing import TYPE_CHECKING, Any

from ansible_collections.ops.runbooks.plugins.module_utils._errors import (
    ActionFailed,
    ConnectionFailed,
    MissingLibrary,
    TimedOut,
    Unsupported,
)
from ansible_collections.ops.runbooks.plugins.module_utils._pgbouncer_ports import Console
from ansible_collections.ops.runbooks.plugins.module_utils._postgresql_adapter import (
    APPLICATION_NAME,
    connection_failed,
)

try:
    import psycopg2
    from psycopg2 import extensions, sql
except ImportError:
    IMPORT_FAILURE: str | None = traceback.format_exc()
else:
    IMPORT_FAILURE = None

if TYPE_CHECKING:
    from ansible_collections.ops.runbooks.plugins.module_utils._postgresql_options import Login

SHOW_SECONDS = 10.0
LISTS = ("CONFIG", "DATABASES", "LISTS", "POOLS", "SERVERS", "STATE", "VERSION")
COMMANDS = ("KILL", "PAUSE", "RECONNECT", "RESUME")


class Psycopg2Console(Console):
    """An asynchronous connection: a console that waits, or a PgBouncer that is frozen, must not stop us for ever.

    It is in autocommit by nature: the console knows no BEGIN.
    """

    def __init__(self, login: Login) -> None:
        """Connect.

        Raises:
            ConnectionFailed: With the reason and a remedy, never with the password.
        """
        if IMPORT_FAILURE is not None:
            raise MissingLibrary("psycopg2", IMPORT_FAILURE)
        self._login = login
        try:
            # No "options": PgBouncer refuses startup parameters that it does not know.
            self._connection = psycopg2.connect(
                host=login.host,
                port=login.port,
                user=login.user,
                password=login.password,
                dbname=login.database,
                sslmode=login.ssl_mode,
                sslrootcert=login.ca_cert,
                application_name=APPLICATION_NAME,
                async_=True,
            )
            self._wait(login.connect_timeout_seconds)
        except TimedOut as error:
            self.close()
            raise ConnectionFailed(
                f"Cannot connect to PgBouncer {login.instance}: no answer within {login.connect_timeout_seconds} s. "
                "Check that it is not frozen and the network lets this through."
            ) from error
        except psycopg2.Error as error:
            raise _login_failed(login, error) from None  # the library's text may repeat the DSN

    def show(self, what: str) -> list[dict[str, Any]]:
        """Run SHOW."""
        if what not in LISTS:
            raise ValueError(f"SHOW {what} is not used here.")
        try:
            return self._run(sql.SQL("SHOW " + what), SHOW_SECONDS)
        except TimedOut as error:
            raise ConnectionFailed(str(error)) from error
        except ActionFailed as error:
            raise Unsupported(str(error)) from error

    def command(self, verb: str, database: str, *, timeout_seconds: float) -> None:
        """Run a command on one database; the name is quoted as the console asks for."""
        if verb not in COMMANDS:
            raise ValueError(f"{verb} is not used here.")
        try:
            self._run(sql.SQL(verb + " {}").format(sql.Identifier(database)), timeout_seconds)
        except ActionFailed as error:
            # "no such database": one that stands for * in the configuration of a PgBouncer that has restarted.
            if verb != "RESUME" or not any(sign in str(error) for sign in ("is not paused", "no such database")):
                raise

    def set_login_retry(self, seconds: int) -> None:
        """Run SET."""
        self._run(sql.SQL("SET server_login_retry = {}").format(sql.Literal(str(seconds))), SHOW_SECONDS)

    def close(self) -> None:
        """Close the connection, whatever it is doing."""
        self._connection.close()

    def _run(self, statement: sql.Composable, seconds: float) -> list[dict[str, Any]]:
        text = statement.as_string(self._connection)
        try:
            with self._connection.cursor() as cursor:
                cursor.execute(text)
                self._wait(seconds)
                if cursor.description is None:
                    return []
                names = [column.name for column in cursor.description]
                return [dict(zip(names, row)) for row in cursor.fetchall()]
        except TimedOut as error:
            raise TimedOut(f"PgBouncer {self._login.instance} did not answer {text} within {seconds:g} s.") from error
        except psycopg2.Error as error:
            reason = " ".join(str(error).split()).rstrip(".")
            if self._connection.closed or not error.pgcode:
                raise ConnectionFailed(
                    f"Lost the connection to PgBouncer {self._login.instance} at {text}: {reason}. Check that it runs."
                ) from error
            raise ActionFailed(f"PgBouncer {self._login.instance} refused {text}: {reason}.") from error

    def _wait(self, seconds: float) -> None:
        """Let psycopg2 work until it is done.

        Raises:
            TimedOut: The limit has passed.
        """
        end = time.monotonic() + seconds
        while True:
            state = self._connection.poll()
            if state == extensions.POLL_OK:
                return
            left = end - time.monotonic()
            if left <= 0:
                raise TimedOut("no answer")
            readers = [self._connection] if state == extensions.POLL_READ else []
            writers = [self._connection] if state == extensions.POLL_WRITE else []
            select.select(readers, writers, [], left)


def _login_failed(login: Login, error: BaseException) -> ConnectionFailed:
    """Explain what only PgBouncer says; the rest is libpq's."""
    if "not allowed" in str(error):
        cause = "it is neither in admin_users nor in stats_users. Add it and reload PgBouncer, or set login_user."
    elif "SASL authentication failed" in str(error):
        cause = "authentication failed. Check login_user and login_password."
    else:
        return connection_failed(login, error)
    return ConnectionFailed(
        f'Cannot log in to the console of PgBouncer {login.instance} as "{login.user}": {cause}',
        instance=login.instance,
    )
