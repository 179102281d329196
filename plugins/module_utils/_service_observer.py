# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to the ops.runbooks collection: may change without notice.
"""See the replicas of a Docker Compose project through the Docker API."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ansible_collections.ops.runbooks.plugins.module_utils._service_compose import LABEL, replica_of
from ansible_collections.ops.runbooks.plugins.module_utils._service_observed import (
    Image,
    Limits,
    Observed,
    Past,
    ServiceObserver,
    Usage,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ansible_collections.ops.runbooks.plugins.module_utils._docker_engine import DockerEngine
    from ansible_collections.ops.runbooks.plugins.module_utils._service_replicas import Replica

NANO = 1_000_000_000


class ComposeObserver(ServiceObserver):
    """The replicas of one Compose project on one Docker engine."""

    def __init__(self, docker: DockerEngine, project: str) -> None:
        self._docker = docker
        self._project = project

    def observe(self) -> list[Observed]:
        """Return the containers of the project by service and number."""
        every = [self._observed(found) for found in self._described()]
        return sorted(every, key=lambda one: (one.replica.service, one.replica.number))

    def _described(self) -> list[dict[str, Any]]:
        labels = [f"{LABEL}project={self._project}", f"{LABEL}oneoff=False"]
        described = [self._docker.inspect(entry["Id"]) for entry in self._docker.containers(labels)]
        return [found for found in described if found is not None]

    def _observed(self, found: dict[str, Any]) -> Observed:
        checks = found["State"].get("Health", {}).get("Log") or []
        return Observed(
            replica=replica_of(found, self._docker),
            image=found["Config"]["Image"],
            limits=limits_of(found["HostConfig"]),
            out_of_memory=found["State"]["OOMKilled"],
            health_output=checks[-1]["Output"] if checks else "",
        )

    def usage(self, replica: Replica) -> Usage | None:
        """Return what a container uses, measured by the engine over about a second."""
        found = self._docker.stats(replica.id, replica.name)
        return usage_of(found) if found else None

    def log(self, replica: Replica, *, seconds: float, lines: int, limit_seconds: float) -> list[str]:
        """Return the last lines of the last seconds."""
        return self._docker.log_since(
            replica.id, replica.name, seconds=seconds, lines=lines, limit_seconds=limit_seconds
        )

    def past(self, seconds: float) -> dict[str, Past]:
        """Return the newest end of each container, and kills.

        A container that runs again keeps only the time of it. The code, and a kill that it outlived, are in the events
        of the engine, which keeps 256: on a busy host those of a minute.
        """
        found = {one["Id"]: past for one in self._described() if (past := self._ended(one, seconds))}
        for event in self._docker.events(f"{LABEL}project={self._project}", ("die", "oom"), seconds):  # oldest first
            actor = event["Actor"]
            past = found.get(actor["ID"], Past())
            if event["Action"] == "oom":
                found[actor["ID"]] = replace(past, out_of_memory=True)
                continue
            ago = max(0.0, self._docker.now() - event["timeNano"] / NANO)
            found[actor["ID"]] = replace(past, exit_code=int(actor["Attributes"]["exitCode"]), ended_seconds_ago=ago)
        return found

    def _ended(self, found: dict[str, Any], seconds: float) -> Past | None:
        state = found["State"]
        ago = self._docker.seconds_since(state["FinishedAt"])
        if not 0 < ago <= seconds:
            return None  # never, or long ago
        again = state["Status"] in ("running", "paused")
        return Past(exit_code=None if again else state["ExitCode"], ended_seconds_ago=ago)

    def images(self, repository: str) -> list[Image]:
        """Return the local images of a repository."""
        return images_on(self._docker, repository)


def images_on(docker: DockerEngine, repository: str) -> list[Image]:
    """Return the images of a repository on the engine's host."""
    return [
        Image(entry["Id"], tuple(sorted(entry["RepoTags"] or [])), max(0.0, docker.now() - entry["Created"]))
        for entry in docker.images(repository)
    ]


def limits_of(host_config: Mapping[str, Any]) -> Limits:
    """Return the limits of a container; the engine writes none as 0, null or -1."""
    nano, quota, period = (host_config.get(key) or 0 for key in ("NanoCpus", "CpuQuota", "CpuPeriod"))
    pids = host_config.get("PidsLimit") or 0
    cpus = nano / NANO if nano else quota / (period or 100_000) if quota > 0 else None
    memory = host_config.get("Memory") or 0
    return Limits(memory_bytes=memory if memory > 0 else None, cpus=cpus, pids=pids if pids > 0 else None)


def usage_of(stats: Mapping[str, Any]) -> Usage | None:
    """Return what the engine measured, as the Docker CLI reads it; None for a container that does not run."""
    memory = stats.get("memory_stats") or {}
    if "usage" not in memory:
        return None
    now, before = stats["cpu_stats"], stats["precpu_stats"]
    # Page cache that the kernel gives back when it must is no use of memory: cgroup version 1, then 2.
    detail = memory.get("stats") or {}
    cache = detail.get("total_inactive_file", detail.get("inactive_file", 0))
    spent = now["cpu_usage"]["total_usage"] - before["cpu_usage"]["total_usage"]
    passed = now.get("system_cpu_usage", 0) - before.get("system_cpu_usage", 0)
    cores = now.get("online_cpus") or len(now["cpu_usage"].get("percpu_usage") or [0])
    throttling, earlier = now.get("throttling_data") or {}, before.get("throttling_data") or {}
    periods, throttled = throttling.get("periods", 0), throttling.get("throttled_periods", 0)
    return Usage(
        memory_bytes=memory["usage"] - cache if cache < memory["usage"] else memory["usage"],
        cpus=max(0.0, spent / passed * cores) if passed > 0 and before.get("system_cpu_usage") else 0.0,
        pids=(stats.get("pids_stats") or {}).get("current", 0),
        periods=periods,
        throttled=throttled,
        recent_periods=max(0, periods - earlier.get("periods", 0)),
        recent_throttled=max(0, throttled - earlier.get("throttled_periods", 0)),
    )
