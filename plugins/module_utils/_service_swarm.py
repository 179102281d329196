# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to the ops.runbooks collection: may change without notice.
"""Services of a Docker Swarm stack, which the Swarm itself replaces, scales and keeps as it was told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible_collections.ops.runbooks.plugins.module_utils._errors import PreconditionFailed, Unsupported
from ansible_collections.ops.runbooks.plugins.module_utils._service_observed import Image
from ansible_collections.ops.runbooks.plugins.module_utils._service_ports import (
    Change,
    Data,
    OrchestratedEngine,
    Progress,
    Told,
)
from ansible_collections.ops.runbooks.plugins.module_utils._service_replicas import Definition, HostPort, Replica

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ansible_collections.ops.runbooks.plugins.module_utils._docker_engine import DockerEngine
    from ansible_collections.ops.runbooks.plugins.module_utils._service_observed import Limits

NAMESPACE = "com.docker.stack.namespace"
NOTE = "ops.runbooks.rolled-back"
NANO = 1_000_000_000
ENDED = ("complete", "shutdown", "failed", "rejected", "orphaned", "remove")
STATES = {
    "updating": "going",
    "rollback_started": "going",
    "completed": "done",
    "paused": "stopped",
    "rollback_paused": "stopped",
    "rollback_completed": "undone",
}


class SwarmStack:
    """What a Swarm says of the services of one stack."""

    def __init__(self, docker: DockerEngine, project: str) -> None:
        """Raise Unsupported if the engine manages no Swarm."""
        if not docker.info.get("Swarm", {}).get("ControlAvailable"):
            raise Unsupported(
                f"Cannot treat stack {project} at {docker.host}: this engine is no manager of a Swarm. Name one as "
                "docker_host, or leave engine at compose."
            )
        self.docker = docker
        self.project = project

    def services(self) -> dict[str, dict[str, Any]]:
        """Return the services of the stack, by their names without its own."""
        found = self.docker.swarm_services([f"{NAMESPACE}={self.project}"])
        own = len(f"{self.project}_")
        return {entry["Spec"]["Name"][own:]: entry for entry in found}

    def service(self, name: str) -> dict[str, Any]:
        """Return a service; raises PreconditionFailed for one that there is not."""
        every = self.services()
        if name not in every:
            raise PreconditionFailed(
                f"Cannot find service {name!r} in stack {self.project}. Its services are: {', '.join(sorted(every))}."
                if every
                else f"Cannot find stack {self.project!r} at {self.docker.host}. Check the name (docker stack ls)."
            )
        return every[name]

    def slots(self, name: str, service: Mapping[str, Any]) -> list[Slot]:
        """Return the replicas of a service, each with the tasks that it has had, the newest first."""
        tasks = sorted(self.docker.swarm_tasks(service["ID"]), key=lambda task: task["Version"]["Index"], reverse=True)
        places: dict[str, list[dict[str, Any]]] = {}
        for task in sorted(tasks, key=lambda task: task["CreatedAt"], reverse=True):
            places.setdefault(str(task.get("Slot") or task.get("NodeID", "")), []).append(task)
        every = [Slot(name, place, own, service) for place, own in places.items()]
        # What is to run; a predecessor that is still stopping is on its way out.
        return sorted((slot for slot in every if slot.wanted), key=lambda slot: slot.number)


class Slot:
    """One place of a service, in which task follows task."""

    def __init__(self, name: str, place: str, tasks: Sequence[dict[str, Any]], service: Mapping[str, Any]) -> None:
        self.name = name
        self.place = place
        self.number = int(place) if place.isdigit() else 0
        self.tasks = tasks
        self.service = service

    @property
    def task(self) -> dict[str, Any]:
        """Return the task that runs or is about to; of a replacement that failed, the one before."""
        return next((task for task in self.tasks if task["DesiredState"] not in ENDED), self.tasks[0])

    @property
    def ended(self) -> list[dict[str, Any]]:
        """Return the tasks that were there, the newest first."""
        return [task for task in self.tasks if task is not self.task and task["Status"]["State"] in ENDED]

    @property
    def wanted(self) -> bool:
        """Whether the Swarm wants this place to be filled."""
        return self.task["DesiredState"] not in ENDED

    @property
    def container(self) -> str:
        """Return the identity of the container; empty before there is one."""
        found: str = self.task["Status"].get("ContainerStatus", {}).get("ContainerID", "")
        return found

    def replica(self, docker: DockerEngine) -> Replica:
        """Return the place as a replica."""
        status, spec = self.task["Status"], self.task["Spec"]["ContainerSpec"]
        ended = [task for task in self.ended if task["Status"]["State"] in ("failed", "rejected")]
        same = [task for task in ended if task["Spec"]["ContainerSpec"] == spec]
        last = ended[0]["Status"] if ended else {}
        described = docker.inspect(self.container) if self.container else None
        image = docker.image(spec["Image"]) if described is None else None
        running = status["State"] == "running"
        return Replica(
            id=f"{self.service['ID']}/{self.place}",
            service=self.name,
            name=f"{self.service['Spec']['Name']}.{self.place}",
            number=self.number,
            state=status["State"] if self.wanted else "exited",
            # A task with a health check runs once it is healthy, and is ended once it is not.
            health="healthy" if running and (described or {}).get("State", {}).get("Health") else "",
            started=self.task["CreatedAt"],
            up_seconds=docker.seconds_since(status["Timestamp"]) if running else 0.0,
            exit_code=last.get("ContainerStatus", {}).get("ExitCode", 0),
            restarts=len(same),
            image=described["Image"] if described else image["Id"] if image else spec["Image"],
            error=status.get("Err", "") or (last.get("Err", "") if not running else ""),
        )


class SwarmEngine(OrchestratedEngine):
    """The services of one stack of the Swarm that one engine manages."""

    picks_leaving = False

    def __init__(self, docker: DockerEngine, project: str) -> None:
        self._stack = SwarmStack(docker, project)
        self._docker = docker
        self._containers: dict[str, str] = {}  # of replicas, by their names, for their logs
        self._begun = 0.0  # when the last change was made

    def definition(self, service: str) -> Definition:
        """Return what the Swarm was told of a service."""
        found = self._stack.service(service)
        nodes = self._docker.info["Swarm"].get("Nodes", 1)
        ports = found["Spec"].get("EndpointSpec", {}).get("Ports", [])
        return Definition(
            name=service,
            source="the stack",
            host_ports=tuple(
                HostPort(str(port["PublishedPort"]), nodes)
                for port in ports
                if port.get("PublishMode") == "host" and port.get("PublishedPort")
            ),
            one_per_node="Global" in found["Spec"]["Mode"],
        )

    def replicas(self, service: str) -> list[Replica]:
        """Return the places of a service that are to be filled, by number."""
        slots = self._stack.slots(service, self._stack.service(service))
        found = [slot.replica(self._docker) for slot in slots]
        self._containers.update({one.name: slot.container for one, slot in zip(found, slots)})
        return found

    def add(self, service: str, total: int) -> None:
        """Tell the Swarm how many replicas there are to be."""
        self._scale(service, total)

    def remove(self, leaving: Sequence[Replica], *, new: bool) -> None:
        """Tell the Swarm how many replicas are to be left; it takes those first that do not run."""
        del new  # the Swarm removes containers with their anonymous volumes
        if leaving:
            service = leaving[0].service
            self._scale(service, len(self.replicas(service)) - len(leaving))

    def log_tail(self, replica: Replica, lines: int) -> list[str]:
        """Return the last lines of a replica's container, if that is on this host."""
        container = self._containers.get(replica.name, "")
        if not container or self._docker.inspect(container) is None:
            return [f"(the log of {replica.name} is not on this host: docker service logs)"]
        return self._docker.log_tail(container, lines)

    def change(self, service: str, change: Change) -> list[str]:
        """Update the service; how the Swarm goes about it is part of what it is told."""
        found = self._stack.service(service)
        spec = found["Spec"]
        template = spec["TaskTemplate"]
        if change.image is not None:
            template["ContainerSpec"]["Image"] = change.image
        if change.limits is not None:
            template["Resources"] = limited(template.get("Resources") or {}, change.limits)
        if change.image is None and change.limits is None:
            template["ForceUpdate"] = template.get("ForceUpdate", 0) + 1
        if change.note is not None:
            spec["Labels"] = {**spec.get("Labels", {}), NOTE: change.note}
        before = spec.get("UpdateConfig") or {}
        spec["UpdateConfig"] = update_config(before, change)
        # Backwards as forwards, but never undone: where neither serves, the Swarm stops.
        spec["RollbackConfig"] = {**spec["UpdateConfig"], "FailureAction": "pause"}
        self._begun = self._docker.now()
        self._docker.swarm_update(found, spec)
        now = spec["UpdateConfig"]
        keys = ("Parallelism", "Order", "FailureAction", "Monitor")
        if any(before.get(key) != now[key] for key in keys):
            told = ", ".join(f"{key} {now[key] // NANO if key == 'Monitor' else now[key]}" for key in keys)
            return [
                f"The update configuration of {service} is from now on: {told}. A deployment of the stack sets its own."
            ]
        return []

    def progress(self, service: str) -> Progress:
        """Return the state of the last update."""
        status = self._stack.service(service).get("UpdateStatus") or {}
        return Progress(STATES.get(status.get("State", ""), "going"), status.get("Message", ""))

    def failed(self, service: str) -> Replica | None:
        """Return the task that failed last since the last change."""
        found = self._stack.service(service)
        passed = self._docker.now() - self._begun
        ended = [
            task
            for task in self._docker.swarm_tasks(found["ID"])
            if task["Status"]["State"] in ("failed", "rejected")
            and self._docker.seconds_since(task["CreatedAt"]) <= passed
        ]
        if not ended:
            return None
        task = max(ended, key=lambda one: one["Status"]["Timestamp"])
        place = str(task.get("Slot") or task.get("NodeID", ""))
        status = task["Status"]
        one = Replica(
            id=task["ID"],
            service=service,
            name=f"{found['Spec']['Name']}.{place}",
            number=0,
            state="exited",
            started=task["CreatedAt"],
            exit_code=status.get("ContainerStatus", {}).get("ExitCode", 0),
            error=status.get("Err", ""),
        )
        self._containers[one.name] = status.get("ContainerStatus", {}).get("ContainerID", "")
        return one

    def data(self, service: str) -> Data:
        """Return where the replicas keep data, as far as the Swarm was told: it knows no volumes of an image."""
        mounts = self._stack.service(service)["Spec"]["TaskTemplate"]["ContainerSpec"].get("Mounts", [])
        writable = [mount for mount in mounts if not mount.get("ReadOnly") and mount["Type"] in ("volume", "bind")]
        own = [mount for mount in writable if not mount.get("Source")]
        return Data(own=bool(own), shared=len(own) < len(writable))

    def image(self, name: str) -> Image | None:
        """Return a local image."""
        found = self._docker.image(name)
        if found is None:
            return None
        return Image(found["Id"], tuple(sorted(found["RepoTags"] or [])), self._docker.seconds_since(found["Created"]))

    def told(self, service: str) -> Told:
        """Return the image that the Swarm was told, and the one before."""
        found = self._stack.service(service)
        former = found.get("PreviousSpec", {}).get("TaskTemplate", {}).get("ContainerSpec", {}).get("Image")
        return Told(
            image=found["Spec"]["TaskTemplate"]["ContainerSpec"]["Image"],
            former=former,
            note=found["Spec"].get("Labels", {}).get(NOTE),
            everywhere_here=self._docker.info["Swarm"].get("Nodes", 1) == 1,
        )

    def _scale(self, service: str, total: int) -> None:
        found = self._stack.service(service)
        spec = found["Spec"]
        spec["Mode"] = {"Replicated": {"Replicas": total}}
        self._docker.swarm_update(found, spec)


def update_config(before: Mapping[str, Any], change: Change) -> dict[str, Any]:
    """Return how the Swarm is to go about a change."""
    return {
        "MaxFailureRatio": 0,
        **before,
        "Parallelism": 0 if change.at_once else 1,
        "Order": "start-first" if change.start_first and not change.at_once else "stop-first",
        "FailureAction": "rollback" if change.undo else "pause",
        "Monitor": max(before.get("Monitor") or 0, int(change.monitor_seconds * NANO)),
    }


def limited(resources: Mapping[str, Any], limits: Limits) -> dict[str, Any]:
    """Return resources with those limits replaced that are not None."""
    told = {
        "MemoryBytes": limits.memory_bytes,
        "NanoCPUs": None if limits.cpus is None else round(limits.cpus * NANO),
        "Pids": limits.pids,
    }
    own = {key: value for key, value in told.items() if value is not None}
    return {**resources, "Limits": {**(resources.get("Limits") or {}), **own}}
