# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to the ops.runbooks collection: may change without notice.
"""A second process that does what is left to do when this one is killed."""

from __future__ import annotations

import os
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ansible_collections.ops.runbooks.plugins.module_utils._pgbouncer_ports import Guard

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

READY, DONE = b"r", b"d"


class ForkedGuard(Guard):
    """A child in a session of its own: it outlives SIGTERM and SIGKILL to this process and to its group.

    A signal handler would not do: SIGKILL cannot be handled, and that is what ends a run which does not stop.
    """

    @contextmanager
    def watch(self, undo: Callable[[], object]) -> Iterator[None]:
        """Fork a child that waits for this process to say that all is done, or to vanish."""
        ours, theirs = socket.socketpair()
        child = os.fork()
        if child == 0:
            ours.close()  # or the end of the parent would go unnoticed
            _stand_by(theirs, undo)
        theirs.close()
        try:
            ours.recv(1)  # not before the child is out of this process's group
            yield
            ours.send(DONE)
        finally:
            ours.close()
            os.waitpid(child, 0)


def _stand_by(parent: socket.socket, undo: Callable[[], object]) -> None:
    """Wait in the child, act if there is no word from the parent, and never return."""
    try:
        os.setsid()
        nothing = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):  # whoever started the module waits until its output is closed
            os.dup2(nothing, stream)
        parent.send(READY)
        if parent.recv(1) != DONE:
            undo()
    finally:
        os._exit(0)  # no clean-up: every connection that was inherited is the parent's
