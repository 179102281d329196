"""What the faults of PostgreSQL take back."""

from __future__ import annotations

from lab.compose import compose, environment
from lab.shell import CommandFailed, run

START_SECONDS = 60
# As lab/config/init.sql sets it.
MAX_CONNECTIONS = 60


def restore_limits() -> None:
    """Set max_connections as the lab begins with, and restart the server if it has another."""
    found = _psql("SHOW max_connections")
    if found.strip() == str(MAX_CONNECTIONS):
        return
    _psql(f"ALTER SYSTEM SET max_connections = {MAX_CONNECTIONS}")
    run(compose("restart", "--timeout", "30", "postgres"), timeout=START_SECONDS, environment=environment())
    run(
        compose("up", "--detach", "--no-deps", "--no-recreate", "--wait", "postgres"),
        timeout=START_SECONDS,
        environment=environment(),
    )


def _psql(statement: str) -> str:
    """Run one statement as superuser; what does not run has nothing to take back."""
    psql = ["psql", "--no-psqlrc", "-qAt", "-U", "postgres", "-c", statement]
    try:
        return run(compose("exec", "-T", "postgres", *psql), environment=environment())
    except CommandFailed:
        return str(MAX_CONNECTIONS)
