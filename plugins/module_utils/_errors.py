# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to the ops.runbooks collection: may change without notice.
"""The one family of errors that modules report."""

from __future__ import annotations


class OpsError(Exception):
    """Report that something could not be done: what, on which object, and what to do next.

    ``details`` travel into the module's result beside ``msg``; they never carry a secret.
    """

    def __init__(self, message: str, **details: object) -> None:
        super().__init__(message)
        self.details = details


class ConnectionFailed(OpsError):
    """The system could not be reached or refused the login."""


class PreconditionFailed(OpsError):
    """The state of the system makes the action wrong; nothing was changed."""


class ActionFailed(OpsError):
    """The system was reached but did not do what was asked."""


class TimedOut(OpsError):
    """The last state seen before the limit is in ``details``."""


class Unsupported(OpsError):
    """This version or this kind of system cannot do what was asked."""


class MissingLibrary(OpsError):
    """A Python library is missing on the managed host."""

    def __init__(self, library: str, traceback: str | None = None) -> None:
        super().__init__(f"Missing Python library {library}.")
        self.library = library
        self.traceback = traceback
