"""A Redis server's clients in memory, and the contract that they share with real ones."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ansible_collections.ops.runbooks.plugins.module_utils._errors import ActionFailed, ConnectionFailed
from ansible_collections.ops.runbooks.plugins.module_utils._redis_clients import (
    BLOCKED,
    MONITOR,
    NORMAL,
    PUBSUB,
    Client,
    ClientSource,
)
from ansible_collections.ops.runbooks.plugins.module_utils._waiting import Clock
from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

OWN = Client(1, "192.0.2.1:40000", "", "default", 0, NORMAL, "client|list", own=True)


def client(number: int, kind: str = NORMAL, idle: int = 600, **more: Any) -> Client:
    """Return a client of an ordinary application."""
    given: dict[str, Any] = {
        "address": f"192.0.2.7:{50000 + number}",
        "name": "shop",
        "user": "default",
        "idle_seconds": idle,
        "kind": kind,
        **more,
    }
    return Client(number, **given)


@dataclass
class FakeClients(ClientSource):
    """A server that keeps clients. ``stubborn`` ones stay; ``lost_after`` disconnections, it goes away."""

    known: list[Client] = field(default_factory=list)
    limit: int = 100
    name: str = "cache1:6379"
    forbidden: bool = False
    stubborn: set[int] = field(default_factory=set)
    lost_after: int | None = None
    ended: list[int] = field(default_factory=list)
    between: Callable[[FakeClients], None] = lambda _source: None  # what happens after the first look
    seconds: float = 0.0
    _looked: bool = False

    def clock(self) -> Clock:
        return Clock(now=lambda: self.seconds, sleep=self._sleep)

    def _sleep(self, seconds: float) -> None:
        self.seconds += seconds

    @override
    def clients(self) -> list[Client]:
        found = [OWN, *self.known]
        if not self._looked:
            self._looked = True
            self.between(self)
        return found

    @override
    def again(self, clients: Sequence[Client]) -> list[Client]:
        wanted = {one.id for one in clients}
        return [one for one in self.known if one.id in wanted]

    @override
    def require_permission(self) -> None:
        if self.forbidden:
            raise ActionFailed("Redis cache1:6379 refused a command.")

    @override
    def disconnect(self, client: Client) -> bool:
        if self.lost_after is not None and len(self.ended) >= self.lost_after:
            raise ConnectionFailed("Lost the connection to Redis cache1:6379: closed by server.")
        found = [one for one in self.known if one.id == client.id]
        if not found or (found[0].kind == PUBSUB) != (client.kind == PUBSUB):
            return False
        self.ended.append(client.id)
        if client.id not in self.stubborn:
            self.known.remove(found[0])
        return True

    @override
    def maximum(self) -> int:
        return self.limit

    def change(self, number: int, **changed: Any) -> None:
        self.known = [replace(one, **changed) if one.id == number else one for one in self.known]


class ClientWorld(ABC):
    """A server and its clients, real or not."""

    source: ClientSource

    @abstractmethod
    def connect(self, name: str, kind: str = NORMAL) -> int:
        """Connect, do what the kind does, and return the id."""

    @abstractmethod
    def subscribe(self, number: int) -> None:
        """Have a client of the normal kind subscribe."""

    @abstractmethod
    def ids(self) -> set[int]:
        """Return who is there, not through the source."""

    def find(self, number: int) -> Client:
        (found,) = [one for one in self.source.clients() if one.id == number]
        return found


class ClientSourceContract:
    """What the module relies on; a subclass gives the fixture ``clients``."""

    def test_kinds_names_and_own_are_seen(self, clients: ClientWorld) -> None:
        """Every client is of one kind, and one is this module's."""
        ids = {kind: clients.connect(f"c1-{kind}", kind) for kind in (NORMAL, BLOCKED, PUBSUB, MONITOR)}
        for kind, number in ids.items():
            found = clients.find(number)
            assert (found.kind, found.name, found.user, found.own) == (kind, f"c1-{kind}", "default", False)
            assert found.host
            assert found.address.startswith(found.host)
        assert sum(one.own for one in clients.source.clients()) == 1
        assert clients.source.maximum() > 10

    def test_disconnect_ends_what_was_named_and_only_that(self, clients: ClientWorld) -> None:
        """Two of the same name: one goes; a second time there is nobody."""
        gone, stays = clients.connect("c2"), clients.connect("c2")
        victim = clients.find(gone)
        assert clients.source.disconnect(victim) is True
        assert clients.source.again([victim]) == []
        assert clients.source.disconnect(victim) is False
        assert stays in clients.ids()
        assert gone not in clients.ids()

    def test_a_client_that_subscribed_meanwhile_is_spared(self, clients: ClientWorld) -> None:
        """The server checks the type in the command that ends."""
        number = clients.connect("c3")
        chosen = clients.find(number)
        clients.subscribe(number)
        assert clients.source.disconnect(chosen) is False
        assert clients.source.again([chosen])[0].kind == PUBSUB

    def test_asking_for_permission_ends_nobody(self, clients: ClientWorld) -> None:
        """Not even the one who asks."""
        number = clients.connect("c5")
        clients.source.require_permission()
        assert number in clients.ids()
        assert sum(one.own for one in clients.source.clients()) == 1

    def test_nobody_asked_for_is_nobody_found(self, clients: ClientWorld) -> None:
        """An empty question is not a question for all."""
        clients.connect("c4")
        assert clients.source.again([]) == []
