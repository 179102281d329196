"""The realm was closed for maintenance and opened again in the database, which Keycloak does not notice."""

from lab.faults._keycloak import REALM, administer, fault, serves, sql, wait


def inject() -> str:
    """Close the realm as an administrator, have Keycloak read it so, and open it again by SQL."""
    administer("PUT", "", {"realm": REALM, "enabled": False})
    wait(lambda: not serves(), "the realm is closed")
    sql(f"UPDATE realm SET enabled = true WHERE name = '{REALM}'")  # noqa: S608 - a constant
    return f"Realm {REALM} is open in the database, and closed for everybody who asks Keycloak."


def undo() -> None:
    """Open the realm, and have a Keycloak that answers read it again."""
    sql(f"UPDATE realm SET enabled = true WHERE name = '{REALM}'")  # noqa: S608 - a constant
    if not serves():
        administer("POST", "/clear-realm-cache")


FAULT = fault(
    name="keycloak_stale_realm",
    option="D",
    wrong="F",
    happens="the realm is disabled in the cache of Keycloak and enabled in its database: no client gets a token",
    inject=inject,
    undo=undo,
)
