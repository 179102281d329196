"""A Keycloak in memory, and the contract that it shares with the real one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.ops.runbooks.plugins.module_utils._errors import ActionFailed, ConnectionFailed, OpsError
from ansible_collections.ops.runbooks.plugins.module_utils._keycloak_ports import Admin, Server
from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

REALM = "lab"
CACHES = ("realm", "user", "keys")


@dataclass
class FakeAdmin(Admin):
    """Serves what it has read once, until a cache is cleared; goes away after so many calls."""

    realms: dict[str, dict[str, Any]] = field(default_factory=lambda: {REALM: {"realm": REALM, "enabled": True}})
    served_clients: list[dict[str, Any]] = field(default_factory=lambda: [{"clientId": "probe", "enabled": True}])
    users: dict[str, dict[str, Any]] = field(default_factory=dict)
    cleared: list[tuple[str, str]] = field(default_factory=list)
    calls_left: int = 1000

    def _answer(self) -> None:
        if self.calls_left == 0:
            raise ConnectionFailed("No answer from Keycloak http://192.0.2.9: refused. Check url.")
        self.calls_left -= 1

    @override
    def realm(self, name: str) -> Mapping[str, Any] | None:
        self._answer()
        return self.realms.get(name)

    @override
    def clients(self, realm: str) -> list[dict[str, Any]]:
        self._answer()
        return list(self.served_clients) if realm in self.realms else []

    @override
    def user(self, realm: str, identity: str) -> Mapping[str, Any] | None:
        self._answer()
        return self.users.get(identity) if realm in self.realms else None

    @override
    def clear(self, realm: str, cache: str) -> None:
        self._answer()
        if realm not in self.realms:
            raise ActionFailed("Keycloak answered 404: Realm not found.")
        self.cleared.append((realm, cache))


@dataclass
class FakeServer(Server):
    """Answers as it is told."""

    ready_status: int | None = 200
    down: list[str] = field(default_factory=list)
    discovery_status: int | None = 200
    token_status: int | None = 200

    @override
    def ready(self) -> dict[str, Any]:
        return {"status": self.ready_status, "down": self.down, "error": "" if self.ready_status else "timed out"}

    @override
    def status(self, what: str, realm: str) -> dict[str, Any]:
        return {"status": self.discovery_status, "error": "" if self.discovery_status else "timed out"}

    @override
    def token(self, realm: str) -> dict[str, Any]:
        return {"status": self.token_status, "error": "" if self.token_status == 200 else "Realm not enabled"}


@dataclass
class FakeRows:
    """Tables of Keycloak's database, by the first table that a statement names."""

    tables: dict[str, list[dict[str, Any]]]
    closed: bool = False

    def rows(self, query: str, parameters: Sequence[Any] | None = None) -> list[dict[str, Any]]:
        (table,) = [name for name in self.tables if f"FROM {name} " in query.replace("\n", " ")]
        found = self.tables[table]
        if isinstance(found, OpsError):
            raise found
        return list(found)

    def close(self) -> None:
        self.closed = True


class AdminContract:
    """What the modules rely on; a subclass gives the fixture ``admin``, whose realm has the client ``probe``."""

    def test_a_realm_is_served_and_an_unknown_one_is_none(self, admin: Admin) -> None:
        """With its name and whether it is enabled."""
        found = admin.realm(REALM)
        assert found is not None
        assert (found["realm"], found["enabled"]) == (REALM, True)
        assert admin.realm("nosuch") is None

    def test_the_clients_of_a_realm_are_served(self, admin: Admin) -> None:
        """By their identity; an unknown realm has none."""
        served = {one["clientId"]: one for one in admin.clients(REALM)}
        assert served["probe"]["enabled"] is True
        assert admin.clients("nosuch") == []

    def test_an_unknown_user_is_none(self, admin: Admin) -> None:
        """Not an error: it may have been removed since."""
        assert admin.user(REALM, "00000000-0000-0000-0000-000000000000") is None

    def test_each_cache_can_be_cleared_again_and_again(self, admin: Admin) -> None:
        """Clearing what is clear is no error."""
        for cache in (*CACHES, *CACHES):
            admin.clear(REALM, cache)

    def test_clearing_for_an_unknown_realm_is_an_error(self, admin: Admin) -> None:
        """Nothing is done in the name of a typo."""
        with pytest.raises(ActionFailed, match="404"):
            admin.clear("nosuch", "realm")
