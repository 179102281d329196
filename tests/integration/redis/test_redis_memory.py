"""redis_memory_info on a real server, and the contract of a node."""

from __future__ import annotations

import importlib
import time
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.ops.runbooks.plugins.module_utils._redis_adapter import Connection
from ansible_collections.ops.runbooks.plugins.module_utils._redis_node import RedisNode
from ansible_collections.ops.runbooks.plugins.module_utils._redis_options import Login
from typing_extensions import override

from tests.integration.containers import free_port
from tests.integration.redis.conftest import PASSWORD, Server
from tests.unit.plugins.module_utils.redis_nodes import NodeContract, World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    RunModule = Callable[..., dict[str, Any]]

pytestmark = pytest.mark.integration

memory_info = importlib.import_module("ansible_collections.ops.runbooks.plugins.modules.redis_memory_info").main


class RealWorld(World):
    """Keys of a real server."""

    def __init__(self, server: Server, connection: Connection) -> None:
        self.server = server
        self.node = RedisNode(connection)

    @override
    def put(self, key: bytes, size: int = 10, ttl_ms: int | None = None) -> None:
        self.server.client.set(key, b"x" * size, px=ttl_ms)

    @override
    def names(self) -> set[bytes]:
        return set(self.server.client.keys("*"))


class TestRealNode(NodeContract):
    """The real server keeps the contract that the fake keeps in the unit tests."""

    @pytest.fixture
    def world(self, server: Server) -> Iterator[World]:
        connection = Connection(Login("127.0.0.1", server.port, password=PASSWORD), "127.0.0.1", server.port)
        yield RealWorld(server, connection)
        connection.close()


def test_information_agrees_with_the_server(server: Server, run_module: RunModule) -> None:
    """Numbers are what INFO says, prefixes are what was stored."""
    server.fill("session:", 900, ttl=1000)
    server.fill("report:", 100, 2000)
    server.client.config_set("maxmemory", 100_000_000)
    server.client.config_set("maxmemory-policy", "volatile-lru")
    server.client.get("session:1")
    server.client.get("nothing")
    info = run_module(memory_info, server.login())
    (row,) = info["nodes"]
    assert (info["changed"], info["instance"]) == (False, f"127.0.0.1:{server.port}")
    assert (row["role"], row["keys"], row["policy"], row["limit_bytes"]) == (
        "master",
        1000,
        "volatile-lru",
        100_000_000,
    )
    assert row["used_ratio"] == pytest.approx(server.used() / 100_000_000, abs=0.01)
    assert (row["hit_ratio"], row["evictable_ratio"]) == (0.5, 0.9)
    assert row["fragmentation_ratio"] > 0
    assert row["clients"]["connected"] >= 1
    assert info["sample"]["exact"] is True
    assert [(one["prefix"], one["keys"], one["without_expiry"]) for one in info["prefixes"]] == [
        ("report:*", 100, 100),
        ("session:*", 900, 0),
    ]
    assert info["largest_without_expiry"][0]["key"].startswith("report:")


@pytest.mark.slow
def test_a_million_keys_are_sampled_not_scanned(server: Server, run_module: RunModule) -> None:
    """The sample is bounded, close to the truth, and quicker than going through all keys in the same run."""
    server.client.execute_command("DEBUG", "POPULATE", 900_000, "session", 100)
    server.client.execute_command("DEBUG", "POPULATE", 100_000, "report", 1000)
    begin = time.monotonic()
    info = run_module(memory_info, server.login())
    took = time.monotonic() - begin
    assert (info["sample"]["keys"], info["sample"]["of"]) == (5000, 1_000_000)
    found = {one["prefix"]: one for one in info["prefixes"]}
    assert found["session:*"]["keys"] == pytest.approx(900_000, rel=0.03)
    assert found["report:*"]["keys"] == pytest.approx(100_000, rel=0.2)
    begin = time.monotonic()
    assert sum(1 for _key in server.client.scan_iter(count=1000)) == 1_000_000
    assert took < time.monotonic() - begin


def test_a_login_that_may_not_look_at_keys_still_gets_the_rest(server: Server, run_module: RunModule) -> None:
    """What is missing is named with the remedy."""
    server.fill("a:", 10)
    server.client.execute_command("ACL", "SETUSER", "weak", "on", ">wk-secret", "+info", "+dbsize", "+ping")
    info = run_module(memory_info, server.login(login_user="weak", login_password="wk-secret"))
    assert info["nodes"][0]["keys"] == 10
    (gap,) = info["unreadable"]
    assert "no permissions to run the 'eval' command" in gap["why"]
    assert "ACL SETUSER" in gap["why"]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"login_password": "not-the-password"}, "Check login_user and login_password."),
        ({"login_user": "nobody"}, "Check login_user and login_password."),
        ({"login_password": None}, "Set login_password"),
        ({"login_db": 99}, "Check login_db."),
        ({"login_host": "nosuch.invalid"}, "Check login_host."),
        ({"login_port": 1}, "Check login_host and login_port, and that the server runs."),
        ({"cluster": True}, "leave cluster out."),
        ({"tls": True}, "Check tls: "),
        ({"sentinels": ["127.0.0.1:1"], "sentinel_service": "cache"}, "Check sentinels and sentinel_service"),
    ],
)
def test_a_wrong_address_or_login_says_what_to_check(
    server: Server, run_module: RunModule, wrong: dict[str, Any], said: str
) -> None:
    """Where, as whom, why and what to do, without the password."""
    done = run_module(memory_info, server.login(connect_timeout_seconds=2, **wrong))
    assert done["_exit_code"] == 1
    assert said in done["msg"], done
    assert 'as "nobody"' in done["msg"] or 'as "default"' in done["msg"] or 'of "default"' in done["msg"]
    assert "not-the-password" not in str({key: value for key, value in done.items() if key != "invocation"})


def test_a_server_that_is_frozen_costs_the_timeout(server: Server, run_module: RunModule) -> None:
    """Connected, and nobody answers."""
    server.container.handle.pause()
    begin = time.monotonic()
    try:
        done = run_module(memory_info, server.login(connect_timeout_seconds=1))
    finally:
        server.container.handle.unpause()
    assert time.monotonic() - begin < 5
    assert "Check that the server is not frozen" in done["msg"]


def test_a_server_that_is_not_there_is_no_traceback(run_module: RunModule) -> None:
    """Nothing listens: one sentence."""
    done = run_module(memory_info, {"login_host": "127.0.0.1", "login_port": free_port()})
    assert "Check login_host and login_port, and that the server runs." in done["msg"]
