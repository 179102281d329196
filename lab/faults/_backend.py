"""Switch the defect of the backend on (lab/backend/leak.py), and take it back with a restart."""

from __future__ import annotations

import time

import httpx

from lab.compose import compose, environment
from lab.settings import port_variable
from lab.shell import STATE, LabError, run

FULL_SECONDS = 30
RESTART_SECONDS = 90
# Set while a replica may hold what it leaked: only a restart frees it.
LEAKS = STATE / "backend-leaks"
# The order in which the runbook resets: sessions first, then the pools that held them.
END_LEAKED = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE application_name = 'backend' AND state LIKE 'idle in transaction%'
"""
RESET = """
import os, urllib.request
headers = {"Authorization": "Bearer " + os.environ["POOL_RESET_TOKEN"]}
order = b'{"mode": "dispose", "server_headroom": 100, "engines": ["database"]}'
urllib.request.urlopen(urllib.request.Request("http://127.0.0.1:8000/admin/pool/reset", order, headers), timeout=10)
"""
FULL = 'min(sqlalchemy_pool_checked_out{engine="database"} / sqlalchemy_pool_capacity{engine="database"})'


def start_leak(signal: str) -> str:
    """Send the signal to every replica; return once each pool is full.

    Raises:
        LabError: A pool does not fill.
    """
    LEAKS.touch()
    run(compose("kill", "--signal", signal, "backend"), environment=environment())
    wait_until_full()
    return "every replica of the backend holds each connection of its pool"


def reset_pools() -> None:
    """End the leaked sessions, and put an empty pool in place in every replica."""
    psql = ["exec", "-T", "postgres", "psql", "--no-psqlrc", "-q", "-U", "postgres", "-c", END_LEAKED]
    run(compose(*psql), environment=environment())
    for container in run(compose("ps", "--quiet", "backend"), environment=environment()).split():
        run(["docker", "exec", container, "python3", "-c", RESET])


def wait_until_full() -> None:
    """Wait until Prometheus sees that no pool has a connection left.

    Raises:
        LabError: It does not in time.
    """
    address = f"http://127.0.0.1:{environment()[port_variable('prometheus')]}/api/v1/query"
    deadline = time.monotonic() + FULL_SECONDS
    while time.monotonic() < deadline:
        result = httpx.get(address, params={"query": FULL}, timeout=5).json()["data"]["result"]
        if result and float(result[0]["value"][1]) >= 1:
            return
        time.sleep(0.3)
    raise LabError(f"The pools of the backend were not full within {FULL_SECONDS} s.")


def stop_leak() -> None:
    """Restart the backend if it may hold what it leaked."""
    if not LEAKS.exists():
        return
    run(compose("restart", "backend"), timeout=RESTART_SECONDS, environment=environment())
    wait = ["--detach", "--no-deps", "--no-recreate", "--wait"]
    run(compose("up", *wait, "backend"), timeout=RESTART_SECONDS, environment=environment())
    LEAKS.unlink(missing_ok=True)
