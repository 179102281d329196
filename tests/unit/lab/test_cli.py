"""What the command line says when something is wrong, and how programs are run."""

from __future__ import annotations

import re
import sys
from io import StringIO
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from lab.cli import main
from lab.faults import FAULTS
from lab.shell import Board, CommandFailed, LabError, run, stream

if TYPE_CHECKING:
    from pathlib import Path


def test_an_unknown_fault_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 1, the names that exist, no traceback."""
    monkeypatch.setattr(sys, "argv", ["lab", "fault", "meteorite"])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 1
    assert capsys.readouterr().err == f"There is no fault meteorite. There are: {', '.join(FAULTS)}.\n"


def test_faults_are_listed_with_what_they_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each has its name, its alert and its effect."""
    monkeypatch.setattr(sys, "argv", ["lab", "faults"])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 0
    out = capsys.readouterr().out
    for fault in FAULTS.values():
        assert fault.name in out
        assert fault.alert in out


def test_a_fault_is_named_as_its_file(root: Path) -> None:
    """One file for each fault, and every file is a fault."""
    files = {path.stem for path in (root / "lab/faults").glob("[a-z]*.py")}
    assert files == set(FAULTS)


def test_run_returns_what_was_printed() -> None:
    """Standard output only."""
    assert run([sys.executable, "-c", "import sys; print('out'); print('err', file=sys.stderr)"]) == "out\n"


@pytest.mark.parametrize(
    ("command", "message"),
    [
        pytest.param(
            ["sh", "-c", "echo first >&2; echo the reason >&2; exit 3"],
            "`sh -c 'echo first >&2; echo the reason >&2; exit 3'` failed: the reason",
            id="last-line-of-its-errors",
        ),
        pytest.param(["sh", "-c", "exit 3"], "`sh -c 'exit 3'` failed: no message", id="silent"),
        pytest.param(["no-such-program"], "The program no-such-program is not installed.", id="missing"),
    ],
)
def test_a_failed_program_is_one_sentence(command: list[str], message: str) -> None:
    """The command and the last thing it said."""
    with pytest.raises(CommandFailed) as caught:
        run(command)
    assert str(caught.value) == message


def test_a_program_that_hangs_is_ended() -> None:
    """The limit is in the message."""
    with pytest.raises(CommandFailed, match="did not end within 0 seconds"):
        run(["sleep", "60"], timeout=0.05)


def test_stream_reports_each_line_and_logs_all(tmp_path: Path) -> None:
    """The log begins with the command."""
    seen: list[str] = []
    stream(["sh", "-c", "echo one; echo; echo two >&2"], seen.append, log=tmp_path / "deep" / "x.log")
    assert seen == ["one", "two"]
    assert (tmp_path / "deep" / "x.log").read_text() == "$ sh -c 'echo one; echo; echo two >&2'\none\n\ntwo\n"


@pytest.mark.parametrize(
    ("command", "message"),
    [
        pytest.param(["sh", "-c", "echo why; exit 1"], "failed: why. See ", id="failed"),
        pytest.param(["no-such-program"], "The program no-such-program is not installed.", id="missing"),
    ],
)
def test_a_failed_stream_points_to_its_log(tmp_path: Path, command: list[str], message: str) -> None:
    """The last line and the log's place."""
    with pytest.raises(CommandFailed) as caught:
        stream(command, lambda _line: None, log=tmp_path / "x.log")
    assert message in str(caught.value)


def test_a_stream_that_goes_on_for_ever_is_ended(tmp_path: Path) -> None:
    """A program that prints without end does not hold the lab."""
    with pytest.raises(CommandFailed, match="`yes` did not end within 0 seconds"):
        stream(["yes"], lambda _line: None, log=tmp_path / "x.log", timeout=0.05)


@pytest.mark.parametrize("terminal", [True, False])
def test_the_board_shows_steps(terminal: bool) -> None:
    """A step shows when it starts and that it is done, on a terminal and in a log."""
    output = StringIO()
    with Board(Console(file=output, force_terminal=terminal, width=80)) as board, board.step("Bake [bread]") as report:
        report("with [brackets]")
    shown = output.getvalue()
    assert "Bake [bread]" in shown
    assert ("✓" in shown) if terminal else re.search(r"Bake \[bread\]: done in \d+\.\d s", shown)


def test_the_board_lets_errors_through() -> None:
    """A failing step is the caller's to handle."""
    output = StringIO()
    console = Console(file=output, force_terminal=True, width=80)
    with pytest.raises(LabError, match="out of flour"), Board(console) as board, board.step("Bake"):
        raise LabError("out of flour")
    assert "failed" in output.getvalue()
