"""A project in memory whose services can have other images, and an override file in memory."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ansible_collections.ops.runbooks.plugins.module_utils._errors import ConnectionFailed
from ansible_collections.ops.runbooks.plugins.module_utils._service_observed import Image, Limits, Observed
from ansible_collections.ops.runbooks.plugins.module_utils._service_override import OverrideFile
from ansible_collections.ops.runbooks.plugins.module_utils._service_ports import Data, RollbackEngine
from ansible_collections.ops.runbooks.plugins.module_utils._service_replicas import Definition, HostPort, Replica
from ansible_collections.ops.runbooks.plugins.module_utils._waiting import Clock
from typing_extensions import override

from tests.unit.plugins.module_utils.services import FakeObserver

if TYPE_CHECKING:
    from collections.abc import Sequence

GOOD, OLD, BAD = "sha256:1", "sha256:0", "sha256:2"
ON_HOST = [
    Image(BAD, ("shop/web:2",), 10),
    Image(GOOD, ("shop/web:1",), 100),
    Image(OLD, ("shop/web:0",), 1000),
]


class MemoryFile(OverrideFile):
    """A file in memory."""

    name = "/srv/shop/kept.json"

    def __init__(self, text: str | None = None) -> None:
        self.text = text

    @override
    def read(self) -> str | None:
        return self.text

    @override
    def write(self, text: str) -> None:
        self.text = text

    def image(self) -> str | None:
        """Return the image that Compose would be told."""
        image: str | None = json.loads(self.text or "{}").get("services", {}).get("web", {}).get("image")
        return image


class FakeProject(FakeObserver, RollbackEngine):
    """The service ``web``; a new replica has the image that the file says, else ``stated``, and its health.

    ``health`` has, by image, what becomes of a new replica; ``ends_after`` is the number of changes that the engine
    makes before it goes away, for as long as ``away`` is true.
    """

    def __init__(
        self,
        file: MemoryFile,
        *images: str,
        health: dict[str, str] | None = None,
        data: Data | None = None,
        stated: str = "shop/web:2",
        **definition: Any,
    ) -> None:
        super().__init__(on_host={"shop/web": list(ON_HOST)})
        self.file = file
        self.stated = stated
        self.health = {BAD: "unhealthy", **(health or {})}
        self.kept = data or Data()
        self.fixed = Definition("web", "the Compose file", **definition)
        self.calls: list[str] = []
        self.ends_after: int | None = None
        self.seconds = 0.0
        self.made = 0
        self.there: list[tuple[Replica, str]] = []
        for image in images:
            self.make(image)
        self.fewest, self.most = len(self.serving()), len(self.there)

    def clock(self) -> Clock:
        return Clock(now=lambda: self.seconds, sleep=self._sleep)

    def _sleep(self, seconds: float) -> None:
        self.seconds += seconds

    def serving(self) -> list[Replica]:
        return [r for r, _name in self.there if r.ready(0)]

    def running(self) -> list[str]:
        return [r.image for r, _name in self.there]

    def become(self, number: int, state: str, health: str) -> None:
        """Let a replica be in another state."""
        self.there = [
            (replace(r, state=state, health=health) if r.number == number else r, name) for r, name in self.there
        ]

    def make(self, image: str) -> None:
        """Have one more replica."""
        self.made += 1
        health = self.health.get(image, "healthy")
        known = [found for found in self.on_host["shop/web"] if found.id == image]
        name = known[0].names[0] if known and known[0].names else image
        made = Replica(f"id{self.made}", "web", f"shop-web-{self.made}", self.made, "running", health, image=image)
        self.there.append((made, name))

    def _change(self, call: str) -> None:
        if self.ends_after is not None and len(self.calls) >= self.ends_after:
            raise ConnectionFailed("Cannot go on: the Docker engine does not answer.")
        self.calls.append(call)

    def _counted(self) -> None:
        self.fewest = min(self.fewest, len(self.serving()))
        self.most = max(self.most, len(self.there))

    def _told(self) -> str:
        found = self.image(self.file.image() or self.stated)
        assert found is not None
        return found.id

    @override
    def observe(self) -> list[Observed]:
        return [Observed(r, name, Limits(), out_of_memory=False) for r, name in self.there]

    @override
    def definition(self, service: str) -> Definition:
        return self.fixed

    @override
    def replicas(self, service: str) -> list[Replica]:
        return [r for r, _name in self.there]

    @override
    def data(self, service: str) -> Data:
        return self.kept

    @override
    def image(self, name: str) -> Image | None:
        return next((found for found in self.on_host["shop/web"] if name == found.id or name in found.names), None)

    @override
    def add(self, service: str, total: int) -> None:
        self._change("add")
        while len(self.there) < total:
            self.make(self._told())
        self._counted()

    @override
    def recreate(self, service: str) -> None:
        self._change("recreate")
        ((gone, _name),) = self.there
        self.there = []
        self.make(self._told())
        ((made, name),) = self.there
        self.there = [(replace(made, number=gone.number, name=gone.name), name)]

    @override
    def remove(self, leaving: Sequence[Replica], *, new: bool) -> None:
        for one in leaving:
            self._change(f"remove {one.name}")
            self.there = [(r, name) for r, name in self.there if r.id != one.id]
            self._counted()

    @override
    def start(self, replica: Replica) -> None:
        raise AssertionError("a rollback starts nothing that has stopped")

    @override
    def stop(self, replica: Replica) -> None:
        raise AssertionError("a rollback removes what it stops")

    @override
    def stop_all(self, replicas: Sequence[Replica]) -> None:
        raise AssertionError("a rollback never stops all")

    @override
    def restart(self, replica: Replica) -> None:
        raise AssertionError("a restart keeps the image")

    @override
    def log_tail(self, replica: Replica, lines: int) -> list[str]:
        return [f"password=hunter2 last words of {replica.name}"][:lines]


FULL: dict[str, Any] = {"host_ports": (HostPort("8080-8081", 2),)}
