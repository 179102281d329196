"""The backend takes each connection that its pool can give, again right after a reset."""

from __future__ import annotations

from lab.faults._backend import reset_pools, start_leak, stop_leak, wait_until_full
from lab.faults._fault import Fault


def inject() -> str:
    """Leak, reset the pools as somebody on call would, and see them full again."""
    start_leak("SIGUSR2")
    reset_pools()
    wait_until_full()
    return "the pools were reset, and every replica of the backend holds each connection of its pool again"


FAULT = Fault(
    name="leaking_backend",
    runbook="db-connections",
    option="D",
    wrong="B",
    alert="SQLAlchemyPoolExhausted",
    happens="code of the backend takes connections on and on; somebody reset the pools, and they are full again",
    inject=inject,
    undo=stop_leak,
)
