# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to the ops.runbooks collection: may change without notice.
"""The outside of a pool reset: where the replicas are, and what each of them answers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ansible_collections.ops.runbooks.plugins.module_utils._sqlalchemy_pools import Replica


class ReplicaFinder(ABC):
    """Find the replicas of an application."""

    @abstractmethod
    def find(self) -> list[Replica]:
        """Return every replica that runs, in a stable order.

        Raises:
            OpsError: They cannot be found, or not all of them can be reached from here.
        """


class PoolApi(ABC):
    """Talk to the address that the drop-in serves; safe to use from several threads."""

    @abstractmethod
    def read(self, url: str) -> object:
        """Return the state of the pools.

        Raises:
            OpsError: No answer, or an error. The text says which; it never holds the token.
        """

    @abstractmethod
    def reset(self, url: str, order: Mapping[str, object]) -> object:
        """Reset the pools and return what became of them.

        Raises:
            OpsError: As in ``read``.
        """
