"""The commands of the lab."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from lab.engine import ensure_engine
from lab.images import ensure_images
from lab.shell import Board, LabError

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="A real stack to practise on.", rich_markup_mode=None
)


@app.callback()
def lab() -> None:
    """Run a real stack to practise on, and the faults that break it."""


@app.command()
def images(
    names: Annotated[
        list[str] | None, typer.Argument(help="Images to build, for example postgres:17. None: all.")
    ] = None,
) -> None:
    """Build the images that are missing or out of date."""
    with Board() as board:
        ensure_engine(board)
        ensure_images(board, names or [])


def main() -> None:
    """Run a command; a failure is one sentence on stderr and exit code 1."""
    try:
        app()
    except LabError as error:
        Console(stderr=True, highlight=False, soft_wrap=True).print(Text(str(error), style="red"))
        sys.exit(1)
