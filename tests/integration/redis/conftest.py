"""Redis servers of the tests, and ways to use and to look at them that are not ours."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pytest
import redis

from tests.integration.containers import Container, Containers, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

IMAGE = "runbooks-lab/redis:8"
PASSWORD = "rd-secret-1"
MEGABYTE = 1 << 20


@dataclass
class Server:
    """A Redis server in a container."""

    container: Container

    @cached_property
    def port(self) -> int:
        return self.container.port(6379)

    @cached_property
    def client(self) -> Any:
        return redis.Redis(host="127.0.0.1", port=self.port, password=PASSWORD, protocol=2)

    def login(self, **given: Any) -> dict[str, Any]:
        """Return the login options of the modules."""
        return {"login_host": "127.0.0.1", "login_port": self.port, "login_password": PASSWORD, **given}

    def fill(self, prefix: str, number: int, size: int = 100, ttl: int | None = None) -> None:
        """Store so many values."""
        pipe = self.client.pipeline(transaction=False)
        for index in range(number):
            pipe.set(f"{prefix}{index}", b"x" * size, ex=ttl)
        pipe.execute()

    def count(self, pattern: str) -> int:
        return len(self.client.keys(pattern))

    def used(self) -> int:
        used: int = self.client.info("memory")["used_memory"]
        return used

    def reset(self) -> None:
        """Forget keys, users and settings of a test."""
        self.client.flushall()
        self.client.config_set("maxmemory", 0)
        self.client.config_set("maxmemory-policy", "noeviction")
        for user in self.client.acl_users():
            if user != "default":
                self.client.acl_deluser(user)
        self.client.config_resetstat()


@pytest.fixture(scope="session")
def running(containers: Containers) -> Server:
    """Start a server."""
    container = containers.start(
        IMAGE,
        alias="redis",
        ports=[6379],
        environment={"REDIS_PASSWORD": PASSWORD},
        command=["--save", "", "--enable-debug-command", "yes"],
    )
    server = Server(container)
    wait_for(server.client.ping, "Redis serves")
    return server


@pytest.fixture
def server(running: Server) -> Iterator[Server]:
    """Give a test an empty server."""
    running.reset()
    yield running
    running.reset()
