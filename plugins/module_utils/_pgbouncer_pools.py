# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to the ops.runbooks collection: may change without notice.
"""What PgBouncer's console tells of its databases and pools; the columns differ between versions."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ADMIN_DATABASE = "pgbouncer"


@dataclass(frozen=True)
class Pool:
    """The connections of one user to one database; ``servers_idle`` are ready to be used."""

    database: str
    user: str
    pool_mode: str
    clients_active: int
    clients_waiting: int
    servers_active: int
    servers_idle: int
    servers_other: int
    longest_wait_seconds: float


@dataclass(frozen=True)
class Database:
    """One database as PgBouncer knows it, with the sums over its pools.

    ``used_ratio`` is the share of ``pool_size`` that the fullest of its pools has in use: each user has a pool of that
    size. None where the size is not limited.
    """

    name: str
    host: str | None
    port: int
    pool_size: int
    paused: bool
    disabled: bool
    clients_active: int
    clients_waiting: int
    servers_active: int
    servers_idle: int
    servers_other: int
    longest_wait_seconds: float
    used_ratio: float | None

    @property
    def servers(self) -> int:
        """Count the connections to the server."""
        return self.servers_active + self.servers_idle + self.servers_other

    @property
    def clients(self) -> int:
        """Count the connections from applications."""
        return self.clients_active + self.clients_waiting

    def without_connections(self) -> Database:
        """Return the same database as it is when nobody uses it."""
        return Database(
            name=self.name,
            host=self.host,
            port=self.port,
            pool_size=self.pool_size,
            paused=False,
            disabled=self.disabled,
            **_add_up([], self.pool_size),
        )

    def as_dict(self) -> dict[str, Any]:
        """Return what a module publishes."""
        return asdict(self)


def parse_pools(rows: Sequence[Mapping[str, Any]]) -> list[Pool]:
    """Read SHOW POOLS; the console's own pool is left out."""
    return [
        Pool(
            database=row["database"],
            user=row["user"],
            pool_mode=row["pool_mode"],
            clients_active=row["cl_active"],
            clients_waiting=row["cl_waiting"],
            servers_active=row["sv_active"],
            servers_idle=row["sv_idle"],
            servers_other=row["sv_used"] + row["sv_tested"] + row["sv_login"],
            longest_wait_seconds=row["maxwait"] + row["maxwait_us"] / 1_000_000,
        )
        for row in rows
        if row["database"] != ADMIN_DATABASE
    ]


def parse_databases(rows: Sequence[Mapping[str, Any]], pools: Sequence[Pool]) -> dict[str, Database]:
    """Read SHOW DATABASES and add up the pools of each.

    A database that PgBouncer knows through the name ``*`` is listed only while it has connections.
    """
    return {
        row["name"]: Database(
            name=row["name"],
            host=row["host"],
            port=row["port"],
            pool_size=row["pool_size"],
            paused=bool(row["paused"]),
            disabled=bool(row["disabled"]),
            **_add_up([pool for pool in pools if pool.database == row["name"]], row["pool_size"]),
        )
        for row in rows
        if row["name"] != ADMIN_DATABASE
    }


def _add_up(pools: Sequence[Pool], pool_size: int) -> dict[str, Any]:
    return {
        "clients_active": sum(pool.clients_active for pool in pools),
        "clients_waiting": sum(pool.clients_waiting for pool in pools),
        "servers_active": sum(pool.servers_active for pool in pools),
        "servers_idle": sum(pool.servers_idle for pool in pools),
        "servers_other": sum(pool.servers_other for pool in pools),
        "longest_wait_seconds": max((pool.longest_wait_seconds for pool in pools), default=0.0),
        "used_ratio": max((pool.servers_active for pool in pools), default=0) / pool_size if pool_size else None,
    }


def parse_config(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Read SHOW CONFIG."""
    return {row["key"]: row["value"] for row in rows}


def parse_state(rows: Sequence[Mapping[str, Any]] | None) -> str | None:
    """Read SHOW STATE: active, paused or suspended as a whole; None where the version cannot tell."""
    if rows is None:
        return None
    return next((row["key"] for row in rows if row["value"] == "yes"), None)


def is_admin(user: str, config: Mapping[str, str]) -> bool:
    """Tell whether ``user`` may change something; ``pgbouncer`` is an administrator wherever it can log in."""
    names = {name.strip() for name in config.get("admin_users", "").split(",")}
    return user == ADMIN_DATABASE or user in names or config.get("auth_type") == "any"
