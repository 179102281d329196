"""Code of the backend has taken every connection of its pool once, and holds them; the database has room."""

from lab.faults._backend import start_leak, stop_leak
from lab.faults._fault import Fault

FAULT = Fault(
    name="held_connections",
    runbook="db-connections",
    option="B",
    wrong="A",
    alert="SQLAlchemyPoolExhausted",
    happens="code of the backend took each connection of its pool, read something, and never gave it back",
    inject=lambda: start_leak("SIGUSR1"),
    undo=stop_leak,
)
