"""The database server does not answer anybody, and so Keycloak is not ready."""

from lab.faults._keycloak import DATABASE, fault, freeze, unpause


def inject() -> str:
    """Freeze the server, as storage that does not answer would."""
    freeze(DATABASE)
    return f"{DATABASE} is frozen."


FAULT = fault(
    name="keycloak_database_hung",
    option="B",
    wrong="F",
    happens="PostgreSQL is frozen: nobody gets an answer, and Keycloak loses its readiness",
    inject=inject,
    undo=lambda: unpause(DATABASE),
)
