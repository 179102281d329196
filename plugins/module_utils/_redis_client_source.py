# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to the ops.runbooks collection: may change without notice.
"""Clients of a real Redis node, version 6.2 and later."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ansible_collections.ops.runbooks.plugins.module_utils._redis_clients import (
    BLOCKED,
    MONITOR,
    NORMAL,
    PUBSUB,
    REPLICATION,
    Client,
    ClientSource,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ansible_collections.ops.runbooks.plugins.module_utils._redis_adapter import Connection

# The first flag that a client has decides; a monitor may have the flag of a replica too.
_KINDS = (("O", MONITOR), ("S", REPLICATION), ("M", REPLICATION), ("P", PUBSUB), ("b", BLOCKED))


class RedisClients(ClientSource):
    """The clients of the server behind one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.name = connection.name
        self._own = int(connection.ask("CLIENT", "ID"))

    def clients(self) -> list[Client]:
        """Return every client."""
        return self._parsed(self._connection.ask("CLIENT", "LIST"))

    def again(self, clients: Sequence[Client]) -> list[Client]:
        """Return those of the clients that still exist, as they are now."""
        if not clients:
            return []
        return self._parsed(self._connection.ask("CLIENT", "LIST", "ID", *(client.id for client in clients)))

    def require_permission(self) -> None:
        """Ask to disconnect nobody but this connection, which is skipped: a login without the right is refused."""
        self._connection.ask("CLIENT", "KILL", "ID", self._own, "SKIPME", "yes")

    def disconnect(self, client: Client) -> bool:
        """Disconnect by id, and only while the type is the same: the server checks both in one command."""
        kind = "pubsub" if client.kind == PUBSUB else "normal"
        return bool(self._connection.ask("CLIENT", "KILL", "ID", client.id, "TYPE", kind, "SKIPME", "yes"))

    def maximum(self) -> int:
        """Return the most clients that the server takes."""
        return int(self._connection.ask("INFO", "clients").get("maxclients", 0))

    def _parsed(self, text: bytes) -> list[Client]:
        lines = text.decode(errors="backslashreplace").splitlines()
        rows = [dict(part.partition("=")[::2] for part in line.split(" ")) for line in lines if line.strip()]
        return [
            Client(
                id=int(row["id"]),
                address=row["addr"],
                name=row.get("name", ""),
                user=row.get("user", ""),
                idle_seconds=int(row["idle"]),
                kind=next((kind for flag, kind in _KINDS if flag in row["flags"]), NORMAL),
                command=row.get("cmd", ""),
                own=int(row["id"]) == self._own,
            )
            for row in rows
        ]
