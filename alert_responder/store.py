# SPDX-License-Identifier: GPL-3.0-or-later
"""The port to the store of incidents, and the rules that every store shares."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal

from alert_responder.errors import Conflict
from alert_responder.incidents import (
    Closed,
    Ended,
    Event,
    Fired,
    Hold,
    IllegalEvent,
    Opened,
    PastRun,
    State,
    Status,
    apply,
    fold,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from alert_responder.alerts import Alert
    from alert_responder.routing import Route

# After an incident whose alerts had ended, only the late copies of an Alertmanager pair are still to come.
LATE_COPIES = timedelta(seconds=60)
# An escalated incident of alerts that flap is not made longer than this.
MOST_EVENTS = 1000


@dataclass(frozen=True)
class Delivery:
    """One received alert and where it goes."""

    alert: Alert
    route: Route


@dataclass(frozen=True)
class Receipt:
    """What became of one delivery: the incident it belongs to, if any, and whether it said anything new."""

    incident: int | None
    outcome: Literal["opened", "fired", "ended", "repeated", "ignored"]


@dataclass(frozen=True)
class Summary:
    """One line of the list of incidents."""

    id: int
    identity: str
    alert: str
    service: str
    runbook: str | None
    status: Status
    open: bool
    reason: str
    opened_at: datetime
    updated_at: datetime
    due_at: datetime | None


# The kinds of events of which people are told.
TOLD = ("asked", "escalated")


@dataclass(frozen=True)
class Notice:
    """One event that one target is to be told of: which attempt this is, and why the last one failed."""

    incident: int
    sequence: int
    target: str
    attempts: int
    error: str = ""


@dataclass(frozen=True)
class Record:
    """One incident from its first to its last event."""

    id: int
    identity: str
    events: tuple[Event, ...]


class Store(ABC):
    """Keeps incidents. Every method is one transaction, durable when it returns; raises StoreUnavailable."""

    @abstractmethod
    def receive(self, deliveries: Sequence[Delivery], *, now: datetime) -> list[Receipt]:
        """Put alerts on record: at most one open incident for each identity, whatever is delivered how often."""

    @abstractmethod
    def claim(self, owner: str, *, now: datetime, lease: timedelta, limit: int) -> list[int]:
        """Lease incidents that are due, the oldest first, and only the oldest open one of each service."""

    @abstractmethod
    def renew(self, owner: str, incidents: Sequence[int], *, now: datetime, lease: timedelta) -> list[int]:
        """Extend the leases of these incidents, and return those that this owner still holds."""

    @abstractmethod
    def release(self, incident: int, owner: str, *, due_at: datetime | None, expected: int) -> None:
        """Give a lease back; the incident is due at ``due_at``, or at once if something happened since ``expected``."""

    @abstractmethod
    def take_over(self, *, now: datetime) -> list[int]:
        """End every lease: for the one process that knows that every other owner is dead."""

    @abstractmethod
    def append(
        self, incident: int, events: Sequence[Event], *, owner: str | None, expected: int | None = None
    ) -> State:
        """Add events and return the new state.

        Raises Conflict when ``owner`` has lost the lease or something happened since sequence ``expected``, and
        IllegalEvent when the events must not follow. Without an owner (a person's word) no lease is needed and the
        incident becomes due at once.
        """

    @abstractmethod
    def events(self, incident: int) -> list[Event]:
        """Return the events of one incident in order; raises UnknownIncident."""

    @abstractmethod
    def summaries(self, *, status: Status | None = None, limit: int = 100) -> list[Summary]:
        """Return the newest incidents first."""

    @abstractmethod
    def counts(self) -> dict[str, int]:
        """Return how many open incidents there are for each status."""

    @abstractmethod
    def oldest_due(self) -> datetime | None:
        """Return the time since when the longest waiting incident has been due."""

    @abstractmethod
    def at_work(self, services: Sequence[str]) -> list[tuple[int, str]]:
        """Return the incidents that the responder is at work on (status open) of these services, the oldest first."""

    @abstractmethod
    def past_runs(self, *, since: datetime) -> list[PastRun]:
        """Return the options that ended after ``since``, in all incidents."""

    @abstractmethod
    def claim_notices(
        self, targets: Sequence[str], *, now: datetime, since: datetime, lease: timedelta, limit: int
    ) -> list[Notice]:
        """Take what is to be told now, at most ``limit`` for each target.

        What happened before ``since`` is not begun to be told. What is not settled within ``lease`` is due again.
        """

    @abstractmethod
    def settle_notice(self, notice: Notice, *, due_at: datetime | None, error: str) -> None:
        """Put on record how an attempt ended: done for ever, or due again at ``due_at``."""

    @abstractmethod
    def failing_notices(self, targets: Sequence[str]) -> list[Notice]:
        """Return what could not be told to these targets yet."""

    @abstractmethod
    def runs_of(self, runbook: str, *, incidents: int) -> list[PastRun]:
        """Return the options that ran in the newest ``incidents`` of one runbook."""

    @abstractmethod
    def uses(self, runbook: str, *, since: datetime) -> int:
        """Return how many incidents of one runbook were opened since."""

    @abstractmethod
    def records(self, *, since: datetime) -> list[Record]:
        """Return every incident that was opened since, the oldest first, with its events."""

    @abstractmethod
    def hold(self, hold: Hold) -> int:
        """Put a pause or a maintenance window in force; return its number."""

    @abstractmethod
    def lift(self, number: int, *, who: str, now: datetime) -> bool:
        """End a hold before its time; False if there is none of this number in force or to come."""

    @abstractmethod
    def holds(self, *, now: datetime) -> list[Hold]:
        """Return the holds that are in force."""

    @abstractmethod
    def close(self) -> None:
        """Let go of files and connections."""


def news(alert: Alert, firing_since: datetime | None, now: datetime) -> Fired | Ended | None:
    """Return the event that this alert adds to its open incident; None if it says nothing new.

    ``firing_since`` is the start of this very alert (fingerprint) if the incident knows it as firing.
    """
    if alert.status == "firing":
        if firing_since is not None:
            return None
        return Fired(at=now, fingerprint=alert.fingerprint, starts_at=alert.starts_at)
    ends_at = alert.ends_at or now
    if firing_since is None or ends_at < firing_since:
        return None
    return Ended(at=now, fingerprint=alert.fingerprint, ends_at=ends_at)


def superseded(
    alert: Alert, firing_since: datetime | None, status: Status, updated_at: datetime, now: datetime
) -> Closed | None:
    """Return the end of an escalated incident whose alert has begun again; None if it is the same episode.

    The end of the earlier episode was not heard: Alertmanager restarted, or nobody listened. Without this, the identity
    would belong to the old incident for ever, and no alert of it would start anything again.
    """
    if status is not Status.ESCALATED or alert.status != "firing" or firing_since is None:
        return None
    if alert.starts_at <= max(firing_since, updated_at):
        return None
    reason = f"The alert began again at {alert.starts_at:%Y-%m-%d %H:%M:%S}Z; the end of the earlier one was not heard."
    return Closed(at=now, status="resolved", reason=reason)


def overfull(event: Fired | Ended, status: Status, length: int, now: datetime) -> Closed | None:
    """Return the end of an escalated incident whose alerts keep coming and going; None while its record is readable.

    Such an incident stays open, and every change of an alert is read with all that was before it. The alert goes on in
    an incident of its own, and whoever has not heard the first escalation hears the next.
    """
    if status is not Status.ESCALATED or event.kind != "fired" or length < MOST_EVENTS:
        return None
    reason = f"Its alerts came and went until {length} events were on record; they go on in the next incident."
    return Closed(at=now, status="resolved", reason=reason)


def opening(delivery: Delivery, now: datetime) -> Opened:
    """Return the first event of a new incident."""
    route = delivery.route
    return Opened(at=now, alert=delivery.alert, service=route.service, runbook=route.runbook, problem=route.problem)


def extend(events: Sequence[Event], more: Sequence[Event], expected: int | None) -> State:
    """Return the state after ``more`` events; raises Conflict if ``expected`` is not the state they were meant for."""
    state = fold(events)
    if expected is not None and state.sequence != expected:
        raise Conflict(f"The incident has {state.sequence} events, expected {expected}; decide again.")
    for event in more:
        state = apply(state, event)
    if state.sequence != len(events) + len(more):
        raise IllegalEvent("Every event counts once.")
    return state


def quiet_until(state: State, settle: timedelta) -> datetime | None:
    """Return until when further copies of the same episode belong to a closed incident; None while it is open.

    An incident that was verified as recovered closes before its alert does, and hears of it for some time.
    """
    if state.open:
        return None
    return state.updated_at + (settle if state.firing else min(settle, LATE_COPIES))
