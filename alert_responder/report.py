# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the post-incident review of an incident: what the record knows is filled in, the rest is marked for a person.

A pure function of the events and the template. Everything that came from outside is escaped: it is shown, and is never
a link, a heading, a cell or HTML.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from alert_responder.errors import ResponderError
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
    Opened,
    Started,
    State,
    fold,
)
from alert_responder.timeline import evidence_lines, outcome_lines, plain, step_name, timeline, why

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime, timedelta

    from alert_responder.runbooks import Play, Runbook

TEMPLATE = "post-incident-review.md"
_PLACE = re.compile(r"\{([a-z_]+)\}")
_MARKUP = re.compile(r"[\\`*_\[\]<>|~&#!@$]|(?<=www)\.|:(?=//)|^[-+=:]", re.IGNORECASE)
_NUMBERED = re.compile(r"^(\d+)([.)])")
_NOTHING = "Not on record."


def report(number: int, events: Sequence[Event], runbook: Runbook | None, template: str) -> str:
    """Return the review as Markdown; raises ResponderError for a place in the template that nobody can fill."""
    values = _values(number, events, runbook)
    unknown = sorted(set(_PLACE.findall(template)) - values.keys())
    if unknown:
        raise ResponderError(
            f"Cannot write the review: the template asks for {{{unknown[0]}}}. Known: {', '.join(sorted(values))}."
        )
    return _PLACE.sub(lambda place: values[place[1]], template)


def escape(value: object) -> str:
    """Return text that Markdown only shows."""
    return _NUMBERED.sub(r"\1\\\2", _MARKUP.sub(r"\\\g<0>", plain(value)))


def span(length: timedelta) -> str:
    """Write a duration in words; a clock that was set back gives none."""
    seconds = max(0.0, length.total_seconds())
    if seconds < 60:  # noqa: PLR2004 -- a minute
        return f"{seconds:.0f} s"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"


def _values(number: int, events: Sequence[Event], runbook: Runbook | None) -> dict[str, str]:
    state = fold(events)
    began = state.alert.starts_at
    title = runbook.title if runbook is not None else state.alert.name or "an alert without a name"
    changed, recovered = _first_change(events), _recovery(events)
    acknowledged = _first(events, lambda event: isinstance(event, Started | Approved | Denied | Closed))
    return {
        "title": escape(title),
        "id": str(number),
        "alert": escape(state.alert.name),
        "severity": escape(state.alert.labels.get("severity", "no severity")),
        "service": escape(state.service or "none"),
        "runbook": f"[{state.runbook}]({state.runbook}.md)" if runbook is not None else escape(state.runbook or "none"),
        "started": _time(began),
        "detected": _time(state.opened_at),
        "recovered": _time(recovered) if recovered else f"not verified, {state.status.value}",
        "summary": _summary(state, events),
        "impact": _impact(state, events),
        "timeline": _timeline(events),
        "time_to_detect": span(state.opened_at - began),
        "time_to_acknowledge": span(acknowledged - began) if acknowledged else _NOTHING,
        "time_to_first_change": span(changed - began) if changed else "Nothing was changed by the responder.",
        "time_to_recover": span(recovered - began)
        if recovered
        else f"Recovery was not verified: {state.status.value}.",
        "evidence": _evidence(state),
        "attempts": _attempts(events, runbook),
        "noticed": _noticed(events, runbook),
    }


def _summary(state: State, events: Sequence[Event]) -> str:
    tried = [_step(event) for event in events if isinstance(event, Started) and event.action in ("option", "undo")]
    words = f"{escape(state.alert.name)} fired for {escape(state.service or 'no service')}. "
    words += f"Run, in order: {', '.join(tried)}. " if tried else "No option was run. "
    return words + f"The incident is {state.status.value}: {escape(state.reason or 'no reason yet')}"


def _impact(state: State, events: Sequence[Event]) -> str:
    alerts = {state.alert.fingerprint} | {event.fingerprint for event in events if isinstance(event, Fired)}
    ended = [event.ends_at for event in events if isinstance(event, Ended)]
    lines = [f"{len(alerts)} alert{'s' if len(alerts) > 1 else ''} of this identity fired."]
    if ended and not state.firing:
        lines.append(f"They fired for {span(max(ended) - state.alert.starts_at)}.")
    lines += [f"{escape(name)}: {escape(text)}" for name, text in state.alert.annotations.items() if text]
    return _bullets(lines)


def _timeline(events: Sequence[Event]) -> str:
    """One row for each event; the source says whose word it is."""
    first = events[0]
    assert isinstance(first, Opened)
    rows = [(first.alert.starts_at, "The alert's condition was met", "Prometheus, startsAt of the alert")]
    rows += [(at, headline, _source(event)) for (at, headline, _), event in zip(timeline(events), events, strict=True)]
    return _table(("Time, UTC", "What", "Source"), [(_time(at), escape(what), escape(by)) for at, what, by in rows])


def _source(event: Event) -> str:
    match event:
        case Opened() | Fired() | Ended():
            return "Alertmanager, webhook"
        case Started():
            return f"responder, before run {event.run}"
        case Finished():
            return (
                f"run {event.run}, what its play published" if event.result == "done" else f"responder, run {event.run}"
            )
        case Approved() | Denied():
            return f"{event.who}, having seen run {event.seen}"
        case Closed():
            return "responder" if event.who == "responder" else event.who
        case _:
            return "responder, decision"


def _evidence(state: State) -> str:
    if state.first_evidence is None:
        return "No evidence was read."
    return f"Collected at {escape(state.first_evidence.collected_at)}.\n\n" + _bullets(
        [escape(line) for line in evidence_lines(state.first_evidence)]
    )


def _attempts(events: Sequence[Event], runbook: Runbook | None) -> str:
    """Everything that ran on the target or could have, with the values before and after."""
    parts = []
    for started, finished in _runs(events):
        if started.action == "diagnose":
            continue
        lines = [f"Why: {escape(started.reason)}", *(escape(why(one)) for one in started.considered)]
        if finished is None:
            lines.append("It has not ended.")
        else:
            lines.append(f"Took {finished.seconds:.1f} s{_expected(started, runbook)}, began at {_time(started.at)}.")
            if finished.outcome is None:
                lines.append(f"Result: {finished.result.replace('_', ' ')}: {escape(finished.reason)}")
            else:
                said = finished.outcome
                lines.append(f"Result: {said.status}, verdict {escape(said.verdict)}: {escape(said.reason)}")
                lines += [escape(line) for line in outcome_lines(said)]
        parts.append(f"### {_step(started)}\n\n{_bullets(lines)}")
    return "\n\n".join(parts) or "Nothing was run."


def _noticed(events: Sequence[Event], runbook: Runbook | None) -> str:
    """What the record says went otherwise than planned."""
    lines = []
    for started, finished in _runs(events):
        if finished is None:
            continue
        play = _play(started, runbook)
        if finished.result != "done":
            lines.append(f"{_step(started)}: {finished.result.replace('_', ' ')}: {escape(finished.reason)}")
        elif play is not None and finished.seconds > 2 * play.expected_seconds:
            lines.append(f"{_step(started)} took {finished.seconds:.0f} s, expected {play.expected_seconds} s.")
        if finished.outcome is not None and finished.outcome.verdict in ("not_recovered", "unknown"):
            lines.append(f"{_step(started)} ended with verdict {escape(finished.outcome.verdict)}.")
    lines += [f"Escalated: {escape(event.reason)}" for event in events if isinstance(event, Escalated)]
    asked = [event for event in events if isinstance(event, Asked)]
    answered = [event for event in events if isinstance(event, Approved | Denied)]
    for question, answer in zip(asked, answered, strict=False):
        lines.append(f"Option {question.option} waited {span(answer.at - question.at)} for an answer.")
    lines += [f"Nobody answered about option {question.option}." for question in asked[len(answered) :]]
    return _bullets(lines) if lines else "Nothing: every step ended as planned."


def _runs(events: Sequence[Event]) -> Iterator[tuple[Started, Finished | None]]:
    finished = {event.run: event for event in events if isinstance(event, Finished)}
    return ((event, finished.get(event.run)) for event in events if isinstance(event, Started))


def _first_change(events: Sequence[Event]) -> datetime | None:
    """Return when the first step began that changed something, or may have."""
    for started, finished in _runs(events):
        if started.action not in ("option", "undo"):
            continue
        if finished is None or finished.outcome is None:
            if finished is None or finished.began:
                return started.at
        elif finished.outcome.changed:
            return started.at
    return None


def _recovery(events: Sequence[Event]) -> datetime | None:
    return _first(events, lambda event: isinstance(event, Closed) and event.status == "recovered")


def _first(events: Sequence[Event], wanted: Callable[[Event], bool]) -> datetime | None:
    return next((event.at for event in events if wanted(event)), None)


def _play(started: Started, runbook: Runbook | None) -> Play | None:
    if runbook is None or started.action == "undo":
        return None
    if started.option:
        return next((option for option in runbook.options if option.letter == started.option), None)
    return runbook.diagnose if started.action == "diagnose" else runbook.verify


def _expected(started: Started, runbook: Runbook | None) -> str:
    play = _play(started, runbook)
    return f", expected {play.expected_seconds} s" if play is not None else ""


def _step(started: Started) -> str:
    return escape(step_name(started))


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}Z"


def _bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
