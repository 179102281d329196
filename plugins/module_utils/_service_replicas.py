# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to the ops.runbooks collection: may change without notice.
"""What is known of a service and its replicas, and the rules that several modules share. Nothing here knows Docker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# A container that its restart policy starts again and again, never for longer than the engine takes for a success.
CRASH_LOOP_RESTARTS = 3
CRASH_LOOP_SECONDS = 10
# What a Swarm makes of a replica before it runs.
COMING = ("new", "pending", "assigned", "accepted", "preparing", "ready", "starting")


@dataclass(frozen=True)
class Replica:
    """One container of a Compose service, or one task of a Swarm service."""

    id: str
    service: str
    name: str
    number: int
    state: str  # as the engine names it: running, exited, restarting, paused, created, dead
    health: str = ""  # healthy, unhealthy, starting; empty without a health check
    started: str = ""  # the engine's time stamp: another one is another run
    up_seconds: float = 0.0
    exit_code: int = 0
    restarts: int = 0
    image: str = ""  # the identity, not the name
    error: str = ""  # what the engine says went wrong

    @property
    def counts(self) -> bool:
        """Whether it is there to serve; an exited container is not."""
        return self.state in ("running", "restarting", "paused", *COMING)

    @property
    def broken(self) -> bool:
        """Whether waiting longer is of no use."""
        if self.state in ("exited", "dead"):
            return True
        if self.health == "healthy" or not self.counts:
            return False
        looping = self.restarts >= CRASH_LOOP_RESTARTS and self.up_seconds < CRASH_LOOP_SECONDS
        return looping or self.health == "unhealthy"

    def ready(self, stable_seconds: float) -> bool:
        """Whether it serves: healthy, or without a health check up for long enough."""
        if self.state != "running":
            return False
        return self.health == "healthy" if self.health else self.up_seconds >= stable_seconds

    def describe(self) -> str:
        """Return name and condition as part of a sentence."""
        condition = f"{self.state} and {self.health}" if self.state == "running" and self.health else self.state
        if self.state in ("exited", "dead", "restarting"):
            condition += f" (exit code {self.exit_code})"
        return f"{self.name} is {condition}" + (f" ({self.error})" if self.error else "")

    def as_return(self) -> dict[str, Any]:
        """Return what a reader needs."""
        return {"name": self.name, "state": self.state, "health": self.health or "no health check"}


@dataclass(frozen=True)
class HostPort:
    """A published port of the host; a range gives as many containers a port as it has numbers."""

    published: str
    size: int = 1


@dataclass(frozen=True)
class Definition:
    """What the project says of a service."""

    name: str
    source: str  # where it says so, as part of a sentence
    replicas: int | None = None  # None where scaling itself is kept
    container_name: str | None = None
    host_ports: tuple[HostPort, ...] = ()
    one_per_node: bool = False
    limits_stated: tuple[str, ...] = (
        "deploy",
    )  # where limits stand: at the service (mem_limit), under deploy, or both
    swap_beyond_memory: int | None = None  # in bytes, where the project says
    drift: tuple[str, ...] = ()  # how a new replica would differ from those that run: whole sentences


def leaving_order(replicas: Iterable[Replica]) -> list[Replica]:
    """Return the replicas in the order in which they go.

    First those that do not serve (broken, then not running, then still starting), then the highest numbers.
    """
    return sorted(
        replicas, key=lambda r: (not r.broken, r.state == "running", r.health != "starting", -r.number, r.name)
    )


def state_of(replicas: Sequence[Replica]) -> dict[str, Any]:
    """Return the part of a result that says how a service stands."""
    return {"replicas": len(replicas), "containers": [replica.as_return() for replica in replicas]}


def names(replicas: Iterable[Replica]) -> str:
    """Return the names as part of a sentence."""
    return ", ".join(replica.name for replica in replicas)


def count(replicas: int) -> str:
    """Return a number of replicas as part of a sentence."""
    return "1 replica" if replicas == 1 else f"{replicas} replicas"
