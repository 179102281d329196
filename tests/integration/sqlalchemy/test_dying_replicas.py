"""sqlalchemy_pool_reset while a replica of the lab's backend dies or hangs; PostgreSQL says whose sessions are new."""

from __future__ import annotations

import importlib
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.integration.containers import Container, Containers, open_containers, wait_for
from tests.integration.gate import Gate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    RunModule = Callable[..., dict[str, Any]]

pytestmark = [pytest.mark.integration, pytest.mark.slow]

main = importlib.import_module("ansible_collections.ops.runbooks.plugins.modules.sqlalchemy_pool_reset").main

TOKEN = "pool-reset-secret-1"
PASSWORD = "ap-secret-3"
PATH = "/admin/pool/reset"
SESSIONS = "SELECT client_addr, pid FROM pg_stat_activity WHERE application_name = 'backend'"


@dataclass
class Replicas:
    """Three processes of the application, and the server of their sessions."""

    postgres: Container
    backends: list[Container]
    ports: list[int]

    def use(self, number: int) -> bool:
        """Have a replica take a connection out of its pool and put it back."""
        return httpx.get(f"http://127.0.0.1:{self.ports[number]}/orders", timeout=60).raise_for_status().is_success

    def serve(self) -> None:
        """Have every replica alive, with connections in its pool."""
        for number, backend in enumerate(self.backends):
            backend.handle.reload()
            if backend.handle.status == "exited":
                backend.handle.start()
            wait_for(partial(self.use, number), "The replica serves", 90)

    def sessions(self, number: int) -> set[str]:
        """Return the sessions of a replica as the server lists them."""
        address = self.backends[number].address()
        output = self.postgres.run("psql", "-XAtqF", "\t", "-d", "app", "-c", SESSIONS)
        return {pid for host, pid in (line.split("\t") for line in output.splitlines()) if host == address}

    def urls(self, ports: list[int] | None = None) -> list[str]:
        return [f"http://127.0.0.1:{port}{PATH}" for port in ports or self.ports]


@pytest.fixture(scope="module")
def running(images: None) -> Iterator[Replicas]:
    """Start the database and three replicas on a network of their own, where the application knows names."""
    with open_containers() as containers:
        yield start(containers)


def start(containers: Containers) -> Replicas:
    postgres = containers.start("runbooks-lab/postgres:17", alias="postgres", environment={"POSTGRES_PASSWORD": "x"})
    wait_for(lambda: postgres.run("pg_isready", "-h", "127.0.0.1"), "PostgreSQL serves", 90)
    postgres.run("psql", "-Xqc", f"CREATE ROLE app LOGIN PASSWORD '{PASSWORD}'")
    postgres.run("psql", "-Xqc", "CREATE DATABASE app OWNER app")
    secrets = {"APP_DB_PASSWORD": PASSWORD, "REDIS_PASSWORD": "x", "POOL_RESET_TOKEN": TOKEN}
    backends = [
        containers.start("runbooks-lab/backend:lab", alias=f"backend{number}", ports=[8000], environment=secrets)
        for number in range(3)
    ]
    return Replicas(postgres, backends, [backend.port(8000) for backend in backends])


@pytest.fixture
def replicas(running: Replicas) -> Replicas:
    """Give a test three replicas that serve."""
    running.serve()
    return running


@pytest.mark.parametrize("at", [1, 2], ids=["before-it-is-read", "before-it-is-reset"])
@pytest.mark.parametrize(("fault", "repair"), [("kill", "start"), ("pause", "unpause")])
def test_what_is_said_of_each_replica_is_true(
    replicas: Replicas, run_module: RunModule, fault: str, repair: str, at: int
) -> None:
    """The one is missed and named, the others are reset; a second run resets all three."""
    before = [replicas.sessions(number) for number in range(3)]
    assert all(before)
    second = replicas.backends[1].handle
    with ExitStack() as stack:
        gate = stack.enter_context(Gate(replicas.ports[1], at, getattr(second, fault)).open())
        urls = replicas.urls([replicas.ports[0], gate.port, replicas.ports[2]])
        done = run_module(main, {"urls": urls, "token": TOKEN, "timeout_seconds": 20 if fault == "kill" else 5})
        missed = replicas.sessions(1) if fault == "pause" else set()
        getattr(second, repair)()

    assert (done["_exit_code"], done["changed"]) == (1, True), done
    assert "Cannot reset the pools of 1 of 3 replicas" in done["msg"]
    assert "Reset the others: 2." in done["msg"]
    assert [bool(one["error"]) for one in done["replicas"]] == [False, True, False]
    assert urls[1] in done["msg"]
    assert len(done["actions"]) == 2
    assert TOKEN not in str({name: value for name, value in done.items() if name != "invocation"})
    for number in (0, 2):
        replicas.use(number)
        assert not before[number] & replicas.sessions(number), "it was said to be reset"
    if fault == "pause":
        assert missed == before[1]

    replicas.serve()
    before = [replicas.sessions(number) for number in range(3)]
    again = run_module(main, {"urls": replicas.urls(), "token": TOKEN, "timeout_seconds": 60})
    assert (again["_exit_code"], [one["error"] for one in again["replicas"]]) == (0, [None, None, None]), again
    for number in range(3):
        replicas.use(number)
        assert not before[number] & replicas.sessions(number)
