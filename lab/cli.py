"""The commands of the lab."""

from __future__ import annotations

import os
import sys
from pathlib import Path  # noqa: TC003 - Typer reads the annotations
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from lab import compose, responder
from lab.demo import Narrator, demo
from lab.drill import Drill, choose_fault, hear_the_end, prepare, run_drill, settle
from lab.engine import ensure_engine, require_engine
from lab.faults import FAULTS
from lab.images import ensure_images
from lab.report import markdown
from lab.report import table as drill_table
from lab.settings import SECRETS_FILE
from lab.shell import ROOT, Board, LabError

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)
console = Console(highlight=False)


@app.callback()
def lab() -> None:
    """Run a real stack to practise on, and the faults that break it."""


@app.command()
def up() -> None:
    """Start the stack: engine, images, services; wait until all is healthy."""
    with Board() as board:
        ensure_engine(board)
        ensure_images(board)
        compose.up(board)
    for service, address in compose.addresses().items():
        console.print(f"  {service:19} {address}", markup=False)
    console.print(f"  {'passwords':19} {SECRETS_FILE.relative_to(ROOT)}", markup=False)


@app.command("demo")
def run_demo() -> None:
    """Start everything, break the database, and show it heal."""
    demo()


@app.command()
def serve() -> None:
    """Run the responder beside the stack, in the foreground."""
    if responder.answers():
        raise LabError(f"A responder answers on {responder.address()} already. `make down` stops it with the lab.")
    os.chdir(ROOT)
    os.execve(sys.executable, responder.command("serve"), responder.variables())  # noqa: S606 - our own program


@app.command()
def down() -> None:
    """Stop the responder; remove its record and the stack's containers, networks and volumes, and nothing else."""
    require_engine()
    with Board() as board, board.step("Remove the lab"):
        responder.stop()
        responder.forget()
        compose.down()


@app.command()
def status() -> None:
    """Show services, replicas, health, addresses, and the alerts."""
    require_engine()
    addresses = compose.addresses()
    table = Table("service", "replicas", "health", "address", box=None, pad_edge=False)
    services = compose.services()
    for service in services:
        colour = "green" if compose.is_well(service) else "red"
        health = f"{service.healthy} of {service.replicas} healthy" if service.replicas else "not running"
        table.add_row(service.name, str(service.replicas), Text(health, colour), addresses.get(service.name, ""))
    console.print(table)
    if any(service.name == "prometheus" and service.healthy for service in services):
        _print_alerts()


def _print_alerts() -> None:
    table = Table("alert", "state", "what", box=None, pad_edge=False)
    for alert in compose.alerts():
        colour = {"firing": "red", "pending": "yellow"}.get(alert["state"], "")
        summary = alert["annotations"].get("summary", "")
        table.add_row(alert["labels"]["alertname"], Text(alert["state"], colour), Text(summary))
    console.print()
    console.print(table)


@app.command()
def images(
    names: Annotated[list[str] | None, typer.Argument(help="For example postgres:17; none means all.")] = None,
) -> None:
    """Build the images that are missing or out of date."""
    with Board() as board:
        ensure_engine(board)
        ensure_images(board, names or [])


@app.command()
def faults() -> None:
    """List what can be broken."""
    table = Table(
        Column("fault", no_wrap=True), Column("alert", no_wrap=True), "what happens", box=None, pad_edge=False
    )
    for fault in FAULTS.values():
        table.add_row(fault.name, fault.alert, fault.happens)
    console.print(table)


@app.command()
def fault(name: Annotated[str, typer.Argument(help="One of `python -m lab faults`.")]) -> None:
    """Break something; returns when it is broken."""
    _require_fault(name)
    require_engine()
    with Board() as board, board.step(f"Inject {name}"):
        said = FAULTS[name].inject()
    console.print(said, markup=False)


@app.command("drill")
def run_one_drill(
    name: Annotated[str, typer.Argument(help="A fault; else it is found by what the options say.")] = "",
    *,
    alert: Annotated[str, typer.Option(help="The fault of this alert.")] = "",
    runbook: Annotated[str, typer.Option(help="With --option: the fault that this option is for.")] = "",
    option: Annotated[str, typer.Option(help="The letter of an option.")] = "",
) -> None:
    """Break one thing and watch it heal through the whole chain; what needs approval is approved."""
    chosen = name or choose_fault(alert=alert, runbook=runbook, option=option)
    _require_fault(chosen)
    with Board() as board:
        prepare(board)
    narrator = Narrator(console)
    try:
        done = run_drill(chosen, tell=narrator.tell, on_event=narrator.events)
    finally:
        FAULTS[chosen].undo()
    _conclude([done])


@app.command("drills")
def run_every_drill(
    write: Annotated[Path | None, typer.Option("--markdown", help="Write the table to this file as well.")] = None,
) -> None:
    """Break everything, one after the other, and print what healed it, why, and how long it took."""
    done = []
    with Board() as board:
        prepare(board)
        for chosen in sorted(FAULTS.values(), key=lambda each: (each.runbook, each.option, each.name)):
            with board.step(f"{chosen.runbook} {chosen.option}: {chosen.name}"):
                settle()
                hear_the_end(chosen.runbook)
                try:
                    done.append(run_drill(chosen.name))
                except LabError as error:
                    # One that fails must not hide the others.
                    done.append(Drill(chosen.name, chosen.alert, status=str(error)))
                finally:
                    chosen.undo()
    if write is not None:
        write.write_text(markdown(done))
    _conclude(done)


def _conclude(done: list[Drill]) -> None:
    console.print(drill_table(done))
    failed = [drill.fault for drill in done if not drill.passed]
    if failed:
        raise LabError(f"Not as they must: {', '.join(failed)}.")


def _require_fault(name: str) -> None:
    if name not in FAULTS:
        raise LabError(f"There is no fault {name}. There are: {', '.join(FAULTS)}.")


@app.command()
def reset() -> None:
    """Undo every fault."""
    require_engine()
    with Board() as board, board.step("Undo every fault"):
        for each in FAULTS.values():
            each.undo()


def main() -> None:
    """Run a command; a failure is one sentence on stderr and exit code 1."""
    try:
        app()
    except LabError as error:
        Console(stderr=True, highlight=False, soft_wrap=True).print(Text(str(error), style="red"))
        sys.exit(1)
