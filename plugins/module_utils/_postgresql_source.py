# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to the ops.runbooks collection: may change without notice.
"""Sessions of a real PostgreSQL server, version 12 and later."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible_collections.ops.runbooks.plugins.module_utils._postgresql_pool import SessionSource
from ansible_collections.ops.runbooks.plugins.module_utils._postgresql_sessions import (
    STATE_NAMES,
    Criteria,
    Session,
    Slots,
    Snapshot,
    count,
    mask_literals,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ansible_collections.ops.runbooks.plugins.module_utils._postgresql_adapter import Connection

# reserved_connections and pg_use_reserved_connections exist from PostgreSQL 16; before, the lookups give NULL.
# pg_blocking_pids takes locks of its own, so it is asked only for sessions that wait for one.
# Of another role's session a login without pg_monitor sees pid, user and database only: it counts, its state is hidden.
SNAPSHOT = """
SELECT s.pid, s.backend_start::text AS started, coalesce(s.usename, '') AS user,
       coalesce(s.application_name, '') AS application, coalesce(s.datname, '') AS database,
       coalesce(host(s.client_addr), 'local') AS client, s.state,
       extract(epoch FROM clock_timestamp() - s.state_change)::float AS state_seconds,
       extract(epoch FROM clock_timestamp() - s.xact_start)::float AS transaction_seconds,
       CASE WHEN s.state = 'active'
            THEN extract(epoch FROM clock_timestamp() - s.query_start)::float END AS statement_seconds,
       CASE WHEN s.wait_event_type = 'Lock' THEN pg_blocking_pids(s.pid) ELSE '{}' END AS blocked_by,
       left(s.query, %(query_length)s) AS query,
       coalesce(r.rolsuper, false) AS superuser,
       (coalesce(pg_has_role(s.usesysid, to_regrole('pg_use_reserved_connections'), 'MEMBER'), false)
        OR coalesce(pg_has_role(s.usesysid, 'pg_monitor', 'MEMBER'), false)) AS reserved,
       s.pid = pg_backend_pid() AS own,
       (me.rolsuper OR (NOT coalesce(r.rolsuper, false)
        AND (pg_has_role('pg_signal_backend', 'MEMBER') OR coalesce(pg_has_role(s.usesysid, 'MEMBER'), false))))
         AS can_be_signalled
FROM pg_stat_activity s
JOIN pg_roles me ON me.rolname = current_user
LEFT JOIN pg_roles r ON r.oid = s.usesysid
WHERE s.backend_type = 'client backend'
   OR (s.backend_type IS NULL AND s.usesysid IS NOT NULL AND s.datid IS NOT NULL)
ORDER BY s.pid
"""

SLOTS = """
SELECT current_setting('max_connections')::int AS max,
       current_setting('superuser_reserved_connections')::int AS superuser_reserved,
       coalesce(current_setting('reserved_connections', true), '0')::int AS reserved
"""

SERVER = """
SELECT current_setting('server_version') AS version, current_setting('server_version_num')::int AS version_num,
       pg_is_in_recovery() AS in_recovery, pg_postmaster_start_time()::text AS started_at,
       (SELECT source FROM pg_settings WHERE name = 'max_connections') AS max_connections_source
"""

# Identity and criteria are checked again in the statement that signals: a pid that was reused, or a session that began
# to work in the meantime, is spared.
SIGNAL = """
WITH meant AS (
  SELECT * FROM unnest(%(pids)s::int[], %(started)s::timestamptz[]) AS m (pid, backend_start)
)
SELECT s.pid, {function}(s.pid) AS sent
FROM meant m JOIN pg_stat_activity s ON s.pid = m.pid AND s.backend_start = m.backend_start
WHERE s.backend_type = 'client backend' AND s.pid <> pg_backend_pid()
  AND s.state = ANY (%(states)s::text[])
  AND (s.state <> 'idle' OR %(idle)s::float IS NULL
       OR clock_timestamp() - s.state_change >= make_interval(secs => %(idle)s::float))
  AND (s.state NOT LIKE 'idle in transaction%%' OR %(in_transaction)s::float IS NULL
       OR clock_timestamp() - s.state_change >= make_interval(secs => %(in_transaction)s::float))
  AND (%(transaction)s::float IS NULL
       OR clock_timestamp() - s.xact_start >= make_interval(secs => %(transaction)s::float))
  AND (s.state <> 'active' OR %(statement)s::float IS NULL
       OR clock_timestamp() - s.query_start >= make_interval(secs => %(statement)s::float))
  AND (NOT %(blockers_only)s OR (s.wait_event_type IS DISTINCT FROM 'Lock' AND EXISTS (
       SELECT 1 FROM pg_stat_activity w
       WHERE w.wait_event_type = 'Lock' AND s.pid = ANY (pg_blocking_pids(w.pid)))))
"""
CANCEL = SIGNAL.replace("{function}", "pg_cancel_backend")
TERMINATE = SIGNAL.replace("{function}", "pg_terminate_backend")

ALIVE = """
SELECT s.pid
FROM unnest(%(pids)s::int[], %(started)s::timestamptz[]) AS m (pid, backend_start)
JOIN pg_stat_activity s ON s.pid = m.pid AND s.backend_start = m.backend_start
"""


class PostgresqlSessions(SessionSource):
    """The sessions that one connection can see."""

    def __init__(self, connection: Connection, *, query_length: int = 200) -> None:
        self._connection = connection
        self._query_length = query_length
        self._hidden = 0

    def server(self) -> dict[str, Any]:
        """Return version and start of the server."""
        return self._connection.rows(SERVER)[0]

    def snapshot(self) -> Snapshot:
        """Return slots and client sessions; states that the login may not see are left out and counted."""
        rows = self._connection.rows(SNAPSHOT, {"query_length": self._query_length})
        slots = self._connection.rows(SLOTS)[0]
        self._hidden = sum(1 for row in rows if row["state"] is None)
        return Snapshot(slots=Slots(used=len(rows), **slots), sessions=tuple(_session(row) for row in rows))

    def cancel(self, sessions: Sequence[Session], criteria: Criteria) -> set[int]:
        """Cancel the statements of those sessions that still match."""
        return self._signal(CANCEL, sessions, criteria)

    def terminate(self, sessions: Sequence[Session], criteria: Criteria) -> set[int]:
        """Terminate those sessions that still match."""
        return self._signal(TERMINATE, sessions, criteria)

    def alive(self, sessions: Sequence[Session]) -> set[int]:
        """Return the pids of those sessions that still exist."""
        return {row["pid"] for row in self._connection.rows(ALIVE, _identities(sessions))} if sessions else set()

    def unreadable(self) -> list[dict[str, str]]:
        """Return what the last snapshot could not see."""
        if not self._hidden:
            return []
        why = "the login role is not a member of pg_monitor"
        return [{"what": f"state and age of {count(self._hidden)}", "why": why}]

    def _signal(self, statement: str, sessions: Sequence[Session], criteria: Criteria) -> set[int]:
        names = {ours: theirs for theirs, ours in STATE_NAMES.items()}
        rows = self._connection.rows(
            statement,
            {
                **_identities(sessions),
                "states": [names[state] for state in criteria.states],
                "idle": criteria.minimum_idle_seconds,
                "in_transaction": criteria.minimum_idle_in_transaction_seconds,
                "transaction": criteria.minimum_transaction_seconds,
                "statement": criteria.minimum_statement_seconds,
                "blockers_only": criteria.blockers_only,
            },
        )
        return {row["pid"] for row in rows if row["sent"]}


def _identities(sessions: Sequence[Session]) -> dict[str, Any]:
    return {"pids": [s.pid for s in sessions], "started": [s.started for s in sessions]}


def _session(row: dict[str, Any]) -> Session:
    return Session(
        pid=row["pid"],
        started=row["started"],
        user=row["user"],
        application=row["application"],
        database=row["database"],
        client=row["client"],
        state=STATE_NAMES.get(row["state"] or "", row["state"] or "hidden"),
        state_seconds=max(0.0, row["state_seconds"] or 0.0),
        transaction_seconds=row["transaction_seconds"],
        statement_seconds=row["statement_seconds"],
        blocked_by=tuple(row["blocked_by"]),
        query=mask_literals(row["query"] or ""),
        superuser=row["superuser"],
        reserved=row["reserved"],
        own=row["own"],
        can_be_signalled=row["can_be_signalled"],
    )
