"""The Redis modules on a cluster and behind Sentinel; claims are checked with other clients, not our modules."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import pytest
import redis

from tests.integration.containers import Container, Containers, wait_for
from tests.integration.redis.conftest import IMAGE, MEGABYTE, PASSWORD, Server

if TYPE_CHECKING:
    from collections.abc import Callable

    RunModule = Callable[..., dict[str, Any]]

pytestmark = pytest.mark.integration

MODULES = "ansible_collections.ops.runbooks.plugins.modules."
evict = importlib.import_module(f"{MODULES}redis_evict").main
memory_info = importlib.import_module(f"{MODULES}redis_memory_info").main
clients_disconnect = importlib.import_module(f"{MODULES}redis_clients_disconnect").main

SECRET = ("--requirepass", PASSWORD, "--masterauth", PASSWORD, "--save", "")


def client_of(container: Container) -> Any:
    return redis.Redis(host=container.address(), port=6379, password=PASSWORD, protocol=2)


@pytest.fixture(scope="module")
def cluster(containers: Containers) -> list[Any]:
    """Start three masters and one replica, and return a client of each, the replica last."""
    nodes = [
        containers.start(
            IMAGE,
            alias=f"cluster{number}",
            command=[*SECRET, "--cluster-enabled", "yes", "--cluster-node-timeout", "2000"],
        )
        for number in range(4)
    ]
    clients = [client_of(node) for node in nodes]
    for client in clients:
        wait_for(client.ping, "Redis serves")
    cli = ["redis-cli", "-a", PASSWORD, "--no-auth-warning", "--cluster"]
    masters = [f"{node.address()}:6379" for node in nodes[:3]]
    nodes[0].run(*cli, "create", *masters, "--cluster-yes")
    wait_for(lambda: clients[0].execute_command("CLUSTER INFO")["cluster_state"] == "ok", "The cluster serves")
    nodes[0].run(*cli, "add-node", f"{nodes[3].address()}:6379", masters[0], "--cluster-slave")
    wait_for(lambda: clients[3].info("replication").get("master_link_status") == "up", "The replica follows")
    wait_for(lambda: all(len(client.cluster("nodes")) == 4 for client in clients), "Every node knows every node")
    wait_for(
        lambda: all(client.execute_command("CLUSTER INFO")["cluster_state"] == "ok" for client in clients),
        "The cluster serves",
    )
    return clients


def fill(cluster: list[Any], number: int, size: int = 100) -> None:
    """Store keys where they belong."""
    host, port = cluster[0].connection_pool.connection_kwargs["host"], 6379
    client: Any = redis.RedisCluster(host=host, port=port, password=PASSWORD)
    for prefix in ("page:", "keep:"):
        pipe = client.pipeline()
        for index in range(number):
            pipe.set(f"{prefix}{index}", b"x" * size)
        pipe.execute()
    client.close()


def login(nodes: list[Any], **given: Any) -> dict[str, Any]:
    host = nodes[0].connection_pool.connection_kwargs["host"]
    return {"login_host": host, "login_port": 6379, "login_password": PASSWORD, "cluster": True, **given}


def test_every_master_of_a_cluster_is_worked_on(cluster: list[Any], run_module: RunModule) -> None:
    """Check, run, check: keys go from all three, the replica only follows, and other keys stay."""
    fill(cluster, 3000)
    info = run_module(memory_info, login(cluster))
    assert len(info["nodes"]) == 3, info
    assert {row["role"] for row in info["nodes"]} == {"master"}
    assert info["sample"]["of"] == 6000
    asked = login(cluster, patterns=["page:*"])
    planned = run_module(evict, asked, check=True)
    assert planned["estimate"]["keys"] == pytest.approx(3000, abs=2 * planned["estimate"]["keys_margin"])
    done = run_module(evict, asked)
    assert (done["_exit_code"], done["evicted"]) == (0, 3000), done
    assert all(row["evicted"] > 500 for row in done["nodes"])
    assert sum(client.dbsize() for client in cluster[:3]) == 3000
    wait_for(lambda: cluster[3].dbsize() in [client.dbsize() for client in cluster[:3]], "The replica follows")
    again = run_module(evict, asked, check=True)
    assert again["changed"] is False
    limited = run_module(evict, login(cluster, patterns=["keep:*", "nothing:*"], order="size", max_keys=1500))
    assert limited["evicted"] == 1500
    assert sum(client.dbsize() for client in cluster[:3]) == 1500


def test_each_master_has_a_target_of_its_own(cluster: list[Any], run_module: RunModule) -> None:
    """Only the node that is full is brought down."""
    for client in cluster[:3]:
        client.flushall()
    fill(cluster, 3000, 1000)
    for number, client in enumerate(cluster[:3]):
        used = client.info("memory")["used_memory"]
        client.config_set("maxmemory", used + (0 if number == 0 else 100 * MEGABYTE))
    try:
        done = run_module(evict, login(cluster, patterns=["page:*"], target_share=0.95, only_above=0.97))
    finally:
        for client in cluster[:3]:
            client.config_set("maxmemory", 0)
    assert done["target_reached"] is True, done
    assert sum(row["evicted"] > 0 for row in done["nodes"]) == 1


def test_clients_of_every_master_are_disconnected(cluster: list[Any], run_module: RunModule) -> None:
    """By name, on all three; the replica's link stays."""
    hosts = [client.connection_pool.connection_kwargs["host"] for client in cluster[:3]]
    held = [redis.Redis(host=host, port=6379, password=PASSWORD, client_name="shop") for host in hosts]
    for client in held:
        client.ping()
    done = run_module(clients_disconnect, login(cluster, names=["shop"]))
    assert done["disconnected"] == 3, done
    assert not [row for client in cluster[:3] for row in client.client_list() if row["name"] == "shop"]
    assert cluster[3].info("replication")["master_link_status"] == "up"
    for client in held:
        client.close()


def test_a_replica_of_a_cluster_may_be_asked_for_the_masters(cluster: list[Any], run_module: RunModule) -> None:
    """Any node knows them; alone, it refuses to be written to."""
    fill(cluster, 100)
    host = cluster[3].connection_pool.connection_kwargs["host"]
    alone = run_module(evict, login(cluster, login_host=host, cluster=False, patterns=["page:*"]))
    assert alone["refused"] is True
    assert run_module(evict, login(cluster, login_host=host, patterns=["page:*"]))["changed"] is True


def test_sentinel_names_the_current_master(containers: Containers, run_module: RunModule) -> None:
    """Before a failover and after it; the client that watches is never cut."""
    master = containers.start(IMAGE, alias="first", command=[*SECRET])
    other = containers.start(IMAGE, alias="second", command=[*SECRET, "--replicaof", master.address(), "6379"])
    settings = [
        f"sentinel monitor cache {master.address()} 6379 1",
        f"sentinel auth-pass cache {PASSWORD}",
        "sentinel down-after-milliseconds cache 1000",
        "sentinel failover-timeout cache 5000",
    ]
    sentinel = containers.start(
        IMAGE,
        alias="sentinel",
        ports=[26379],
        environment={"REDIS_CONFIG": "\n".join(settings)},
        command=["--sentinel"],
    )
    watcher: Any = redis.Redis(host="127.0.0.1", port=sentinel.port(26379), protocol=2)
    wait_for(watcher.ping, "The sentinel serves")
    first, second = client_of(master), client_of(other)
    wait_for(lambda: second.info("replication").get("master_link_status") == "up", "The replica follows")
    wait_for(lambda: watcher.execute_command("SENTINEL REPLICAS", "cache"), "The sentinel knows the replica")
    asked: dict[str, Any] = {
        "login_password": PASSWORD,
        "sentinels": ["127.0.0.1:1", f"127.0.0.1:{sentinel.port(26379)}"],
        "sentinel_service": "cache",
    }
    for number in range(100):
        first.set(f"page:{number}", "x")
    done = run_module(evict, {**asked, "patterns": ["page:*"], "max_keys": 40})
    assert (done["evicted"], done["instance"]) == (40, "cache (sentinel)"), done
    assert done["nodes"][0]["node"] == f"{master.address()}:6379"
    wait_for(lambda: second.dbsize() == 60, "The replica follows")
    watching = {row["id"] for row in first.client_list() if row["name"].startswith("sentinel-")}
    left = run_module(clients_disconnect, {**asked, "minimum_idle_seconds": 0})
    assert "Left" in str(left["actions"])
    assert watching
    assert watching <= {row["id"] for row in first.client_list()}

    master.handle.kill()
    wait_for(lambda: second.info("replication")["role"] == "master", "The sentinel fails over", 60)
    wait_for(lambda: run_module(memory_info, asked)["_exit_code"] == 0, "The new master is named")
    after = run_module(evict, {**asked, "patterns": ["page:*"]})
    assert after["evicted"] == 60, after
    assert after["nodes"][0]["node"] == f"{other.address()}:6379"
    unknown = run_module(evict, {**asked, "sentinel_service": "nosuch", "patterns": ["page:*"]})
    assert "Check sentinels and sentinel_service" in unknown["msg"]


def test_names_of_servers_are_usable(server: Server, run_module: RunModule) -> None:
    """A host name in place of an address."""
    assert (
        run_module(memory_info, server.login(login_host="localhost"))["nodes"][0]["node"] == f"localhost:{server.port}"
    )
