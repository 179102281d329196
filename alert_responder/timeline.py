# SPDX-License-Identifier: GPL-3.0-or-later
"""Tell the story of an incident in lines of text, for people."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from alert_responder.incidents import (
    Approved,
    Asked,
    Closed,
    Denied,
    Ended,
    Escalated,
    Event,
    Finished,
    Fired,
    Held,
    Opened,
    Released,
    Started,
    fold,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime, timedelta

    from alert_responder.documents import Evidence, Outcome
    from alert_responder.incidents import Considered

_LONGEST_VALUE = 200


def printable(text: str) -> str:
    """Return text that a terminal only shows: what is not printable is written as an escape."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def plain(value: object) -> str:
    """Return any value as printable text of a bounded length."""
    shown = printable(value if isinstance(value, str) else json.dumps(value, default=str))
    return shown if len(shown) <= _LONGEST_VALUE else f"{shown[:_LONGEST_VALUE]}…"


def elapsed(span: timedelta) -> str:
    """Write a duration as ``+0:07`` or ``+1:02:07``."""
    seconds = max(0, int(span.total_seconds()))
    hours, minutes = divmod(seconds // 60, 60)
    return f"+{hours}:{minutes:02}:{seconds % 60:02}" if hours else f"+{minutes}:{seconds % 60:02}"


def timeline(events: Sequence[Event]) -> list[tuple[datetime, str, list[str]]]:
    """Return, for each event, its time, a headline and details."""
    started = {event.run: event for event in events if isinstance(event, Started)}
    return [(event.at, *_lines(event, started)) for event in events]


def heading(events: Sequence[Event]) -> list[str]:
    """Return what stands above the timeline: where the incident is now."""
    state = fold(events)
    lines = [
        f"Alert      {plain(state.alert.name)} of {plain(state.service or 'no service')}",
        f"Runbook    {plain(state.runbook or 'none')}",
        f"Status     {state.status.value}{'' if state.open else ', closed'}",
    ]
    if state.reason:
        lines.append(f"Reason     {plain(state.reason)}")
    if state.next_step:
        lines.append(f"Next step  {plain(state.next_step)}")
    return lines


def _lines(event: Event, started: Mapping[str, Started]) -> tuple[str, list[str]]:  # noqa: C901, PLR0911 -- one per kind
    match event:
        case Opened():
            labels = [f"{plain(name)} = {plain(value)}" for name, value in event.alert.labels.items()]
            return f"Alert {plain(event.alert.name)} opened the incident", labels
        case Fired():
            return f"Alert {plain(event.fingerprint)} fires", []
        case Ended():
            return f"Alert {plain(event.fingerprint)} ended", []
        case Started():
            return f"{step_name(event)} started: {plain(event.reason)}", [why(one) for one in event.considered]
        case Finished():
            return _finished(event, step_name(started[event.run]))
        case Asked():
            return f"Option {event.option} waits for approval until {event.expires_at:%Y-%m-%d %H:%M:%S}Z", []
        case Approved() | Denied():
            return f"{plain(event.who)} {event.kind} option {event.option}: {plain(event.reason)}", []
        case Held():
            return f"Held: {plain(event.reason)}", []
        case Released():
            return f"Released: {plain(event.reason)}", []
        case Escalated():
            return "Escalated: " + plain(event.reason), [
                *(why(one) for one in event.considered),
                f"next step: {plain(event.next_step)}",
            ]
        case Closed():
            who = "" if event.who == "responder" else f" by {plain(event.who)}"
            return f"Closed as {event.status}{who}: {plain(event.reason)}", []


def step_name(event: Started) -> str:
    """Name a step."""
    names = {
        "option": f"Option {event.option}",
        "rehearse": f"Dry run of option {event.option}",
        "undo": f"Undo of option {event.option}",
    }
    return names.get(event.action, event.action.capitalize())


def _finished(event: Finished, step: str) -> tuple[str, list[str]]:
    took = f" ({event.seconds:.1f} s)"
    if event.result != "done":
        return f"{step}: {event.result.replace('_', ' ')}{took}", [plain(event.reason)]
    if event.evidence is not None:
        return f"{step}: evidence read{took}", evidence_lines(event.evidence)
    if event.outcome is not None:
        headline = f"{step}: {event.outcome.status}, {event.outcome.verdict}{took}: {plain(event.outcome.reason)}"
        return headline, outcome_lines(event.outcome)
    return f"{step}: ended{took}", []


def evidence_lines(document: Evidence) -> list[str]:
    """Return what a diagnosis saw, one value per line."""
    lines = [f"{plain(name)} = {plain(value)}" for name, value in _flat(document.evidence)]
    return lines + [f"not readable: {plain(item)}" for item in document.unreadable]


def outcome_lines(document: Outcome) -> list[str]:
    """Return what was done, the values before and after, and each check."""
    before, after = dict(_flat(document.before)), dict(_flat(document.after))
    return [
        *(f"did: {plain(action)}" for action in document.actions),
        *(
            f"{plain(name)}: {plain(before.get(name))} → {plain(after.get(name))}"
            for name in dict.fromkeys((*before, *after))
        ),
        *(_check(check) for check in document.checks),
    ]


def _check(check: Mapping[str, Any]) -> str:
    verdict = "good" if check.get("good") else plain(check.get("error") or "not good")
    expected = plain(check.get("expectation"))
    return f"check {plain(check.get('name'))}: {plain(check.get('value'))}, expected {expected}: {verdict}"


def why(considered: Considered) -> str:
    """Say why an option was chosen or passed over, and on which values."""
    mark = "chosen" if considered.chosen else "passed over"
    values = ", ".join(f"{plain(name)}={plain(value)}" for name, value in considered.values.items())
    return f"option {considered.option} {mark}: {plain(considered.why)}" + (f" [{values}]" if values else "")


def _flat(document: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Write nested mappings as dotted names."""
    lines: list[tuple[str, Any]] = []
    for name, value in document.items():
        if isinstance(value, dict) and value:
            lines.extend(_flat(value, f"{prefix}{name}."))
        else:
            lines.append((f"{prefix}{name}", value))
    return lines
