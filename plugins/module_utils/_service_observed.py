# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to the ops.runbooks collection: may change without notice.
"""What can be seen of the replicas of a project, and the port through which it is seen. Nothing here knows Docker."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from ansible_collections.ops.runbooks.plugins.module_utils._service_replicas import Replica


@dataclass(frozen=True)
class Limits:
    """What a replica may use; None is no limit."""

    memory_bytes: int | None = None
    cpus: float | None = None
    pids: int | None = None


@dataclass(frozen=True)
class Usage:
    """What a replica uses now."""

    memory_bytes: int
    cpus: float  # cores, over the last second or so
    pids: int
    periods: int = 0  # of the scheduler since the start, and how many of them the CPU limit cut short
    throttled: int = 0
    recent_periods: int = 0  # the same over the last second or so
    recent_throttled: int = 0


@dataclass(frozen=True)
class Past:
    """What happened to a replica lately."""

    exit_code: int | None = None  # of the run that ended last
    ended_seconds_ago: float | None = None
    out_of_memory: bool = False  # the kernel killed something in it


@dataclass(frozen=True)
class Image:
    """An image on the host."""

    id: str
    names: tuple[str, ...]
    created_seconds_ago: float


@dataclass(frozen=True)
class Observed:
    """A replica with what the engine says of it at once."""

    replica: Replica
    image: str  # as the container was told
    limits: Limits
    out_of_memory: bool  # as its state says: engines differ in whether that holds for a process that is not the first
    health_output: str = ""  # of the last health check


class ServiceObserver(ABC):
    """An engine that tells of the replicas of a project and changes nothing.

    Every method raises ConnectionFailed if the engine cannot be reached, and ActionFailed if it refuses. All but
    ``observe`` may be called from several threads.
    """

    @abstractmethod
    def observe(self) -> list[Observed]:
        """Return the replicas of the project by service and number, those that have exited included."""

    @abstractmethod
    def usage(self, replica: Replica) -> Usage | None:
        """Return what a running replica uses; None if it no longer runs."""

    @abstractmethod
    def log(self, replica: Replica, *, seconds: float, lines: int, limit_seconds: float) -> list[str]:
        """Return the last lines of the last seconds, or as many as came within the limit."""

    @abstractmethod
    def past(self, seconds: float) -> dict[str, Past]:
        """Return, by the identity of the replica, what of the last seconds the engine remembers."""

    @abstractmethod
    def images(self, repository: str) -> list[Image]:
        """Return the images of a repository that are on the host."""


def ratio(used: float, limit: float | None) -> float | None:
    """Return the share of a limit that is used; None without a limit."""
    return round(used / limit, 4) if limit else None


def repository_of(image: str) -> str:
    """Return an image's name without tag and digest; empty for a bare identity."""
    if image.startswith("sha256:"):
        return ""
    head, slash, last = image.partition("@")[0].rpartition("/")
    return head + slash + last.partition(":")[0]


def older_images(running: Collection[str], images: Iterable[Image]) -> list[Image]:
    """Return the images that are older than every one that runs, newest first."""
    every = list(images)
    age = max((image.created_seconds_ago for image in every if image.id in running), default=0.0)
    older = {image.id: image for image in every if image.id not in running and image.created_seconds_ago >= age}
    return sorted(older.values(), key=lambda image: (image.created_seconds_ago, image.names))


def usage_as_return(usage: Usage | None, limits: Limits) -> dict[str, Any]:
    """Return usage beside limits."""
    if usage is None:
        usage = Usage(0, 0.0, 0)
    return {
        "memory": {
            "used_bytes": usage.memory_bytes,
            "limit_bytes": limits.memory_bytes,
            "used_ratio": ratio(usage.memory_bytes, limits.memory_bytes),
        },
        "cpu": {
            "used": round(usage.cpus, 3),
            "limit": limits.cpus,
            "used_ratio": ratio(usage.cpus, limits.cpus),
            "throttled_ratio": ratio(usage.throttled, usage.periods) or 0.0,
            "throttled_now_ratio": ratio(usage.recent_throttled, usage.recent_periods) or 0.0,
        },
        "pids": {"used": usage.pids, "limit": limits.pids, "used_ratio": ratio(usage.pids, limits.pids)},
    }
