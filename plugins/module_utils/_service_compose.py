# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to the ops.runbooks collection: may change without notice.
"""Services of a Docker Compose project, found by the labels of its containers.

State is read through the Docker API; replicas are created by the Compose CLI, the only thing that knows the project's
files as their author does.
"""

from __future__ import annotations

import json
import traceback
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from ansible_collections.ops.runbooks.plugins.module_utils._errors import (
    ActionFailed,
    ConnectionFailed,
    MissingLibrary,
    PreconditionFailed,
    Unsupported,
)
from ansible_collections.ops.runbooks.plugins.module_utils._service_scale import Definition, Replica, ServiceEngine

try:
    import docker
    import docker.errors

    IMPORT_FAILURE: str | None = None
except ImportError:
    IMPORT_FAILURE = traceback.format_exc()

if TYPE_CHECKING:
    from collections.abc import Callable

LABEL = "com.docker.compose."
# Above the longest grace period that is in use; the engine itself answers at once.
API_TIMEOUT_SECONDS = 300


class ComposeEngine(ServiceEngine):
    """The services of one Compose project on one Docker engine."""

    def __init__(self, project: str, run: Callable[[list[str]], tuple[int, str, str]]) -> None:
        """Connect to the engine of the environment; ``run`` starts a program and returns code, output, errors."""
        if IMPORT_FAILURE is not None:
            raise MissingLibrary("docker", IMPORT_FAILURE)
        self._project = project
        self._run = run
        try:
            self._client = docker.from_env(timeout=API_TIMEOUT_SECONDS)
            self._client.ping()
        except (docker.errors.DockerException, OSError) as error:
            raise ConnectionFailed(
                f"Cannot reach the Docker engine: {error}. Check that it runs, that this user may use it, and "
                "DOCKER_HOST."
            ) from error
        self._command_line: list[str] | None = None

    def definition(self, service: str) -> Definition:
        """Return what the project's files say of a service."""
        services = self._configuration()["services"]
        if service not in services:
            raise PreconditionFailed(
                f"Cannot find service {service!r} in project {self._project}. It has: {', '.join(sorted(services))}."
            )
        found = services[service]
        ports = [str(port.get("published") or "") for port in found.get("ports", [])]
        return Definition(
            name=service,
            container_name=found.get("container_name"),
            # Without a number, with 0 or a range the engine itself chooses a free one.
            host_ports=tuple(port for port in ports if port not in ("", "0") and "-" not in port),
            replicas=found.get("deploy", {}).get("replicas", found.get("scale", 1)),
            source="the Compose file",
        )

    def replicas(self, service: str) -> list[Replica]:
        """Return the containers of a service by number."""
        listed = self._containers(f"{LABEL}service={service}")
        found = [self._replica(entry["Id"]) for entry in listed]
        return sorted((replica for replica in found if replica is not None), key=lambda replica: replica.number)

    def add_replicas(self, service: str, total: int) -> None:
        """Let Compose create what is missing."""
        wanted = ["--no-deps", "--no-recreate", "--scale", f"{service}={total}", service]
        self._compose("up", "--detach", *wanted)

    def remove(self, replica: Replica) -> None:
        """Stop by the container's own signal and grace period, then remove it with its anonymous volumes."""
        try:
            container = self._client.containers.get(replica.id)
            container.stop()
            container.remove(v=True)
        except docker.errors.NotFound:
            return  # it went by itself, which is what was wanted
        except docker.errors.DockerException as error:
            raise ActionFailed(f"Cannot remove {replica.name}: {error}. Look at it with docker inspect.") from error

    def log_tail(self, replica: Replica, lines: int) -> str:
        """Return the last lines of a container's log."""
        try:
            log: bytes = self._client.containers.get(replica.id).logs(tail=lines)
        except docker.errors.DockerException as error:
            return f"(the log could not be read: {error})"
        return log.decode("utf-8", "replace")

    def _containers(self, *labels: str) -> list[dict[str, Any]]:
        wanted = [f"{LABEL}project={self._project}", f"{LABEL}oneoff=False", *labels]
        found: list[dict[str, Any]] = self._client.api.containers(all=True, filters={"label": wanted})
        return found

    def _replica(self, identifier: str) -> Replica | None:
        try:
            found = self._client.api.inspect_container(identifier)
        except docker.errors.NotFound:
            return None  # removed between the list and this look
        state = found["State"]
        return Replica(
            id=found["Id"],
            name=found["Name"].lstrip("/"),
            number=int(found["Config"]["Labels"].get(f"{LABEL}container-number", 0)),
            state=state["Status"],
            health=state.get("Health", {}).get("Status", ""),
            up_seconds=_seconds_since(state["StartedAt"]),
            exit_code=state.get("ExitCode", 0),
        )

    def _configuration(self) -> dict[str, Any]:
        # Holds secrets of the project: read here and never returned.
        configuration: dict[str, Any] = json.loads(self._compose("config", "--format", "json"))
        return configuration

    def _compose(self, *arguments: str) -> str:
        command = [*self._compose_command(), *arguments]
        try:
            code, out, err = self._run(command)
        except OSError as error:
            raise Unsupported(f"Cannot run docker compose: {error}. Install the Docker CLI with Compose v2.") from error
        if code:
            reason = (err or out).strip().splitlines() or ["no message"]
            if "is not a docker command" in err or "unknown command" in err or "unknown shorthand" in err:
                raise Unsupported("The Docker CLI has no `compose`. Install Compose v2 (docker-compose-plugin).")
            raise ActionFailed(f"`docker compose {arguments[0]}` failed for {self._project}: {reason[-1]}.")
        return out

    def _compose_command(self) -> list[str]:
        """Build the command line from the labels that Compose itself left on the project's containers."""
        if self._command_line is None:
            containers = self._containers()
            if not containers:
                raise PreconditionFailed(
                    f"Cannot find Compose project {self._project!r} on this engine: it has no containers. "
                    "Check the name (docker compose ls --all) and start it once."
                )
            labels = containers[0]["Labels"]
            files = labels[f"{LABEL}project.config_files"].split(",")
            environment = labels.get(f"{LABEL}project.environment_file", "")
            self._command_line = [
                *("docker", "compose", "--project-name", self._project),
                *("--project-directory", labels[f"{LABEL}project.working_dir"]),
                *(part for name in files for part in ("--file", name)),
                *(part for name in environment.split(",") if name for part in ("--env-file", name)),
            ]
        return self._command_line


def _seconds_since(moment: str) -> float:
    """Return the age of the engine's time stamp, which carries nanoseconds."""
    started = datetime.strptime(moment[:19], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=timezone.utc)
    return max(0.0, (datetime.now(timezone.utc) - started).total_seconds())
