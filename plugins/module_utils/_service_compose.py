# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to the ops.runbooks collection: may change without notice.
"""Services of a Docker Compose project.

State is read through the Docker API, by the labels that Compose leaves on containers. Replicas are created by the
Compose CLI, the only thing that reads the project's files as their author means them.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from ansible_collections.ops.runbooks.plugins.module_utils._errors import (
    ActionFailed,
    PreconditionFailed,
    Unsupported,
)
from ansible_collections.ops.runbooks.plugins.module_utils._service_observed import Image
from ansible_collections.ops.runbooks.plugins.module_utils._service_ports import Data, RollbackEngine
from ansible_collections.ops.runbooks.plugins.module_utils._service_replicas import Definition, HostPort, Replica

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from ansible_collections.ops.runbooks.plugins.module_utils._docker_engine import DockerEngine

LABEL = "com.docker.compose."
STOPPING_AT_ONCE = 8
DEFAULT_FILES = ("compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml")  # in Compose's own order
GENERATED_NAME = 64  # characters of the name that the engine gives a volume that has none


class ComposeEngine(RollbackEngine):
    """The services of one Compose project on one Docker engine."""

    picks_leaving = True

    def __init__(
        self,
        docker: DockerEngine,
        project: str,
        run: Callable[[list[str]], tuple[int, str, str]],
        *,
        source: Path | None = None,
        files: Sequence[Path] = (),
        env_files: Sequence[Path] = (),
        override: Path | None = None,
    ) -> None:
        """``run`` starts a program; without ``source`` the project's files are those its containers came from.

        ``override`` is the last of the files, once it is there.
        """
        self._docker = docker
        self._project = project
        self._run = run
        self._source = source
        self._files = files
        self._env_files = env_files
        self._override = override
        self._known: dict[str, tuple[str, list[str], list[str]]] = {}

    def definition(self, service: str) -> Definition:
        """Return what the project's files say of a service."""
        # Holds secrets of the project: read here and never returned. The profile makes every service visible.
        services = json.loads(self._compose(service, "--profile", "*", "config", "--format", "json"))["services"]
        if service not in services:
            raise PreconditionFailed(
                f"Cannot find service {service!r} in project {self._project}. Its services are: "
                f"{', '.join(sorted(services))}."
            )
        found = services[service]
        return Definition(
            name=service,
            source="the Compose file",
            replicas=found.get("deploy", {}).get("replicas", found.get("scale", 1)),
            container_name=found.get("container_name"),
            host_ports=tuple(
                HostPort(port["published"], _size(port["published"]))
                for port in found.get("ports", [])
                if port.get("published", "0") not in ("", "0")  # 0: the engine chooses a free one
            ),
            limits_stated=_stated(found),
            swap_beyond_memory=_swap(found),
            drift=tuple(self._drift(service, found)),
        )

    def replicas(self, service: str) -> list[Replica]:
        """Return the containers of a service by number."""
        found = [self._replica(entry["Id"]) for entry in self._containers(service)]
        return sorted((replica for replica in found if replica is not None), key=lambda replica: replica.number)

    def add(self, service: str, total: int) -> None:
        """Start the stopped containers first; let Compose create what is still missing."""
        every = self.replicas(service)
        if total > len(every):
            self._up(service, "--no-recreate", "--scale", f"{service}={total}")
            return
        # Asked for fewer than there are, stopped ones included, Compose would remove some, running ones too.
        missing = total - sum(replica.counts for replica in every)
        for replica in [replica for replica in every if not replica.counts][:missing]:
            self.start(replica)

    def remove(self, leaving: Sequence[Replica], *, new: bool) -> None:
        """Stop and remove these containers; what is not new leaves its anonymous volumes, as Compose does."""
        for replica in leaving:
            self.stop(replica)
            self._docker.remove(replica.id, replica.name, volumes=new)

    def start(self, replica: Replica) -> None:
        """Start a container that has stopped."""
        self._docker.start(replica.id, replica.name)

    def stop(self, replica: Replica) -> None:
        """Stop a container by its own stop signal and grace period."""
        self._docker.stop(replica.id, replica.name)

    def stop_all(self, replicas: Sequence[Replica]) -> None:
        """Stop containers side by side: each has its own grace period."""
        with ThreadPoolExecutor(max_workers=max(1, min(len(replicas), STOPPING_AT_ONCE))) as pool:
            for stopping in [pool.submit(self.stop, replica) for replica in replicas]:
                stopping.result()

    def restart(self, replica: Replica) -> None:
        """Have the engine stop and start a container."""
        self._docker.restart(replica.id, replica.name)

    def log_tail(self, replica: Replica, lines: int) -> list[str]:
        """Return the last lines of a container's log."""
        return self._docker.log_tail(replica.id, lines)

    def data(self, service: str) -> Data:
        """Return where the containers of a service keep data."""
        described = [self._docker.inspect(entry["Id"]) for entry in self._containers(service)]
        mounts = [mount for found in described if found is not None for mount in found["Mounts"] if mount["RW"]]
        own = [m for m in mounts if m["Type"] == "volume" and len(m["Name"]) == GENERATED_NAME]
        return Data(own=bool(own), shared=len(own) < len(mounts))

    def image(self, name: str) -> Image | None:
        """Return a local image."""
        found = self._docker.image(name)
        if found is None:
            return None
        age = self._docker.seconds_since(found["Created"])
        return Image(found["Id"], tuple(sorted(found["RepoTags"] or [])), age)

    def recreate(self, service: str) -> None:
        """Have Compose replace the only container; it carries volumes over, those without a name too."""
        self._up(service, "--force-recreate", "--scale", f"{service}=1")

    def _containers(self, service: str | None = None) -> list[dict[str, Any]]:
        labels = [f"{LABEL}project={self._project}", f"{LABEL}oneoff=False"]
        return self._docker.containers(labels + ([f"{LABEL}service={service}"] if service else []))

    def _replica(self, identifier: str) -> Replica | None:
        found = self._docker.inspect(identifier)
        return None if found is None else replica_of(found, self._docker)  # None: removed since it was listed

    def _drift(self, service: str, found: dict[str, Any]) -> list[str]:
        """Say how a container created now would differ from those that run."""
        running = [entry for entry in self._containers(service) if entry["State"] == "running"]
        if not running:
            return []
        differences = []
        wanted = self._compose(service, "--profile", "*", "config", "--hash", service).split()
        hashes = {entry["Labels"].get(f"{LABEL}config-hash") for entry in running}
        if wanted and hashes != {wanted[-1]}:
            differences.append(
                "the Compose files or the environment changed since those were created. Recreate the service "
                "(docker compose up) to have one configuration."
            )
        image = self._docker.image(found["image"]) if "image" in found else None
        if image is not None and {entry["ImageID"] for entry in running} != {image["Id"]}:
            differences.append(
                f"{found['image']} is another image by now. Recreate the service (docker compose up) to have one."
            )
        return differences

    def _up(self, service: str, *arguments: str) -> None:
        """Run `up` for one service, from the images that are here."""
        fixed = ("up", "--detach", "--no-deps", "--no-build", "--pull", "never", *arguments, service)
        self._compose(service, *fixed)

    def _compose(self, service: str, *arguments: str) -> str:
        command = [*self._command_line(service), *arguments]
        try:
            code, out, err = self._run(command)
        except OSError as error:
            raise Unsupported(f"Cannot run docker compose: {error}. Install the Docker CLI with Compose v2.") from error
        if code:
            verb = next(argument for argument in arguments if argument in ("config", "up"))
            reason = ((err or out).strip().splitlines() or ["no message"])[-1].strip().rstrip(".")
            if "not a docker command" in err or "unknown flag: --project-name" in err:
                raise Unsupported("The Docker CLI has no `compose`. Install Compose v2 (docker-compose-plugin).")
            raise ActionFailed(
                f"Cannot run `docker compose {verb}` for project {self._project}: {reason}. "
                "If the project's files have moved, set project_src and files."
            )
        return out

    def _command_line(self, service: str) -> list[str]:
        """Build the command from what was given, or from the labels that Compose left on the project's containers."""
        if service not in self._known:  # a service whose containers are being replaced has none for a while
            self._known[service] = self._project_files(service)
        directory, files, environment = self._known[service]
        if self._override is not None and self._override.exists() and str(self._override) not in files:
            files = [*files, str(self._override)]
        return [
            *("docker", "--host", self._docker.host, "compose", "--project-name", self._project),
            *("--project-directory", directory),
            *(part for name in files for part in ("--file", name)),
            *(part for name in environment for part in ("--env-file", name)),
        ]

    def _project_files(self, service: str) -> tuple[str, list[str], list[str]]:
        """Return the project's directory, Compose files and environment files."""
        if self._source is not None:
            files = [str(self._source / name) for name in self._files or self._found(self._source)]
            return str(self._source), files, [str(self._source / name) for name in self._env_files]
        labels = self._labels(service)
        return (
            labels.get(f"{LABEL}project.working_dir", ""),
            _split(labels.get(f"{LABEL}project.config_files", "")),
            _split(labels.get(f"{LABEL}project.environment_file", "")),
        )

    def _found(self, source: Path) -> list[str]:
        """Return the files that Compose would choose itself, which it does not once it is told of another one."""
        found = [name for name in DEFAULT_FILES if (source / name).exists()][:1] if self._override else []
        extra = [name.replace(".", ".override.") for name in DEFAULT_FILES]
        return found + [name for name in extra if found and (source / name).exists()][:1]

    def _labels(self, service: str) -> dict[str, str]:
        """Return the labels of a container of the service, or else of any container of the project."""
        containers = self._containers(service) or self._containers()
        if not containers:
            raise PreconditionFailed(
                f"Cannot find Compose project {self._project!r} at {self._docker.host}: it has no containers there. "
                "Check the name (docker compose ls --all), or set project_src."
            )
        labels: dict[str, str] = max(containers, key=lambda entry: entry["Created"])["Labels"]
        return labels


def replica_of(found: dict[str, Any], docker: DockerEngine) -> Replica:
    """Return a container as a replica, from what the engine says of it."""
    state = found["State"]
    return Replica(
        id=found["Id"],
        service=found["Config"]["Labels"][f"{LABEL}service"],
        name=found["Name"].lstrip("/"),
        number=int(found["Config"]["Labels"].get(f"{LABEL}container-number", 0)),
        state=state["Status"],
        health=_health(state),
        started=state["StartedAt"],
        up_seconds=docker.seconds_since(state["StartedAt"]),
        exit_code=state["ExitCode"],
        restarts=found["RestartCount"],
        image=found["Image"],
        error=state["Error"],
    )


def _health(state: dict[str, Any]) -> str:
    """Return the verdict of the health check; empty without one."""
    found: str = state.get("Health", {}).get("Status", "")
    return "" if found == "none" else found


def _stated(found: dict[str, Any]) -> tuple[str, ...]:
    """Return where a service states its limits, or where it may."""
    at_service = any(found.get(key) for key in ("mem_limit", "cpus", "pids_limit"))
    under_deploy = bool(found.get("deploy", {}).get("resources", {}).get("limits"))
    return tuple(
        where for where, there in (("service", at_service), ("deploy", under_deploy or not at_service)) if there
    )


def _swap(found: dict[str, Any]) -> int | None:
    """Return the bytes of swap that a service states beyond its memory; None if it does not, or has no bound."""
    limits = found.get("deploy", {}).get("resources", {}).get("limits", {})
    memory, swap = int(found.get("mem_limit") or limits.get("memory") or 0), int(found.get("memswap_limit") or 0)
    return swap - memory if memory > 0 and swap > 0 else None


def _size(published: str) -> int:
    """Return how many ports a published port or range has."""
    first, _dash, last = published.partition("-")
    return int(last) - int(first) + 1 if last else 1


def _split(label: str) -> list[str]:
    return [part for part in label.split(",") if part]
