# SPDX-License-Identifier: GPL-3.0-or-later
"""Find and end every process of one run (Linux), and the names that responder and run agree on.

Ansible's workers leave the process group of ansible-playbook, and an orphan loses its parent; the mark in the
environment, which every descendant inherits, finds them all. Programs that clear their environment (sudo) are found
as descendants of a marked one.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

MARK = "ALERT_RESPONDER_RUN"
# The files in the folder of a run: what to do, whether a task that may change something began, and how it ended.
JOB, BEGAN, RESULT = "job.json", "began", "result.json"
LONGEST_ERROR = 1000
# The mark of a process that belongs to no run yet; as long as the longest name of a run, whose place it keeps.
NO_RUN = "-" * 80
# A fork of the warm process says that it can be found, and is told to go.
READY, GO = b"ready", b"go"
_PROC = Path("/proc")
_POLL_SECONDS = 0.05


def processes_of(run: str) -> set[int]:
    """Return the living processes of one run, without the caller."""
    marked: set[int] = set()
    children: dict[int, list[int]] = {}
    mark = f"{MARK}={run}".encode()
    for entry in _PROC.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            # The name of the program, in brackets, may hold anything, brackets and spaces too.
            state, parent = (entry / "stat").read_bytes().rpartition(b")")[2].split()[:2]
            if state in (b"Z", b"X"):
                continue
            children.setdefault(int(parent), []).append(int(entry.name))
            if mark in (entry / "environ").read_bytes().split(b"\0"):
                marked.add(int(entry.name))
        except (OSError, ValueError):
            # It has ended meanwhile, or belongs to somebody else.
            continue
    found: set[int] = set()
    waiting = list(marked)
    while waiting:
        pid = waiting.pop()
        if pid not in found:
            found.add(pid)
            waiting.extend(children.get(pid, []))
    return found - {os.getpid()}


def end_run(run: str, *, grace_seconds: float = 2.0) -> set[int]:
    """End every process of one run: first politely, then not. Return those that survived even that."""
    for number, patience in ((signal.SIGTERM, grace_seconds), (signal.SIGKILL, grace_seconds)):
        deadline = time.monotonic() + patience
        told: set[int] = set()
        while alive := processes_of(run):
            # A process that was born after the first look is told as well.
            for pid in alive - told:
                _tell(pid, number)
            told |= alive
            if time.monotonic() >= deadline:
                break
            time.sleep(_POLL_SECONDS)
    return processes_of(run)


def _tell(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return
