# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to the ops.runbooks collection: may change without notice.
"""Read the sessions of a server, and end the chosen ones: the work behind both pool modules."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ansible_collections.ops.runbooks.plugins.module_utils._arguments import ArgumentSpec
from ansible_collections.ops.runbooks.plugins.module_utils._errors import (
    ActionFailed,
    ConnectionFailed,
    PreconditionFailed,
    TimedOut,
)
from ansible_collections.ops.runbooks.plugins.module_utils._postgresql_sessions import (
    STATES,
    Criteria,
    Plan,
    Session,
    Snapshot,
    blocking_tree,
    count,
    grouped,
    holders,
    make_plan,
    summary,
)
from ansible_collections.ops.runbooks.plugins.module_utils._waiting import Clock, wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SELECTED_SHOWN = 100
HOLDERS_SHOWN = 20


class SessionSource(ABC):
    """A server whose sessions can be read and signalled."""

    @abstractmethod
    def server(self) -> dict[str, Any]:
        """Return version, version_num, in_recovery, started_at and the source of max_connections."""

    @abstractmethod
    def snapshot(self) -> Snapshot:
        """Return slots and client sessions at one moment."""

    @abstractmethod
    def cancel(self, sessions: Sequence[Session], criteria: Criteria) -> set[int]:
        """Cancel the statements of those sessions that still match; return the pids that were signalled."""

    @abstractmethod
    def terminate(self, sessions: Sequence[Session], criteria: Criteria) -> set[int]:
        """Terminate those sessions that still match; return the pids that were signalled."""

    @abstractmethod
    def alive(self, sessions: Sequence[Session]) -> set[int]:
        """Return the pids of those sessions that still exist; a reused pid is another session."""

    @abstractmethod
    def unreadable(self) -> list[dict[str, str]]:
        """Return what the login may not read, and why."""


def info_spec() -> ArgumentSpec:
    """Return the options of postgresql_pool_info."""
    return ArgumentSpec(
        options={
            "include_queries": {"type": "bool", "default": True},
            "query_length": {"type": "int", "default": 200},
        }
    )


def reset_spec() -> ArgumentSpec:
    """Return the options of postgresql_pool_reset."""
    names = {"type": "list", "elements": "str", "default": []}
    idle_states = [state for state in STATES if state != "active"]
    return ArgumentSpec(
        options={
            "states": {"type": "list", "elements": "str", "choices": STATES, "default": idle_states},
            "minimum_idle_seconds": {"type": "float"},
            "minimum_idle_in_transaction_seconds": {"type": "float"},
            "minimum_transaction_seconds": {"type": "float"},
            "minimum_statement_seconds": {"type": "float"},
            "applications": dict(names),
            "users": dict(names),
            "databases": dict(names),
            "clients": dict(names),
            "exclude_applications": dict(names),
            "exclude_users": dict(names),
            "blockers_only": {"type": "bool", "default": False},
            "allow_superusers": {"type": "bool", "default": False},
            "keep_per_application": {"type": "int", "default": 1},
            "only_above": {"type": "float"},
            "precondition_reaction": {"type": "str", "choices": ["fail", "skip", "warn"], "default": "fail"},
            "limit": {"type": "int", "default": 500},
            "grace_seconds": {"type": "float", "default": 5.0},
            "timeout_seconds": {"type": "float", "default": 30.0},
        }
    )


def read_info(source: SessionSource) -> dict[str, Any]:
    """Return everything that postgresql_pool_info reports."""
    snapshot = source.snapshot()
    sessions = snapshot.sessions
    in_transaction = [s for s in sessions if s.transaction_seconds is not None and not s.own]
    in_statement = [s for s in sessions if s.state == "active" and s.statement_seconds is not None and not s.own]
    return {
        "changed": False,
        "server": source.server(),
        "slots": snapshot.slots.as_return(),
        "sessions": {
            "total": len(sessions),
            "by_state": {state: sum(1 for s in sessions if s.state == state) for state in STATES},
            "by_user": grouped(sessions, lambda s: s.user),
            "by_application": grouped(sessions, lambda s: s.application),
            "by_database": grouped(sessions, lambda s: s.database),
            "by_client": grouped(sessions, lambda s: s.client),
        },
        "holders": holders(sessions, HOLDERS_SHOWN),
        "longest_transaction": _longest(in_transaction, "transaction_seconds"),
        "longest_statement": _longest(in_statement, "statement_seconds"),
        "blocking": blocking_tree(sessions),
        "waiting": sum(1 for s in sessions if s.blocked_by),
        "unreadable": source.unreadable(),
    }


def _longest(sessions: Sequence[Session], age: str) -> dict[str, Any] | None:
    if not sessions:
        return None
    session = max(sessions, key=lambda s: getattr(s, age))
    return {**summary(session), "seconds": round(getattr(session, age), 1)}


@dataclass(frozen=True)
class ResetRequest:
    """What postgresql_pool_reset is asked to do."""

    criteria: Criteria
    only_above: float | None
    precondition_reaction: str
    limit: int
    grace_seconds: float
    timeout_seconds: float

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> ResetRequest:
        """Build the request from the module's options; raises ValueError for what must not be asked."""
        share = params["only_above"]
        if share is not None and not 0 <= share <= 1:
            raise ValueError(f"only_above is {share}, expected a share between 0 and 1.")
        if params["limit"] < 1:
            raise ValueError(f"limit is {params['limit']}, expected at least 1.")
        return cls(
            criteria=Criteria.from_params(params),
            only_above=share,
            precondition_reaction=params["precondition_reaction"],
            limit=params["limit"],
            grace_seconds=params["grace_seconds"],
            timeout_seconds=params["timeout_seconds"],
        )


def reset(
    source: SessionSource, request: ResetRequest, *, instance: str, dry_run: bool, clock: Clock | None = None
) -> dict[str, Any]:
    """End the sessions that match, and return what was done; a dry run makes the same choice and ends nothing.

    Raises PreconditionFailed before anything is changed, ActionFailed or TimedOut with what was done until then.
    """
    clock = clock or Clock()
    start = clock.now()
    before = source.snapshot()
    result: dict[str, Any] = {
        "changed": False,
        "instance": instance,
        "actions": [],
        "warnings": [],
        "selected": [],
        "selected_count": 0,
        "cancelled": 0,
        "terminated": 0,
        "spared": 0,
        "survived": [],
        "before": before.slots.as_return(),
        "after": before.slots.as_return(),
    }
    result["warnings"] += [f"Cannot read {gap['what']} on {instance}: {gap['why']}." for gap in source.unreadable()]
    problem = _not_above(before, request.only_above, instance)
    if problem and request.precondition_reaction == "fail":
        raise PreconditionFailed(f"{problem} Lower only_above if they shall be ended all the same.", **result)
    if problem and request.precondition_reaction == "skip":
        result["actions"].append(f"Left everything alone: {problem}")
        return _timed(result, clock, start)
    if problem:
        result["warnings"].append(problem)
    plan = make_plan(before, request.criteria)
    result["selected"] = [summary(session) for session in plan.end[:SELECTED_SHOWN]]
    result["selected_count"] = len(plan.end)
    _refuse(plan, request, instance, result)
    if plan.end:
        result["changed"] = True
        if dry_run:
            result["actions"].append(f"Would end {count(len(plan.end))}{_of(plan.end)}.")
        else:
            _act(source, plan, request, result, clock)
    result["actions"] += plan.left_alone() or ([] if plan.end else ["Nothing to end: no session matches."])
    return _timed(result, clock, start)


def _not_above(snapshot: Snapshot, share: float | None, instance: str) -> str | None:
    if share is None or snapshot.slots.used_ratio >= share:
        return None
    return (
        f"{snapshot.slots.used} of {snapshot.slots.application} application slots on {instance} are in use "
        f"({snapshot.slots.used_ratio:.0%}), below the {share:.0%} from which sessions are ended."
    )


def _refuse(plan: Plan, request: ResetRequest, instance: str, result: Mapping[str, Any]) -> None:
    """Stop before the first change if the run would go too far or not get through."""
    if len(plan.end) > request.limit:
        raise PreconditionFailed(
            f"Cannot end sessions on {instance}: {len(plan.end)} match and limit is {request.limit}. "
            "Narrow the criteria, or raise limit.",
            **result,
        )
    forbidden = sorted({session.user for session in plan.end if not session.can_be_signalled})
    if forbidden:
        raise ActionFailed(
            f"Cannot end sessions of {', '.join(forbidden)} on {instance}: login_user may not signal them. "
            "As a superuser: GRANT pg_signal_backend TO the login role (sessions of superusers need a superuser).",
            **result,
        )


def _act(source: SessionSource, plan: Plan, request: ResetRequest, result: dict[str, Any], clock: Clock) -> None:
    """Cancel what runs, terminate what idles or did not yield, and wait until it is gone."""
    signalled: set[int] = set()
    result["changed"] = False
    try:
        cancelled = source.cancel(plan.cancel_first, request.criteria) if plan.cancel_first else set()
        result["cancelled"] = len(cancelled)
        result["changed"] = bool(cancelled)
        signalled |= source.terminate(plan.terminate, request.criteria) if plan.terminate else set()
        result["terminated"] = len(signalled)
        result["changed"] = bool(cancelled or signalled)
        if cancelled:
            stubborn = _did_not_yield(source, plan, cancelled, request, clock)
            signalled |= source.terminate(stubborn, request.criteria) if stubborn else set()
            result["terminated"] = len(signalled)
        touched = cancelled | signalled
        result["spared"] = len(plan.end) - len(touched)
        doomed = [session for session in plan.end if session.pid in signalled]
        waited = wait_until(
            lambda: source.alive(doomed),
            lambda alive: not alive,
            timeout_seconds=request.timeout_seconds,
            interval_seconds=0.05,
            clock=clock,
        )
        result["survived"] = sorted(waited.state)
        result["after"] = source.snapshot().slots.as_return()
    except ConnectionFailed as error:
        raise ConnectionFailed(
            f"{error} Before that, {count(len(signalled))} were told to end and {result['cancelled']} statements were "
            "cancelled. A second run finishes the rest.",
            **{**result, **error.details},
        ) from error
    _describe(plan, signalled, result)
    if not waited.reached:
        raise TimedOut(
            f"Told {count(len(signalled))} on {result['instance']} to end, and {count(len(waited.state))} still exist "
            f"after {request.timeout_seconds:.0f} s (pids {', '.join(map(str, result['survived'][:10]))}). "
            "They may be rolling back; look again, or raise timeout_seconds.",
            **result,
        )


def _did_not_yield(
    source: SessionSource, plan: Plan, cancelled: set[int], request: ResetRequest, clock: Clock
) -> list[Session]:
    """Return the cancelled sessions that still run a statement when the grace period is over."""
    pids = {session.pid: session.started for session in plan.cancel_first if session.pid in cancelled}

    def still_running() -> list[Session]:
        return [s for s in source.snapshot().sessions if pids.get(s.pid) == s.started and s.state == "active"]

    return wait_until(
        still_running,
        lambda running: not running,
        timeout_seconds=request.grace_seconds,
        interval_seconds=0.1,
        clock=clock,
    ).state


def _describe(plan: Plan, signalled: set[int], result: dict[str, Any]) -> None:
    ended = [session for session in plan.end if session.pid in signalled]
    if ended:
        result["actions"].append(f"Ended {count(len(ended))}{_of(ended)}.")
    if result["cancelled"]:
        result["actions"].append(f"Cancelled the statements of {count(result['cancelled'])}.")
    if result["spared"]:
        result["actions"].append(f"Spared {count(result['spared'])}: they changed or ended by themselves meanwhile.")


def _of(sessions: Sequence[Session]) -> str:
    """Name the applications of some sessions, for a sentence."""
    rows = grouped(sessions, lambda s: s.application or "no application name")
    return " of " + ", ".join(f"{row['name']} ({row['sessions']})" for row in rows[:5])


def _timed(result: dict[str, Any], clock: Clock, start: float) -> dict[str, Any]:
    result["duration_seconds"] = round(clock.now() - start, 3)
    return result
