"""Expectations of clearing the caches of Keycloak."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.ops.runbooks.plugins.module_utils._errors import ActionFailed, ConnectionFailed
from ansible_collections.ops.runbooks.plugins.module_utils._keycloak_cache import (
    ClearRequest,
    cache_clear_spec,
    clear_caches,
)

from tests.unit.plugins.module_utils.keycloak import REALM, AdminContract, FakeAdmin

if TYPE_CHECKING:
    from ansible_collections.ops.runbooks.plugins.module_utils._keycloak_ports import Admin

DEFAULTS = {name: option.get("default") for name, option in cache_clear_spec().options.items()}


def request(**given: Any) -> ClearRequest:
    return ClearRequest.from_params({**DEFAULTS, "url": "http://192.0.2.9", "realm": REALM, **given})


class TestFakeAdmin(AdminContract):
    """The Keycloak in memory keeps the contract that the real one keeps in the integration tests."""

    @pytest.fixture
    def admin(self) -> Admin:
        return FakeAdmin()


def test_all_caches_are_cleared_realms_first() -> None:
    """In the order in which they depend on each other, whatever order was asked for."""
    admin = FakeAdmin()
    result = clear_caches(admin, request(caches=["keys", "realm", "user"]), dry_run=False)
    assert admin.cleared == [(REALM, "realm"), (REALM, "user"), (REALM, "keys")]
    assert (result["changed"], result["cleared"]) == (True, ["realm", "user", "keys"])
    assert result["actions"][1] == "Cleared the user cache (users) of every realm."


def test_one_cache_alone() -> None:
    """The others stay."""
    admin = FakeAdmin()
    assert clear_caches(admin, request(caches=["user"]), dry_run=False)["cleared"] == ["user"]
    assert admin.cleared == [(REALM, "user")]


def test_a_dry_run_looks_for_the_realm_and_clears_nothing() -> None:
    """Check mode says what a run would do."""
    admin = FakeAdmin()
    result = clear_caches(admin, request(), dry_run=True)
    assert (result["changed"], result["cleared"], admin.cleared) == (True, [], [])
    assert result["actions"][0] == ("Would clear the realm cache (realms, clients, roles and groups) of every realm.")


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_realm_that_does_not_exist_is_refused(dry_run: bool) -> None:
    """Before anything is cleared, in check mode as well."""
    admin = FakeAdmin()
    with pytest.raises(ActionFailed) as caught:
        clear_caches(admin, request(realm="nosuch"), dry_run=dry_run)
    assert str(caught.value) == (
        'Cannot clear caches of realm "nosuch" on Keycloak http://192.0.2.9: it knows no such realm. Check realm.'
    )
    assert (caught.value.details["changed"], admin.cleared) == (False, [])


def test_a_server_that_goes_away_in_the_middle_is_told_with_what_is_done() -> None:
    """The first cache is cleared and the second is not; a second run does the rest."""
    admin = FakeAdmin(calls_left=2)
    with pytest.raises(ConnectionFailed) as caught:
        clear_caches(admin, request(), dry_run=False)
    assert str(caught.value).endswith("Those are cleared already: run it again for the rest.")
    details = caught.value.details
    assert (details["changed"], details["cleared"]) == (True, ["realm"])
    admin.calls_left = 1000
    assert clear_caches(admin, request(), dry_run=False)["cleared"] == ["realm", "user", "keys"]


def test_clearing_nothing_is_refused() -> None:
    """An empty list is a mistake, not a success."""
    with pytest.raises(ValueError, match=r"^caches is empty: name what to clear, of realm, user, keys\.$"):
        request(caches=[])
