"""postgresql_pool_info and postgresql_pool_reset on real servers; claims are checked with psql, not our module."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg2
import pytest
from ansible_collections.ops.runbooks.plugins.module_utils._postgresql_adapter import Connection
from ansible_collections.ops.runbooks.plugins.module_utils._postgresql_options import Login
from ansible_collections.ops.runbooks.plugins.module_utils._postgresql_source import PostgresqlSessions
from typing_extensions import override

from tests.integration.containers import free_port, wait_for
from tests.integration.postgresql.conftest import APPLICATION_SLOTS, PASSWORDS, SIT_TIGHT, Server
from tests.unit.plugins.module_utils.postgresql import SessionSourceContract, World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    RunModule = Callable[..., dict[str, Any]]

pytestmark = pytest.mark.integration

MODULES = "ansible_collections.ops.runbooks.plugins.modules."
pool_info = importlib.import_module(f"{MODULES}postgresql_pool_info").main
pool_reset = importlib.import_module(f"{MODULES}postgresql_pool_reset").main


class RealWorld(World):
    """Clients of a real server."""

    def __init__(self, server: Server, source: PostgresqlSessions) -> None:
        self.server = server
        self.source = source

    @override
    def idle(self, application: str) -> int:
        return self.server.idle(application)

    @override
    def in_transaction(self, application: str) -> int:
        return self.server.in_transaction(application)

    @override
    def busy(self, application: str) -> int:
        return self.server.busy(application)

    @override
    def waiting_for(self, application: str) -> tuple[int, int, int]:
        holder = self.server.in_transaction(application, statement="LOCK TABLE queue")
        waiters = []
        for _ in range(2):
            waiters.append(self.server.busy(application, "LOCK TABLE queue; SELECT pg_sleep(60)"))
            wait_for(lambda: waiters[-1] in self.server.pids(wait_event_type="Lock"), "The session waits")
        return holder, waiters[0], waiters[1]

    @override
    def begin(self, pid: int) -> None:
        self.server.begin(pid)


class TestRealServer(SessionSourceContract):
    """The real server keeps the contract that the fake keeps in the unit tests."""

    @pytest.fixture
    def world(self, server: Server) -> Iterator[World]:
        login = Login("127.0.0.1", server.port, "runbooks", "app", PASSWORDS["runbooks"])
        with closing(Connection(login)) as connection:
            yield RealWorld(server, PostgresqlSessions(connection))


@pytest.fixture
def innocents(server: Server) -> Iterator[dict[str, int]]:
    """Run what must never be ended: replication, a superuser's session, a monitor's, a backup's, a working client's."""
    receiver = server.container.handle.client.api.exec_create(
        server.container.name,
        ["sh", "-c", "mkdir -p /tmp/wal && exec pg_receivewal -D /tmp/wal --no-loop"],
    )
    server.container.handle.client.api.exec_start(receiver["Id"], detach=True)
    wait_for(lambda: server.pids(backend_type="walsender"), "Replication runs")
    (replication,) = server.pids(backend_type="walsender")
    yield {
        "replication": replication,
        "superuser": server.in_transaction("admin", "postgres"),
        "monitor": server.idle("exporter", "watcher"),
        "backup": server.in_transaction("pg_dump"),
        "working": server.busy("reports"),
    }
    server.psql(f"SELECT pg_terminate_backend({replication}, 10000)")


def alive(server: Server, pids: dict[str, int]) -> set[str]:
    """Return the names of those that still exist."""
    there = server.pids()
    return {name for name, pid in pids.items() if pid in there}


def test_a_leak_is_ended_and_nobody_else(server: Server, innocents: dict[str, int], run_module: RunModule) -> None:
    """Check, run with diff, check, run: one run changes something, and the innocent are untouched."""
    leaked = {server.in_transaction("leaky") for _ in range(10)}
    pool = {server.idle("shop") for _ in range(4)}
    asked = {**server.login(), "minimum_idle_in_transaction_seconds": 0.0, "minimum_idle_seconds": 600.0}

    planned = run_module(pool_reset, asked, check=True)
    assert (planned["changed"], planned["selected_count"]) == (True, 10)
    assert planned["actions"][0] == "Would end 10 sessions of leaky (10)."
    assert leaked <= server.pids()

    done = run_module(pool_reset, asked, diff=True)
    assert (done["_exit_code"], done["changed"], done["terminated"]) == (0, True, 10), done
    assert server.pids() & leaked == set()
    assert done["diff"]["before"]["used"] - done["diff"]["after"]["used"] == 10
    assert {one["pid"] for one in done["selected"]} == leaked
    assert pool <= server.pids()
    assert alive(server, innocents) == set(innocents)
    assert any("superuser" in line for line in done["actions"])
    assert any("backup" in line for line in done["actions"])

    for check in (True, False):
        again = run_module(pool_reset, asked, check=check)
        assert (again["changed"], again["terminated"]) == (False, 0)
    assert alive(server, innocents) == set(innocents)


def test_the_widest_criteria_spare_the_innocent(
    server: Server, innocents: dict[str, int], run_module: RunModule
) -> None:
    """Every state, no floor, a whole database: replication, superuser, monitor and backup stay."""
    server.idle("shop")
    asked = {
        **server.login(),
        "states": ["active", "idle", "idle_in_transaction", "idle_in_transaction_aborted"],
        "databases": ["app", "postgres"],
        "keep_per_application": 0,
    }
    done = run_module(pool_reset, asked)
    assert done["changed"], done
    assert server.pids(application_name="shop") == set()
    assert alive(server, innocents) >= {"replication", "superuser", "monitor", "backup"}
    # Cancelled, not terminated: the statement yielded and its session lives.
    assert innocents["working"] in server.pids(state="idle")


def test_the_floor_keeps_an_application_alive(server: Server, run_module: RunModule) -> None:
    """Of five idle sessions the two that were used last stay."""
    pids = []
    for _ in range(5):
        pids.append(server.idle("shop"))
        time.sleep(0.05)
    done = run_module(pool_reset, {**server.login(), "applications": ["shop"], "keep_per_application": 2})
    assert done["terminated"] == 3
    assert server.pids(application_name="shop") == set(pids[-2:])


def test_a_statement_that_catches_the_cancel_is_terminated(server: Server, run_module: RunModule) -> None:
    """Cancel first; what sits tight goes after the grace period, what yields keeps its session."""
    deaf, polite = server.busy("deaf", SIT_TIGHT), server.busy("polite")
    asked = {**server.login(), "states": ["active"], "applications": ["deaf", "polite"], "grace_seconds": 1.0}
    done = run_module(pool_reset, {**asked, "keep_per_application": 0})
    assert (done["cancelled"], done["terminated"]) == (2, 1), done
    assert done["duration_seconds"] >= 1
    assert deaf not in server.pids()
    assert polite in server.pids(state="idle")


def test_only_the_blocker_is_ended(server: Server, run_module: RunModule) -> None:
    """The holder of the lock goes, an equal session that blocks nobody stays, and the waiter gets the lock."""
    other = server.in_transaction("shop")
    holder = server.in_transaction("shop", statement="SELECT pg_advisory_xact_lock(9)")
    waiter = server.busy("shop", "SELECT pg_advisory_lock(9)")
    wait_for(lambda: waiter in server.pids(wait_event_type="Lock"), "The session waits")
    info = run_module(pool_info, server.login())
    assert [(root["pid"], root["blocks"][0]["pid"]) for root in info["blocking"]] == [(holder, waiter)]
    done = run_module(pool_reset, {**server.login(), "blockers_only": True})
    assert done["terminated"] == 1
    wait_for(lambda: waiter in server.pids(state="idle"), "The waiter has the lock")
    assert other in server.pids()


@pytest.mark.parametrize("reaction", ["fail", "skip", "warn"])
def test_below_the_share_each_reaction_is_kept(server: Server, run_module: RunModule, reaction: str) -> None:
    """Fail refuses, skip leaves alone, warn goes on."""
    leaked = server.in_transaction("leaky")
    asked = {**server.login(), "minimum_idle_seconds": 0.0, "only_above": 0.9, "precondition_reaction": reaction}
    done = run_module(pool_reset, asked)
    assert done["changed"] is (reaction == "warn")
    assert done.get("refused", False) is (reaction == "fail")
    assert (leaked in server.pids()) is (reaction != "warn")


def test_more_than_the_limit_ends_none(server: Server, run_module: RunModule) -> None:
    """The message has both numbers."""
    for _ in range(3):
        server.in_transaction("leaky")
    done = run_module(pool_reset, {**server.login(), "minimum_idle_seconds": 0.0, "limit": 2})
    assert done["refused"] is True
    assert "3 match and limit is 2" in done["msg"]
    assert len(server.pids(application_name="leaky")) == 3


def test_exhausted_slots_do_not_lock_the_rescuer_out(server: Server, run_module: RunModule) -> None:
    """From version 16 a role that may use reserved slots gets in; before, only a superuser does, and is told so."""
    for _ in range(APPLICATION_SLOTS[server.version]):
        server.in_transaction("leaky")
    with pytest.raises(psycopg2.OperationalError):
        server.connect("late")
    asked = {"minimum_idle_in_transaction_seconds": 0.0, "only_above": 0.9}
    as_runbooks = run_module(pool_reset, {**server.login(), **asked})
    if server.version == "15":
        assert as_runbooks["_exit_code"] == 1
        assert "Log in as a role that may use reserved slots" in as_runbooks["msg"]
        done = run_module(pool_reset, {**server.login("postgres"), **asked})
    else:
        done = as_runbooks
    assert done["terminated"] == APPLICATION_SLOTS[server.version], done
    assert done["before"]["application"] == APPLICATION_SLOTS[server.version]
    assert done["before"]["used_ratio"] >= 1
    server.connect("served again")


def test_a_superuser_is_ended_only_by_name_and_by_one(server: Server, run_module: RunModule) -> None:
    """The name, the switch and the privilege are all needed."""
    admin = server.in_transaction("admin", "postgres")
    asked = {"minimum_idle_seconds": 0.0, "users": ["postgres"], "allow_superusers": True}
    refused = run_module(pool_reset, {**server.login(), **asked})
    assert "login_user may not signal them" in refused["msg"]
    assert admin in server.pids()
    assert run_module(pool_reset, {**server.login("postgres"), **asked})["terminated"] == 1
    assert admin not in server.pids()


@pytest.mark.parametrize("check", [True, False])
def test_a_missing_privilege_is_named_with_its_grant(server: Server, run_module: RunModule, check: bool) -> None:
    """Check mode finds it as well; nothing is ended."""
    leaked = server.in_transaction("leaky")
    server.psql("GRANT pg_monitor TO weak")
    done = run_module(pool_reset, {**server.login("weak"), "minimum_idle_seconds": 0.0}, check=check)
    server.psql("REVOKE pg_monitor FROM weak")
    assert done["_exit_code"] == 1
    assert f"sessions of app on 127.0.0.1:{server.port}: login_user may not signal them" in done["msg"]
    assert "GRANT pg_signal_backend" in done["msg"]
    assert leaked in server.pids()


def test_hidden_states_are_told_not_guessed(server: Server, run_module: RunModule) -> None:
    """Without pg_monitor the slots are known and the states are not; a reset says that it saw nothing."""
    for _ in range(3):
        server.in_transaction("leaky")
    info = run_module(pool_info, server.login("weak"))
    assert info["sessions"]["total"] == info["slots"]["used"] == 4
    assert info["sessions"]["by_state"]["idle_in_transaction"] == 0
    why = "the login role is not a member of pg_monitor"
    assert info["unreadable"] == [{"what": "state and age of 3 sessions", "why": why}]
    done = run_module(pool_reset, {**server.login("weak"), "minimum_idle_seconds": 0.0})
    assert (done["changed"], done["selected_count"]) == (False, 0)
    assert f"Cannot read state and age of 3 sessions on 127.0.0.1:{server.port}: {why}." in str(done["warnings"])


def test_information_agrees_with_psql(server: Server, run_module: RunModule) -> None:
    """Counts, slots and the oldest transaction are what the server says; a password in a statement is not shown."""
    oldest = server.in_transaction("leaky", statement="SELECT 'hunter2'")
    time.sleep(0.2)
    server.in_transaction("leaky")
    busy = server.busy("reports")
    info = run_module(pool_info, server.login())
    assert info["changed"] is False
    assert info["sessions"]["by_state"]["idle_in_transaction"] == len(server.pids(state="idle in transaction")) == 2
    (leaky,) = [row for row in info["sessions"]["by_application"] if row["name"] == "leaky"]
    assert leaky["sessions"] == 2
    assert info["slots"]["application"] == APPLICATION_SLOTS[server.version]
    assert info["server"]["version"].startswith(server.version)
    assert info["longest_transaction"]["pid"] == oldest
    assert info["longest_transaction"]["query"] == "SELECT '?'"
    assert info["longest_statement"]["pid"] == busy
    quiet = run_module(pool_info, {**server.login(), "include_queries": False})
    assert "query" not in quiet["longest_transaction"]


@pytest.mark.parametrize("main", [pool_info, pool_reset])
@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"login_password": "not-the-password"}, "Check login_user and login_password."),
        ({"login_password": None}, "Set login_password."),
        ({"login_db": "nosuch"}, "Check login_db and login_user."),
        ({"login_host": "nosuch.invalid"}, "Check login_host."),
        ({"login_port": 1}, "Check login_host and login_port, and that the server runs."),
    ],
)
def test_a_wrong_address_or_login_says_what_to_check(
    server: Server, run_module: RunModule, main: Callable[[], None], wrong: dict[str, Any], said: str
) -> None:
    """Where, as whom, why and what to do, without the password."""
    given = {**server.login(), "minimum_idle_seconds": 0.0, **wrong}
    if main is pool_info:
        given.pop("minimum_idle_seconds")
    done = run_module(main, given)
    assert done["_exit_code"] == 1
    assert done["msg"].startswith("Cannot connect to database ")
    assert 'as "runbooks": ' in done["msg"]
    assert said in done["msg"]
    assert "not-the-password" not in str({key: value for key, value in done.items() if key != "invocation"})


def test_a_server_that_is_not_there_is_no_traceback(run_module: RunModule) -> None:
    """Nothing listens: one sentence."""
    done = run_module(pool_reset, {"login_host": "127.0.0.1", "login_port": free_port(), "minimum_idle_seconds": 0.0})
    assert "Check login_host and login_port, and that the server runs." in done["msg"]


def test_a_server_that_dies_half_way_leaves_a_true_account(server: Server, run_module: RunModule) -> None:
    """Idle sessions are ended, then the server is killed while a deaf one has its grace: the message says so."""
    for _ in range(4):
        server.in_transaction("leaky")
    server.busy("leaky", SIT_TIGHT)
    states = ["active", "idle_in_transaction"]
    asked = {**server.login(), "states": states, "applications": ["leaky"], "grace_seconds": 60.0}
    asked["keep_per_application"] = 0
    idle = server.pids(application_name="leaky", state="idle in transaction")

    def kill() -> None:
        wait_for(lambda: not idle & server.pids(), "The idle sessions are gone", 60)
        time.sleep(2)  # the deaf one is told as well, and has its grace of a minute
        server.container.handle.kill()

    stop = threading.Thread(target=kill)
    stop.start()
    try:
        done = run_module(pool_reset, asked)
    finally:
        stop.join()
        server.container.handle.start()
        wait_for(lambda: server.container.run("pg_isready", "-h", "127.0.0.1"), "PostgreSQL serves again")
    assert done["_exit_code"] == 1
    assert done["msg"].startswith("Lost the connection to database")
    assert "Before that, 4 sessions were told to end and 1 statements were cancelled." in done["msg"]
    assert (done["changed"], done["terminated"], done["cancelled"]) == (True, 4, 1)

    deaf = server.busy("leaky", SIT_TIGHT)
    again = run_module(pool_reset, {**asked, "grace_seconds": 1.0})
    assert (again["_exit_code"], again["terminated"]) == (0, 1), again
    assert deaf not in server.pids()


def test_the_password_is_in_no_process_list(server: Server, tmp_path: Path, root: Path) -> None:
    """As a task of a real play: neither output nor any command line on the machine shows it."""
    deaf = server.busy("deaf", SIT_TIGHT)
    play = tmp_path / "play.yml"
    play.write_text(
        f"""
- hosts: localhost
  connection: local
  gather_facts: false
  tasks:
    - ops.runbooks.postgresql_pool_reset:
        login_host: 127.0.0.1
        login_port: {server.port}
        login_user: runbooks
        login_password: "{{{{ lookup('ansible.builtin.env', 'SECRET') }}}}"
        login_db: app
        states: [active]
        applications: [deaf]
        keep_per_application: 0
        grace_seconds: 2
""",
        encoding="utf-8",
    )
    environment = {**os.environ, "SECRET": PASSWORDS["runbooks"], "ANSIBLE_COLLECTIONS_PATH": str(root / "collections")}
    playbook = Path(sys.executable).with_name("ansible-playbook")
    interpreter = f"ansible_python_interpreter={sys.executable}"
    command = [str(playbook), "-vvv", "--diff", "-i", "localhost,", "-e", interpreter, str(play)]
    seen = []
    with subprocess.Popen(
        command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as running:
        while running.poll() is None and deaf in server.pids():
            listed = subprocess.run(["ps", "-eww", "-o", "args"], check=True, capture_output=True, text=True)
            seen.append(listed.stdout)
        printed, _nothing = running.communicate(timeout=60)
    assert running.returncode == 0, printed
    assert any("postgresql_pool_reset" in listing for listing in seen)
    assert not any(PASSWORDS["runbooks"] in listing for listing in seen)
    assert PASSWORDS["runbooks"] not in printed
