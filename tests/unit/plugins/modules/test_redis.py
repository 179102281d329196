"""Expectations of the modules for Redis as Ansible runs them, without a Redis."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.ops.runbooks.plugins.module_utils import _redis_adapter
from ansible_collections.ops.runbooks.plugins.modules import (
    redis_clients_disconnect,
    redis_evict,
    redis_memory_info,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    RunModule = Callable[..., dict[str, Any]]

SECRET = "rd-secret-77"
LOGIN = {"login_host": "127.0.0.1", "login_user": "ops", "login_password": SECRET}
MODULES = [
    pytest.param(redis_memory_info.main, {}, id="memory_info"),
    pytest.param(redis_evict.main, {"patterns": ["session:*"]}, id="evict"),
    pytest.param(redis_clients_disconnect.main, {"minimum_idle_seconds": 60}, id="clients_disconnect"),
]


@pytest.fixture
def closed_port() -> int:
    """Return a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize(("main", "options"), MODULES)
def test_a_server_that_is_down_is_told(
    run_module: RunModule, closed_port: int, main: Callable[[], None], options: dict[str, Any], check: bool
) -> None:
    """What, where and what to do next; the password nowhere."""
    result = run_module(main, {**LOGIN, **options, "login_port": closed_port}, check=check, diff=True)
    assert result["_exit_code"] == 1
    assert f'Cannot connect to Redis 127.0.0.1:{closed_port} as "ops": ' in result["msg"]
    assert "Check login_host and login_port, and that the server runs." in result["msg"]
    assert SECRET not in json.dumps(result)


def test_a_server_that_says_nothing_is_left_at_the_limit(run_module: RunModule) -> None:
    """A frozen server costs connect_timeout_seconds, not for ever."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        result = run_module(redis_memory_info.main, {**LOGIN, "login_port": port, "connect_timeout_seconds": 1})
    assert "Check that the server is not frozen and can be reached, or raise connect_timeout_seconds." in result["msg"]


@pytest.mark.parametrize(("main", "options"), MODULES)
def test_a_missing_library_is_told_as_ansible_tells_it(
    run_module: RunModule, monkeypatch: pytest.MonkeyPatch, main: Callable[[], None], options: dict[str, Any]
) -> None:
    """With its name and the interpreter's."""
    monkeypatch.setattr(_redis_adapter, "IMPORT_FAILURE", "Traceback: No module named 'redis'")
    result = run_module(main, {**LOGIN, **options})
    assert "redis" in result["msg"]
    assert "Python" in result["msg"]


@pytest.mark.parametrize(
    ("main", "options", "said"),
    [
        (redis_evict.main, {"patterns": ["*"]}, "These criteria mean every key."),
        (redis_clients_disconnect.main, {}, "These criteria mean every client."),
        (redis_memory_info.main, {"sample_keys": -1}, "sample_keys is -1"),
        (redis_memory_info.main, {"sentinels": ["192.0.2.1:26379"]}, "sentinel_service"),
        (redis_evict.main, {}, "patterns"),
    ],
)
def test_what_must_not_be_asked_is_refused_without_a_connection(
    run_module: RunModule, main: Callable[[], None], options: dict[str, Any], said: str
) -> None:
    """Before anything is tried."""
    result = run_module(main, {**LOGIN, **options, "login_host": "nosuch.invalid"})
    assert result["_exit_code"] == 1
    assert said in result["msg"]
