"""Break a real database and show it heal."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from alert_responder.incidents import EVENT
from alert_responder.timeline import timeline
from lab import compose, drill, responder
from lab.faults import FAULTS
from lab.shell import Board, LabError

if TYPE_CHECKING:
    from collections.abc import Sequence

FAULT = "leaked_transactions"
DETAILS_SHOWN = 12
# Of the evidence, what a viewer can follow; the incident keeps all of it.
TELLING = ("holders", "idle_past_threshold", "slots.used", "slots.application", "option ", "did:", "used", "check ")


class Narrator:
    """Print what happens with the seconds since the fault."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._told = 0

    def tell(self, seconds: float, line: str) -> None:
        """Print one line of the story."""
        self._console.print(Text.assemble((f"{seconds:7.1f} s  ", "cyan"), line))

    def events(self, seconds: float, events: Sequence[dict[str, Any]]) -> None:
        """Print the events of the incident that were not told yet."""
        for _at, headline, details in timeline([EVENT.validate_python(one) for one in events])[self._told :]:
            self.tell(seconds, headline)
            shown = [line for line in details if line.startswith(TELLING)][:DETAILS_SHOWN]
            for line in shown:
                self._console.print(Text(f"{'':13}{line}", "dim"))
        self._told = len(events)


def demo() -> None:
    """Start everything, inject a leak, follow it until the incident is over, and clean up the fault.

    Raises:
        LabError: Something did not start, or the database did not recover.
    """
    console = Console(highlight=False, soft_wrap=True)
    with Board() as board:
        drill.prepare(board)
    narrator = Narrator(console)
    console.print(Text("\nA client leaks transactions until PostgreSQL is full. Nobody touches anything.", "bold"))
    try:
        result = drill.run_drill(FAULT, tell=narrator.tell, on_event=narrator.events)
    finally:
        FAULTS[FAULT].undo()
    if result.status != "recovered":
        raise LabError(f"The incident ended as {result.status}: `alert-responder incidents show {result.incident}`.")
    _summary(console, result)


def _summary(console: Console, result: drill.Drill) -> None:
    first = next(event for event in result.events if event["kind"] == "started" and event["action"] == "option")
    opened = datetime.fromisoformat(result.events[0]["at"])
    change = (datetime.fromisoformat(first["at"]) - opened).total_seconds()
    console.print(
        Text(
            f"\nRecovered {result.ended_after:.0f} s after the fault: alert after {result.firing_after:.0f} s, "
            f"first change {change:.0f} s after the incident was opened.",
            "bold green",
        )
    )
    addresses = {**compose.addresses(), "responder": f"{responder.address()}/api/v1/incidents (token in lab/.state)"}
    console.print("\nLook around:")
    for name in ("prometheus", "alertmanager", "lb", "responder"):
        console.print(Text(f"  {name:13} {addresses[name]}"))
    console.print(
        Text(
            "\n  the incident   .venv/bin/alert-responder -c lab/responder.yml incidents show "
            f"{result.incident}\n"
            "  the stack      make lab-status\n"
            "  break more     .venv/bin/python -m lab faults; .venv/bin/python -m lab fault NAME; make lab-reset\n"
            "  by hand        .venv/bin/ansible-playbook playbooks/db_connections/diagnose.yml\n"
            "  the end        make down"
        )
    )
