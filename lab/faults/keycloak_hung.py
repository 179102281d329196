"""Keycloak hangs: its process is there, its ports are open, and nothing answers."""

from lab.faults._keycloak import KEYCLOAK, fault, freeze, unpause


def inject() -> str:
    """Freeze the process, as a stopped clock of a virtual machine or a full pause would."""
    freeze(KEYCLOAK)
    return f"{KEYCLOAK} is frozen."


FAULT = fault(
    name="keycloak_hung",
    option="A",
    wrong="D",
    happens="the process of Keycloak is frozen: connections are accepted and nothing is answered",
    inject=inject,
    undo=lambda: unpause(KEYCLOAK),
)
