"""The slots are taken by sessions that work: ending idle ones cannot help."""

from lab.faults._fault import Fault, remove_client, start_client

NAME = "busy_sessions"

FAULT = Fault(
    name=NAME,
    alert="DatabaseConnectionPoolExhausted",
    happens="the client busy-worker runs an endless statement in every session it can get",
    inject=lambda: start_client(NAME, "clients/hold_sessions.py", "busy-worker", "active"),
    undo=lambda: remove_client(NAME),
)
