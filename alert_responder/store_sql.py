# SPDX-License-Identifier: GPL-3.0-or-later
"""The store of incidents in a relational database, through SQLAlchemy Core: SQLite, or PostgreSQL for several."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from typing_extensions import override

from alert_responder import migrations
from alert_responder.errors import Conflict, StoreUnavailable, UnknownIncident
from alert_responder.incidents import EVENT, Ended, Event, Fired, Hold, PastRun, State, Status, past_runs
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
    from collections.abc import Iterator, Sequence
    from pathlib import Path


class _Line(sa.TypeDecorator[str]):
    """Text that PostgreSQL keeps too: it knows no NUL character. What was received stands escaped in the events."""

    impl = sa.Text
    cache_ok = True

    @override
    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str | None:
        return value if value is None else value.replace("\0", "\N{REPLACEMENT CHARACTER}")


_METADATA = sa.MetaData()
_INCIDENTS = sa.Table(
    "incidents",
    _METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    *(
        sa.Column(name, _Line)
        for name in (
            "identity",
            "alert",
            "service",
            "runbook",
            "status",
            "reason",
            "opened_at",
            "updated_at",
            "newest_start",
            "quiet_until",
            "due_at",
            "owner",
            "lease_until",
        )
    ),
    sa.Column("open", sa.Integer),
)
_EVENTS = sa.Table(
    "events",
    _METADATA,
    sa.Column("incident_id", sa.Integer, primary_key=True),
    sa.Column("sequence", sa.Integer, primary_key=True),
    *(sa.Column(name, _Line) for name in ("at", "kind", "data")),
)
_ALERTS = sa.Table(
    "alerts",
    _METADATA,
    sa.Column("incident_id", sa.Integer, primary_key=True),
    sa.Column("fingerprint", _Line, primary_key=True),
    sa.Column("firing_since", _Line),
    sa.Column("repeats", sa.Integer),
)

_HOLDS = sa.Table(
    "holds",
    _METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    *(sa.Column(name, _Line) for name in ("service", "starts_at", "ends_at", "who", "reason", "lifted_by")),
)

# Beside the tables of the migrations, for it records them.
_APPLIED = sa.Table(
    "schema_migrations",
    sa.MetaData(),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("applied_at", sa.Text),
)

# What runs for every alert is built once: to build a statement takes longer than to run it. The newest incident of an
# identity is the open one, if one is open.
_NEWEST_INCIDENT = (
    sa.select(
        *(_INCIDENTS.c[name] for name in ("id", "open", "status", "updated_at", "newest_start", "quiet_until")),
        _ALERTS.c.firing_since,
    )
    .outerjoin(
        _ALERTS,
        sa.and_(_ALERTS.c.incident_id == _INCIDENTS.c.id, _ALERTS.c.fingerprint == sa.bindparam("of_fingerprint")),
    )
    .where(_INCIDENTS.c.identity == sa.bindparam("of_identity"))
    .order_by(_INCIDENTS.c.id.desc())
    .limit(1)
)
_COUNT_REPEAT = (
    _ALERTS.update()
    .where(
        _ALERTS.c.incident_id == sa.bindparam("of_incident"), _ALERTS.c.fingerprint == sa.bindparam("of_fingerprint")
    )
    .values(repeats=_ALERTS.c.repeats + 1)
)
_DATE_LATER = (
    _INCIDENTS.update().where(_INCIDENTS.c.id == sa.bindparam("of_incident")).values(newest_start=sa.bindparam("later"))
)
_ADD_INCIDENT = _INCIDENTS.insert().returning(_INCIDENTS.c.id)
_ADD_EVENT = _EVENTS.insert()
_ADD_ALERT = _ALERTS.insert()

_BUSY_SECONDS = 10
_MOST_REMEMBERED = 5000
# A database that does not answer must cost a request and a lease no more than this.
_CONNECT = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": _BUSY_SECONDS * 1000,
    "application_name": "alert-responder",
}
# One writer at a time, as in SQLite, so that both keep every rule for the same reason; group commit makes it fast. The
# settings hold for the transaction only, so that a pool between here and the server cannot lose or leak them.
_LOCK = 0x616C657274  # "alert"
_BEGIN_WRITING = f"""
SELECT set_config('synchronous_commit', 'on', true),
       set_config('lock_timeout', '{_BUSY_SECONDS}s', true),
       set_config('statement_timeout', '{2 * _BUSY_SECONDS}s', true),
       set_config('idle_in_transaction_session_timeout', '{_BUSY_SECONDS}s', true);
SELECT pg_advisory_xact_lock({_LOCK})
"""


_NOTICES = sa.Table(
    "notices",
    _METADATA,
    sa.Column("incident_id", sa.Integer, primary_key=True),
    sa.Column("sequence", sa.Integer, primary_key=True),
    sa.Column("target", sa.Text, primary_key=True),
    sa.Column("attempts", sa.Integer),
    sa.Column("due_at", sa.Text),
    sa.Column("error", sa.Text),
)
_OF_EVENT = sa.and_(_NOTICES.c.incident_id == _EVENTS.c.incident_id, _NOTICES.c.sequence == _EVENTS.c.sequence)


def _key(notice: Notice) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        _NOTICES.c.incident_id == notice.incident,
        _NOTICES.c.sequence == notice.sequence,
        _NOTICES.c.target == notice.target,
    )


def _text(moment: datetime) -> str:
    """Write a UTC time so that the order of the texts is the order of the times."""
    return moment.isoformat(timespec="microseconds")


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def sqlite_engine(path: Path) -> sa.Engine:
    """Return an engine on one file: write-ahead log, every commit on the disk before it returns, foreign keys."""
    engine = sa.create_engine(f"sqlite:///{path}", connect_args={"timeout": _BUSY_SECONDS})

    @sa.event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        # The driver's own idea of transactions would begin them too late (docs.sqlalchemy.org, "pysqlite").
        connection.isolation_level = None
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        writing = connection.get_execution_options().get("writing", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")

    return engine


def postgresql_engine(url: str) -> sa.Engine:
    """Return an engine on a PostgreSQL server: every commit on its disk before it returns, one writer at a time."""
    engine = sa.create_engine(
        sa.make_url(url).set(drivername="postgresql+psycopg2"),
        connect_args=_CONNECT,
        pool_pre_ping=True,
        pool_timeout=_BUSY_SECONDS,
    )

    @sa.event.listens_for(engine, "connect")
    def _check(connection: Any, _record: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SHOW fsync")
            (fsync,) = cursor.fetchone()
        connection.rollback()
        if fsync != "on":
            raise StoreUnavailable(
                f"Cannot use the store {engine.url.render_as_string()}: its server runs with fsync = {fsync}, "
                "so that nothing it answers for is on disk. Set fsync = on."
            )

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        if connection.get_execution_options().get("writing", False):
            connection.exec_driver_sql(_BEGIN_WRITING)

    return engine


class SqlStore(Store):
    """Incidents in tables: the events are the truth, the columns of an incident are what its events add up to."""

    def __init__(self, engine: sa.Engine, *, settle: timedelta = timedelta(minutes=15)) -> None:
        self._engine = engine
        self._settle = settle
        # There is one writer; threads of this process queue here instead of at the database.
        self._writer = threading.Lock()
        # Every decision asks what ran lately. Events are never changed, so what so many of them say is known for good.
        self._runs: dict[int, tuple[int, list[PastRun]]] = {}
        self._migrate()

    @override
    def receive(self, deliveries: Sequence[Delivery], *, now: datetime) -> list[Receipt]:
        with self._writing() as connection:
            return [self._receive(connection, delivery, now) for delivery in deliveries]

    @override
    def claim(self, owner: str, *, now: datetime, lease: timedelta, limit: int) -> list[int]:
        older = _INCIDENTS.alias("older")
        due = (
            sa.select(_INCIDENTS.c.id)
            .where(
                _INCIDENTS.c.status == Status.OPEN.value,
                _INCIDENTS.c.due_at <= _text(now),
                sa.or_(_INCIDENTS.c.lease_until.is_(None), _INCIDENTS.c.lease_until < _text(now)),
                ~sa.exists().where(
                    older.c.service == _INCIDENTS.c.service,
                    older.c.status == Status.OPEN.value,
                    older.c.id < _INCIDENTS.c.id,
                ),
            )
            .order_by(_INCIDENTS.c.id)
            .limit(limit)
        )
        with self._reading() as connection:
            if connection.execute(due).first() is None:
                # Nearly always: nobody who writes is kept waiting for it.
                return []
        with self._writing() as connection:
            ids = list(connection.scalars(due))
            connection.execute(
                _INCIDENTS.update().where(_INCIDENTS.c.id.in_(ids)).values(owner=owner, lease_until=_text(now + lease))
            )
            return ids

    @override
    def renew(self, owner: str, incidents: Sequence[int], *, now: datetime, lease: timedelta) -> list[int]:
        with self._writing() as connection:
            held = (
                _INCIDENTS.update()
                .where(_INCIDENTS.c.owner == owner, _INCIDENTS.c.id.in_(incidents))
                .values(lease_until=_text(now + lease))
                .returning(_INCIDENTS.c.id)
            )
            return sorted(connection.scalars(held))

    @override
    def release(self, incident: int, owner: str, *, due_at: datetime | None, expected: int) -> None:
        with self._writing() as connection:
            values: dict[str, Any] = {"owner": None, "lease_until": None}
            if self._length(connection, incident) == expected:
                values["due_at"] = None if due_at is None else _text(due_at)
            connection.execute(
                _INCIDENTS.update().where(_INCIDENTS.c.id == incident, _INCIDENTS.c.owner == owner).values(**values)
            )

    @override
    def take_over(self, *, now: datetime) -> list[int]:
        with self._writing() as connection:
            ids = list(connection.scalars(sa.select(_INCIDENTS.c.id).where(_INCIDENTS.c.owner.is_not(None))))
            connection.execute(
                _INCIDENTS.update()
                .where(_INCIDENTS.c.id.in_(ids))
                .values(owner=None, lease_until=None, due_at=_text(now))
            )
            return ids

    @override
    def append(
        self, incident: int, events: Sequence[Event], *, owner: str | None, expected: int | None = None
    ) -> State:
        with self._writing() as connection:
            if owner is not None:
                held = connection.scalar(sa.select(_INCIDENTS.c.owner).where(_INCIDENTS.c.id == incident))
                if held != owner:
                    raise Conflict(f"Incident {incident} is not leased to {owner} any more.")
            values = {} if owner is not None else {"due_at": _text(events[-1].at)}
            return self._append(connection, incident, events, expected, values)

    @override
    def events(self, incident: int) -> list[Event]:
        with self._reading() as connection:
            return self._events(connection, incident)

    @override
    def summaries(self, *, status: Status | None = None, limit: int = 100) -> list[Summary]:
        query = sa.select(_INCIDENTS).order_by(_INCIDENTS.c.id.desc()).limit(limit)
        if status is not None:
            query = query.where(_INCIDENTS.c.status == status.value)
        with self._reading() as connection:
            return [
                Summary(
                    id=row.id,
                    identity=row.identity,
                    alert=row.alert,
                    service=row.service,
                    runbook=row.runbook,
                    status=Status(row.status),
                    open=bool(row.open),
                    reason=row.reason,
                    opened_at=datetime.fromisoformat(row.opened_at),
                    updated_at=datetime.fromisoformat(row.updated_at),
                    due_at=_moment(row.due_at),
                )
                for row in connection.execute(query)
            ]

    @override
    def counts(self) -> dict[str, int]:
        query = (
            sa.select(_INCIDENTS.c.status, sa.func.count()).where(_INCIDENTS.c.open == 1).group_by(_INCIDENTS.c.status)
        )
        with self._reading() as connection:
            return {row[0]: row[1] for row in connection.execute(query)}

    @override
    def oldest_due(self) -> datetime | None:
        query = sa.select(sa.func.min(_INCIDENTS.c.due_at)).where(
            _INCIDENTS.c.status == Status.OPEN.value, _INCIDENTS.c.owner.is_(None)
        )
        with self._reading() as connection:
            return _moment(connection.scalar(query))

    @override
    def at_work(self, services: Sequence[str]) -> list[tuple[int, str]]:
        query = (
            sa.select(_INCIDENTS.c.id, _INCIDENTS.c.service)
            .where(_INCIDENTS.c.status == Status.OPEN.value, _INCIDENTS.c.service.in_(services))
            .order_by(_INCIDENTS.c.id)
        )
        with self._reading() as connection:
            return [(row.id, row.service) for row in connection.execute(query)]

    @override
    def past_runs(self, *, since: datetime) -> list[PastRun]:
        # The incidents in which a step ended lately; their starts may be older.
        lately = sa.select(_EVENTS.c.incident_id).where(_EVENTS.c.kind == "finished", _EVENTS.c.at > _text(since))
        return [run for run in self._runs_in(lately) if run.at > since]

    @override
    def runs_of(self, runbook: str, *, incidents: int) -> list[PastRun]:
        newest = sa.select(_INCIDENTS.c.id).where(_INCIDENTS.c.runbook == runbook)
        return self._runs_in(newest.order_by(_INCIDENTS.c.id.desc()).limit(incidents))

    @override
    def uses(self, runbook: str, *, since: datetime) -> int:
        query = sa.select(sa.func.count()).where(
            _INCIDENTS.c.runbook == runbook, _INCIDENTS.c.opened_at >= _text(since)
        )
        with self._reading() as connection:
            return connection.scalar(query) or 0

    @override
    def records(self, *, since: datetime) -> list[Record]:
        query = (
            sa.select(_INCIDENTS.c.id, _INCIDENTS.c.identity, _EVENTS.c.data)
            .join(_EVENTS, _EVENTS.c.incident_id == _INCIDENTS.c.id)
            .where(_INCIDENTS.c.opened_at >= _text(since))
            .order_by(_INCIDENTS.c.id, _EVENTS.c.sequence)
        )
        with self._reading() as connection:
            rows = connection.execute(query).all()
        return [
            Record(incident, identity, tuple(EVENT.validate_json(row.data) for row in group))
            for (incident, identity), group in groupby(rows, key=lambda row: (row.id, row.identity))
        ]

    @override
    def claim_notices(
        self, targets: Sequence[str], *, now: datetime, since: datetime, lease: timedelta, limit: int
    ) -> list[Notice]:
        due = [notice for target in targets for notice in self._notices_due(target, now, since, limit)]
        if not due:
            # Nearly always: nothing is written for it.
            return []
        claimed = []
        with self._writing() as connection:
            for notice in due:
                again = replace(notice, attempts=notice.attempts + 1)
                values = {"attempts": again.attempts, "due_at": _text(now + lease)}
                # Only as it was read: another responder may have taken it meanwhile.
                same = (*_key(notice), _NOTICES.c.attempts == notice.attempts)
                if connection.execute(_NOTICES.update().where(*same).values(**values)).rowcount or (
                    notice.attempts == 0 and self._add_notice(connection, again, values)
                ):
                    claimed.append(again)
        return claimed

    @override
    def settle_notice(self, notice: Notice, *, due_at: datetime | None, error: str) -> None:
        values = {"due_at": None if due_at is None else _text(due_at), "error": error}
        with self._writing() as connection:
            connection.execute(
                _NOTICES.update().where(*_key(notice), _NOTICES.c.attempts == notice.attempts).values(**values)
            )

    @override
    def failing_notices(self, targets: Sequence[str]) -> list[Notice]:
        query = (
            sa.select(_NOTICES)
            .where(_NOTICES.c.due_at.is_not(None), _NOTICES.c.error != "", _NOTICES.c.target.in_(targets))
            .order_by(_NOTICES.c.incident_id, _NOTICES.c.sequence, _NOTICES.c.target)
        )
        with self._reading() as connection:
            return [
                Notice(row.incident_id, row.sequence, row.target, row.attempts, row.error)
                for row in connection.execute(query)
            ]

    @override
    def hold(self, hold: Hold) -> int:
        values = {
            "service": hold.service,
            "starts_at": _text(hold.starts_at),
            "ends_at": _text(hold.ends_at) if hold.ends_at else None,
            "who": hold.who,
            "reason": hold.reason,
        }
        with self._writing() as connection:
            number: int = connection.execute(_HOLDS.insert().values(**values).returning(_HOLDS.c.id)).scalar_one()
            return number

    @override
    def lift(self, number: int, *, who: str, now: datetime) -> bool:
        ends = sa.or_(_HOLDS.c.ends_at.is_(None), _HOLDS.c.ends_at > _text(now))
        change = _HOLDS.update().where(_HOLDS.c.id == number, ends).values(ends_at=_text(now), lifted_by=who)
        with self._writing() as connection:
            return connection.execute(change).rowcount == 1

    @override
    def holds(self, *, now: datetime) -> list[Hold]:
        query = sa.select(_HOLDS).where(
            _HOLDS.c.starts_at <= _text(now), sa.or_(_HOLDS.c.ends_at.is_(None), _HOLDS.c.ends_at > _text(now))
        )
        with self._reading() as connection:
            return [
                Hold(
                    id=row.id,
                    service=row.service,
                    starts_at=datetime.fromisoformat(row.starts_at),
                    ends_at=_moment(row.ends_at),
                    who=row.who,
                    reason=row.reason,
                )
                for row in connection.execute(query.order_by(_HOLDS.c.id))
            ]

    @override
    def close(self) -> None:
        self._engine.dispose()

    def _notices_due(self, target: str, now: datetime, since: datetime, limit: int) -> list[Notice]:
        query = (
            sa.select(_EVENTS.c.incident_id, _EVENTS.c.sequence, sa.func.coalesce(_NOTICES.c.attempts, 0))
            .outerjoin(_NOTICES, sa.and_(_OF_EVENT, _NOTICES.c.target == target))
            .where(
                _EVENTS.c.kind.in_(TOLD),
                sa.or_(
                    sa.and_(_NOTICES.c.target.is_(None), _EVENTS.c.at > _text(since)), _NOTICES.c.due_at <= _text(now)
                ),
            )
            .order_by(_EVENTS.c.at, _EVENTS.c.incident_id, _EVENTS.c.sequence)
            .limit(limit)
        )
        with self._reading() as connection:
            return [
                Notice(incident, sequence, target, tried) for incident, sequence, tried in connection.execute(query)
            ]

    @staticmethod
    def _add_notice(connection: sa.Connection, notice: Notice, values: dict[str, Any]) -> bool:
        known = connection.scalar(sa.select(_NOTICES.c.attempts).where(*_key(notice)))
        if known is not None:
            return False
        row = {"incident_id": notice.incident, "sequence": notice.sequence, "target": notice.target, "error": ""}
        connection.execute(_NOTICES.insert().values(**row, **values))
        return True

    def _runs_in(self, incidents: sa.Select[tuple[int]]) -> list[PastRun]:
        length = sa.select(sa.func.max(_EVENTS.c.sequence)).where(_EVENTS.c.incident_id == _INCIDENTS.c.id)
        query = (
            sa.select(
                _INCIDENTS.c.id, _INCIDENTS.c.runbook, _INCIDENTS.c.service, length.scalar_subquery().label("length")
            )
            .where(_INCIDENTS.c.id.in_(incidents))
            .order_by(_INCIDENTS.c.id)
        )
        found: list[PastRun] = []
        with self._reading() as connection:
            for incident, runbook, service, count in connection.execute(query).all():
                known = self._runs.get(incident)
                if known is None or known[0] != count:
                    events = self._steps(connection, incident)
                    runs = past_runs(incident, events, runbook=runbook or "", service=service)
                    known = self._runs[incident] = (count, runs)
                found.extend(known[1])
        if len(self._runs) > _MOST_REMEMBERED:
            self._runs.clear()
        return found

    @staticmethod
    def _steps(connection: sa.Connection, incident: int) -> list[Event]:
        query = sa.select(_EVENTS.c.data).where(
            _EVENTS.c.incident_id == incident, _EVENTS.c.kind.in_(("started", "finished"))
        )
        return [EVENT.validate_json(data) for data in connection.scalars(query.order_by(_EVENTS.c.sequence))]

    def _receive(self, connection: sa.Connection, delivery: Delivery, now: datetime) -> Receipt:
        alert = delivery.alert
        newest = connection.execute(
            _NEWEST_INCIDENT, {"of_identity": delivery.route.identity, "of_fingerprint": alert.fingerprint}
        ).one_or_none()
        if newest is None or not newest.open:
            return self._open(connection, delivery, newest, now)
        incident: int = newest.id
        firing_since = _moment(newest.firing_since)
        updated_at = datetime.fromisoformat(newest.updated_at)
        closed = superseded(alert, firing_since, Status(newest.status), updated_at, now)
        if closed is not None:
            self._append(connection, incident, [closed], None, {})
            return self._receive(connection, delivery, now)
        event = news(alert, firing_since, now)
        if event is None:
            if alert.status == "firing" and _text(alert.starts_at) > newest.newest_start:
                # The other of a pair dates the episode later; its copies must not open another incident at the end.
                connection.execute(_DATE_LATER, {"of_incident": incident, "later": _text(alert.starts_at)})
            return self._repeated(connection, incident, alert.fingerprint)
        full = overfull(event, Status(newest.status), self._length(connection, incident), now)
        if full is not None:
            self._append(connection, incident, [full], None, {})
            return self._open(connection, delivery, None, now)
        values = {"due_at": _text(now)}
        if isinstance(event, Fired):
            values["newest_start"] = _text(alert.starts_at)
        self._append(connection, incident, [event], None, values)
        self._set_firing(connection, incident, event)
        return Receipt(incident, event.kind)

    def _open(self, connection: sa.Connection, delivery: Delivery, newest: Any, now: datetime) -> Receipt:
        alert, route = delivery.alert, delivery.route
        if alert.status == "resolved":
            return Receipt(None, "ignored")
        if newest and newest.quiet_until > _text(now) and _text(alert.starts_at) <= newest.newest_start:
            return self._repeated(connection, newest.id, alert.fingerprint)
        event = opening(delivery, now)
        state = extend([event], [], None)
        incident: int = connection.execute(
            _ADD_INCIDENT,
            {
                "identity": route.identity,
                "alert": alert.name,
                "service": state.service,
                "runbook": state.runbook,
                "opened_at": _text(now),
                "newest_start": _text(alert.starts_at),
                "due_at": _text(now),
                **self._columns(state),
            },
        ).scalar_one()
        self._add_events(connection, incident, 0, [event])
        self._add_alert(connection, incident, alert.fingerprint, _text(alert.starts_at))
        return Receipt(incident, "opened")

    def _append(
        self,
        connection: sa.Connection,
        incident: int,
        events: Sequence[Event],
        expected: int | None,
        values: dict[str, Any],
    ) -> State:
        earlier = self._events(connection, incident)
        state = extend(earlier, events, expected)
        self._add_events(connection, incident, len(earlier), events)
        connection.execute(
            _INCIDENTS.update().where(_INCIDENTS.c.id == incident).values(**self._columns(state), **values)
        )
        return state

    def _columns(self, state: State) -> dict[str, Any]:
        quiet = quiet_until(state, self._settle)
        return {
            "status": state.status.value,
            "open": int(state.open),
            "reason": state.reason,
            "updated_at": _text(state.updated_at),
            "quiet_until": None if quiet is None else _text(quiet),
        }

    @staticmethod
    def _length(connection: sa.Connection, incident: int) -> int:
        query = sa.select(sa.func.max(_EVENTS.c.sequence)).where(_EVENTS.c.incident_id == incident)
        return connection.scalar(query) or 0

    @staticmethod
    def _events(connection: sa.Connection, incident: int) -> list[Event]:
        query = sa.select(_EVENTS.c.data).where(_EVENTS.c.incident_id == incident).order_by(_EVENTS.c.sequence)
        events = [EVENT.validate_json(data) for data in connection.scalars(query)]
        if not events:
            raise UnknownIncident(f"There is no incident {incident}.")
        return events

    @staticmethod
    def _add_events(connection: sa.Connection, incident: int, count: int, events: Sequence[Event]) -> None:
        connection.execute(
            _ADD_EVENT,
            [
                {
                    "incident_id": incident,
                    "sequence": number,
                    "at": _text(event.at),
                    "kind": event.kind,
                    "data": EVENT.dump_json(event, by_alias=True).decode(),
                }
                for number, event in enumerate(events, start=count + 1)
            ],
        )

    def _set_firing(self, connection: sa.Connection, incident: int, event: Fired | Ended) -> None:
        since = _text(event.starts_at) if isinstance(event, Fired) else None
        key = (_ALERTS.c.incident_id == incident, _ALERTS.c.fingerprint == event.fingerprint)
        if not connection.execute(_ALERTS.update().where(*key).values(firing_since=since)).rowcount:
            self._add_alert(connection, incident, event.fingerprint, since)

    @staticmethod
    def _add_alert(connection: sa.Connection, incident: int, fingerprint: str, since: str | None) -> None:
        row = {"incident_id": incident, "fingerprint": fingerprint, "firing_since": since, "repeats": 0}
        connection.execute(_ADD_ALERT, row)

    @staticmethod
    def _repeated(connection: sa.Connection, incident: int, fingerprint: str) -> Receipt:
        connection.execute(_COUNT_REPEAT, {"of_incident": incident, "of_fingerprint": fingerprint})
        return Receipt(incident, "repeated")

    def _migrate(self) -> None:
        with self._writing() as connection:
            connection.exec_driver_sql(
                "CREATE TABLE IF NOT EXISTS schema_migrations (number INTEGER PRIMARY KEY, applied_at TEXT NOT NULL)"
            )
            done = connection.scalar(sa.select(sa.func.max(_APPLIED.c.number))) or 0
            if done > len(migrations.MIGRATIONS):
                raise StoreUnavailable(
                    f"Cannot use the store: its schema is version {done}, this program knows "
                    f"{len(migrations.MIGRATIONS)}. Start the newer program."
                )
            for number in range(done + 1, len(migrations.MIGRATIONS) + 1):
                for statement in migrations.statements(number, self._engine.dialect.name):
                    connection.exec_driver_sql(statement)
                applied_at = datetime.now(UTC).isoformat(timespec="milliseconds")
                connection.execute(_APPLIED.insert().values(number=number, applied_at=applied_at))

    @contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        with self._writer, self._translated(), self._engine.connect() as connection:
            writing = connection.execution_options(writing=True)
            with writing.begin():
                yield writing

    @contextmanager
    def _reading(self) -> Iterator[sa.Connection]:
        with self._translated(), self._engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except IntegrityError as error:
            raise Conflict(f"The store refused a record that contradicts another: {error.orig}.") from error
        except SQLAlchemyError as error:
            cause = getattr(error, "orig", None) or error
            raise StoreUnavailable(f"Cannot use the store {self._engine.url.render_as_string()}: {cause}.") from error
