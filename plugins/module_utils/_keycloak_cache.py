# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to the ops.runbooks collection: may change without notice.
"""Clear the caches of Keycloak."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ansible_collections.ops.runbooks.plugins.module_utils._arguments import ArgumentSpec
from ansible_collections.ops.runbooks.plugins.module_utils._errors import ActionFailed, ConnectionFailed, OpsError
from ansible_collections.ops.runbooks.plugins.module_utils._keycloak_adapter import admin_options

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ansible_collections.ops.runbooks.plugins.module_utils._keycloak_ports import Admin

# In this order: a user is read with its realm, so the realm must be fresh first.
CACHES = {"realm": "realms, clients, roles and groups", "user": "users", "keys": "public keys of clients and providers"}


def cache_clear_spec() -> ArgumentSpec:
    """Return the options of keycloak_cache_clear."""
    own = ArgumentSpec(
        options={
            "realm": {"type": "str", "required": True},
            "caches": {"type": "list", "elements": "str", "choices": list(CACHES), "default": list(CACHES)},
        }
    )
    return admin_options() + own


@dataclass(frozen=True)
class ClearRequest:
    """What keycloak_cache_clear is asked to do."""

    url: str
    realm: str
    caches: tuple[str, ...]

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> ClearRequest:
        """Build the request; raises ValueError when nothing is to be cleared."""
        if not params["caches"]:
            raise ValueError(f"caches is empty: name what to clear, of {', '.join(CACHES)}.")
        return cls(params["url"], params["realm"], tuple(name for name in CACHES if name in params["caches"]))


def clear_caches(admin: Admin, request: ClearRequest, *, dry_run: bool) -> dict[str, Any]:
    """Clear one cache after the other.

    Raises:
        ActionFailed: There is no such realm, or Keycloak refused; ``details`` say what is cleared already.
        ConnectionFailed: Keycloak does not answer or refuses the login; the same.
    """
    cleared: list[str] = []

    def state() -> dict[str, Any]:
        return {"changed": bool(cleared), "realm": request.realm, "cleared": list(cleared), "actions": _told(cleared)}

    try:
        if admin.realm(request.realm) is None:
            raise ActionFailed(
                f'Cannot clear caches of realm "{request.realm}" on Keycloak {request.url}: it knows no such realm. '
                "Check realm."
            )
        if dry_run:
            actions = [f"Would clear the {name} cache ({CACHES[name]}) of every realm." for name in request.caches]
            return {**state(), "changed": True, "actions": actions}
        for name in request.caches:
            admin.clear(request.realm, name)
            cleared.append(name)
    except OpsError as error:
        again = " Those are cleared already: run it again for the rest." if cleared else ""
        kind = ConnectionFailed if isinstance(error, ConnectionFailed) else ActionFailed
        raise kind(f"{error}{again}", **{**error.details, **state()}) from error
    return state()


def _told(cleared: list[str]) -> list[str]:
    return [f"Cleared the {name} cache ({CACHES[name]}) of every realm." for name in cleared]
