# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to the ops.runbooks collection: may change without notice.
"""See the replicas of a Docker Swarm stack, and what of them is on the manager's own host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible_collections.ops.runbooks.plugins.module_utils._errors import ActionFailed
from ansible_collections.ops.runbooks.plugins.module_utils._service_limits import Host, LimitsSource
from ansible_collections.ops.runbooks.plugins.module_utils._service_observed import (
    Image,
    Limits,
    Observed,
    Past,
    Usage,
)
from ansible_collections.ops.runbooks.plugins.module_utils._service_observer import images_on, usage_of
from ansible_collections.ops.runbooks.plugins.module_utils._service_swarm import NANO, Slot, SwarmStack

if TYPE_CHECKING:
    from ansible_collections.ops.runbooks.plugins.module_utils._docker_engine import DockerEngine
    from ansible_collections.ops.runbooks.plugins.module_utils._service_replicas import Replica


class SwarmObserver(LimitsSource):
    """The services of one stack; usage and logs are those of the containers on this host."""

    def __init__(self, docker: DockerEngine, project: str) -> None:
        self._stack = SwarmStack(docker, project)
        self._docker = docker
        self._slots: dict[str, Slot] = {}

    def observe(self) -> list[Observed]:
        """Return the places of the stack's services, by service and number."""
        seen = []
        for name, service in sorted(self._stack.services().items()):
            for slot in self._stack.slots(name, service):
                replica = slot.replica(self._docker)
                self._slots[replica.id] = slot
                seen.append(
                    Observed(
                        replica=replica,
                        image=slot.task["Spec"]["ContainerSpec"]["Image"],
                        limits=limits_of(slot.task["Spec"].get("Resources") or {}),
                        out_of_memory=bool(self._state(slot).get("OOMKilled")),
                        health_output=_last_output(self._state(slot)),
                    )
                )
        return seen

    def host(self) -> Host:
        """Return memory and processors of the manager; other nodes may have less."""
        return Host(memory_bytes=self._docker.info["MemTotal"], cpus=float(self._docker.info["NCPU"]))

    def usage(self, replica: Replica) -> Usage | None:
        """Return what a replica's container uses."""
        container = self._slots[replica.id].container
        if not container:
            return None
        if self._docker.inspect(container) is None:
            raise ActionFailed(f"Cannot read what {replica.name} uses: it runs on another node. Ask there.")
        found = self._docker.stats(container, replica.name)
        return usage_of(found) if found else None

    def log(self, replica: Replica, *, seconds: float, lines: int, limit_seconds: float) -> list[str]:
        """Return the last lines of the last seconds of a replica's container."""
        container = self._slots[replica.id].container
        if not container:
            return []
        return self._docker.log_since(
            container, replica.name, seconds=seconds, lines=lines, limit_seconds=limit_seconds
        )

    def past(self, seconds: float) -> dict[str, Past]:
        """Return the newest end of each place, as far as the Swarm keeps its tasks (five of each, by default)."""
        found = {}
        for identity, slot in self._slots.items():
            ended = [task["Status"] for task in slot.ended if task["Status"]["State"] in ("failed", "complete")]
            if not ended:
                continue
            ago = self._docker.seconds_since(ended[0]["Timestamp"])
            if ago <= seconds:
                code = ended[0].get("ContainerStatus", {}).get("ExitCode")
                found[identity] = Past(exit_code=code, ended_seconds_ago=ago)
        return found

    def images(self, repository: str) -> list[Image]:
        """Return the images of a repository on this host."""
        return images_on(self._docker, repository)

    def _state(self, slot: Slot) -> dict[str, Any]:
        found = self._docker.inspect(slot.container) if slot.container else None
        return found["State"] if found else {}


def limits_of(resources: dict[str, Any]) -> Limits:
    """Return the limits of a task; the Swarm writes none as 0 or not at all."""
    limits = resources.get("Limits") or {}
    nano = limits.get("NanoCPUs") or 0
    return Limits(limits.get("MemoryBytes") or None, nano / NANO if nano else None, limits.get("Pids") or None)


def _last_output(state: dict[str, Any]) -> str:
    checks = state.get("Health", {}).get("Log") or []
    return str(checks[-1]["Output"]) if checks else ""
