# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to the ops.runbooks collection: may change without notice.
"""Read how Keycloak stands: what it answers, whether its database lets it in, and whether it serves what that holds."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from ansible_collections.ops.runbooks.plugins.module_utils._arguments import ArgumentSpec
from ansible_collections.ops.runbooks.plugins.module_utils._errors import OpsError
from ansible_collections.ops.runbooks.plugins.module_utils._keycloak_adapter import admin_options
from ansible_collections.ops.runbooks.plugins.module_utils._postgresql_options import login_options

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ansible_collections.ops.runbooks.plugins.module_utils._keycloak_ports import Admin, Rows, Server

OK = 200
Login = Literal["ok", "refused", "full", "no_answer", "unchecked"]
# What PostgreSQL says when it lives and does not let this role in, though it would let others in.
FULL = ("too many clients", "connection slots are reserved")

REALM_FIELDS = {
    "enabled": "enabled",
    "notBefore": "not_before",
    "accessTokenLifespan": "access_token_lifespan",
    "ssoSessionIdleTimeout": "sso_idle_timeout",
    "registrationAllowed": "registration_allowed",
    "verifyEmail": "verify_email",
}
CLIENT_FIELDS = {
    "enabled": "enabled",
    "publicClient": "public_client",
    "serviceAccountsEnabled": "service_accounts_enabled",
    "standardFlowEnabled": "standard_flow_enabled",
    "secret": "secret",
}
USER_FIELDS = {"username": "username", "enabled": "enabled", "email": "email", "emailVerified": "email_verified"}
HIDDEN = frozenset({"secret"})

REALM = "SELECT * FROM realm WHERE name = %s"
CLIENTS = "SELECT * FROM client WHERE realm_id = %s ORDER BY client_id LIMIT 1000"
# Service accounts and federated users are not what a person changes by SQL.
USERS = """
SELECT * FROM user_entity
WHERE realm_id = %s AND service_account_client_link IS NULL AND federation_link IS NULL
ORDER BY last_modified_timestamp DESC NULLS LAST, username LIMIT %s
"""


def info_spec() -> ArgumentSpec:
    """Return the options of keycloak_info."""
    database = login_options(default_db="keycloak").options
    own = ArgumentSpec(
        options={
            "management_url": {"type": "str"},
            "realm": {"type": "str", "required": True},
            "client_id": {"type": "str"},
            "client_secret": {"type": "str", "no_log": True},
            "database": {"type": "dict", "options": database},
            "users": {"type": "int", "default": 20},
        },
        required_together=[["client_id", "client_secret"]],
    )
    shared = admin_options()
    shared.options["timeout_seconds"]["default"] = 2.0
    # Without a login nothing is compared, and all else is read.
    return ArgumentSpec(shared.options, required_together=shared.required_together) + own


@dataclass(frozen=True)
class Difference:
    """A value that Keycloak serves and its database does not hold."""

    what: str
    name: str
    served: Any
    stored: Any

    def as_return(self) -> dict[str, Any]:
        """Return what a reader needs; a secret is only said to differ."""
        hidden = self.name in HIDDEN
        served, stored = ("********", "********") if hidden else (self.served, self.stored)
        return {"what": self.what, "field": self.name, "served": served, "stored": stored}


def compare(
    what: str, served: Mapping[str, Any] | None, stored: Mapping[str, Any] | None, fields: Mapping[str, str]
) -> list[Difference]:
    """Compare one object; what only one side has differs as a whole."""
    if served is None or stored is None:
        return [] if served is stored else [Difference(what, "exists", served is not None, stored is not None)]
    found = []
    for name, column in fields.items():
        # A field that this version of Keycloak, or of its schema, does not have says nothing.
        if name not in served or column not in stored:
            continue
        if (served[name] or None) != (stored[column] or None):
            found.append(Difference(what, name, served[name], stored[column]))
    return found


def find_stale(admin: Admin, database: Rows, realm: str, users: int) -> dict[str, Any]:
    """Compare a realm, its clients and some of its users; raises OpsError when one side cannot be read."""
    stored_realm = next(iter(database.rows(REALM, [realm])), None)
    served_realm = admin.realm(realm)
    differences = compare(f"realm {realm}", served_realm, stored_realm, REALM_FIELDS)
    compared = 1
    if served_realm is not None and stored_realm is not None:
        identity = stored_realm["id"]
        served = {one["clientId"]: one for one in admin.clients(realm)}
        stored = {one["client_id"]: one for one in database.rows(CLIENTS, [identity])}
        for name in sorted({*served, *stored}):
            differences += compare(f"client {name}", served.get(name), stored.get(name), CLIENT_FIELDS)
        rows = database.rows(USERS, [identity, users])
        for row in rows:
            differences += compare(f"user {row['username']}", admin.user(realm, row["id"]), row, USER_FIELDS)
        compared += len({*served, *stored}) + len(rows)
    return {
        "count": len(differences),
        "compared": compared,
        "differences": [one.as_return() for one in differences[:20]],
    }


def classify_login(error: str) -> Login:
    """Tell a server that does not answer from one that answers and refuses this role."""
    if any(sign in error for sign in FULL):
        return "full"
    if "starting up" in error or "shutting down" in error:
        return "no_answer"
    return "refused" if "FATAL" in error else "no_answer"


@dataclass
class Reading:
    """One look at Keycloak: what is asked, and of whom."""

    realm: str
    server: Server
    admin: Admin | None
    database: Callable[[], Rows] | None
    users: int = 20
    _unreadable: list[dict[str, str]] = field(default_factory=list)

    def read(self) -> dict[str, Any]:
        """Ask everything at the same time; what cannot be read is listed and does not fail."""
        with ThreadPoolExecutor() as pool:
            ready = pool.submit(self.server.ready)
            discovery = pool.submit(self.server.status, "discovery", self.realm)
            certs = pool.submit(self.server.status, "certs", self.realm)
            token = pool.submit(self.server.token, self.realm)
            database = pool.submit(self._log_in)
        login, rows = database.result()
        result = {
            "ready": ready.result(),
            "endpoints": {"discovery": discovery.result(), "certs": certs.result(), "token": token.result()},
            "database": login,
        }
        try:
            stale = self._stale(result["endpoints"]["discovery"], rows)
        finally:
            if rows is not None:
                rows.close()
        return {"changed": False, **result, **stale, "unreadable": self._unreadable}

    def _log_in(self) -> tuple[dict[str, str], Rows | None]:
        if self.database is None:
            return {"login": "unchecked", "why": "no login of its database was given"}, None
        try:
            return {"login": "ok", "why": ""}, self.database()
        except OpsError as error:
            return {"login": classify_login(str(error)), "why": str(error)}, None

    def _stale(self, discovery: Mapping[str, Any], rows: Rows | None) -> dict[str, Any]:
        what = "what Keycloak serves beside what its database holds"
        if self.admin is None or rows is None or discovery["status"] is None:
            missing = "no administrator" if self.admin is None else "no database" if rows is None else "no answer"
            self._unreadable.append({"what": what, "why": f"there is {missing}"})
            return {}
        try:
            return {"stale": find_stale(self.admin, rows, self.realm, self.users)}
        except OpsError as error:
            self._unreadable.append({"what": what, "why": str(error)})
            return {}
