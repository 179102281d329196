"""The lab is what its documentation says: real, healthy, closed to the network, and breakable."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from lab.compose import PROJECT, is_well, responder_host, services
from lab.faults import FAULTS
from lab.settings import SECRETS, SECRETS_FILE, read_settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.running_lab import Lab

pytestmark = [pytest.mark.integration, pytest.mark.slow]

# Scrape, evaluation, `for` and Alertmanager's group wait, with room for a busy machine.
FIRES_WITHIN_SECONDS = 20


def docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=60, check=True).stdout


def containers(*filters: str) -> list[dict[str, Any]]:
    """Inspect the project's containers."""
    chosen = [f"label=com.docker.compose.project={PROJECT}", *filters]
    found = docker("ps", "--all", "--quiet", *(part for one in chosen for part in ("--filter", one))).split()
    inspected: list[dict[str, Any]] = json.loads(docker("inspect", *found)) if found else []
    return inspected


def replicas() -> list[str]:
    """Return the identities of the backend's containers."""
    return [one["Id"] for one in containers("label=com.docker.compose.service=backend")]


# --- what stands -----------------------------------------------------------------------------------------


def test_every_service_is_healthy(running_lab: Lab) -> None:
    """All services of the contract run, the backend twice, and `status` says so."""
    expected = {"lb", "backend", "postgres", "pgbouncer", "redis", "prometheus", "alertmanager"}
    expected |= {"postgres-exporter", "redis-exporter", "blackbox-exporter", "loadgen", "keycloak", "receiver"}
    found = {service.name: service for service in services()}
    assert set(found) == expected
    assert all(is_well(service) for service in found.values())
    assert found["backend"].replicas == 2
    shown = running_lab.command("status")
    assert shown.returncode == 0
    assert "2 of 2 healthy" in shown.stdout
    assert "Watchdog" in shown.stdout


def test_only_loopback_is_open(running_lab: Lab) -> None:
    """No port of any container is published on another address of this machine."""
    bindings = [
        (one["Name"], binding["HostIp"])
        for one in containers()
        for ports in (one["NetworkSettings"]["Ports"] or {}).values()
        for binding in ports or []
    ]
    assert bindings
    assert {address for _, address in bindings} == {"127.0.0.1"}


def test_secrets_are_for_the_owner_only_and_never_committed(running_lab: Lab, root: Path) -> None:
    """Mode 0600, ignored by git, and in no file that git knows."""
    assert SECRETS_FILE.stat().st_mode & 0o777 == 0o600
    subprocess.run(["git", "check-ignore", "--quiet", SECRETS_FILE], cwd=root, check=True)
    settings = read_settings()
    patterns = [part for name in SECRETS for part in ("-e", settings[name])]
    found = subprocess.run(["git", "grep", "--untracked", "-lF", *patterns], cwd=root, check=False, capture_output=True)
    assert found.stdout == b""


def test_a_second_up_changes_nothing(running_lab: Lab) -> None:
    """The same containers run afterwards, and it takes seconds."""
    before = sorted(one["Id"] for one in containers())
    start = time.monotonic()
    up = running_lab.command("up")
    assert up.returncode == 0, up.stderr
    assert time.monotonic() - start < 20
    assert sorted(one["Id"] for one in containers()) == before
    assert f"http://127.0.0.1:{read_settings()['LAB_PORT_LB']}" in up.stdout


def test_a_taken_port_stops_up_before_it_touches_anything(running_lab: Lab) -> None:
    """One sentence names the port and the remedy; the running lab stays as it is."""
    before = (sorted(one["Id"] for one in containers()), SECRETS_FILE.read_text())
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
        up = running_lab.command("up", LAB_PORT_REDIS=port)
    assert up.returncode == 1
    assert up.stderr.splitlines()[-1] == (
        f"Port {port} on 127.0.0.1, for redis, is taken by another program (Address already in use). "
        "Set LAB_PORT_REDIS to a free port and repeat."
    )
    assert "Traceback" not in up.stderr
    assert (sorted(one["Id"] for one in containers()), SECRETS_FILE.read_text()) == before


# --- PostgreSQL, PgBouncer, Redis ------------------------------------------------------------------------


def test_roles_have_the_rights_of_the_contract_and_no_more(running_lab: Lab) -> None:
    """Nobody but postgres is a superuser; monitor and runbooks get in when the application's slots are taken."""
    roles = running_lab.sql(
        "SELECT r.rolname, r.rolsuper, r.rolcreaterole, string_agg(g.rolname, ',' ORDER BY g.rolname)"
        " FROM pg_roles r LEFT JOIN pg_auth_members m ON m.member = r.oid LEFT JOIN pg_roles g ON g.oid = m.roleid"
        " WHERE r.rolname IN ('app', 'monitor', 'runbooks') GROUP BY 1, 2, 3 ORDER BY 1"
    )
    assert roles == [
        ["app", "f", "f", ""],
        ["monitor", "f", "f", "pg_monitor,pg_use_reserved_connections"],
        ["runbooks", "f", "f", "pg_monitor,pg_signal_backend,pg_use_reserved_connections"],
    ]


def test_limits_can_be_changed(running_lab: Lab) -> None:
    """They come from a file: a value from the command line would beat ALTER SYSTEM."""
    names = "'max_connections', 'reserved_connections', 'superuser_reserved_connections'"
    rows = running_lab.sql(f"SELECT name, setting, source FROM pg_settings WHERE name IN ({names}) ORDER BY name")
    assert rows == [
        ["max_connections", "60", "configuration file"],
        ["reserved_connections", "3", "configuration file"],
        ["superuser_reserved_connections", "3", "configuration file"],
    ]


def test_the_application_uses_database_cache_and_pooler(running_lab: Lab) -> None:
    """An order that is written can be read, the second time from the cache, and counts in the report."""
    item = f"item-{time.time_ns()}"
    made = running_lab.http("/orders", method="POST", data={"customer": "c", "item": item, "quantity": 7})
    assert made.status == 201
    number = str(json.loads(made.body)["id"])
    assert running_lab.sql(f"SELECT item, quantity FROM orders WHERE id = {number}") == [[item, "7"]]
    assert json.loads(running_lab.http("/reports").body)[item] == 7
    assert running_lab.http("/orders?page=0").status == 200
    running_lab.wait(
        lambda: running_lab.prometheus('sum(rate(cache_requests_total{result="hit"}[10s]))'),
        lambda s: s[0]["value"] > 0,
        20,
    )
    assert running_lab.http("/ready").status == 200
    pooled = ["exec", "-T", "pgbouncer", "psql", "-AtF", ",", "-h", "127.0.0.1", "-p", "6432"]
    pools = running_lab.compose(*pooled, "-c", "SHOW POOLS", "pgbouncer").splitlines()
    assert [line.split(",")[15] for line in pools if line.startswith("app,app,")] == ["transaction"]


def test_a_bad_order_is_refused(running_lab: Lab) -> None:
    """Bad input is the caller's fault, not a server error."""
    for body in ({"customer": "c", "item": "i", "quantity": 0}, {"customer": "c"}, ["no"], None):
        assert running_lab.http("/orders", method="POST", data=body).status == 422


def test_the_pool_reset_needs_its_token(running_lab: Lab) -> None:
    """Without the token it is refused; with it the answer names the replica."""
    assert running_lab.http("/admin/pool/reset", method="POST").status == 401
    wrong = {"Authorization": "Bearer " + "0" * 32}
    assert running_lab.http("/admin/pool/reset", method="POST", headers=wrong).status == 401
    right = {"Authorization": f"Bearer {read_settings()['POOL_RESET_TOKEN']}"}
    answer = running_lab.http("/admin/pool/reset", method="POST", headers=right)
    assert answer.status == 200
    assert json.loads(answer.body)["engines"]["database"]["before"]["capacity"] == 10


@pytest.mark.parametrize(
    ("service", "variables"),
    [
        pytest.param("redis", {"REDISCLI_AUTH": "wrong"}, id="redis-refuses-the-password"),
        pytest.param("pgbouncer", {"PGPASSWORD": "wrong"}, id="pgbouncer-refuses-the-password"),
        pytest.param("postgres", {"PGUSER": "nobody"}, id="postgres-refuses-the-role"),
    ],
)
def test_a_health_check_does_not_lie(running_lab: Lab, service: str, variables: dict[str, str]) -> None:
    """A service that answers with an error is not healthy: redis-cli alone would return success for NOAUTH."""
    kind, *check = containers(f"label=com.docker.compose.service={service}")[0]["Config"]["Healthcheck"]["Test"]
    command = ["sh", "-c", *check] if kind == "CMD-SHELL" else check
    given = [part for name, value in variables.items() for part in ("--env", f"{name}={value}")]
    execute = ["docker", "compose", "-p", PROJECT, "exec", "-T"]
    well = subprocess.run([*execute, service, *command], capture_output=True, timeout=30, check=False)
    ill = subprocess.run([*execute, *given, service, *command], capture_output=True, timeout=30, check=False)
    assert well.returncode == 0, well.stderr
    assert ill.returncode != 0, ill.stdout


# --- replicas behind the load balancer -------------------------------------------------------------------


@pytest.fixture
def three_replicas(lab: Lab) -> Iterator[Lab]:
    lab.compose("up", "--detach", "--no-recreate", "--wait", "--scale", "backend=3", "backend")
    yield lab
    lab.compose("up", "--detach", "--no-recreate", "--scale", "backend=2", "backend")


def test_a_new_replica_gets_requests_and_is_scraped(three_replicas: Lab) -> None:
    """The load balancer and Prometheus find three replicas without being told, and two again afterwards."""
    lab = three_replicas

    def answering() -> set[str]:
        return {json.loads(lab.http("/health").body)["instance"] for _ in range(9)}

    lab.wait(answering, lambda names: len(names) == 3, 15)
    lab.wait(lambda: lab.prometheus('up{job="backend"} == 1'), lambda found: len(found) == 3, 15)
    # Without --wait: Compose 2.26 would wait for the replica that it removes, and fail.
    lab.compose("up", "--detach", "--no-recreate", "--scale", "backend=2", "backend")
    lab.wait(answering, lambda names: len(names) == 2, 15)
    lab.wait(lambda: lab.prometheus('up{job="backend"}'), lambda found: len(found) == 2, 15)


def test_a_rolling_restart_loses_no_request(lab: Lab) -> None:
    """Reads and writes go on while one replica after the other restarts; every one is answered."""
    results: list[int] = []
    done = threading.Event()

    def use() -> None:
        while not done.is_set():
            order = {"customer": "c", "item": "rolling", "quantity": 1}
            results.append(lab.http("/orders", method="POST", data=order).status)
            results.append(lab.http("/orders?page=1").status)

    users = [threading.Thread(target=use) for _ in range(4)]
    for user in users:
        user.start()
    try:
        for replica in replicas():
            docker("restart", "--time", "20", replica)
            lab.wait(lambda: [one.name for one in services() if not is_well(one)], lambda ill: not ill, 30)
    finally:
        done.set()
        for user in users:
            user.join()
    assert len(results) > 200
    assert set(results) == {200, 201}


def test_a_killed_replica_costs_no_read(lab: Lab) -> None:
    """The load balancer sends what found no server to another one."""
    victim = replicas()[0]
    docker("kill", victim)
    try:
        assert {lab.http("/orders?page=2").status for _ in range(40)} == {200}
    finally:
        docker("start", victim)


# --- alerts ----------------------------------------------------------------------------------------------


def test_every_target_is_up_and_every_rule_is_loaded(running_lab: Lab, root: Path) -> None:
    """Prometheus scrapes all of the stack and holds the very rules of production."""
    jobs = {"prometheus", "alertmanager", "postgres", "redis", "backend", "lb", "loadgen"}
    jobs |= {"keycloak", "keycloak-ready", "keycloak-token"}
    # Nobody responds while tests look at the lab (running_lab), and a responder that stopped is no target any more.
    answering = {(job, 1.0) for job in jobs}
    running_lab.wait(
        lambda: {(one["metric"]["job"], one["value"]) for one in running_lab.prometheus("up")},
        lambda up: up == answering,
        20,
    )
    assert running_lab.prometheus("pg_up")[0]["value"] == 1
    assert running_lab.prometheus("redis_up")[0]["value"] == 1
    answer = json.loads(running_lab.http(f"{running_lab.address('prometheus')}/api/v1/rules").body)
    loaded = [(rule["name"], rule["labels"].get("reason")) for g in answer["data"]["groups"] for rule in g["rules"]]
    rules = root / "observability" / "prometheus"
    production = [yaml.safe_load((rules / name).read_text()) for name in ("alerts.yml", "responder-alerts.yml")]
    expected = [
        (rule["alert"], rule["labels"].get("reason"))
        for one in production
        for g in one["groups"]
        for rule in g["rules"]
    ]
    assert sorted(loaded, key=str) == sorted(expected, key=str)
    assert all(rule["health"] == "ok" for g in answer["data"]["groups"] for rule in g["rules"])


def test_the_heartbeat_reaches_alertmanager(running_lab: Lab) -> None:
    """The alert that always fires is there."""
    assert len(running_lab.wait(lambda: running_lab.notified("Watchdog"), bool, 20)) == 1


class Webhooks:
    """What a responder on this machine was sent, with the tokens."""

    def __init__(self, host: str, port: int) -> None:
        self.received: list[tuple[str, str, dict[str, Any]]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.received.append((self.path, self.headers["Authorization"], body))
                self.send_response(200)
                self.end_headers()

            def do_GET(self) -> None:
                """Prometheus scrapes the responder."""
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.server = HTTPServer((host, port), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever)


@pytest.fixture(scope="module")
def webhooks(running_lab: Lab) -> Iterator[Webhooks]:
    """Stand where the responder would stand, on a port of our own: a real one might heal what the test looks at."""
    before = read_settings()["LAB_PORT_RESPONDER"]
    listening = Webhooks(responder_host(), 0)
    listening.thread.start()
    moved = running_lab.command("up", LAB_PORT_RESPONDER=str(listening.server.server_port))
    assert moved.returncode == 0, moved.stderr
    yield listening
    moved = running_lab.command("up", LAB_PORT_RESPONDER=before)
    listening.server.shutdown()
    listening.thread.join()
    listening.server.server_close()
    assert moved.returncode == 0, moved.stderr


def sessions(lab: Lab, name: str) -> dict[str, int]:
    """Count a client's sessions by state."""
    statement = f"SELECT state, count(*) FROM pg_stat_activity WHERE application_name = '{name}' GROUP BY 1"
    return {state: int(count) for state, count in lab.sql(statement)}


@pytest.mark.parametrize(
    ("fault", "client", "least"),
    [
        pytest.param("leaked_transactions", "leaky-worker", {"idle in transaction": 30}, id="leaked"),
        pytest.param("more_work_than_slots", "order-import", {"active": 30}, id="busy"),
    ],
)
def test_exhausted_slots_become_an_alert_at_the_responder(
    lab: Lab, webhooks: Webhooks, fault: str, client: str, least: dict[str, int]
) -> None:
    """A real client takes every slot; the alert is at the responder within seconds, and gone after the fault."""
    assert FAULTS[fault].alert == "DatabaseConnectionPoolExhausted"
    webhooks.received.clear()
    lab.inject(fault)
    start = time.monotonic()
    held = sessions(lab, client)
    assert held.keys() == least.keys()
    assert all(held[state] >= count for state, count in least.items()), held

    def told() -> list[dict[str, Any]]:
        bodies = [body for _, _, body in webhooks.received]
        return [one for body in bodies for one in body["alerts"] if one["labels"]["alertname"] == FAULTS[fault].alert]

    alerts = lab.wait(told, bool, FIRES_WITHIN_SECONDS)
    assert time.monotonic() - start < FIRES_WITHIN_SECONDS
    path, authorization, body = webhooks.received[0]
    assert (path, body["version"]) == ("/api/v1/alerts", "4")
    assert authorization == f"Bearer {read_settings()['RESPONDER_TOKEN']}"
    assert alerts[0]["labels"] == {
        "alertname": "DatabaseConnectionPoolExhausted",
        "severity": "critical",
        "service": "postgres",
        "runbook": "db-connections",
        "reason": "slots",
        "instance": "postgres:5432",
        "environment": "lab",
    }

    # The application is refused where it needs a new session; exporter and modules still get in.
    lab.wait(
        lambda: lab.prometheus('sum(increase(loadgen_requests_total{result="503"}[10s]))'),
        lambda found: found and found[0]["value"] > 0,
        20,
    )
    # A scrape that comes late on a busy machine interrupts both for a moment.
    lab.wait(lambda: lab.prometheus("pg_up"), lambda found: found and found[0]["value"] == 1, 10)
    lab.wait(lambda: [one["reason"] for one in lab.firing(FAULTS[fault].alert)], lambda found: found == ["slots"], 10)
    login = ["exec", "-T", "-e", f"PGPASSWORD={read_settings()['RUNBOOKS_DB_PASSWORD']}", "postgres", "psql"]
    assert lab.compose(*login, "-Atc", "SELECT 1", "-h", "127.0.0.1", "-U", "runbooks", "app").strip() == "1"

    assert lab.command("fault", fault).returncode == 1
    assert lab.command("reset").returncode == 0
    lab.wait(lambda: sessions(lab, client), lambda found: not found, 15)
    lab.wait(lambda: lab.firing(FAULTS[fault].alert), lambda found: not found, 15)
    assert not containers(f"label=ops.runbooks.fault={fault}")
