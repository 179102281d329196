"""Expectations of the process that finishes what a killed module has begun; the processes are real."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from ansible_collections.ops.runbooks.plugins.module_utils._pgbouncer_guard import ForkedGuard

if TYPE_CHECKING:
    from pathlib import Path

# A module that has begun something and is then killed.
VICTIM = """
import signal, sys, time
sys.path.insert(0, sys.argv[1])
from tests import conftest
from ansible_collections.ops.runbooks.plugins.module_utils._pgbouncer_guard import ForkedGuard
def undo():
    open(sys.argv[2], "x").write("undone")
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup, under which tests may run, has it ignored
with ForkedGuard().watch(undo):
    print("begun", flush=True)
    time.sleep(60)
"""


def test_what_ends_well_is_not_undone(tmp_path: Path) -> None:
    """The child is gone when the block is left."""
    mark = tmp_path / "mark"
    with ForkedGuard().watch(mark.touch):
        pass
    assert not mark.exists()


def test_an_exception_is_undone_before_it_goes_on(tmp_path: Path) -> None:
    """Whoever sees the exception can rely on it."""
    mark = tmp_path / "mark"
    with pytest.raises(KeyboardInterrupt), ForkedGuard().watch(mark.touch):
        raise KeyboardInterrupt
    assert mark.exists()


def test_an_undo_that_fails_ends_the_child_quietly(capfd: pytest.CaptureFixture[str]) -> None:
    """Its traceback would end up in the module's output, which is JSON."""

    def fail() -> None:
        raise RuntimeError("no")

    with pytest.raises(KeyboardInterrupt), ForkedGuard().watch(fail):
        raise KeyboardInterrupt
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL, signal.SIGHUP])
def test_a_killed_module_is_undone(root: Path, tmp_path: Path, how: signal.Signals) -> None:
    """Also when its whole process group is killed, which is how a run that does not stop is ended."""
    mark = tmp_path / "mark"
    with subprocess.Popen(
        [sys.executable, "-c", VICTIM, str(root), str(mark)],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as victim:
        assert victim.stdout is not None
        assert victim.stdout.readline() == "begun\n"
        os.killpg(victim.pid, how)
        # The end of the output is what Ansible waits for: the child must not hold it open.
        assert victim.stdout.read() == ""
        assert victim.wait(5) == -how
    deadline = time.monotonic() + 5
    while not (mark.exists() and mark.read_text()) and time.monotonic() < deadline:
        os.sched_yield()
    assert mark.read_text() == "undone"
