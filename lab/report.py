"""The table of the drills, for a terminal and for docs/drills.md."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from lab.faults import FAULTS, HEALABLE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lab.drill import Drill

COLUMNS = (
    "Alert", "Fault", "Option", "Why", "Fires", "First change", "Recovered", "Diagnosis", "Playbook", "Verdict",
)  # fmt: skip


def cells(drill: Drill) -> tuple[str, ...]:
    """Return one line of the table: three moments since the fault was in effect, and how long two playbooks took."""
    tried = ", ".join(drill.tried) or "none"
    times = (drill.firing_after, drill.changed_after, drill.recovered_after, drill.diagnosis_took, drill.option_took)
    return (
        drill.alert,
        drill.fault,
        f"{FAULTS[drill.fault].runbook} {tried}",
        drill.why,
        *("" if seconds is None else f"{seconds:.0f} s" for seconds in times),
        drill.status if drill.passed else f"not as it must: {drill.status}",
    )


def table(drills: Sequence[Drill]) -> Table:
    """Return the table for a terminal."""
    shown = Table(*COLUMNS, box=None, pad_edge=False)
    for drill in drills:
        *others, verdict = cells(drill)
        shown.add_row(*others, Text(verdict, "green" if drill.passed else "red"))
    return shown


def markdown(drills: Sequence[Drill]) -> str:
    """Return the page docs/drills.md."""
    rows = [COLUMNS, ("---",) * len(COLUMNS), *map(cells, drills)]
    lines = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    healable = [drill for drill in drills if FAULTS[drill.fault] in HEALABLE]
    others = [drill for drill in drills if drill not in healable]
    return f"""\
<!-- Written by `python -m lab drills --markdown docs/drills.md` from a run; do not edit. -->
# Drills

Each fault of `lab/faults` breaks the running lab for real; nobody touches anything until the incident is over, but that
an option marked `approve` is approved through the command line. Rules and Alertmanager keep the lab's time, 30 times
faster than production. Alert, first change and recovery count from the moment when the fault was in effect; diagnosis
and playbook of the option from their own start.

{_passed(healable)} healed by the option that they are for, {_passed(others)} that no option heals ended escalated with
nothing changed; measured on {datetime.now(UTC):%Y-%m-%d} on {os.cpu_count()} processor cores. `make drills` measures
again.

{lines}
"""


def _passed(drills: Sequence[Drill]) -> str:
    return f"{sum(drill.passed for drill in drills)} of {len(drills)}"
