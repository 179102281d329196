"""Containers for one test session: own network, loopback ports, removed at the end."""

from __future__ import annotations

import secrets
import socket
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import docker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

LABEL = {"ops.runbooks.test": "1"}


@dataclass(frozen=True)
class Container:
    """A running container."""

    handle: Any

    @property
    def name(self) -> str:
        return str(self.handle.name)

    def address(self) -> str:
        """Return its address on the test network."""
        self.handle.reload()
        (network,) = self.handle.attrs["NetworkSettings"]["Networks"].values()
        return str(network["IPAddress"])

    def port(self, inside: int) -> int:
        """Return the loopback port that leads to a port of the container."""
        self.handle.reload()
        return int(self.handle.ports[f"{inside}/tcp"][0]["HostPort"])

    def run(self, *command: str, environment: Mapping[str, str] | None = None) -> str:
        """Run a command inside and return what it printed; fail if it fails."""
        done = self.handle.exec_run(list(command), environment=dict(environment or {}))
        text: str = done.output.decode()
        assert done.exit_code == 0, f"{command} in {self.name} exited {done.exit_code}: {text}"
        return text


class Containers:
    """Starts containers that see each other by alias."""

    def __init__(self, client: Any, network: Any) -> None:
        self._client = client
        self._network = network
        self._started: list[Any] = []

    @property
    def network(self) -> str:
        return str(self._network.name)

    @property
    def gateway(self) -> str:
        """The address of this machine in the network."""
        self._network.reload()
        return str(self._network.attrs["IPAM"]["Config"][0]["Gateway"])

    def start(
        self,
        image: str,
        *,
        alias: str | None = None,
        ports: Sequence[int] = (),
        labels: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
        command: Sequence[str] = (),
        volumes: Mapping[str, str] | None = None,
        **options: Any,
    ) -> Container:
        """Start a container; ``volumes`` maps a path here to a path inside, read-only."""
        endpoint = self._client.api.create_endpoint_config(aliases=[alias] if alias else None)
        handle = self._client.containers.create(
            image,
            list(command),
            name=f"ops-runbooks-test-{alias or 'box'}-{secrets.token_hex(4)}",
            labels={**LABEL, **(labels or {})},
            environment=dict(environment or {}),
            # A port that the engine picks is another one after a restart.
            ports={f"{port}/tcp": ("127.0.0.1", free_port()) for port in ports},
            volumes={here: {"bind": inside, "mode": "ro"} for here, inside in (volumes or {}).items()},
            network=self.network,
            networking_config={self.network: endpoint},
            **options,
        )
        self._started.append(handle)
        handle.start()
        return Container(handle)

    def forget(self, container: Container) -> None:
        """Leave the removal of a container to the caller."""
        self._started.remove(container.handle)

    def remove(self) -> None:
        """Remove everything that was started, the newest first."""
        for handle in reversed(self._started):
            handle.remove(force=True, v=True)
        self._network.remove()


def free_port() -> int:
    """Return a loopback port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


@contextmanager
def open_containers() -> Iterator[Containers]:
    """Give a network of its own to whoever starts containers, and clean up."""
    client = docker.from_env()
    try:
        network = client.networks.create(f"ops-runbooks-test-{secrets.token_hex(4)}", labels=LABEL)
        containers = Containers(client, network)
        try:
            yield containers
        finally:
            containers.remove()
    finally:
        client.close()


def wait_for(ready: Callable[[], object], what: str, seconds: float = 30) -> None:
    """Wait until ``ready`` is true; an exception counts as not yet, and is told when time is up."""
    deadline = time.monotonic() + seconds
    last: object = None
    while time.monotonic() < deadline:
        try:
            last = ready()
        except Exception as error:  # noqa: BLE001 - whatever a system says while it starts
            last = error
        else:
            if last:
                return
        time.sleep(0.1)
    raise AssertionError(f"{what} within {seconds} s: {last!r}")
