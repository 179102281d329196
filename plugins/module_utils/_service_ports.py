# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to the ops.runbooks collection: may change without notice.
"""The port through which the service modules see an engine."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ansible_collections.ops.runbooks.plugins.module_utils._service_observed import Image, Limits
    from ansible_collections.ops.runbooks.plugins.module_utils._service_replicas import Definition, Replica


class ServiceEngine(ABC):
    """An engine that runs the replicas of services.

    Every method raises ConnectionFailed if the engine cannot be reached, and ActionFailed if it refuses.
    """

    picks_leaving: ClassVar[bool]  # whether the caller says which replica goes, or the engine does

    @abstractmethod
    def definition(self, service: str) -> Definition:
        """Return what the project says; raises PreconditionFailed for an unknown project or service."""

    @abstractmethod
    def replicas(self, service: str) -> list[Replica]:
        """Return the replicas of a service, those that have exited included, by number."""

    @abstractmethod
    def add(self, service: str, total: int) -> None:
        """Have ``total`` replicas; existing ones stay as they are, those that have exited are started."""

    @abstractmethod
    def remove(self, leaving: Sequence[Replica], *, new: bool) -> None:
        """Stop by stop signal and grace period, then remove; what is ``new`` goes with its anonymous volumes."""

    @abstractmethod
    def log_tail(self, replica: Replica, lines: int) -> list[str]:
        """Return the last lines that a replica wrote, or one that says why they cannot be read."""


class ReplicaEngine(ServiceEngine):
    """An engine whose caller says what becomes of each replica."""

    @abstractmethod
    def start(self, replica: Replica) -> None:
        """Start a replica that has stopped."""

    @abstractmethod
    def stop(self, replica: Replica) -> None:
        """Stop a replica by its stop signal and grace period; it stays there."""

    @abstractmethod
    def stop_all(self, replicas: Sequence[Replica]) -> None:
        """Stop replicas as ``stop`` does, all at the same time."""

    @abstractmethod
    def restart(self, replica: Replica) -> None:
        """Stop a replica as ``stop`` does and start it again, as one step that outlives the caller."""


@dataclass(frozen=True)
class Data:
    """Where the replicas of a service keep what they write."""

    own: bool = False  # in volumes without a name, each replica its own, which a new one does not get
    shared: bool = False  # in named volumes or folders of the host, which all have


class RollbackEngine(ReplicaEngine):
    """An engine that can also replace replicas by others of another image, which the override file names."""

    @abstractmethod
    def data(self, service: str) -> Data:
        """Return where the replicas of a service keep data."""

    @abstractmethod
    def image(self, name: str) -> Image | None:
        """Return the image of a name or an identity; None if the host does not have it."""

    @abstractmethod
    def recreate(self, service: str) -> None:
        """Replace the only replica by a new one that gets its volumes, stopped before the new one starts."""


@dataclass(frozen=True)
class Change:
    """How the replicas of a service are to be; without an image and limits they are to be started again as they are."""

    image: str | None = None
    limits: Limits | None = None
    note: str | None = None  # kept with the service
    start_first: bool = True  # whether a replica may run beside its successor
    at_once: bool = False  # all, and not one after the other
    undo: bool = False  # whether the engine returns to what was if a successor does not serve; else it stops there
    monitor_seconds: float = 5.0  # how long a successor is watched


@dataclass(frozen=True)
class Progress:
    """How far the engine came with a change."""

    state: str  # going, done, stopped, undone
    message: str = ""


class OrchestratedEngine(ServiceEngine):
    """An engine that replaces the replicas of a service by itself, and keeps what it was told."""

    @abstractmethod
    def change(self, service: str, change: Change) -> list[str]:
        """Begin to replace every replica; return, in sentences, what else was set for that and stays set."""

    @abstractmethod
    def progress(self, service: str) -> Progress:
        """Return how far the last change came."""

    @abstractmethod
    def failed(self, service: str) -> Replica | None:
        """Return the replica that ended last, of those that ended by themselves."""

    @abstractmethod
    def data(self, service: str) -> Data:
        """Return where the replicas of a service keep data."""

    @abstractmethod
    def image(self, name: str) -> Image | None:
        """Return the image of a name or an identity; None if this host does not have it."""

    @abstractmethod
    def told(self, service: str) -> Told:
        """Return what the engine was told of a service, now and before."""


@dataclass(frozen=True)
class Told:
    """The images that an engine was told, and the note that came with a change."""

    image: str
    former: str | None
    note: str | None
    everywhere_here: bool  # whether all replicas run on this host
