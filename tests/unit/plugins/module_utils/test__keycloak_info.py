"""Expectations of a look at Keycloak."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.ops.runbooks.plugins.module_utils._errors import ConnectionFailed, OpsError
from ansible_collections.ops.runbooks.plugins.module_utils._keycloak_info import (
    CLIENT_FIELDS,
    REALM_FIELDS,
    Reading,
    classify_login,
    compare,
)

from tests.unit.plugins.module_utils.keycloak import REALM, FakeAdmin, FakeRows, FakeServer

SECRET = "kc-secret-77"


def tables(**more: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {
        "realm": [{"id": "r1", "name": REALM, "enabled": True}],
        "client": [{"client_id": "probe", "enabled": True}],
        "user_entity": [],
    }
    return found | more


def read(*, server: FakeServer | None = None, admin: FakeAdmin | None = None, **stored: Any) -> dict[str, Any]:
    rows = FakeRows(tables(**stored))
    result = Reading(REALM, server or FakeServer(), admin or FakeAdmin(), lambda: rows).read()
    assert rows.closed
    return result


def test_what_is_served_as_it_is_stored_is_not_stale() -> None:
    """Realm and client are compared; nothing is missing."""
    result = read()
    assert result["stale"] == {"count": 0, "compared": 2, "differences": []}
    assert result["database"] == {"login": "ok", "why": ""}
    assert (result["ready"]["status"], result["endpoints"]["token"]["status"]) == (200, 200)
    assert (result["changed"], result["unreadable"]) == (False, [])


def test_a_realm_that_was_changed_behind_its_back_is_stale() -> None:
    """Both values are shown."""
    admin = FakeAdmin(realms={REALM: {"realm": REALM, "enabled": False}})
    assert read(admin=admin)["stale"]["differences"] == [
        {"what": "realm lab", "field": "enabled", "served": False, "stored": True}
    ]


def test_users_and_clients_that_only_one_side_has_are_stale() -> None:
    """A user that SQL removed and a client that it added are seen."""
    admin = FakeAdmin(users={"u1": {"username": "ada", "enabled": True}})
    found = read(
        admin=admin,
        client=[{"client_id": "probe", "enabled": True}, {"client_id": "new", "enabled": True}],
        user_entity=[
            {"id": "u1", "username": "ada", "enabled": False},
            {"id": "u2", "username": "bob", "enabled": True},
        ],
    )["stale"]
    assert found["compared"] == 5
    assert [(one["what"], one["field"]) for one in found["differences"]] == [
        ("client new", "exists"),
        ("user ada", "enabled"),
        ("user bob", "exists"),
    ]


def test_a_secret_that_differs_is_not_shown() -> None:
    """Only that it differs."""
    admin = FakeAdmin(served_clients=[{"clientId": "probe", "enabled": True, "secret": SECRET}])
    result = read(admin=admin, client=[{"client_id": "probe", "enabled": True, "secret": f"{SECRET}-new"}])
    (difference,) = result["stale"]["differences"]
    assert difference["field"] == "secret"
    assert SECRET not in json.dumps(result)


@pytest.mark.parametrize(
    ("served", "stored"),
    [
        pytest.param({"notBefore": 0}, {"not_before": None}, id="null is nothing"),
        pytest.param({}, {"not_before": 7}, id="not served by this version"),
        pytest.param({"notBefore": 7}, {}, id="no column in this version"),
        pytest.param(None, None, id="on neither side"),
    ],
)
def test_what_says_nothing_is_no_difference(served: dict[str, Any] | None, stored: dict[str, Any] | None) -> None:
    """Versions differ, and both sides have their own word for nothing."""
    assert compare("realm x", served, stored, REALM_FIELDS) == []


def test_a_client_that_is_gone_on_one_side_differs_as_a_whole() -> None:
    """One line, not one for each field."""
    (found,) = compare("client x", {"enabled": True}, None, CLIENT_FIELDS)
    assert found.as_return() == {"what": "client x", "field": "exists", "served": True, "stored": False}


def test_an_unknown_realm_on_both_sides_compares_nothing_more() -> None:
    """There is no identity to look its clients up by."""
    assert read(admin=FakeAdmin(realms={}), realm=[])["stale"] == {"count": 0, "compared": 1, "differences": []}


@pytest.mark.parametrize(
    ("error", "login"),
    [
        ('connection failed: FATAL: role "keycloak" is not permitted to log in', "refused"),
        ('FATAL: password authentication failed for user "keycloak"', "refused"),
        ('FATAL: database "keycloak" does not exist', "refused"),
        ('FATAL: too many connections for role "keycloak"', "refused"),
        ("FATAL: sorry, too many clients already", "full"),
        ("FATAL: remaining connection slots are reserved for roles with the SUPERUSER attribute", "full"),
        ("FATAL: the database system is starting up", "no_answer"),
        ("connection refused", "no_answer"),
        ("timeout expired", "no_answer"),
    ],
)
def test_a_refusal_is_told_from_silence(error: str, login: str) -> None:
    """What option heals it depends on it."""

    def refuse() -> FakeRows:
        raise ConnectionFailed(error)

    result = Reading(REALM, FakeServer(ready_status=503, down=["database"]), FakeAdmin(), refuse).read()
    assert classify_login(error) == login
    assert result["database"] == {"login": login, "why": error}
    assert "stale" not in result
    assert result["unreadable"][0]["why"] == "there is no database"


@pytest.mark.parametrize(
    ("admin", "server", "why"),
    [
        pytest.param(None, FakeServer(), "there is no administrator", id="no-login"),
        pytest.param(FakeAdmin(), FakeServer(discovery_status=None), "there is no answer", id="down"),
        pytest.param(FakeAdmin(calls_left=1), FakeServer(), "No answer from Keycloak http://192.0.2.9", id="goes-away"),
    ],
)
def test_what_cannot_be_compared_is_listed(admin: FakeAdmin | None, server: FakeServer, why: str) -> None:
    """The rest is complete all the same, and the session is given back."""
    rows = FakeRows(tables())
    result = Reading(REALM, server, admin, lambda: rows).read()
    assert "stale" not in result
    assert result["unreadable"][0]["why"].startswith(why)
    assert result["ready"]["status"] == 200
    assert rows.closed


def test_without_a_database_login_nothing_is_claimed() -> None:
    """It is neither well nor ill."""
    result = Reading(REALM, FakeServer(), FakeAdmin(), None).read()
    assert result["database"]["login"] == "unchecked"


def test_a_database_that_goes_away_while_it_is_read_is_listed() -> None:
    """As what could not be read."""
    rows = FakeRows({"realm": OpsError("Lost the connection.")})  # type: ignore[dict-item]  # raised by the fake
    result = Reading(REALM, FakeServer(), FakeAdmin(), lambda: rows).read()
    assert result["unreadable"][0]["why"] == "Lost the connection."
