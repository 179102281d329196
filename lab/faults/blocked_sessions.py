"""A migration holds a lock that every request needs: those that wait take all slots."""

from lab.faults._fault import Fault, remove_client, start_client

NAME = "blocked_sessions"

FAULT = Fault(
    name=NAME,
    runbook="db-connections",
    option="C",
    wrong="A",
    alert="DatabaseConnectionPoolExhausted",
    happens="the client nightly-migration locks the table of orders, and checkouts wait for it in every other slot",
    inject=lambda: start_client(NAME, "clients/block_sessions.py", "nightly-migration", "checkout"),
    undo=lambda: remove_client(NAME),
)
