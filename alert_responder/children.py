# SPDX-License-Identifier: GPL-3.0-or-later
"""The process of one run: a new program, or a fork of a process that has imported Ansible already."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import shutil
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from typing_extensions import override

from alert_responder.processes import GO, LONGEST_ERROR, MARK, NO_RUN, READY

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

log = logging.getLogger(__name__)

# Importing takes a second or two on an idle machine; whoever needs longer than this is stuck.
_START_SECONDS = 60.0
# A warm process that cannot be had is not asked for before every run.
_REST_SECONDS = 60.0
_ATTEMPTS = 2
_LONGEST_MESSAGE = 64


class Child(ABC):
    """The process of one run; it ends itself when ``close`` is called, or when the responder is gone."""

    ended = False

    @abstractmethod
    async def wait(self) -> int | None:
        """Return the exit code, negative for a signal; None when nobody is left who knows it."""

    @abstractmethod
    def close(self) -> None:
        """Give up what holds the process alive."""


class Program(Child):
    """A new program, which imports everything itself."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, folder: Path, environment: Mapping[str, str]) -> Program:
        """Start it; raises OSError."""
        with (folder / "stderr").open("wb") as errors:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "alert_responder.run_one",
                str(folder),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=errors,
                env=environment,
                cwd=folder,
                start_new_session=True,
            )
        return cls(process)

    @override
    async def wait(self) -> int | None:
        code = await self._process.wait()
        self.ended = True
        return code

    @override
    def close(self) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()


class Fork(Child):
    """A fork of the warm process; the connection is its standard input, and brings its exit code."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._connection.settimeout(0)

    async def begin(self) -> bool:
        """Let it go once it carries the run's mark, so that from here on it can be found and ended."""
        loop = asyncio.get_running_loop()
        if await loop.sock_recv(self._connection, _LONGEST_MESSAGE) != READY:
            return False
        await loop.sock_sendall(self._connection, GO)
        return True

    @override
    async def wait(self) -> int | None:
        # The warm process may be gone, and the code with it; the run goes on to its end all the same.
        try:
            told = await asyncio.get_running_loop().sock_recv(self._connection, _LONGEST_MESSAGE)
        except ConnectionError:
            told = b""
        self.ended = True
        return int(told) if told else None

    @override
    def close(self) -> None:
        self._connection.close()


class Warm:
    """Keeps the process that has imported Ansible; it ends when this one does.

    ``environment`` returns what every run sees; when that changes, or a file that was imported, another is started.
    """

    def __init__(self, folder: Path, project: Path, environment: Callable[[], dict[str, str]]) -> None:
        self._folder = folder
        self._project = project
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._started_with: dict[str, str] = {}
        self._rests_until = 0.0

    def get_ready(self) -> None:
        """Start the process, so that the first run finds it."""
        try:
            self._living()
        except OSError as error:
            self._rest(str(error))

    async def fork(self, run: str, folder: Path) -> Fork | None:
        """Return the process of a run; None when there is no warm process, and nothing of the run has begun."""
        if len(run) > len(NO_RUN) or time.monotonic() < self._rests_until:
            return None
        for _ in range(_ATTEMPTS):
            try:
                control = self._living()
            except OSError as error:
                self._rest(str(error))
                return None
            fork = await self._ask(control, run, folder)
            if fork is not None:
                return fork
            # It was killed, is stuck, or has seen that a file which it imported has changed.
            if self._control is control:
                self.close()
        try:
            said = (self._folder / "stderr").read_text(errors="replace").strip()[-LONGEST_ERROR:]
        except OSError:
            said = ""
        self._rest(said or "it ended without a word")
        return None

    def close(self) -> None:
        """End the process; the runs that it has begun go on."""
        if self._control is not None:
            self._control.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._control = self._process = None

    @staticmethod
    async def _ask(control: socket.socket, run: str, folder: Path) -> Fork | None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        fork = Fork(ours)
        begun = False
        try:
            with theirs:
                message = json.dumps({"run": run, "folder": str(folder)}).encode()
                socket.send_fds(control, [message], [theirs.fileno()])
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(_START_SECONDS):
                    begun = await fork.begin()
        except OSError:
            return None
        finally:
            if not begun:
                # Whoever reads this as standard input has not been told to go, and ends.
                fork.close()
        return fork if begun else None

    def _living(self) -> socket.socket:
        environment = self._environment()
        if self._process is None or self._process.poll() is not None or environment != self._started_with:
            self.close()
            self._start(environment)
        assert self._control is not None
        return self._control

    def _start(self, environment: dict[str, str]) -> None:
        # What an earlier one left, whatever its end.
        shutil.rmtree(self._folder, ignore_errors=True)
        temporary = self._folder / "tmp"
        temporary.mkdir(mode=0o700, parents=True)
        self._folder.chmod(0o700)
        self._started_with = environment
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.settimeout(0)
        self._control = ours
        with theirs, (self._folder / "stderr").open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "alert_responder.run_warm"],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=errors,
                env={**run_environment(environment, temporary), MARK: NO_RUN},
                cwd=self._project,
                start_new_session=True,
            )

    def _rest(self, reason: str) -> None:
        self._rests_until = time.monotonic() + _REST_SECONDS
        log.error(
            "There is no warm process: %s. For %.0f s every run imports Ansible itself.",
            reason,
            _REST_SECONDS,
            extra={"action": "warm.missing"},
        )


def run_environment(environment: Mapping[str, str], temporary: Path) -> dict[str, str]:
    """Return an environment with a folder of its own for temporary files."""
    return {**environment, "ANSIBLE_LOCAL_TEMP": str(temporary), "TMPDIR": os.fspath(temporary)}
