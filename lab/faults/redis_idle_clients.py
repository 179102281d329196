"""A worker opens a connection for each job and closes none, until few are left for the others."""

from lab.faults import _redis
from lab.faults._fault import Fault, remove_client, start_client

NAME = "redis_idle_clients"
MAXCLIENTS = 60


def inject() -> str:
    """Lower the limit, so that a leak of minutes is one of a moment, and let the worker leak."""
    _redis.configure(maxclients=str(MAXCLIENTS))
    return start_client(NAME, "clients/hold_redis_clients.py", "leaky-worker", "0.95")


def undo() -> None:
    """Remove the worker and restore the limit."""
    remove_client(NAME)
    _redis.take_back()


FAULT = Fault(
    name=NAME,
    runbook="redis-down",
    option="D",
    wrong="A",
    alert="RedisConnectionFailure",
    happens="idle connections of a worker hold 95 % of maxclients",
    inject=inject,
    undo=undo,
)
