"""redis_clients_disconnect on a real server; claims are checked with another client, not our module."""

from __future__ import annotations

import contextlib
import importlib
import time
from typing import TYPE_CHECKING, Any

import pytest
import redis
from ansible_collections.ops.runbooks.plugins.module_utils._redis_adapter import Connection
from ansible_collections.ops.runbooks.plugins.module_utils._redis_client_source import RedisClients
from ansible_collections.ops.runbooks.plugins.module_utils._redis_clients import BLOCKED, MONITOR, NORMAL, PUBSUB
from ansible_collections.ops.runbooks.plugins.module_utils._redis_options import Login
from typing_extensions import override

from tests.integration.containers import Containers, wait_for
from tests.integration.gate import Gate
from tests.integration.redis.conftest import IMAGE, PASSWORD, Server
from tests.unit.plugins.module_utils.redis_clients import ClientSourceContract, ClientWorld

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    RunModule = Callable[..., dict[str, Any]]

pytestmark = pytest.mark.integration

clients_disconnect = importlib.import_module(
    "ansible_collections.ops.runbooks.plugins.modules.redis_clients_disconnect"
).main


class Guests:
    """Connections of every kind, written to as plain sockets of the library, without any reconnecting."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._open: dict[int, Any] = {}

    def connect(self, name: str, kind: str = NORMAL) -> int:
        """Connect, do what the kind does, and return the id."""
        make: Any = redis.Connection  # carries no type information
        connection = make(host="127.0.0.1", port=self.server.port, password=PASSWORD, protocol=2)
        connection.connect()
        self._ask(connection, "CLIENT", "SETNAME", name)
        number = int(self._ask(connection, "CLIENT", "ID"))
        self._open[number] = connection
        if kind == MONITOR:
            self._ask(connection, "MONITOR")
        elif kind == PUBSUB:
            self.subscribe(number)
        elif kind == BLOCKED:
            connection.send_command("BLPOP", "queue", 0)
        wait_for(lambda: kind != BLOCKED or "b" in self.flags(number), "The client waits")
        return number

    def subscribe(self, number: int) -> None:
        self._ask(self._open[number], "SUBSCRIBE", "news")

    def flags(self, number: int) -> str:
        (found,) = [row["flags"] for row in self.server.client.client_list() if int(row["id"]) == number]
        return str(found)

    def ids(self) -> set[int]:
        return {int(row["id"]) for row in self.server.client.client_list()}

    def work(self, number: int) -> None:
        self._ask(self._open[number], "PING")

    def leave(self) -> None:
        for connection in self._open.values():
            with contextlib.suppress(redis.exceptions.RedisError, OSError):
                connection.disconnect()

    @staticmethod
    def _ask(connection: Any, *command: Any) -> Any:
        connection.send_command(*command)
        return connection.read_response()


@pytest.fixture
def guests(server: Server) -> Iterator[Guests]:
    """Give a test clients that leave at its end."""
    guests = Guests(server)
    yield guests
    guests.leave()


class RealClientWorld(ClientWorld):
    """Clients of a real server."""

    def __init__(self, guests: Guests, connection: Connection) -> None:
        self.guests = guests
        self.source = RedisClients(connection)

    @override
    def connect(self, name: str, kind: str = NORMAL) -> int:
        return self.guests.connect(name, kind)

    @override
    def subscribe(self, number: int) -> None:
        self.guests.subscribe(number)

    @override
    def ids(self) -> set[int]:
        return self.guests.ids()


class TestRealClients(ClientSourceContract):
    """The real server keeps the contract that the fake keeps in the unit tests."""

    @pytest.fixture
    def clients(self, server: Server, guests: Guests) -> Iterator[ClientWorld]:
        connection = Connection(Login("127.0.0.1", server.port, password=PASSWORD), "127.0.0.1", server.port)
        yield RealClientWorld(guests, connection)
        connection.close()


def test_idle_clients_go_and_nobody_else(server: Server, guests: Guests, run_module: RunModule) -> None:
    """Check, run with diff, check, run: one run changes something; who works, waits, subscribes or watches stays."""
    idle = {guests.connect("shop") for _number in range(10)}
    stay = {guests.connect(f"stay-{kind}", kind) for kind in (BLOCKED, PUBSUB, MONITOR)}
    working = guests.connect("busy")
    time.sleep(2.1)
    guests.work(working)
    asked = server.login(minimum_idle_seconds=2)

    planned = run_module(clients_disconnect, asked, check=True)
    assert planned["changed"] is True
    assert idle <= {one["id"] for one in planned["selected"]}
    assert idle <= guests.ids()

    done = run_module(clients_disconnect, asked, diff=True)
    assert (done["_exit_code"], done["changed"]) == (0, True), done
    assert done["disconnected"] >= 10
    assert "shop (10)" in done["actions"][0]
    assert not idle & guests.ids()
    assert stay | {working} <= guests.ids()
    assert done["diff"]["before"]["connected"] - done["diff"]["after"]["connected"] >= 10

    for check in (True, False):
        again = run_module(clients_disconnect, {**asked, "names": ["shop"]}, check=check)
        assert (again["changed"], again["disconnected"]) == (False, 0)


def test_clients_can_be_named(server: Server, guests: Guests, run_module: RunModule) -> None:
    """By name, by user, by address with a port, and by kind."""
    shop, other = guests.connect("shop"), guests.connect("other")
    assert run_module(clients_disconnect, server.login(names=["shop"]))["disconnected"] == 1
    assert shop not in guests.ids()
    (address,) = [row["addr"] for row in server.client.client_list() if int(row["id"]) == other]
    assert run_module(clients_disconnect, server.login(addresses=[address]))["disconnected"] == 1
    waiting = guests.connect("worker", BLOCKED)
    assert run_module(clients_disconnect, server.login(names=["worker"]))["changed"] is False
    done = run_module(clients_disconnect, server.login(names=["worker"], kinds=["blocked"]))
    assert done["disconnected"] == 1
    assert waiting not in guests.ids()
    assert run_module(clients_disconnect, server.login(users=["nobody"]))["changed"] is False


def test_replication_is_never_cut(
    server: Server, guests: Guests, containers: Containers, run_module: RunModule
) -> None:
    """On the master the replica stays, on the replica the master."""
    replica = Server(
        containers.start(
            IMAGE,
            alias="redis-follower",
            ports=[6379],
            environment={"REDIS_PASSWORD": PASSWORD},
            command=["--replicaof", server.container.address(), "6379", "--masterauth", PASSWORD],
        )
    )
    wait_for(lambda: replica.client.info("replication")["master_link_status"] == "up", "The replica follows")
    links = {int(row["id"]) for row in server.client.client_list(_type="replica")}
    masters = {int(row["id"]) for row in replica.client.client_list(_type="master")}
    assert links
    assert masters
    everybody = {"minimum_idle_seconds": 0, "kinds": ["normal", "blocked", "pubsub", "monitor"]}
    done = run_module(clients_disconnect, server.login(**everybody))
    assert "Left 1 client alone: replication." in done["actions"]
    assert links <= guests.ids()
    run_module(clients_disconnect, replica.login(**everybody))
    assert {int(row["id"]) for row in replica.client.client_list(_type="master")} == masters


def test_a_limit_a_precondition_and_no_criterion_refuse(server: Server, guests: Guests, run_module: RunModule) -> None:
    """Nobody goes."""
    ids = {guests.connect("shop") for _number in range(3)}
    over = run_module(clients_disconnect, server.login(names=["shop"], limit=2))
    assert over["refused"] is True
    below = run_module(clients_disconnect, server.login(names=["shop"], only_above=0.9))
    assert "of maxclients are connected" in below["msg"]
    assert "mean every client" in run_module(clients_disconnect, server.login())["msg"]
    assert ids <= guests.ids()


@pytest.mark.parametrize("check", [True, False])
def test_a_missing_permission_is_named(server: Server, guests: Guests, run_module: RunModule, check: bool) -> None:
    """With what to do; nobody goes."""
    stays = guests.connect("shop")
    rights = ["+ping", "+info", "+client|id", "+client|list"]
    server.client.execute_command("ACL", "SETUSER", "weak", "on", ">wk-secret", *rights)
    asked = server.login(login_user="weak", login_password="wk-secret", names=["shop"])
    done = run_module(clients_disconnect, asked, check=check)
    assert done["_exit_code"] == 1
    assert "ACL SETUSER" in done["msg"]
    assert stays in guests.ids()


def test_a_connection_lost_half_way_leaves_a_true_account(
    server: Server, guests: Guests, run_module: RunModule
) -> None:
    """Who had to go until then is in the message and in the result; a second run sends the rest away."""
    ids = {guests.connect("shop") for _number in range(400)}
    stays = guests.connect("till")
    with Gate(server.port, 1, lambda: None, 4000).open() as gate:
        done = run_module(clients_disconnect, server.login(login_port=gate.port, names=["shop"]))
    assert done["_exit_code"] == 1, done
    assert "Redis 127.0.0.1" in done["msg"]
    gone = len(ids - guests.ids())
    assert done["changed"] is True
    assert 0 < done["disconnected"] <= gone < 400
    again = run_module(clients_disconnect, server.login(names=["shop"]))
    assert (again["_exit_code"], again["disconnected"]) == (0, 400 - gone), again
    assert ids & guests.ids() == set()
    assert stays in guests.ids()


def test_a_server_that_is_killed_is_told(containers: Containers, run_module: RunModule) -> None:
    """One sentence, and when it is back a second run is like a first."""
    container = containers.start(IMAGE, alias="redis-ends", ports=[6379], environment={"REDIS_PASSWORD": PASSWORD})
    server = Server(container)
    wait_for(server.client.ping, "Redis serves")
    guests = Guests(server)
    for _number in range(400):
        guests.connect("shop")
    try:
        with Gate(server.port, 1, container.handle.kill, 4000).open() as gate:
            done = run_module(clients_disconnect, server.login(login_port=gate.port, names=["shop"]))
    finally:
        guests.leave()
    assert (done["_exit_code"], done["changed"]) == (1, True), done
    assert 0 < done["disconnected"] < 400
    container.handle.start()
    wait_for(server.client.ping, "Redis serves again")
    again = run_module(clients_disconnect, server.login(names=["shop"]))
    assert (again["_exit_code"], again["changed"]) == (0, False), again
