"""A worker opens transactions and never ends them, until the server has no slot left for it."""

from lab.faults._fault import Fault, remove_client, start_client

NAME = "leaked_transactions"

FAULT = Fault(
    name=NAME,
    runbook="db-connections",
    option="A",
    wrong="C",
    alert="DatabaseConnectionPoolExhausted",
    happens="the client leaky-worker begins transactions and leaves each idle, until PostgreSQL refuses it",
    inject=lambda: start_client(NAME, "clients/hold_sessions.py", "leaky-worker", "app"),
    undo=lambda: remove_client(NAME),
)
