# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to the ops.runbooks collection: may change without notice.
"""The outside of PgBouncer's modules: its admin console, and somebody who resumes what a dead module has paused."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager


class Console(ABC):
    """One connection to the admin console."""

    @abstractmethod
    def show(self, what: str) -> list[dict[str, Any]]:
        """Return the rows of SHOW ``what``.

        Raises:
            ConnectionFailed: The connection is lost, or PgBouncer does not answer.
            Unsupported: This version has no such list.
        """

    @abstractmethod
    def command(self, verb: str, database: str, *, timeout_seconds: float) -> None:
        """Send ``verb`` (RECONNECT, PAUSE, KILL, RESUME) for one database.

        RESUME of a database that is not paused, or not known, is fine.

        Raises:
            ActionFailed: PgBouncer refuses; the text says why.
            ConnectionFailed: The connection is lost.
            TimedOut: No answer in time. PgBouncer may still do it, and this connection is of no more use.
        """

    @abstractmethod
    def set_login_retry(self, seconds: int) -> None:
        """Set how long PgBouncer waits after a failed login to a server.

        Raises:
            OpsError: As for ``command``.
        """

    @abstractmethod
    def close(self) -> None:
        """Close the connection."""


class Guard(ABC):
    """Does what is left to do when this process dies before it could."""

    @abstractmethod
    def watch(self, undo: Callable[[], object]) -> AbstractContextManager[None]:
        """Run ``undo`` elsewhere if this process ends inside of the ``with`` block, however it ends."""
