# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to the ops.runbooks collection: may change without notice.
"""The port through which the repair of persistence sees the data directory of a server."""

from __future__ import annotations

from abc import ABC, abstractmethod


class DataFiles(ABC):
    """The data directory of one Redis server. Every path is relative to it.

    Every method raises ActionFailed if the place refuses, and ConnectionFailed if it cannot be reached.
    """

    name: str  # where the files are, in messages
    directory: str

    @abstractmethod
    def serving(self) -> str | None:
        """Return why the server counts as running, which forbids a repair; None if it does not run."""

    @abstractmethod
    def halt(self) -> str | None:
        """Keep the server from being started again by itself; return what was done, if anything."""

    @abstractmethod
    def sizes(self, folder: str = "") -> dict[str, int]:
        """Return the regular files in a folder by name, with their sizes; nothing for a folder that is not there."""

    @abstractmethod
    def free_bytes(self) -> int:
        """Return the space that is left for new files."""

    @abstractmethod
    def read(self, path: str, start: int, count: int) -> bytes:
        """Return at most ``count`` bytes from ``start`` on."""

    @abstractmethod
    def make_folder(self, path: str) -> None:
        """Make a folder, and those above it."""

    @abstractmethod
    def keep(self, path: str, folder: str) -> None:
        """Keep a file, or a folder with what is in it, under its name in ``folder``: linked, or copied."""

    @abstractmethod
    def copy(self, path: str, to: str) -> None:
        """Copy a file with its owner and mode."""

    @abstractmethod
    def write(self, path: str, text: str) -> None:
        """Replace the content of a file, which keeps its owner and mode."""

    @abstractmethod
    def cut(self, path: str, size: int, *, end_rdb: bool = False) -> None:
        """Cut a file to a size, and then end it as an RDB without a checksum if asked to."""

    @abstractmethod
    def move(self, path: str, to: str) -> None:
        """Put a file in the place of another in one step; what was written to it is on disk before."""

    @abstractmethod
    def remove(self, path: str) -> None:
        """Remove one name of a file, or a folder; what is not there is removed."""

    @abstractmethod
    def check_aof(self, path: str) -> tuple[bool, str]:
        """Tell whether redis-check-aof accepts a file or a manifest, and what it printed."""

    @abstractmethod
    def fix_aof(self, path: str) -> None:
        """Have redis-check-aof cut a file after its last good command."""

    @abstractmethod
    def check_rdb(self, path: str) -> tuple[bool, str]:
        """Tell whether redis-check-rdb accepts a file, and what it printed."""

    @abstractmethod
    def commands(self, path: str, start: int) -> int:
        """Count what looks like the beginning of a command, from ``start`` on."""
