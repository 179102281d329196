"""The slots are taken by sessions that work: ending the few idle ones cannot help."""

from lab.faults._fault import Fault, remove_client, start_client

NAME = "busy_sessions"

FAULT = Fault(
    name=NAME,
    runbook="db-connections",
    option="E",
    wrong="A",
    alert="DatabaseConnectionPoolExhausted",
    happens="the client busy-worker leaks five transactions and runs an endless statement in every other slot",
    inject=lambda: start_client(NAME, "clients/hold_sessions.py", "busy-worker", "busy"),
    undo=lambda: remove_client(NAME),
)
