"""The real chain, nothing in it replaced: fault, Prometheus, Alertmanager, responder, playbook, recovered."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg2
import psycopg2.extras
import pytest

from lab import responder
from lab.drill import run_drill
from lab.settings import port_variable, read_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.running_lab import Lab

pytestmark = [pytest.mark.drill, pytest.mark.slow, pytest.mark.timeout(600)]

SESSIONS = """
SELECT pid || ' ' || backend_start FROM pg_stat_activity WHERE application_name = '{name}' ORDER BY pid
"""


@contextmanager
def session(name: str, *, user: str = "app", secret: str = "APP_DB_PASSWORD", **options: Any) -> Iterator[Any]:
    """Hold a session of its own under an application name."""
    settings = read_settings()
    connection = psycopg2.connect(
        host="127.0.0.1",
        port=settings[port_variable("postgres")],
        user=user,
        password=settings[secret],
        dbname="app",
        application_name=name,
        **options,
    )
    try:
        yield connection
    finally:
        connection.close()


@contextmanager
def innocents() -> Iterator[list[str]]:
    """Hold one session of each kind that must be left alone; yields their application names."""
    superuser = {"user": "postgres", "secret": "POSTGRES_PASSWORD"}
    replication: dict[str, Any] = {
        **superuser,
        "connection_factory": psycopg2.extras.PhysicalReplicationConnection,
    }
    with (
        session("innocent-idle") as idle,
        session("innocent-superuser", **superuser) as administrator,
        session("innocent-monitor", user="monitor", secret="MONITOR_DB_PASSWORD") as monitor,
        session("pg_dump") as backup,
        session("innocent-replica", **replication) as replica,
    ):
        idle.autocommit = True
        idle.cursor().execute("SELECT 1")
        # These idle in a transaction, which is what gets other sessions ended.
        for connection in (administrator, monitor, backup):
            connection.cursor().execute("SELECT 1")
        replica.cursor().execute("IDENTIFY_SYSTEM")
        yield ["innocent-idle", "innocent-superuser", "innocent-monitor", "pg_dump", "innocent-replica"]


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return [f"{e['kind']} {e['action']} {e['option']}".strip() if e["kind"] == "started" else e["kind"] for e in events]


def test_leaked_transactions_heal_by_themselves(lab: Lab, responding: None) -> None:
    """The alert fires, option A ends the leak and nothing else, and the incident closes as recovered."""
    with innocents() as names:
        before = {name: lab.sql(SESSIONS.format(name=name)) for name in names}
        assert all(len(found) == 1 for found in before.values()), before

        drill = run_drill("leaked_transactions")

        assert drill.status == "recovered", drill.events
        # The database itself says so, not our module.
        assert lab.sql(SESSIONS.format(name="leaky-worker")) == []
        assert {name: lab.sql(SESSIONS.format(name=name)) for name in names} == before
        used, slots = lab.sql(
            "SELECT count(*), current_setting('max_connections')::int FROM pg_stat_activity "
            "WHERE backend_type = 'client backend'"
        )[0]
        assert int(used) < 0.5 * int(slots)
        assert lab.http("/ready").status == 200
        assert lab.http("/orders").status == 200
    assert [kind for kind in kinds(drill.events) if kind.startswith("started")] == [
        "started diagnose",
        "started option A",
    ]
    finished = [event for event in drill.events if event["kind"] == "finished"]
    evidence, outcome = finished[0]["evidence"]["evidence"], finished[1]["outcome"]
    assert evidence["slots"]["used_ratio"] >= 0.9
    assert evidence["idle_past_threshold"] > 10
    assert outcome["changed"] is True
    assert outcome["before"]["used_ratio"] > 0.9
    assert outcome["after"]["used_ratio"] < 0.5
    assert all(check["good"] for check in outcome["checks"])


def test_a_blocker_is_ended_and_those_that_wait_go_on(lab: Lab, responding: None) -> None:
    """Nothing idles, so option C is chosen; the migration loses its lock, and nobody else loses a session.

    The pools of the application fill up as well, and either alert may come first: one incident heals, the other finds
    nothing left to do.
    """
    known = {line["id"] for line in responder.incidents()}
    with innocents() as names:
        before = {name: lab.sql(SESSIONS.format(name=name)) for name in names}
        drill = run_drill("blocked_sessions")
        assert drill.status in ("recovered", "resolved"), drill.events
        assert {name: lab.sql(SESSIONS.format(name=name)) for name in names} == before
        locks = "SELECT count(*) FROM pg_locks WHERE relation = 'orders'::regclass AND mode = 'AccessExclusiveLock'"
        assert lab.sql(locks) == [["0"]]
        assert lab.http("/orders?page=7").status == 200
    incidents = [responder.events(line["id"]) for line in responder.incidents() if line["id"] not in known]
    (healed,) = [events for events in incidents if any(kind.startswith("started option") for kind in kinds(events))]
    assert [kind for kind in kinds(healed) if kind.startswith("started")] == ["started diagnose", "started option C"]
    assert (healed[-1]["kind"], healed[-1]["status"]) == ("closed", "recovered")
    finished = [event for event in healed if event["kind"] == "finished"]
    evidence, outcome = finished[0]["evidence"]["evidence"], finished[1]["outcome"]
    assert evidence["waiting"] > 20
    assert evidence["blocking"][0]["application"] == "nightly-migration"
    assert outcome["changed"] is True
    assert "Cancelled the statements of 1 session." in outcome["actions"]


def test_what_nobody_approves_ends_escalated_with_the_evidence(lab: Lab, responding: None) -> None:
    """Real work fills the slots: only a higher limit helps, it is denied, and a person gets the evidence instead."""
    drill = run_drill("more_work_than_slots", approves=False)
    assert drill.status == "escalated", drill.events
    assert drill.tried == []
    first = next(event for event in drill.events if event["kind"] == "finished")
    holders = first["evidence"]["evidence"]["holders"]
    assert holders[0]["application"] == "order-import"
    assert holders[0]["state"] == "active"
    rehearsed = [event for event in drill.events if event["kind"] == "finished"][1]["outcome"]
    assert (rehearsed["option"], rehearsed["check_mode"], rehearsed["before"]["limit"]["max_connections"]) == (
        "E",
        True,
        60,
    )
    escalated = drill.events[-1]
    assert escalated["kind"] == "escalated"
    assert "Option E (Raise the connection limits) was denied by drill" in escalated["reason"]
    assert escalated["next_step"]
    # Nobody ended what works, nor changed the limit.
    busy = lab.sql("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'order-import' AND state = 'active'")
    assert int(busy[0][0]) >= 30
    assert lab.sql("SHOW max_connections") == [["60"]]
    shown = responder.run("incidents", "show", str(drill.incident))
    assert shown.returncode == 0, shown.stderr
    assert "order-import" in shown.stdout
