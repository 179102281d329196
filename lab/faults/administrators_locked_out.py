"""A tool that logs in as superuser leaks: the slots kept back for administrators are gone too."""

from lab.faults._fault import Fault, remove_client, start_client

NAME = "administrators_locked_out"

FAULT = Fault(
    name=NAME,
    runbook="db-connections",
    option="F",
    wrong="A",
    alert="DatabaseConnectionPoolExhausted",
    happens="the client inventory-tool logs in as superuser and keeps every session it gets, until no slot is left",
    inject=lambda: start_client(NAME, "clients/hold_sessions.py", "inventory-tool", "postgres"),
    undo=lambda: remove_client(NAME),
)
