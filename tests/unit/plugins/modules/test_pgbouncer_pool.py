"""Expectations of the modules for PgBouncer as Ansible runs them, without a PgBouncer."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.ops.runbooks.plugins.module_utils import _pgbouncer_adapter
from ansible_collections.ops.runbooks.plugins.modules import pgbouncer_pool_info, pgbouncer_pool_reset

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    RunModule = Callable[..., dict[str, Any]]

SECRET = "pgb-secret-77"
LOGIN = {"login_host": "127.0.0.1", "login_user": "ops", "login_password": SECRET, "ssl_mode": "disable"}


@pytest.fixture
def closed_port() -> int:
    """Return a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


@pytest.fixture
def silent_port() -> Iterator[int]:
    """Return a port where connections are taken and nothing is ever said."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize(
    ("main", "options"),
    [
        pytest.param(pgbouncer_pool_info.main, {}, id="info"),
        pytest.param(pgbouncer_pool_reset.main, {"databases": ["app"]}, id="reset"),
    ],
)
def test_a_pgbouncer_that_is_down_is_told(
    run_module: RunModule, closed_port: int, main: Callable[[], None], options: dict[str, Any], check: bool
) -> None:
    """What, where and what to do next; the password nowhere."""
    result = run_module(main, {**LOGIN, **options, "login_port": closed_port}, check=check, diff=True)
    assert result["_exit_code"] == 1
    assert f'Cannot connect to database "pgbouncer" on 127.0.0.1:{closed_port} as "ops"' in result["msg"]
    assert "Check login_host and login_port, and that the server runs." in result["msg"]
    assert SECRET not in json.dumps(result)


def test_a_pgbouncer_that_says_nothing_is_left_at_the_limit(run_module: RunModule, silent_port: int) -> None:
    """A frozen PgBouncer costs connect_timeout_seconds, not for ever."""
    options = {**LOGIN, "login_port": silent_port, "connect_timeout_seconds": 1}
    result = run_module(pgbouncer_pool_info.main, options)
    assert result["msg"] == (
        f"Cannot connect to PgBouncer 127.0.0.1:{silent_port}: no answer within 1 s. "
        "Check that it is not frozen and the network lets this through."
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"databases": []}, "databases must name at least one database.", id="no database"),
        pytest.param({}, "missing required arguments: databases", id="databases left out"),
        pytest.param(
            {"databases": ["app"], "only_above": 2}, "only_above must be between 0 and 1, not 2.0.", id="share"
        ),
        pytest.param({"databases": ["app"], "mode": "kill"}, "value of mode must be one of", id="unknown mode"),
    ],
)
def test_a_wrong_option_is_refused_before_anything_is_connected(
    run_module: RunModule, options: dict[str, Any], message: str
) -> None:
    """No address is given, so a connection would fail in other words."""
    result = run_module(pgbouncer_pool_reset.main, {**LOGIN, "login_port": 1, **options})
    assert message in result["msg"]


def test_a_missing_library_is_named(run_module: RunModule, monkeypatch: pytest.MonkeyPatch) -> None:
    """The managed host needs psycopg2."""
    # Patched because the library is there when the tests run.
    monkeypatch.setattr(_pgbouncer_adapter, "IMPORT_FAILURE", "Traceback: no module")
    result = run_module(pgbouncer_pool_info.main, LOGIN)
    assert "Failed to import the required Python library (psycopg2)" in result["msg"]
