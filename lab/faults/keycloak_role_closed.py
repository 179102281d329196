"""The role of Keycloak may no longer log in to its database, and its sessions are ended."""

from lab.faults._keycloak import fault, sql


def inject() -> str:
    """Close the role, as somebody who cleans up unused ones would, and end its sessions."""
    sql("ALTER ROLE keycloak NOLOGIN", "postgres")
    sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'keycloak'", "postgres")
    return "The role keycloak may not log in."


def undo() -> None:
    """Open the role again."""
    sql("ALTER ROLE keycloak LOGIN CONNECTION LIMIT -1", "postgres")


FAULT = fault(
    name="keycloak_role_closed",
    option="F",
    wrong="D",
    happens="the role keycloak may not log in to PostgreSQL any more, and its sessions are ended",
    inject=inject,
    undo=undo,
)
