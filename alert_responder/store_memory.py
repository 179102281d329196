# SPDX-License-Identifier: GPL-3.0-or-later
"""The store of incidents in memory: for tests, and held to the same contract as the others."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from typing_extensions import override

from alert_responder.errors import Conflict, StoreUnavailable, UnknownIncident
from alert_responder.incidents import Event, Fired, Hold, PastRun, State, Status, fold, past_runs
from alert_responder.store import (
    TOLD,
    Delivery,
    Notice,
    Receipt,
    Record,
    Store,
    Summary,
    extend,
    news,
    opening,
    overfull,
    quiet_until,
    superseded,
)

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass
class _Kept:
    identity: str
    events: list[Event]
    newest_start: datetime
    due_at: datetime | None
    owner: str | None = None
    lease_until: datetime | None = None

    @property
    def state(self) -> State:
        return fold(self.events)


@dataclass
class MemoryStore(Store):
    """Keeps incidents in a list; ``down`` makes it behave like a store that cannot be reached."""

    settle: timedelta = timedelta(minutes=15)
    down: bool = False
    _kept: list[_Kept] = field(default_factory=list)
    _holds: list[Hold] = field(default_factory=list)
    _notices: dict[tuple[int, int, str], tuple[Notice, datetime | None]] = field(default_factory=dict)

    @override
    def receive(self, deliveries: Sequence[Delivery], *, now: datetime) -> list[Receipt]:
        self._check()
        return [self._receive(delivery, now) for delivery in deliveries]

    @override
    def claim(self, owner: str, *, now: datetime, lease: timedelta, limit: int) -> list[int]:
        self._check()
        claimed: list[int] = []
        busy: set[str] = set()
        for number, kept in enumerate(self._kept, start=1):
            state = kept.state
            if state.status is not Status.OPEN or state.service in busy:
                continue
            busy.add(state.service)
            free = kept.lease_until is None or kept.lease_until < now
            if kept.due_at is not None and kept.due_at <= now and free and len(claimed) < limit:
                kept.owner, kept.lease_until = owner, now + lease
                claimed.append(number)
        return claimed

    @override
    def renew(self, owner: str, incidents: Sequence[int], *, now: datetime, lease: timedelta) -> list[int]:
        self._check()
        held = [number for number in incidents if self._kept[number - 1].owner == owner]
        for number in held:
            self._kept[number - 1].lease_until = now + lease
        return held

    @override
    def release(self, incident: int, owner: str, *, due_at: datetime | None, expected: int) -> None:
        kept = self._get(incident)
        if kept.owner == owner:
            kept.owner = kept.lease_until = None
            if len(kept.events) == expected:
                kept.due_at = due_at

    @override
    def take_over(self, *, now: datetime) -> list[int]:
        self._check()
        taken = [number for number, kept in enumerate(self._kept, start=1) if kept.owner is not None]
        for number in taken:
            kept = self._kept[number - 1]
            kept.owner, kept.lease_until, kept.due_at = None, None, now
        return taken

    @override
    def append(
        self, incident: int, events: Sequence[Event], *, owner: str | None, expected: int | None = None
    ) -> State:
        kept = self._get(incident)
        if owner is not None and kept.owner != owner:
            raise Conflict(f"Incident {incident} is not leased to {owner} any more.")
        state = extend(kept.events, events, expected)
        kept.events.extend(events)
        if owner is None:
            kept.due_at = events[-1].at
        return state

    @override
    def events(self, incident: int) -> list[Event]:
        return list(self._get(incident).events)

    @override
    def summaries(self, *, status: Status | None = None, limit: int = 100) -> list[Summary]:
        self._check()
        lines = []
        for number, kept in reversed(list(enumerate(self._kept, start=1))):
            state = kept.state
            if status in (None, state.status):
                lines.append(
                    Summary(
                        id=number,
                        identity=kept.identity,
                        alert=state.alert.name,
                        service=state.service,
                        runbook=state.runbook,
                        status=state.status,
                        open=state.open,
                        reason=state.reason,
                        opened_at=state.opened_at,
                        updated_at=state.updated_at,
                        due_at=kept.due_at,
                    )
                )
        return lines[:limit]

    @override
    def counts(self) -> dict[str, int]:
        self._check()
        counted: dict[str, int] = {}
        for kept in self._kept:
            if kept.state.open:
                counted[kept.state.status.value] = counted.get(kept.state.status.value, 0) + 1
        return counted

    @override
    def oldest_due(self) -> datetime | None:
        self._check()
        return min(
            (
                kept.due_at
                for kept in self._kept
                if kept.due_at and kept.owner is None and kept.state.status is Status.OPEN
            ),
            default=None,
        )

    @override
    def at_work(self, services: Sequence[str]) -> list[tuple[int, str]]:
        self._check()
        states = ((number, kept.state) for number, kept in enumerate(self._kept, start=1))
        return [
            (number, state.service)
            for number, state in states
            if state.status is Status.OPEN and state.service in services
        ]

    @override
    def past_runs(self, *, since: datetime) -> list[PastRun]:
        self._check()
        return [
            run
            for number, kept in enumerate(self._kept, start=1)
            for run in past_runs(number, kept.events, runbook=kept.state.runbook or "", service=kept.state.service)
            if run.at > since
        ]

    @override
    def claim_notices(
        self, targets: Sequence[str], *, now: datetime, since: datetime, lease: timedelta, limit: int
    ) -> list[Notice]:
        self._check()
        claimed = []
        for target in targets:
            due = []
            for number, kept in enumerate(self._kept, start=1):
                for sequence, event in enumerate(kept.events, start=1):
                    first = Notice(number, sequence, target, 0), now if event.at > since else None
                    notice, due_at = self._notices.get((number, sequence, target), first)
                    if event.kind in TOLD and due_at is not None and due_at <= now:
                        due.append(notice)
            for notice in due[:limit]:
                again = replace(notice, attempts=notice.attempts + 1)
                self._notices[notice.incident, notice.sequence, target] = (again, now + lease)
                claimed.append(again)
        return claimed

    @override
    def settle_notice(self, notice: Notice, *, due_at: datetime | None, error: str) -> None:
        self._check()
        key = (notice.incident, notice.sequence, notice.target)
        if self._notices[key][0].attempts == notice.attempts:
            self._notices[key] = (replace(notice, error=error), due_at)

    @override
    def failing_notices(self, targets: Sequence[str]) -> list[Notice]:
        self._check()
        return [
            notice
            for _, (notice, due_at) in sorted(self._notices.items())
            if due_at is not None and notice.error and notice.target in targets
        ]

    @override
    def runs_of(self, runbook: str, *, incidents: int) -> list[PastRun]:
        self._check()
        mine = [pair for pair in enumerate(self._kept, start=1) if pair[1].state.runbook == runbook][-incidents:]
        return [
            run
            for number, kept in mine
            for run in past_runs(number, kept.events, runbook=runbook, service=kept.state.service)
        ]

    @override
    def uses(self, runbook: str, *, since: datetime) -> int:
        self._check()
        states = [kept.state for kept in self._kept]
        return sum(state.runbook == runbook and state.opened_at >= since for state in states)

    @override
    def records(self, *, since: datetime) -> list[Record]:
        self._check()
        every = (Record(number, kept.identity, tuple(kept.events)) for number, kept in enumerate(self._kept, start=1))
        return [record for record in every if record.events[0].at >= since]

    @override
    def hold(self, hold: Hold) -> int:
        self._check()
        self._holds.append(hold.model_copy(update={"id": len(self._holds) + 1}))
        return len(self._holds)

    @override
    def lift(self, number: int, *, who: str, now: datetime) -> bool:
        self._check()
        for position, hold in enumerate(self._holds):
            if hold.id == number and (hold.ends_at is None or hold.ends_at > now):
                self._holds[position] = hold.model_copy(update={"ends_at": now})
                return True
        return False

    @override
    def holds(self, *, now: datetime) -> list[Hold]:
        self._check()
        return [hold for hold in self._holds if hold.starts_at <= now and (hold.ends_at is None or hold.ends_at > now)]

    @override
    def close(self) -> None:
        pass

    def _receive(self, delivery: Delivery, now: datetime) -> Receipt:  # noqa: PLR0911 -- one for each meaning
        alert = delivery.alert
        same = [
            (number, kept)
            for number, kept in enumerate(self._kept, start=1)
            if kept.identity == delivery.route.identity
        ]
        number, newest = same[-1] if same else (0, None)
        if newest is not None and newest.state.open:
            state, firing_since = newest.state, newest.state.firing.get(alert.fingerprint)
            closed = superseded(alert, firing_since, state.status, state.updated_at, now)
            if closed is not None:
                newest.events.append(closed)
                return self._receive(delivery, now)
            event = news(alert, firing_since, now)
            if event is None:
                if alert.status == "firing":
                    newest.newest_start = max(newest.newest_start, alert.starts_at)
                return Receipt(number, "repeated")
            full = overfull(event, state.status, len(newest.events), now)
            if full is not None:
                newest.events.append(full)
                return self._open(delivery, now)
            newest.events.append(event)
            newest.due_at = now
            if isinstance(event, Fired):
                newest.newest_start = alert.starts_at
            return Receipt(number, event.kind)
        if alert.status == "resolved":
            return Receipt(None, "ignored")
        if newest is not None:
            quiet = quiet_until(newest.state, self.settle)
            if quiet is not None and quiet > now and alert.starts_at <= newest.newest_start:
                return Receipt(number, "repeated")
        return self._open(delivery, now)

    def _open(self, delivery: Delivery, now: datetime) -> Receipt:
        self._kept.append(_Kept(delivery.route.identity, [opening(delivery, now)], delivery.alert.starts_at, now))
        return Receipt(len(self._kept), "opened")

    def _get(self, incident: int) -> _Kept:
        self._check()
        if not 1 <= incident <= len(self._kept):
            raise UnknownIncident(f"There is no incident {incident}.")
        return self._kept[incident - 1]

    def _check(self) -> None:
        if self.down:
            raise StoreUnavailable("Cannot use the store: it is down.")
