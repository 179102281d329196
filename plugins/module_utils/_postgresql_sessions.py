# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to the ops.runbooks collection: may change without notice.
"""Sessions, slots, and the choice of the sessions that may be ended. Nothing here talks to a server."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

ACTIVE = "active"
IDLE = "idle"
STATES = [ACTIVE, IDLE, "idle_in_transaction", "idle_in_transaction_aborted"]
STATE_NAMES = {  # as pg_stat_activity writes them
    "active": ACTIVE,
    "idle": IDLE,
    "idle in transaction": "idle_in_transaction",
    "idle in transaction (aborted)": "idle_in_transaction_aborted",
}
# Programs that hold a session for long on purpose; they are ended only when named in `applications`.
BACKUP_APPLICATIONS = frozenset({"pg_dump", "pg_dumpall", "pg_restore", "pg_basebackup", "pg_receivewal"})


@dataclass(frozen=True)
class Session:
    """One client backend as it was in one snapshot; pid and start together identify it."""

    pid: int
    started: str
    user: str
    application: str
    database: str
    client: str
    state: str
    state_seconds: float
    transaction_seconds: float | None = None
    statement_seconds: float | None = None
    blocked_by: tuple[int, ...] = ()
    query: str = ""
    superuser: bool = False
    reserved: bool = False  # its role may use reserved slots, or monitors
    own: bool = False
    can_be_signalled: bool = True

    @property
    def usable(self) -> bool:
        """Whether the session serves its application; one that idles in a transaction serves nobody."""
        return self.state in (ACTIVE, IDLE)


@dataclass(frozen=True)
class Slots:
    """How many sessions the server takes, and how many of them an application can get."""

    max: int
    superuser_reserved: int
    reserved: int
    used: int

    @property
    def application(self) -> int:
        """Slots that a role without privileges can get."""
        return self.max - self.superuser_reserved - self.reserved

    @property
    def used_ratio(self) -> float:
        """Share of the application slots in use; above 1 when reserved slots are in use as well."""
        return self.used / self.application if self.application > 0 else 1.0

    def as_return(self) -> dict[str, Any]:
        """Return the numbers for a module's result."""
        return {
            "max": self.max,
            "superuser_reserved": self.superuser_reserved,
            "reserved": self.reserved,
            "application": self.application,
            "used": self.used,
            "free": max(0, self.application - self.used),
            "used_ratio": round(self.used_ratio, 4),
        }


@dataclass(frozen=True)
class Snapshot:
    """The slots and the client sessions at one moment."""

    slots: Slots
    sessions: tuple[Session, ...]


@dataclass(frozen=True)
class Criteria:
    """Which sessions are meant; every criterion that is given must hold."""

    states: tuple[str, ...]
    minimum_idle_seconds: float | None = None
    minimum_idle_in_transaction_seconds: float | None = None
    minimum_transaction_seconds: float | None = None
    minimum_statement_seconds: float | None = None
    applications: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    databases: tuple[str, ...] = ()
    clients: tuple[str, ...] = ()
    exclude_applications: tuple[str, ...] = ()
    exclude_users: tuple[str, ...] = ()
    blockers_only: bool = False
    allow_superusers: bool = False
    keep_per_application: int = 0

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> Criteria:
        """Build the criteria from the module's options; raises ValueError if they would mean every session."""
        criteria = cls(
            states=tuple(params["states"]),
            minimum_idle_seconds=params["minimum_idle_seconds"],
            minimum_idle_in_transaction_seconds=(
                params["minimum_idle_seconds"]
                if params["minimum_idle_in_transaction_seconds"] is None
                else params["minimum_idle_in_transaction_seconds"]
            ),
            minimum_transaction_seconds=params["minimum_transaction_seconds"],
            minimum_statement_seconds=params["minimum_statement_seconds"],
            applications=tuple(params["applications"]),
            users=tuple(params["users"]),
            databases=tuple(params["databases"]),
            clients=tuple(params["clients"]),
            exclude_applications=tuple(params["exclude_applications"]),
            exclude_users=tuple(params["exclude_users"]),
            blockers_only=params["blockers_only"],
            allow_superusers=params["allow_superusers"],
            keep_per_application=params["keep_per_application"],
        )
        ages = (
            criteria.minimum_idle_seconds,
            criteria.minimum_idle_in_transaction_seconds,
            criteria.minimum_transaction_seconds,
            criteria.minimum_statement_seconds,
        )
        if any(age is not None and age < 0 for age in ages) or criteria.keep_per_application < 0:
            raise ValueError("Ages and keep_per_application must not be negative.")
        named = criteria.applications or criteria.users or criteria.databases or criteria.clients
        if not criteria.states or not (named or criteria.blockers_only or any(age is not None for age in ages)):
            raise ValueError(
                "Refused: these criteria mean every session. Give a minimum age, name applications, users, databases "
                "or clients, or set blockers_only."
            )
        return criteria

    def protection(self, session: Session) -> str | None:
        """Say why a session must not be ended whatever else matches, or return None."""
        if session.own:
            return "this module's own session"
        if session.superuser and not (self.allow_superusers and session.user in self.users):
            return "superuser"
        if session.reserved and not session.superuser and session.user not in self.users:
            return "monitoring or reserved role"
        if session.application in BACKUP_APPLICATIONS and session.application not in self.applications:
            return "backup"
        if session.application in self.exclude_applications or session.user in self.exclude_users:
            return "excluded"
        return None

    def matches(self, session: Session, blockers: frozenset[int]) -> bool:
        """Tell whether every criterion that is given holds."""
        return (
            session.state in self.states
            and (session.state != IDLE or _at_least(session.state_seconds, self.minimum_idle_seconds))
            and (session.usable or _at_least(session.state_seconds, self.minimum_idle_in_transaction_seconds))
            and _at_least(session.transaction_seconds, self.minimum_transaction_seconds)
            and (session.state != ACTIVE or _at_least(session.statement_seconds, self.minimum_statement_seconds))
            and _named(session.application, self.applications)
            and _named(session.user, self.users)
            and _named(session.database, self.databases)
            and _named(session.client, self.clients)
            and (not self.blockers_only or session.pid in blockers)
        )


@dataclass(frozen=True)
class Plan:
    """What a run does: sessions to end, and those left alone with the reason."""

    end: tuple[Session, ...]
    left: tuple[tuple[str, tuple[Session, ...]], ...]

    @property
    def cancel_first(self) -> tuple[Session, ...]:
        """Return the sessions that run a statement; they get the chance to yield."""
        return tuple(session for session in self.end if session.state == ACTIVE)

    @property
    def terminate(self) -> tuple[Session, ...]:
        """Return the sessions that run nothing."""
        return tuple(session for session in self.end if session.state != ACTIVE)

    def left_alone(self) -> list[str]:
        """Say in sentences what matched and is left alone, and why."""
        return [f"Left {count(len(sessions))} alone: {reason}." for reason, sessions in self.left]


def root_blockers(sessions: Iterable[Session]) -> frozenset[int]:
    """Return the sessions that others wait for and that wait for nobody.

    A waiter blocks those behind it in the queue for the lock. It goes on by itself once the root has ended.
    """
    waiting = {session.pid: session.blocked_by for session in sessions if session.blocked_by}
    return frozenset(pid for blockers in waiting.values() for pid in blockers) - waiting.keys()


def make_plan(snapshot: Snapshot, criteria: Criteria) -> Plan:
    """Choose the sessions to end: what matches, less what is protected, less the floor of each application.

    The floor counts usable sessions (idle or active). A session that idles in a transaction serves nobody, so it
    neither counts nor is kept. The most recently used ones are kept.
    """
    blockers = root_blockers(snapshot.sessions)
    chosen: list[Session] = []
    left: dict[str, list[Session]] = {}
    for session in snapshot.sessions:
        if not criteria.matches(session, blockers):
            continue
        reason = criteria.protection(session)
        if reason is None:
            chosen.append(session)
        else:
            left.setdefault(reason, []).append(session)
    kept = _floor(snapshot.sessions, chosen, criteria.keep_per_application)
    if kept:
        left[f"the {criteria.keep_per_application} most recently used of each application stay"] = kept
    ended = tuple(session for session in chosen if session not in kept)
    return Plan(end=ended, left=tuple((reason, tuple(sessions)) for reason, sessions in left.items()))


def _floor(every: Iterable[Session], chosen: list[Session], floor: int) -> list[Session]:
    """Return the chosen sessions that must stay so that each application keeps its floor."""
    staying: dict[str, int] = {}
    chosen_pids = {session.pid for session in chosen}
    for session in every:
        if session.usable and session.pid not in chosen_pids:
            staying[session.application] = staying.get(session.application, 0) + 1
    kept: list[Session] = []
    for session in sorted(chosen, key=lambda s: (s.state_seconds, s.pid)):
        if session.usable and staying.get(session.application, 0) < floor:
            staying[session.application] = staying.get(session.application, 0) + 1
            kept.append(session)
    return kept


_LITERAL = re.compile(r"""(?sx)
    ' (?: [^'] | '' )* '?              # a string, or what the server's cut left of one
    | \$ (\w*) \$ .*? (?: \$ \1 \$ | \Z )  # dollar quotes
""")


def mask_literals(query: str) -> str:
    """Return a statement without its string literals, which may be passwords or personal data."""
    return _LITERAL.sub("'?'", query)


def _at_least(seconds: float | None, minimum: float | None) -> bool:
    return minimum is None or (seconds is not None and seconds >= minimum)


def _named(name: str, names: tuple[str, ...]) -> bool:
    return not names or name in names


def count(sessions: int) -> str:
    """Write a number of sessions."""
    return "1 session" if sessions == 1 else f"{sessions} sessions"


def grouped(sessions: Iterable[Session], key: Callable[[Session], str]) -> list[dict[str, Any]]:
    """Count sessions by a key and by state, the largest group first."""
    groups: dict[str, list[Session]] = {}
    for session in sessions:
        groups.setdefault(key(session), []).append(session)
    rows: list[dict[str, Any]] = [
        {
            "name": name,
            "sessions": len(members),
            **{state: sum(1 for member in members if member.state == state) for state in STATES},
            "oldest_seconds": round(max(member.state_seconds for member in members), 1),
        }
        for name, members in groups.items()
    ]
    return sorted(rows, key=lambda row: (-row["sessions"], row["name"]))


def holders(sessions: Iterable[Session], limit: int) -> list[dict[str, Any]]:
    """Return who holds the most slots in which state, the largest group first."""
    groups: dict[tuple[str, str, str], list[Session]] = {}
    for session in sessions:
        groups.setdefault((session.user, session.application, session.state), []).append(session)
    rows: list[dict[str, Any]] = [
        {
            "user": user,
            "application": application,
            "state": state,
            "sessions": len(members),
            "oldest_seconds": round(max(member.state_seconds for member in members), 1),
        }
        for (user, application, state), members in groups.items()
    ]
    return sorted(rows, key=lambda row: (-row["sessions"], row["user"], row["application"]))[:limit]


def blocking_tree(sessions: Iterable[Session]) -> list[dict[str, Any]]:
    """Return who waits on whom, root blockers first; each waiter stands under one of its blockers.

    A deadlock has no root: its member with the lowest pid is shown as one.
    """
    by_pid = {session.pid: session for session in sessions}
    waiters: dict[int, list[int]] = {}
    for session in by_pid.values():
        for blocker in session.blocked_by:
            waiters.setdefault(blocker, []).append(session.pid)
    seen: set[int] = set()

    def branch(pid: int) -> dict[str, Any]:
        seen.add(pid)
        blocked = [branch(waiter) for waiter in sorted(waiters.get(pid, [])) if waiter not in seen]
        # A blocker that is no client backend (a prepared transaction has pid 0) is named by its pid only.
        return {**(summary(by_pid[pid]) if pid in by_pid else {"pid": pid}), "blocks": blocked}

    waiting = {pid for pid, session in by_pid.items() if session.blocked_by}
    roots = [branch(pid) for pid in sorted(waiters.keys() - waiting)]
    roots += [branch(pid) for pid in sorted(waiters) if pid not in seen]
    return roots


def summary(session: Session) -> dict[str, Any]:
    """Return what a reader needs of one session."""
    result: dict[str, Any] = {
        "pid": session.pid,
        "user": session.user,
        "application": session.application,
        "database": session.database,
        "client": session.client,
        "state": session.state,
        "state_seconds": round(session.state_seconds, 1),
    }
    if session.query:
        result["query"] = session.query
    return result
