"""The benchmark of the first task keeps working, on our side."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from benchmarks import first_task

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.integration, pytest.mark.slow]


def test_both_executors_are_measured_without_the_other_side() -> None:
    """One first task and two alerts at once; without the other side there is no ratio to tell."""
    measured = first_task.measure(1, 1, 2, None)

    [first, fastest, _, processor] = measured.rows.values()
    assert set(first) == {"local", "warm"}
    assert fastest == first
    assert all(0 < seconds < 120 for seconds in first.values())
    assert all(0 < seconds < 60 for seconds in processor.values())
    assert "(" not in measured.table().splitlines()[2].replace("| ", "")


def test_the_table_tells_times_and_ratios() -> None:
    """Each of our sides beside its part of the other's time."""
    rows = {"2 alerts at once": {"local": 2.0, "warm": 1.0, "ansible-rulebook": 8.0}}

    table = first_task.Measured(rows, 0.5).table()
    assert "| | local | warm | ansible-rulebook |" in table
    assert "| 2 alerts at once | 2.00 s (0.25) | 1.00 s (0.12) | 8.00 s |" in table


def test_without_java_the_reason_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The reader learns in a sentence why only our side is in the table."""
    monkeypatch.setenv("PATH", "/nowhere")

    assert first_task.install_rulebook() is None
    assert "ansible-rulebook is not measured" in capsys.readouterr().err


def test_processor_time_counts_what_a_process_has_started(tmp_path: Path) -> None:
    """A child that was waited for counts as well as one that lives."""
    code = (
        "import os\nif not os.fork():\n  sum(range(3 * 10**7)); os._exit(0)\nos.wait(); print(1, flush=True); input()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        used = first_task.processor_seconds(process.pid)
        process.communicate(b"\n")

    assert used > 0.1
