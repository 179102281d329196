"""redis_evict on a real server; claims are checked with another client, not our module."""

from __future__ import annotations

import importlib
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
import redis

from tests.integration.containers import Containers, wait_for
from tests.integration.gate import Gate
from tests.integration.redis.conftest import IMAGE, MEGABYTE, PASSWORD, Server

if TYPE_CHECKING:
    from collections.abc import Callable

    RunModule = Callable[..., dict[str, Any]]

pytestmark = pytest.mark.integration

evict = importlib.import_module("ansible_collections.ops.runbooks.plugins.modules.redis_evict").main


def test_a_prefix_is_evicted_and_nothing_else(server: Server, run_module: RunModule) -> None:
    """Check, run with diff, check, run: one run changes something, and what is protected or of others stays."""
    server.fill("session:", 3000)
    server.fill("session:admin:", 20)
    server.fill("queue:", 50)
    asked = server.login(patterns=["session:*"], protect=["session:admin:*"])

    planned = run_module(evict, asked, check=True)
    assert planned["changed"] is True, planned
    assert planned["estimate"]["keys"] == 3000
    assert planned["estimate"]["keys_margin"] == 0
    assert planned["actions"][0].startswith("Would evict about 3000 keys and free about ")
    assert server.client.dbsize() == 3070

    done = run_module(evict, asked, diff=True)
    assert (done["_exit_code"], done["changed"], done["evicted"], done["protected"]) == (0, True, 3000, 20), done
    assert server.client.dbsize() == 70
    assert (server.count("session:admin:*"), server.count("queue:*")) == (20, 50)
    assert done["diff"]["before"]["keys"] - done["diff"]["after"]["keys"] == 3000
    assert done["bytes_freed"] == pytest.approx(planned["estimate"]["bytes"], rel=0.1)
    assert done["before"]["limit_bytes"] == 0
    assert done["before"]["used_ratio"] is None

    for check in (True, False):
        again = run_module(evict, asked, check=check)
        assert (again["changed"], again["evicted"]) == (False, 0)
    assert server.client.dbsize() == 70


def test_idle_keys_go_and_used_ones_stay(server: Server, run_module: RunModule) -> None:
    """Idle time is decided inside the server; looking does not touch a key."""
    server.fill("page:", 100)
    time.sleep(2.1)
    for number in range(30):
        server.client.get(f"page:{number}")
    asked = server.login(patterns=["page:*"], minimum_idle_seconds=2)
    assert run_module(evict, asked, check=True)["estimate"]["keys"] == 70
    done = run_module(evict, asked)
    assert (done["evicted"], done["skipped"]) == (70, 30)
    assert server.client.exists(*(f"page:{number}" for number in range(30))) == 30


def test_the_expiry_window_is_kept(server: Server, run_module: RunModule) -> None:
    """Soon, late and never: each can be meant alone."""
    server.fill("soon:", 10, ttl=100)
    server.fill("late:", 20, ttl=10_000)
    server.fill("never:", 30)
    assert run_module(evict, server.login(patterns=["*"], expires_within_seconds=500))["evicted"] == 10
    assert run_module(evict, server.login(patterns=["*"], ttl="with"))["evicted"] == 20
    assert server.client.dbsize() == 30
    assert run_module(evict, server.login(patterns=["*"], ttl="without"))["evicted"] == 30


def test_the_largest_go_first(server: Server, run_module: RunModule) -> None:
    """Of every type, found among many small ones."""
    server.fill("small:", 2000, 50)
    server.fill("large:", 5, 100_000)
    server.client.rpush("list", *(b"x" * 1000 for _number in range(500)))
    server.client.hset("hash", mapping={f"field{number}": b"x" * 100 for number in range(5000)})
    done = run_module(evict, server.login(patterns=["*"], order="size", max_keys=7))
    assert done["evicted"] == 7, done
    assert server.client.dbsize() == 2000
    assert server.count("small:*") == 2000
    assert done["bytes_freed"] > 1_400_000


def test_the_next_to_expire_and_the_least_used_go_first(server: Server, run_module: RunModule) -> None:
    """By expiry under any policy, by frequency under an LFU policy."""
    for number in range(20):
        server.client.set(f"a:{number}", "x", ex=1000 * (number + 1))
    done = run_module(evict, server.login(patterns=["a:*"], order="expiry", max_keys=5))
    assert done["evicted"] == 5
    assert server.client.exists(*(f"a:{number}" for number in range(5))) == 0
    server.client.config_set("maxmemory-policy", "allkeys-lfu")
    server.client.config_set("lfu-log-factor", 0)
    server.fill("b:", 20)
    for number in range(10):
        for _time in range(50):
            server.client.get(f"b:{number}")
    done = run_module(evict, server.login(patterns=["b:*"], order="frequency", max_keys=10))
    assert done["evicted"] == 10
    assert server.client.exists(*(f"b:{number}" for number in range(10))) == 10


def fill_up(server: Server) -> None:
    for number in range(1000):
        server.fill(f"page:{number}:", 100, 1000)


@pytest.mark.parametrize("order", ["none", "idle", "size"])
def test_a_full_server_is_brought_down_to_the_target(server: Server, run_module: RunModule, order: str) -> None:
    """A limit, writes that fail, a run, writes that succeed: with a real maxmemory, and the estimate was right."""
    limit = server.used() + 20 * MEGABYTE
    server.client.config_set("maxmemory", limit)
    server.fill("keep:", 10)
    with pytest.raises(redis.exceptions.OutOfMemoryError):
        fill_up(server)
    asked = server.login(patterns=["page:*"], order=order, target_share=0.6, only_above=0.9)
    planned = run_module(evict, asked, check=True)
    done = run_module(evict, asked)
    assert done["target_reached"] is True, done
    assert done["before"]["used_ratio"] > 0.95
    assert 0.57 < done["after"]["used_ratio"] <= 0.6
    assert abs(server.used() - done["after"]["used_bytes"]) < 200_000
    # Tables of the server shrink by steps, which no size of a key shows.
    assert planned["estimate"]["keys"] == pytest.approx(done["evicted"], rel=0.15)
    server.client.set("again", "x")
    assert server.count("keep:*") == 10
    refused = run_module(evict, asked)
    assert refused["refused"] is True
    assert "below the 90% from which keys are evicted" in refused["msg"]


def test_large_values_are_freed_before_more_is_evicted(server: Server, run_module: RunModule) -> None:
    """A thread of the server frees them; the module waits, and does not take what it need not."""
    for number in range(40):
        server.client.hset(f"hash:{number}", mapping={f"{field}": b"x" * 100 for field in range(3000)})
    used = server.used()
    server.client.config_set("maxmemory", used)
    done = run_module(evict, server.login(patterns=["hash:*"], target_share=0.75))
    assert done["target_reached"] is True
    assert 9 <= done["evicted"] <= 14


def test_a_sample_of_many_keys_predicts_the_run(server: Server, run_module: RunModule) -> None:
    """Within the margin that is stated, at least nearly so."""
    server.client.execute_command("DEBUG", "POPULATE", 50_000, "page", 100)
    server.client.execute_command("DEBUG", "POPULATE", 50_000, "other", 300)
    asked = server.login(patterns=["page:*1*"], sample_keys=4000)
    planned = run_module(evict, asked, check=True)["estimate"]
    done = run_module(evict, asked)
    assert 0 < planned["keys_margin"] < 0.1 * planned["keys"]
    assert abs(planned["keys"] - done["evicted"]) <= 2 * planned["keys_margin"]
    assert abs(planned["bytes"] - done["bytes_freed"]) <= 2 * planned["bytes_margin"]


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize(
    ("rights", "said"),
    [
        (["+@all", "-unlink", "~*"], "UNLINK"),
        (["+@all", "~other:*"], "ACL SETUSER"),
        (["+info", "+dbsize", "~*"], "no permissions to run the 'eval' command"),
    ],
)
def test_a_missing_permission_is_named(
    server: Server, run_module: RunModule, rights: list[str], said: str, check: bool
) -> None:
    """Check mode finds it as well; nothing is evicted."""
    server.fill("page:", 100)
    server.client.execute_command("ACL", "SETUSER", "weak", "on", ">wk-secret", *rights)
    done = run_module(
        evict, server.login(login_user="weak", login_password="wk-secret", patterns=["page:*"]), check=check
    )
    assert done["_exit_code"] == 1
    assert said.lower() in done["msg"].lower()
    assert "ACL SETUSER" in done["msg"]
    assert "wk-secret" not in str({key: value for key, value in done.items() if key != "invocation"})
    assert server.client.dbsize() == 100


def test_a_wrong_password_is_said_without_it(server: Server, run_module: RunModule) -> None:
    """Where, as whom, why and what to do."""
    done = run_module(evict, server.login(login_password="not-the-password", patterns=["a:*"]))
    assert "Check login_user and login_password." in done["msg"]
    assert "not-the-password" not in str({key: value for key, value in done.items() if key != "invocation"})


def test_every_key_without_a_stop_is_refused(server: Server, run_module: RunModule) -> None:
    """A star is no criterion."""
    server.fill("page:", 10)
    done = run_module(evict, server.login(patterns=["*"]))
    assert "These criteria mean every key." in done["msg"]
    assert server.client.dbsize() == 10


def test_a_share_without_a_limit_is_refused(server: Server, run_module: RunModule) -> None:
    """Never divided by zero."""
    done = run_module(evict, server.login(patterns=["*"], target_share=0.5))
    assert done["refused"] is True
    assert "mean a share of maxmemory, and that is 0" in done["msg"]


@pytest.mark.parametrize("after_bytes", [6000, 20_000])
def test_a_server_killed_half_way_leaves_a_true_account(
    containers: Containers, run_module: RunModule, after_bytes: int
) -> None:
    """What was evicted until then is in the message and in the result; when it is back a second run does the rest."""
    container = containers.start(
        IMAGE,
        alias=f"redis-dies-{after_bytes}",
        ports=[6379],
        environment={"REDIS_PASSWORD": PASSWORD},
        # What was acknowledged survives the kill.
        command=["--save", "", "--appendonly", "yes", "--enable-debug-command", "yes"],
    )
    server = Server(container)
    wait_for(server.client.ping, "Redis serves")
    server.fill("page:", 50_000, 10)
    server.fill("keep:", 10)
    with Gate(server.port, 1, container.handle.kill, after_bytes).open() as gate:
        done = run_module(evict, server.login(login_port=gate.port, patterns=["page:*"], slice_milliseconds=0.5))
    assert done["_exit_code"] == 1, done
    assert "Redis 127.0.0.1" in done["msg"]
    assert f"Before that, {done['evicted']} keys were evicted. The slice that was under way may" in done["msg"]
    assert done["changed"] is True
    assert 0 < done["evicted"] < 50_000

    container.handle.start()
    wait_for(server.client.ping, "Redis serves again")
    left = server.count("page:*")
    assert 0 < left <= 50_000 - done["evicted"]
    again = run_module(evict, server.login(patterns=["page:*"]))
    assert (again["_exit_code"], again["evicted"]) == (0, left), again
    assert (server.count("page:*"), server.count("keep:*")) == (0, 10)


def test_other_clients_are_served_meanwhile(server: Server, run_module: RunModule) -> None:
    """Writes go on, and what arrives meanwhile is not lost."""
    server.client.execute_command("DEBUG", "POPULATE", 300_000, "page", 100)
    waits: list[float] = []
    over = threading.Event()

    def use() -> None:
        client = redis.Redis(host="127.0.0.1", port=server.port, password=PASSWORD)
        number = 0
        while not over.is_set():
            begin = time.monotonic()
            client.set(f"new:{number}", "x")
            waits.append(time.monotonic() - begin)
            number += 1
        client.close()

    user = threading.Thread(target=use)
    user.start()
    try:
        done = run_module(evict, server.login(patterns=["page:*"]))
    finally:
        over.set()
        user.join()
    assert done["evicted"] == 300_000
    assert server.count("new:*") == len(waits)
    assert server.client.dbsize() == len(waits)
    assert len(waits) > 20
    assert sorted(waits)[len(waits) // 2] < 0.05


def test_a_replica_is_never_written_to(server: Server, containers: Containers, run_module: RunModule) -> None:
    """The message names the master; the master's run reaches the replica."""
    server.fill("page:", 100)
    replica = Server(
        containers.start(
            IMAGE,
            alias="redis-replica",
            ports=[6379],
            environment={"REDIS_PASSWORD": PASSWORD},
            command=["--replicaof", server.container.address(), "6379", "--masterauth", PASSWORD],
        )
    )
    wait_for(lambda: replica.client.dbsize() == 100, "The replica follows")
    done = run_module(evict, replica.login(patterns=["page:*"]))
    assert done["refused"] is True
    assert f"it is a replica of {server.container.address()}:6379" in done["msg"]
    assert run_module(evict, server.login(patterns=["page:*"]))["evicted"] == 100
    wait_for(lambda: replica.client.dbsize() == 0, "The replica follows")


def test_scripts_that_are_forgotten_are_sent_again(server: Server, run_module: RunModule) -> None:
    """Somebody empties the server's cache of scripts all the time."""
    server.client.execute_command("DEBUG", "POPULATE", 100_000, "page", 10)
    over = threading.Event()

    def flush() -> None:
        client = redis.Redis(host="127.0.0.1", port=server.port, password=PASSWORD)
        while not over.is_set():
            client.script_flush()
        client.close()

    flusher = threading.Thread(target=flush)
    flusher.start()
    try:
        done = run_module(evict, server.login(patterns=["page:*"]))
    finally:
        over.set()
        flusher.join()
    assert done["evicted"] == 100_000, done


def test_another_database_is_left_alone(server: Server, run_module: RunModule) -> None:
    """Only login_db is worked on."""
    server.fill("page:", 10)
    other = redis.Redis(host="127.0.0.1", port=server.port, password=PASSWORD, db=3)
    other.set("page:x", "x")
    assert run_module(evict, server.login(login_db=3, patterns=["page:*"]))["evicted"] == 1
    assert server.client.dbsize() == 10
    other.close()
