# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to the ops.runbooks collection: may change without notice.
"""Change the limits of containers through the Docker API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible_collections.ops.runbooks.plugins.module_utils._errors import ActionFailed
from ansible_collections.ops.runbooks.plugins.module_utils._service_limits import Host, LimitsEngine
from ansible_collections.ops.runbooks.plugins.module_utils._service_observer import NANO, ComposeObserver

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ansible_collections.ops.runbooks.plugins.module_utils._docker_engine import DockerEngine
    from ansible_collections.ops.runbooks.plugins.module_utils._service_observed import Limits
    from ansible_collections.ops.runbooks.plugins.module_utils._service_replicas import Replica

DEFAULT_PERIOD = 100_000


class ComposeLimiter(ComposeObserver, LimitsEngine):
    """The containers of one Compose project, whose limits can be changed while they run."""

    def __init__(self, docker: DockerEngine, project: str, warn: Callable[[str], None]) -> None:
        super().__init__(docker, project)
        self._warn = warn

    def host(self) -> Host:
        """Return memory and processors of the engine's machine."""
        return Host(memory_bytes=self._docker.info["MemTotal"], cpus=float(self._docker.info["NCPU"]))

    def update(self, replica: Replica, limits: Limits) -> None:
        """Set the limits that are not None."""
        found = self._docker.inspect(replica.id)
        if found is None:
            raise ActionFailed(f"Cannot limit {replica.name}: it is no longer there. Look again, then decide.")
        for warning in self._docker.update(replica.id, replica.name, resources(found["HostConfig"], limits)):
            self._warn(f"{replica.name}: {warning}")


def resources(host_config: Mapping[str, Any], limits: Limits) -> dict[str, int]:
    """Return what the engine is to be told, in the way in which the container was told before."""
    told: dict[str, int] = {}
    if limits.memory_bytes is not None:
        memory, swap = host_config.get("Memory") or 0, host_config.get("MemorySwap") or 0
        told["Memory"] = limits.memory_bytes
        # As much again is the engine's default. Memory above the old sum of both would be refused without the new one.
        beyond = swap - memory if swap > 0 and memory > 0 and swap != 2 * memory else limits.memory_bytes
        told["MemorySwap"] = -1 if swap < 0 else limits.memory_bytes + beyond
    if limits.cpus is not None:
        if (host_config.get("CpuQuota") or 0) > 0:  # the engine refuses to state it in both ways
            period = host_config.get("CpuPeriod") or DEFAULT_PERIOD
            told.update(CpuPeriod=period, CpuQuota=round(limits.cpus * period))
        else:
            told["NanoCpus"] = round(limits.cpus * NANO)
    if limits.pids is not None:
        told["PidsLimit"] = limits.pids
    return told
