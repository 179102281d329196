"""The modules for PgBouncer against PgBouncer: what they do, and that nothing leaves a database paused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import psycopg2
import pytest
from ansible_collections.ops.runbooks.plugins.module_utils._pgbouncer_adapter import Psycopg2Console
from ansible_collections.ops.runbooks.plugins.module_utils._postgresql_options import Login
from ansible_collections.ops.runbooks.plugins.modules import pgbouncer_pool_info, pgbouncer_pool_reset

from tests.integration.containers import wait_for
from tests.integration.pgbouncer.conftest import PASSWORDS, POOL_SIZE, Bouncer
from tests.unit.plugins.module_utils.pgbouncer import ConsoleContract

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ansible_collections.ops.runbooks.plugins.module_utils._pgbouncer_ports import Console

    RunModule = Callable[..., dict[str, Any]]

pytestmark = pytest.mark.integration

KILL: dict[str, Any] = {"databases": ["app"], "mode": "pause_kill_resume"}

# The module in a process of its own, so that it can be killed.
PROGRAM = """
import json, sys
from tests import conftest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.ops.runbooks.plugins.modules.pgbouncer_pool_reset import main
with patch_module_args(json.loads(sys.argv[1])):
    main()
"""


def start_module(root: Path, options: dict[str, Any]) -> subprocess.Popen[str]:
    arguments = json.dumps({**options, "_ansible_remote_tmp": "/tmp"})
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, arguments],
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.fixture
def holder(bouncer: Bouncer) -> Iterator[Any]:
    """Hold a transaction open, as a client that leaks does."""
    with closing(bouncer.client(autocommit=False)) as connection:
        connection.cursor().execute("SELECT 1")
        yield connection


@dataclass
class Crowd:
    """Clients that query all the time and come back at once when they are dropped."""

    bouncer: Bouncer
    errors: list[str] = field(default_factory=list)
    answered: dict[int, float] = field(default_factory=dict)
    _stop: threading.Event = field(default_factory=threading.Event)

    def run(self, number: int) -> None:
        while not self._stop.is_set():
            try:
                with closing(self.bouncer.client()) as connection:
                    while not self._stop.is_set():
                        connection.cursor().execute("SELECT pg_sleep(0.01)")
                        self.answered[number] = time.monotonic()
            except psycopg2.Error as error:
                self.errors.append(str(error))

    def all_answered_since(self, moment: float) -> bool:
        return len(self.answered) == 6 and min(self.answered.values()) > moment

    def stop(self) -> None:
        self._stop.set()


@pytest.fixture
def crowd(bouncer: Bouncer) -> Iterator[Crowd]:
    crowd = Crowd(bouncer)
    threads = [threading.Thread(target=crowd.run, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    try:
        wait_for(lambda: crowd.all_answered_since(0), "every client is served")
        yield crowd
    finally:
        crowd.stop()
        for thread in threads:
            thread.join(30)


class TestRealConsole(ConsoleContract):
    """The real console keeps the contract that the fake keeps in the unit tests."""

    @pytest.fixture
    def connect(self, bouncer: Bouncer) -> Iterator[Callable[[], Console]]:
        opened = []

        def connect() -> Console:
            opened.append(
                Psycopg2Console(Login("127.0.0.1", bouncer.port, "runbooks", "pgbouncer", PASSWORDS["runbooks"]))
            )
            return opened[-1]

        with closing(bouncer.client()) as client:  # keeps the database listed
            client.cursor().execute("SELECT 1")
            yield connect
            for console in opened:
                console.close()

    @pytest.fixture
    def busy(self, bouncer: Bouncer, holder: Any) -> None:
        assert holder.info.transaction_status == psycopg2.extensions.TRANSACTION_STATUS_INTRANS


def test_reconnect_replaces_the_connections_to_the_server(
    bouncer: Bouncer, crowd: Crowd, run_module: RunModule
) -> None:
    """Check, run, check, run: only the runs give the server new processes, and no client sees an error."""
    options = bouncer.login(databases=["app"], wait_timeout_seconds=10)
    for _ in range(2):
        before = bouncer.backends()
        told = run_module(pgbouncer_pool_reset.main, options, check=True)
        assert told["changed"]
        assert told["after"] == told["before"]
        assert bouncer.backends() == before
        done = run_module(pgbouncer_pool_reset.main, options)
        assert done.get("changed"), done
        assert done["actions"] == [f"Reconnected app; server connections: {done['before']['app']['pool_size']}."]
        wait_for(lambda: len(bouncer.backends()) == POOL_SIZE, "the server has its processes again")
        assert not bouncer.backends() & before
    assert crowd.errors == []


def test_a_leak_is_dropped_and_everybody_is_served_at_once(
    bouncer: Bouncer, holder: Any, crowd: Crowd, run_module: RunModule
) -> None:
    """The transaction that does not end is cut; clients that storm back do not wait for server_login_retry."""
    told = run_module(pgbouncer_pool_reset.main, bouncer.login(**KILL, pause_timeout_seconds=1), check=True)
    assert told["changed"]
    assert crowd.errors == []
    before = bouncer.backends()
    start = time.monotonic()
    done = run_module(pgbouncer_pool_reset.main, bouncer.login(**KILL, pause_timeout_seconds=1))
    assert done.get("changed"), done
    assert "before all its transactions had ended and resumed it" in done["actions"][0]
    wait_for(lambda: crowd.all_answered_since(start + 1), "every client is served again", 8)
    assert not bouncer.backends() & before
    assert len(crowd.errors) == 6  # each client was dropped, once
    with pytest.raises(psycopg2.OperationalError):
        holder.cursor().execute("SELECT 1")


def test_without_connections_there_is_nothing_to_do(bouncer: Bouncer, run_module: RunModule) -> None:
    """A database that nobody uses is left alone or, if it stands for * in the configuration, not known."""
    run_module(pgbouncer_pool_reset.main, bouncer.login(**KILL))
    wait_for(lambda: "app" not in {row[0] for row in bouncer.ask("SHOW DATABASES")}, "app has vanished")
    again = run_module(pgbouncer_pool_reset.main, bouncer.login(**KILL))
    assert again["refused"]
    assert "Correct databases; one that stands for * in its configuration is known only while it has" in again["msg"]


def test_a_database_that_somebody_has_paused_stays_paused(bouncer: Bouncer, holder: Any, run_module: RunModule) -> None:
    """A maintenance is not ended by an automatism."""
    holder.rollback()
    bouncer.ask('PAUSE "app"')
    try:
        done = run_module(pgbouncer_pool_reset.main, bouncer.login(**KILL))
        assert done["actions"] == ["Left app alone: somebody has paused it, and it must stay so."]
        assert not done["changed"]
        assert bouncer.paused() == ["app"]
    finally:
        bouncer.ask('RESUME "app"')


def test_a_name_with_every_trap_is_taken_for_a_name(bouncer: Bouncer, run_module: RunModule) -> None:
    """Quotes, blanks, semicolons and capitals reach the console as one name."""
    name = 'Shop; "old"; PAUSE '
    quoted = '"' + name.replace('"', '""') + '"'
    if (name,) not in bouncer.server("SELECT datname FROM pg_database"):
        bouncer.server(f"CREATE DATABASE {quoted}")
    with closing(bouncer.client(name)) as client:
        client.cursor().execute("SELECT 1")
        before = bouncer.backends(name)
        done = run_module(pgbouncer_pool_reset.main, bouncer.login(databases=[name], mode="pause_kill_resume"))
        assert done.get("changed"), done
        assert not bouncer.backends(name) & before
    assert bouncer.paused() == []


@pytest.mark.parametrize("check", [False, True])
def test_a_user_who_may_only_look_is_told_what_is_missing(
    bouncer: Bouncer, holder: Any, run_module: RunModule, check: bool
) -> None:
    """Check mode finds it out as well as a run."""
    done = run_module(pgbouncer_pool_reset.main, bouncer.login("watcher", **KILL), check=check)
    assert done["msg"] == (
        f'Cannot reset app on PgBouncer 127.0.0.1:{bouncer.port}: user "watcher" may not run admin commands. '
        "Add it to admin_users and reload PgBouncer, or set login_user."
    )
    assert done["refused"]
    holder.cursor().execute("SELECT 1")


@pytest.mark.parametrize("main", [pgbouncer_pool_info.main, pgbouncer_pool_reset.main])
@pytest.mark.parametrize(
    ("changes", "messages"),
    [
        pytest.param(
            {"login_user": "nobody", "login_password": PASSWORDS["nobody"]},
            ['as "nobody": it is neither in admin_users nor in stats_users. Add it and reload PgBouncer'],
            id="not allowed",
        ),
        pytest.param(
            {"login_password": "wrong-secret-9"},
            ['as "runbooks": authentication failed. Check login_user and login_password.'],
            id="wrong password",
        ),
        pytest.param({"login_port": 1}, ["Connection refused", "Check login_host and login_port"], id="down"),
    ],
)
def test_a_login_that_fails_says_why_and_never_the_password(
    bouncer: Bouncer, run_module: RunModule, main: Callable[[], None], changes: dict[str, Any], messages: list[str]
) -> None:
    """What, where and what to do next."""
    options = bouncer.login(**changes)
    if main is pgbouncer_pool_reset.main:
        options.update(KILL)
    done = run_module(main, options)
    assert done["_exit_code"] == 1
    for message in messages:
        assert message in done["msg"]
    text = json.dumps(done)
    assert not [secret for secret in (*PASSWORDS.values(), "wrong-secret-9") if secret in text]


def test_what_is_read_agrees_with_psql(bouncer: Bouncer, run_module: RunModule) -> None:
    """Clients in wait, servers in use and settings, seen by another tool."""
    holders = [bouncer.client(autocommit=False) for _ in range(POOL_SIZE)]
    for held in holders:
        held.cursor().execute("SELECT 1")
    waiting = threading.Thread(target=lambda: bouncer.serves("app"))
    waiting.start()
    try:
        wait_for(lambda: [row[3] for row in bouncer.ask("SHOW POOLS") if row[0] == "app"] == [1], "a client waits")
        info = run_module(pgbouncer_pool_info.main, bouncer.login("watcher"))
        pools = {row[0]: row for row in bouncer.psql("SHOW POOLS")}
    finally:
        for held in holders:
            held.close()
        waiting.join(20)
    app = info["databases"]["app"]
    assert (app["clients_active"], app["clients_waiting"], app["servers_active"]) == (POOL_SIZE, 1, POOL_SIZE)
    assert [int(pools["app"][column]) for column in (2, 3, 6)] == [POOL_SIZE, 1, POOL_SIZE]
    assert (app["used_ratio"], info["clients_waiting"]) == (1.0, 1)
    assert info["longest_wait_seconds"] > 0
    assert info["version"].startswith(bouncer.version)
    assert info["state"] == ("active" if bouncer.version == "1.24" else None)
    assert info["may_reset"] is False
    assert info["server_login_retry_seconds"] == float(bouncer.config("server_login_retry"))
    assert info["clients"]["max"] == int(bouncer.config("max_client_conn"))


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_module_that_is_killed_leaves_nothing_paused(
    bouncer: Bouncer, holder: Any, root: Path, how: signal.Signals
) -> None:
    """In the middle of PAUSE, with its whole group: the guard resumes and restores the setting."""
    with start_module(root, bouncer.login(**KILL, pause_timeout_seconds=60)) as module:
        wait_for(lambda: bouncer.paused() == ["app"], "the module has paused")
        assert bouncer.config("server_login_retry") == "1"
        os.killpg(module.pid, how)
        assert module.wait(5) == -how
        wait_for(lambda: bouncer.paused() == [], "the guard has resumed", 10)
        wait_for(lambda: bouncer.config("server_login_retry") == "15", "the guard has restored the setting", 10)
    holder.cursor().execute("SELECT 1")  # not killed: the module did not come that far


def test_server_connections_that_die_in_the_middle_do_not_matter(
    bouncer: Bouncer, holder: Any, crowd: Crowd, root: Path
) -> None:
    """PostgreSQL ends every session of the database while it is paused; the reset goes on to its end."""
    with start_module(root, bouncer.login(**KILL, pause_timeout_seconds=30)) as module:
        wait_for(lambda: bouncer.paused() == ["app"], "the module has paused")
        start = time.monotonic()
        bouncer.server("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'app'")
        output, errors = module.communicate(timeout=30)
    done = json.loads(output)
    assert module.returncode == 0, (output, errors)
    assert done["changed"]
    wait_for(lambda: crowd.all_answered_since(start), "every client is served again", 10)


def test_a_pgbouncer_that_restarts_in_the_middle_is_not_left_paused(bouncer: Bouncer, holder: Any, root: Path) -> None:
    """The module fails, says that its connection is lost, and that the database is not paused."""
    with start_module(root, bouncer.login(**KILL, pause_timeout_seconds=60)) as module:
        wait_for(lambda: bouncer.paused() == ["app"], "the module has paused")
        bouncer.container.handle.restart(timeout=0)
        output, _ = module.communicate(timeout=90)
    done = json.loads(output)
    assert module.returncode == 1
    assert "Lost the connection" in done["msg"]
    assert done["msg"].endswith("Database app is not paused.")
    assert done["changed"] is False


def test_a_pgbouncer_that_freezes_for_a_moment_is_waited_for(bouncer: Bouncer, holder: Any, root: Path) -> None:
    """Longer than one command may take, shorter than the module's patience: resumed, and the failure is told."""
    with start_module(root, bouncer.login(**KILL, pause_timeout_seconds=1)) as module:
        wait_for(lambda: bouncer.paused() == ["app"], "the module has paused")
        bouncer.container.handle.pause()
        try:
            time.sleep(13)  # past the limit of PAUSE and that of KILL
        finally:
            bouncer.container.handle.unpause()
        output, _ = module.communicate(timeout=60)
    done = json.loads(output)
    assert "did not answer KILL" in done["msg"]
    assert done["msg"].endswith("Database app is not paused.")
    assert done["changed"] is True  # nobody knows, so it counts
