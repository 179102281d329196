# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to the ops.runbooks collection: may change without notice.
"""Read the state of a PgBouncer."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ansible_collections.ops.runbooks.plugins.module_utils._pgbouncer_pools import (
    is_admin,
    parse_config,
    parse_databases,
    parse_pools,
)
from ansible_collections.ops.runbooks.plugins.module_utils._pgbouncer_reset import read_state

if TYPE_CHECKING:
    from ansible_collections.ops.runbooks.plugins.module_utils._pgbouncer_ports import Console
    from ansible_collections.ops.runbooks.plugins.module_utils._postgresql_options import Login


def read_info(console: Console, login: Login) -> dict[str, Any]:
    """Return what ``pgbouncer_pool_info`` publishes."""
    pools = parse_pools(console.show("POOLS"))
    databases = parse_databases(console.show("DATABASES"), pools)
    config = parse_config(console.show("CONFIG"))
    lists = {row["list"]: row["items"] for row in console.show("LISTS")}
    most = int(config["max_client_conn"])
    return {
        "changed": False,
        "instance": login.instance,
        "version": console.show("VERSION")[0]["version"].split()[-1],
        "state": read_state(console),
        "may_reset": is_admin(login.user, config),
        "clients": {"used": lists["used_clients"], "max": most, "used_ratio": lists["used_clients"] / most},
        "clients_waiting": sum(pool.clients_waiting for pool in pools),
        "longest_wait_seconds": max((pool.longest_wait_seconds for pool in pools), default=0.0),
        "databases": {name: database.as_dict() for name, database in databases.items()},
        "pools": [asdict(pool) for pool in pools],
        "server_login_retry_seconds": float(config["server_login_retry"]),
        "query_wait_timeout_seconds": float(config["query_wait_timeout"]),
    }
