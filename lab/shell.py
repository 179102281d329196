"""Run programs, show what is going on, and say in one sentence what went wrong."""

from __future__ import annotations

import shlex
import subprocess
import time
from collections import deque
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

ROOT = Path(__file__).resolve().parents[1]
STATE = ROOT / "lab" / ".state"


class LabError(Exception):
    """One clear sentence: what cannot be done, why, and what to do next."""


class CommandFailed(LabError):
    """A program ended with an error or did not end in time."""


def run(command: Sequence[str], *, timeout: float = 60, environment: Mapping[str, str] | None = None) -> str:
    """Run a program and return what it printed.

    Raises:
        CommandFailed: It could not start, returned an error, or took longer than the limit.
    """
    try:
        done = subprocess.run(  # noqa: S603 - fixed programs, never a shell
            command, capture_output=True, text=True, timeout=timeout, env=environment, check=False
        )
    except FileNotFoundError as error:
        raise CommandFailed(f"The program {command[0]} is not installed.") from error
    except subprocess.TimeoutExpired as error:
        raise CommandFailed(f"`{shlex.join(command)}` did not end within {timeout:.0f} seconds.") from error
    if done.returncode:
        raise CommandFailed(f"`{shlex.join(command)}` failed: {_last_line(done.stderr or done.stdout)}")
    return done.stdout


def stream(
    command: Sequence[str],
    report: Callable[[str], None],
    *,
    log: Path,
    timeout: float = 1800,
    environment: Mapping[str, str] | None = None,
) -> None:
    """Run a long program: every line goes to the log and to ``report``.

    Raises:
        CommandFailed: It could not start, returned an error, or took longer than the limit.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    tail: deque[str] = deque(maxlen=1)
    deadline = time.monotonic() + timeout
    with log.open("a") as written:
        written.write(f"$ {shlex.join(command)}\n")
        try:
            process = subprocess.Popen(  # noqa: S603 - fixed programs, never a shell
                command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
            )
        except FileNotFoundError as error:
            raise CommandFailed(f"The program {command[0]} is not installed.") from error
        with process:
            for line in process.stdout or ():
                written.write(line)
                if line.strip():
                    tail.append(line.strip())
                    report(line.strip())
                if time.monotonic() > deadline:
                    process.kill()
                    raise CommandFailed(f"`{command[0]}` did not end within {timeout:.0f} seconds. See {log}.")
    if process.returncode:
        raise CommandFailed(f"`{shlex.join(command)}` failed: {''.join(tail)}. See {log}.")


def _last_line(output: str) -> str:
    return next((line.strip() for line in reversed(output.splitlines()) if line.strip()), "no message")


class Board:
    """Show steps with their elapsed time: live on a terminal, as plain lines elsewhere."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True, highlight=False)
        self._progress = Progress(
            SpinnerColumn(finished_text="[green]✓[/]"),
            TextColumn("{task.description}", markup=False),
            TimeElapsedColumn(),
            TextColumn("{task.fields[detail]}", style="dim", markup=False),
            console=self.console,
        )

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    @contextmanager
    def step(self, title: str) -> Iterator[Callable[[str], None]]:
        """Show a step while it runs; call what is yielded with the detail to show beside it."""
        start = time.monotonic()
        if not self.console.is_terminal:
            self.console.print(f"{title} ...", markup=False)
            yield lambda _detail: None
            self.console.print(f"{title}: done in {time.monotonic() - start:.1f} s", markup=False)
            return
        task = self._progress.add_task(title, total=1, detail="")
        room = max(20, self.console.width - len(title) - 20)
        try:
            yield lambda detail: self._progress.update(task, detail=detail[:room])
        except BaseException:
            self._progress.update(task, detail="failed")
            self._progress.stop_task(task)
            raise
        self._progress.update(task, completed=1, detail="")
