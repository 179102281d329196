# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to the ops.runbooks collection: may change without notice.
"""Reset PgBouncer's pools, and never leave a database paused."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ansible_collections.ops.runbooks.plugins.module_utils._arguments import ArgumentSpec
from ansible_collections.ops.runbooks.plugins.module_utils._errors import (
    ActionFailed,
    OpsError,
    PreconditionFailed,
    TimedOut,
    Unsupported,
)
from ansible_collections.ops.runbooks.plugins.module_utils._pgbouncer_pools import (
    ADMIN_DATABASE,
    is_admin,
    parse_config,
    parse_databases,
    parse_pools,
    parse_state,
)
from ansible_collections.ops.runbooks.plugins.module_utils._postgresql_options import login_options
from ansible_collections.ops.runbooks.plugins.module_utils._waiting import Clock, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ansible_collections.ops.runbooks.plugins.module_utils._pgbouncer_pools import Database
    from ansible_collections.ops.runbooks.plugins.module_utils._pgbouncer_ports import Console, Guard
    from ansible_collections.ops.runbooks.plugins.module_utils._postgresql_options import Login

COMMAND_SECONDS = 10.0
# A login to the server that fails while a database is killed keeps every client waiting for this long after RESUME;
# PgBouncer's own setting is 15 s.
LOGIN_RETRY_SECONDS = 1
# How long to try to resume: a PgBouncer that restarts or is frozen for a moment must not stay paused for ever.
RELEASE_SECONDS = 60.0


def console_options() -> ArgumentSpec:
    """Return the login options that every module of the group shares; twin of the fragment ``pgbouncer``."""
    return login_options(default_port=6432, default_db=ADMIN_DATABASE)


def reset_spec() -> ArgumentSpec:
    """Describe the options of ``pgbouncer_pool_reset``."""
    return console_options() + ArgumentSpec(
        options={
            "databases": {"type": "list", "elements": "str", "required": True},
            "mode": {"type": "str", "choices": ["reconnect", "pause_kill_resume"], "default": "reconnect"},
            "pause_timeout_seconds": {"type": "int", "default": 5},
            "wait_timeout_seconds": {"type": "int", "default": 5},
            "only_above": {"type": "float"},
            "precondition_reaction": {"type": "str", "choices": ["fail", "skip", "warn"], "default": "fail"},
        }
    )


@dataclass(frozen=True)
class ResetRequest:
    """What to reset, how, and when not to."""

    databases: Sequence[str]
    mode: str
    pause_timeout_seconds: int
    wait_timeout_seconds: int
    only_above: float | None
    precondition_reaction: str

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> ResetRequest:
        """Take what the module was given.

        Raises:
            ValueError: A value is outside of what it can be.
        """
        request = cls(**{name: params[name] for name in cls.__dataclass_fields__})
        if not request.databases:
            raise ValueError("databases must name at least one database.")
        if ADMIN_DATABASE in request.databases:
            raise ValueError(f"databases must not name {ADMIN_DATABASE}: that is the console itself.")
        if request.only_above is not None and not 0 <= request.only_above <= 1:
            raise ValueError(f"only_above must be between 0 and 1, not {request.only_above}.")
        for name in ("pause_timeout_seconds", "wait_timeout_seconds"):
            if params[name] < 0:
                raise ValueError(f"{name} must not be negative, it is {params[name]}.")
        return request


@dataclass
class Outcome:
    """What has been done so far; true whenever it is read, so also in the middle of a failure."""

    changed: bool = False
    actions: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Resetter:
    """Carries out one request. ``connect`` opens a fresh console each time."""

    login: Login
    connect: Callable[[], Console]
    guard: Guard
    warn: Callable[[str], None]
    clock: Clock = field(default_factory=Clock)

    def run(self, request: ResetRequest, *, dry_run: bool) -> dict[str, Any]:
        """Observe, decide, act, and return the module's result.

        Raises:
            PreconditionFailed: Nothing was changed, on purpose.
            OpsError: It went wrong; the details say how far it came.
        """
        start = self.clock.now()
        console = self.connect()
        outcome = Outcome()
        try:
            config = parse_config(console.show("CONFIG"))
            before = after = self._select(console, request)
            try:
                self._require_allowed(request, console, config)
                for database in self._plan(request, before, outcome):
                    if dry_run:
                        self._tell(request, database, outcome)
                    elif request.mode == "reconnect":
                        self._reconnect(console, request, database, outcome)
                    else:
                        self._pause_kill_resume(console, request, database, config, outcome)
                if outcome.changed and not dry_run:
                    known = _read(console)
                    after = {name: known.get(name, was.without_connections()) for name, was in before.items()}
            except OpsError as error:
                error.details.update(self._result(request, before, outcome, start))
                raise
        finally:
            console.close()
        return {**self._result(request, before, outcome, start), "after": _numbers(after)}

    def _select(self, console: Console, request: ResetRequest) -> dict[str, Database]:
        known = _read(console)
        missing = [name for name in request.databases if name not in known]
        if missing:
            raise PreconditionFailed(
                f"Cannot reset {', '.join(missing)} on PgBouncer {self.login.instance}: it knows "
                f"{', '.join(sorted(known)) or 'no database'}. Correct databases; one that stands for * in its "
                "configuration is known only while it has connections."
            )
        return {name: known[name] for name in request.databases}

    def _require_allowed(self, request: ResetRequest, console: Console, config: Mapping[str, str]) -> None:
        what = f"Cannot reset {', '.join(request.databases)} on PgBouncer {self.login.instance}"
        if not is_admin(self.login.user, config):
            raise PreconditionFailed(
                f'{what}: user "{self.login.user}" may not run admin commands. Add it to admin_users and reload '
                "PgBouncer, or set login_user."
            )
        if request.mode == "pause_kill_resume" and read_state(console) not in ("active", None):
            raise PreconditionFailed(f"{what}: somebody has paused PgBouncer as a whole. Run RESUME on its console.")

    def _plan(self, request: ResetRequest, before: Mapping[str, Database], outcome: Outcome) -> list[Database]:
        """Return the databases to reset; say of every other one why it is left alone."""
        fullest = max((database.used_ratio or 0.0 for database in before.values()), default=0.0)
        if request.only_above is not None and fullest < request.only_above:
            reason = f"The fullest pool is {fullest:.0%} in use, below {request.only_above:.0%}."
            if request.precondition_reaction == "fail":
                raise PreconditionFailed(
                    f"Cannot reset {', '.join(before)} on PgBouncer {self.login.instance}, on request: {reason}"
                )
            if request.precondition_reaction == "skip":
                outcome.actions.append(f"Left {', '.join(before)} alone: {reason}")
                return []
            self.warn(f"Reset all the same: {reason}")
        planned = []
        for database in before.values():
            if database.disabled:
                outcome.actions.append(f"Left {database.name} alone: it is disabled.")
            elif database.paused and request.mode == "pause_kill_resume":
                outcome.actions.append(f"Left {database.name} alone: somebody has paused it, and it must stay so.")
            elif not database.servers and (request.mode == "reconnect" or not database.clients):
                outcome.actions.append(f"Left {database.name} alone: it has no connection to a server.")
            else:
                planned.append(database)
        return planned

    def _tell(self, request: ResetRequest, database: Database, outcome: Outcome) -> None:
        outcome.changed = True
        if request.mode == "reconnect":
            outcome.actions.append(f"Would reconnect {database.name}; server connections: {database.servers}.")
        else:
            outcome.actions.append(
                f"Would wait up to {request.pause_timeout_seconds} s for the transactions of {database.name}, drop its "
                f"connections and resume it; {_connections(database)}."
            )

    def _reconnect(self, console: Console, request: ResetRequest, database: Database, outcome: Outcome) -> None:
        _change(console, "RECONNECT", database, outcome)
        waited = wait_until(
            lambda: sum(row["close_needed"] for row in console.show("SERVERS") if row["database"] == database.name),
            lambda left: left == 0,
            timeout_seconds=request.wait_timeout_seconds,
            interval_seconds=0.1,
            clock=self.clock,
        )
        rest = "" if waited.reached else f", to be closed when they are released: {waited.state}"
        outcome.actions.append(f"Reconnected {database.name}; server connections: {database.servers}{rest}.")

    def _pause_kill_resume(
        self,
        console: Console,
        request: ResetRequest,
        database: Database,
        config: Mapping[str, str],
        outcome: Outcome,
    ) -> None:
        configured = int(float(config["server_login_retry"]))
        login_retry = configured if configured > LOGIN_RETRY_SECONDS else None  # to be restored, if it is changed

        failure: OpsError | None = None
        with self.guard.watch(lambda: self.release(database.name, login_retry)):
            try:
                if login_retry is not None:
                    console.set_login_retry(LOGIN_RETRY_SECONDS)
                drained = self._pause(request, database)
                _change(console, "KILL", database, outcome)
                # At once, on the same connection: a client that comes in between makes everybody wait.
                console.command("RESUME", database.name, timeout_seconds=COMMAND_SECONDS)
                waiting = wait_until(
                    lambda: _count_waiting(console, database.name),
                    lambda count: count == 0,
                    timeout_seconds=request.wait_timeout_seconds,
                    interval_seconds=0.1,
                    clock=self.clock,
                ).state
            except OpsError as error:
                failure = error
            stuck = self.release(database.name, login_retry)
        if stuck is not None:
            setting = "" if login_retry is None else f" and SET server_login_retry = {login_retry}"
            raise ActionFailed(
                f"Cannot resume database {database.name} on PgBouncer {self.login.instance}: {stuck} It may still be "
                f'paused: run RESUME "{database.name}"{setting} on its console.'
            ) from stuck
        if failure is not None:
            raise ActionFailed(f"{failure} Database {database.name} is not paused.") from failure
        cut = "" if drained else " before all its transactions had ended"
        rest = f", still waiting for a connection: {waiting}" if waiting else ""
        outcome.actions.append(
            f"Dropped the connections of {database.name}{cut} and resumed it; {_connections(database)}{rest}."
        )

    def _pause(self, request: ResetRequest, database: Database) -> bool:
        """Let running transactions end; return whether all did in time.

        On a connection of its own: one on which PAUSE does not return is of no more use, and the database stays paused
        when it is closed.
        """
        if request.pause_timeout_seconds == 0:
            return False
        console = self.connect()
        try:
            console.command("PAUSE", database.name, timeout_seconds=request.pause_timeout_seconds)
        except TimedOut:
            return False
        else:
            return True
        finally:
            console.close()

    def release(self, name: str, login_retry: int | None) -> OpsError | None:
        """Resume the database and restore the setting, on a fresh connection; return why it cannot be done."""
        return wait_until(
            lambda: self._try_release(name, login_retry),
            lambda error: error is None,
            timeout_seconds=RELEASE_SECONDS,
            interval_seconds=1,
            clock=self.clock,
        ).state

    def _try_release(self, name: str, login_retry: int | None) -> OpsError | None:
        try:
            console = self.connect()
            try:
                # Whether it shows as paused or not: a database that stands for * vanishes from SHOW DATABASES when its
                # last connection is gone, and is paused all the same when the next client comes.
                console.command("RESUME", name, timeout_seconds=COMMAND_SECONDS)
                if login_retry is not None:
                    console.set_login_retry(login_retry)
            finally:
                console.close()
        except OpsError as error:
            return error
        return None

    def _result(
        self, request: ResetRequest, before: Mapping[str, Database], outcome: Outcome, start: float
    ) -> dict[str, Any]:
        return {
            "changed": outcome.changed,
            "instance": self.login.instance,
            "mode": request.mode,
            "actions": outcome.actions,
            "before": _numbers(before),
            "duration_seconds": round(self.clock.now() - start, 3),
        }


def read_state(console: Console) -> str | None:
    """Return whether PgBouncer as a whole is active, paused or suspended; None where the version cannot tell."""
    try:
        return parse_state(console.show("STATE"))
    except Unsupported:
        return None


def _change(console: Console, verb: str, database: Database, outcome: Outcome) -> None:
    """Send a command that counts as a change also if no answer comes: it may have been carried out."""
    try:
        console.command(verb, database.name, timeout_seconds=COMMAND_SECONDS)
    except ActionFailed:
        raise
    except OpsError:
        outcome.changed = True
        raise
    outcome.changed = True


def _read(console: Console) -> dict[str, Database]:
    return parse_databases(console.show("DATABASES"), parse_pools(console.show("POOLS")))


def _count_waiting(console: Console, name: str) -> int:
    return sum(pool.clients_waiting for pool in parse_pools(console.show("POOLS")) if pool.database == name)


def _connections(database: Database) -> str:
    return f"clients: {database.clients}, server connections: {database.servers}"


def _numbers(databases: Mapping[str, Database]) -> dict[str, dict[str, Any]]:
    return {name: database.as_dict() for name, database in databases.items()}
