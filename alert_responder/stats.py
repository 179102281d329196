# SPDX-License-Identifier: GPL-3.0-or-later
"""What came of the runbooks: a pure function of the record and the catalogue."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from statistics import median
from typing import TYPE_CHECKING, Any

from alert_responder.incidents import Closed, Escalated, Finished, Started, fold, past_runs
from alert_responder.trust import HEALED, earns_auto, falls_back, trust

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from alert_responder.incidents import Event, PastRun, Policy
    from alert_responder.runbooks import Catalog, Option
    from alert_responder.store import Record

# An alert of the same identity that comes back within this time after a recovery has not been cured.
FLAP = timedelta(hours=1)


@dataclass(frozen=True)
class Line:
    """One runbook (no option), or one of its options; times are seconds, None where nothing was measured."""

    runbook: str
    option: str
    incidents: int  # of the option: those in which it ran
    runs: int
    healed: int
    recoveries: int  # incidents closed as recovered; of the option: those in which it was the last to run
    recovery_median: float | None
    recovery_95th: float | None
    escalations: int
    flaps: int
    expected: int | None
    measured_median: float | None
    measured_95th: float | None
    automation: str
    suggestion: str

    def document(self) -> dict[str, Any]:
        """Return the line as JSON knows it."""
        return asdict(self)


@dataclass
class _Count:
    incidents: int = 0
    runs: list[PastRun] = field(default_factory=list)
    took: list[float] = field(default_factory=list)
    recoveries: list[float] = field(default_factory=list)
    escalations: int = 0
    flaps: int = 0


def stats(records: Iterable[Record], catalog: Catalog, policy: Policy) -> list[Line]:
    """Count what happened in these incidents, for each runbook and each option that ran."""
    counts: dict[tuple[str, str], _Count] = defaultdict(_Count)
    healed_before: dict[str, tuple[datetime, tuple[str, str]]] = {}
    for record in records:
        state = fold(record.events)
        if state.runbook is None:
            continue
        letters = _count_runs(counts, record, state.runbook, state.service)
        last = letters[-1] if letters else ""
        both = {(state.runbook, ""), (state.runbook, last)}
        end = record.events[-1]
        for key in both:
            counts[key].escalations += any(isinstance(event, Escalated) for event in record.events)
            if isinstance(end, Closed) and end.status == "recovered":
                counts[key].recoveries.append((end.at - state.alert.starts_at).total_seconds())
        before = healed_before.pop(record.identity, None)
        if before is not None and state.opened_at - before[0] <= FLAP:
            for key in {before[1], (before[1][0], "")}:
                counts[key].flaps += 1
        if isinstance(end, Closed) and end.status == "recovered":
            healed_before[record.identity] = (end.at, (state.runbook, last))
    return [_line(key, counts[key], catalog, policy) for key in sorted(counts)]


def _count_runs(counts: dict[tuple[str, str], _Count], record: Record, runbook: str, service: str) -> list[str]:
    """Count the options of one incident, and return their letters in the order in which they ran."""
    ran = past_runs(record.id, record.events, runbook=runbook, service=service)
    seconds = _seconds(record.events)
    counts[runbook, ""].incidents += 1
    for letter in dict.fromkeys(run.option for run in ran):
        counts[runbook, letter].incidents += 1
    for run in ran:
        counts[runbook, ""].runs.append(run)
        counts[runbook, run.option].runs.append(run)
    for letter, took in seconds:
        counts[runbook, letter].took.append(took)
    return [run.option for run in ran]


def _seconds(events: Sequence[Event]) -> list[tuple[str, float]]:
    """Return how long each option took that came to its end."""
    options = {event.run: event.option for event in events if isinstance(event, Started) and event.action == "option"}
    return [
        (options[event.run], event.seconds)
        for event in events
        if isinstance(event, Finished) and event.run in options and event.result == "done"
    ]


def _line(key: tuple[str, str], count: _Count, catalog: Catalog, policy: Policy) -> Line:
    runbook, letter = key
    known = catalog.runbooks.get(runbook)
    option = next((one for one in known.options if one.letter == letter), None) if known is not None else None
    return Line(
        runbook=runbook,
        option=letter,
        incidents=count.incidents,
        runs=len(count.runs),
        healed=sum(run.verdict in HEALED for run in count.runs),
        recoveries=len(count.recoveries),
        recovery_median=_median(count.recoveries),
        recovery_95th=_95th(count.recoveries),
        escalations=count.escalations,
        flaps=count.flaps,
        expected=option.expected_seconds if option is not None else None,
        measured_median=_median(count.took),
        measured_95th=_95th(count.took),
        automation=option.automation if option is not None else "",
        suggestion=_suggestion(option, count.runs, policy) if option is not None else "",
    )


def _suggestion(option: Option, runs: Sequence[PastRun], policy: Policy) -> str:
    given = trust(runs, option.letter, policy)
    if option.automation == "auto" and falls_back(given, policy):
        return f"needs approval: {given}"
    if option.automation == "approve" and earns_auto(given, policy):
        return f"auto: {given}"
    return ""


def _median(values: Sequence[float]) -> float | None:
    return round(median(values), 3) if values else None


def _95th(values: Sequence[float]) -> float | None:
    """Return the smallest value that 95 of 100 do not exceed."""
    if not values:
        return None
    return round(sorted(values)[-(-len(values) * 95 // 100) - 1], 3)
