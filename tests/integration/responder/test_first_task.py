"""The benchmark of the first task keeps working, on our side."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import typer
from typer.testing import CliRunner

from benchmarks import first_task

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.integration, pytest.mark.slow]


def test_our_side_is_measured_without_the_other() -> None:
    """One first task and two alerts at once, and the table says what was not measured."""
    measured = first_task.measure(1, 2, None)

    assert 0 < measured.ours[0] < 120
    assert "not measured" in measured.table()


def test_a_missing_program_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader learns in a sentence why only one side is in the table."""
    given: list[Path | None] = []

    def note(rounds: int, count: int, program: Path | None) -> first_task.Measured:
        given.append(program)
        return first_task.Measured(rounds, count, (1.0, 2.0), (2.0, 8.0), 0.5)

    # The measuring itself is the test above.
    monkeypatch.setattr(first_task, "measure", note)
    app = typer.Typer()
    app.command()(first_task.main)
    result = CliRunner().invoke(app, ["--rulebook", "/nowhere/ansible-rulebook", "--rounds", "1", "--count", "2"])

    assert given == [None]
    assert "ansible-rulebook is not measured" in result.output
    assert "| 2 alerts at once, until the last starts | 2.00 s | 8.00 s | 0.25 |" in result.output
