"""Real work needs more sessions than the server accepts: nothing idles, nothing blocks, nothing leaks."""

from lab.faults._fault import Fault, remove_client, start_client
from lab.faults._postgres import restore_limits

NAME = "more_work_than_slots"


def undo() -> None:
    """End the work; give the server its limit back, for an option may have raised it."""
    remove_client(NAME)
    restore_limits()


FAULT = Fault(
    name=NAME,
    runbook="db-connections",
    option="E",
    wrong="A",
    alert="DatabaseConnectionPoolExhausted",
    happens="the client order-import works in every slot, needs three more, and opens again what it loses",
    inject=lambda: start_client(NAME, "clients/work_hard.py", "order-import", "3"),
    undo=undo,
    ends=lambda: remove_client(NAME),
)
