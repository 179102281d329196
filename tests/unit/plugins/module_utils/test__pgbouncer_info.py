"""Expectations of what is read from PgBouncer."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.ops.runbooks.plugins.module_utils._pgbouncer_info import read_info
from ansible_collections.ops.runbooks.plugins.module_utils._pgbouncer_pools import (
    is_admin,
    parse_databases,
    parse_pools,
)
from ansible_collections.ops.runbooks.plugins.module_utils._postgresql_options import Login

from tests.unit.plugins.module_utils.pgbouncer import FakeDatabase, FakePgBouncer

LOGIN = Login(host="pgb.example.com", port=6432, user="runbooks", database="pgbouncer")

# SHOW DATABASES and SHOW POOLS as PgBouncer 1.18.0 and 1.24.1 printed them, one row each; the console's rows left out.
RECORDED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "1.18": (
        {
            "name": "app",
            "host": "postgres",
            "port": 5432,
            "database": "app",
            "force_user": None,
            "pool_size": 5,
            "min_pool_size": 0,
            "reserve_pool": 0,
            "pool_mode": None,
            "max_connections": 0,
            "current_connections": 3,
            "paused": 0,
            "disabled": 0,
        },
        {
            "database": "app",
            "user": "shop",
            "cl_active": 4,
            "cl_waiting": 4,
            "cl_active_cancel_req": 0,
            "cl_waiting_cancel_req": 0,
            "sv_active": 3,
            "sv_active_cancel": 0,
            "sv_being_canceled": 0,
            "sv_idle": 0,
            "sv_used": 1,
            "sv_tested": 0,
            "sv_login": 1,
            "maxwait": 14,
            "maxwait_us": 150000,
            "pool_mode": "transaction",
        },
    ),
    "1.24": (
        {
            "name": "app",
            "host": "postgres",
            "port": 5432,
            "database": "app",
            "force_user": None,
            "pool_size": 5,
            "min_pool_size": 0,
            "reserve_pool_size": 0,
            "server_lifetime": 3600,
            "pool_mode": None,
            "load_balance_hosts": None,
            "max_connections": 0,
            "current_connections": 3,
            "max_client_connections": 0,
            "current_client_connections": 8,
            "paused": 0,
            "disabled": 0,
        },
        {
            "database": "app",
            "user": "shop",
            "cl_active": 4,
            "cl_waiting": 4,
            "cl_active_cancel_req": 0,
            "cl_waiting_cancel_req": 0,
            "sv_active": 3,
            "sv_active_cancel": 0,
            "sv_being_canceled": 0,
            "sv_idle": 0,
            "sv_used": 1,
            "sv_tested": 0,
            "sv_login": 1,
            "maxwait": 14,
            "maxwait_us": 150000,
            "pool_mode": "transaction",
            "load_balance_hosts": None,
        },
    ),
}


@pytest.mark.parametrize("version", RECORDED)
def test_every_version_is_read_the_same(version: str) -> None:
    """The columns that are used have the same names since 1.18."""
    database, pool = RECORDED[version]
    pools = parse_pools([pool])
    assert parse_databases([database], pools)["app"].as_dict() == {
        "name": "app",
        "host": "postgres",
        "port": 5432,
        "pool_size": 5,
        "paused": False,
        "disabled": False,
        "clients_active": 4,
        "clients_waiting": 4,
        "servers_active": 3,
        "servers_idle": 0,
        "servers_other": 2,
        "longest_wait_seconds": 14.15,
        "used_ratio": 0.6,
    }


def test_each_user_has_a_pool_of_its_own() -> None:
    """How full a database is, is how full the fullest of its pools is; the rest is added up."""
    database, pool = RECORDED["1.24"]
    pools = parse_pools([pool, {**pool, "user": "reports", "sv_active": 5, "maxwait": 20}])
    found = parse_databases([database], pools)["app"]
    assert (found.used_ratio, found.servers_active, found.clients, found.servers) == (1.0, 8, 16, 12)
    assert found.longest_wait_seconds == 20.15


def test_a_pool_without_a_limit_is_never_full() -> None:
    """There is no share of nothing."""
    database, pool = RECORDED["1.24"]
    assert parse_databases([{**database, "pool_size": 0}], parse_pools([pool]))["app"].used_ratio is None


@pytest.mark.parametrize(
    ("user", "config", "may"),
    [
        pytest.param("ops", {"admin_users": "root, ops"}, True, id="named"),
        pytest.param("op", {"admin_users": "root, ops"}, False, id="part of a name"),
        pytest.param("pgbouncer", {"admin_users": ""}, True, id="the console's own user"),
        pytest.param("ops", {"admin_users": "", "auth_type": "any"}, True, id="everybody is an administrator"),
        pytest.param("ops", {}, False, id="nothing is known"),
    ],
)
def test_who_may_change_something(user: str, config: dict[str, str], may: bool) -> None:
    """As PgBouncer decides it."""
    assert is_admin(user, config) is may


def test_everything_that_an_incident_needs_is_read() -> None:
    """Waiting clients, the longest wait, shares and settings, in one call."""
    server = FakePgBouncer({"app": FakeDatabase(clients=6, waiting=2, active=4, idle=1)})
    console = server.connect()
    info = read_info(console, LOGIN)
    assert info["clients"] == {"used": 7, "max": 200, "used_ratio": 0.035}
    assert (info["clients_waiting"], info["longest_wait_seconds"], info["state"]) == (2, 2.31, "active")
    assert info["databases"]["app"]["used_ratio"] == 0.8
    assert [pool["user"] for pool in info["pools"]] == ["shop"]
    assert (info["version"], info["may_reset"], info["changed"]) == ("1.24.1", True, False)
    assert (info["server_login_retry_seconds"], info["query_wait_timeout_seconds"]) == (15, 120)
    assert server.log == []


def test_an_old_version_does_not_tell_its_state() -> None:
    """Unknown is not active."""
    assert read_info(FakePgBouncer(state=None).connect(), LOGIN)["state"] is None


def test_an_idle_server_has_no_wait() -> None:
    """Nothing to read is no error."""
    info = read_info(FakePgBouncer().connect(), LOGIN)
    assert (info["databases"], info["pools"], info["longest_wait_seconds"]) == ({}, [], 0.0)
