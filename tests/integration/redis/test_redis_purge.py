"""redis_memory_purge on a real server that goes away in the middle."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.containers import wait_for
from tests.integration.gate import Gate

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integration.redis.conftest import Server

    RunModule = Callable[..., dict[str, Any]]

pytestmark = pytest.mark.integration

purge = importlib.import_module("ansible_collections.ops.runbooks.plugins.modules.redis_memory_purge").main
# Any memory beside what is used is too much, and there always is some.
ALWAYS = {"only_above_ratio": 1.0, "only_above_bytes": 0, "timeout_seconds": 1}


@pytest.mark.parametrize("killed", [False, True], ids=["connection-cut", "server-killed"])
def test_a_purge_that_is_cut_off_is_told(server: Server, run_module: RunModule, *, killed: bool) -> None:
    """One sentence, keys stay as they were, and a second run comes to its end."""
    server.fill("page:", 100)
    planned = run_module(purge, server.login(**ALWAYS), check=True)
    assert (planned["_exit_code"], planned["changed"]) == (0, True), planned
    purged = server.client.info("commandstats").get("cmdstat_memory|purge", {"calls": 0})["calls"]
    assert purged == 0
    then = server.container.handle.kill if killed else lambda: None
    with Gate(server.port, 1, then, after_bytes=330).open() as gate:
        done = run_module(purge, server.login(login_port=gate.port, **ALWAYS))
    assert (done["_exit_code"], done["changed"]) == (1, True), done
    assert done["msg"].startswith(f"Lost the connection to Redis 127.0.0.1:{gate.port}")
    assert done["before"] == done["after"]
    if killed:
        server.container.handle.start()
        wait_for(server.client.ping, "Redis serves again")
    else:
        assert server.count("page:*") == 100
        assert server.client.info("commandstats")["cmdstat_memory|purge"]["calls"] == 1
    again = run_module(purge, server.login(**ALWAYS))
    assert (again["_exit_code"], again["changed"]) == (0, True), again
    assert server.client.config_get("activedefrag")["activedefrag"] == "no"
