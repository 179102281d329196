# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to the ops.runbooks collection: may change without notice.
"""What is needed of a Keycloak server."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Admin(ABC):
    """The administration of one Keycloak; every method raises ConnectionFailed when it does not answer."""

    @abstractmethod
    def realm(self, name: str) -> Mapping[str, Any] | None:
        """Return a realm as Keycloak serves it, or None if it knows none of this name."""

    @abstractmethod
    def clients(self, realm: str) -> list[dict[str, Any]]:
        """Return the clients of a realm as Keycloak serves them, their secrets among them."""

    @abstractmethod
    def user(self, realm: str, identity: str) -> Mapping[str, Any] | None:
        """Return a user as Keycloak serves it, or None if it knows none."""

    @abstractmethod
    def clear(self, realm: str, cache: str) -> None:
        """Clear the cache ``realm``, ``user`` or ``keys``."""


class Server(ABC):
    """Keycloak as its users and its orchestrator see it; nothing here raises for an answer that does not come."""

    @abstractmethod
    def ready(self) -> dict[str, Any]:
        """Return ``status`` (None without an answer), ``down`` (names of the checks that are not up) and ``error``."""

    @abstractmethod
    def status(self, what: str, realm: str) -> dict[str, Any]:
        """Return ``status`` and ``error`` of ``discovery`` or ``certs`` of a realm."""

    @abstractmethod
    def token(self, realm: str) -> dict[str, Any]:
        """Return the same for a token that a client asks for."""


class Rows(Protocol):
    """A session with Keycloak's database, as the PostgreSQL modules open it."""

    def rows(self, query: str, parameters: Sequence[Any] | None = None) -> list[dict[str, Any]]:
        """Run one statement and return its rows; raises OpsError."""

    def close(self) -> None:
        """Give the slot back."""
