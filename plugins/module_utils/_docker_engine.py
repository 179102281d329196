# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to the ops.runbooks collection: may change without notice.
"""One Docker engine, through its API, with its errors in our words."""

from __future__ import annotations

import traceback
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from time import monotonic, time
from typing import TYPE_CHECKING, Any

from ansible_collections.ops.runbooks.plugins.module_utils._errors import (
    ActionFailed,
    ConnectionFailed,
    MissingLibrary,
)

try:
    import docker
    import docker.errors
    from docker.utils import kwargs_from_env

    IMPORT_FAILURE: str | None = None
except ImportError:
    IMPORT_FAILURE = traceback.format_exc()

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

API_TIMEOUT_SECONDS = 60
# Enough for thousands of lines; a single line may have megabytes.
LOG_BYTES = 4_000_000
# What the engine waits between a container's stop signal and its end, where the container does not say.
DEFAULT_GRACE_SECONDS = 10


class DockerEngine:
    """Containers of one engine, as the engine describes them."""

    def __init__(self, host: str, timeout_seconds: int = API_TIMEOUT_SECONDS) -> None:
        """Connect to the engine at ``host``; certificates are taken from the environment, as the CLI does."""
        if IMPORT_FAILURE is not None:
            raise MissingLibrary("docker", IMPORT_FAILURE)
        self.host = host
        try:
            tls = kwargs_from_env().get("tls", False)
            self.client = docker.DockerClient(base_url=host, version="auto", timeout=timeout_seconds, tls=tls)
            self.info: dict[str, Any] = self.client.info()
        except (docker.errors.DockerException, OSError) as error:
            raise ConnectionFailed(
                f"Cannot reach the Docker engine at {host}: {_cause(error)}. Check that it runs, that this user may "
                "use it, and docker_host."
            ) from error
        # Ages are taken by the engine's clock: it may be another machine's.
        self._ahead = _moment(self.info["SystemTime"]) - datetime.now(timezone.utc)

    @contextmanager
    def doing(self, what: str) -> Iterator[None]:
        """Translate the errors of the library; ``what`` completes "Cannot"."""
        try:
            yield
        except docker.errors.APIError as error:
            raise ActionFailed(f"Cannot {what}: {_cause(error)}. Look at it with docker inspect.") from error
        except (docker.errors.DockerException, OSError) as error:
            raise ConnectionFailed(
                f"Cannot {what}: the Docker engine at {self.host} does not answer: {_cause(error)}. Check that it runs."
            ) from error

    def containers(self, labels: Sequence[str]) -> list[dict[str, Any]]:
        """List the containers that carry all labels, stopped ones included."""
        with self.doing("list the containers"):
            found: list[dict[str, Any]] = self.client.api.containers(all=True, filters={"label": list(labels)})
        return found

    def inspect(self, identifier: str) -> dict[str, Any] | None:
        """Describe a container; None if it has gone."""
        with self.doing(f"inspect container {identifier[:12]}"):
            try:
                found: dict[str, Any] = self.client.api.inspect_container(identifier)
            except docker.errors.NotFound:
                return None
        return found

    def start(self, identifier: str, name: str) -> None:
        """Start a container."""
        with self.doing(f"start {name}"):
            self.client.api.start(identifier)

    def stop(self, identifier: str, name: str) -> None:
        """Stop a container by its own stop signal and grace period; one that has gone is stopped."""
        described = self.inspect(identifier)
        if described is None:
            return
        with self.doing(f"stop {name}"):
            try:
                self.client.api.stop(identifier, timeout=_grace(described))
            except docker.errors.NotFound:
                return

    def restart(self, identifier: str, name: str) -> None:
        """Stop a container by its own stop signal and grace period, and start it again."""
        described = self.inspect(identifier)
        if described is None:
            raise ActionFailed(f"Cannot restart {name}: it is no longer there. Look again, then decide.")
        with self.doing(f"restart {name}"):
            self.client.api.restart(identifier, timeout=_grace(described))

    def remove(self, identifier: str, name: str, *, volumes: bool) -> None:
        """Remove a stopped container; one that has gone is removed."""
        with self.doing(f"remove {name}"):
            try:
                self.client.api.remove_container(identifier, v=volumes)
            except docker.errors.NotFound:
                return

    def log_tail(self, identifier: str, lines: int) -> list[str]:
        """Return the last lines of a container's log, or one that says why they cannot be read."""
        try:
            log: bytes = self.client.api.logs(identifier, tail=lines)
        except (docker.errors.DockerException, OSError) as error:
            return [f"(the log cannot be read: {_cause(error)})"]
        return log.decode("utf-8", "replace").splitlines()

    def log_since(self, identifier: str, name: str, *, seconds: float, lines: int, limit_seconds: float) -> list[str]:
        """Return the last lines of the last seconds, or those of them that came within the time limit."""
        if self.inspect(identifier) is None:
            raise ActionFailed(f"Cannot read the log of {name}: it is no longer there. Look again, then decide.")
        found = b""
        until = monotonic() + limit_seconds
        since = self.now() - seconds
        with self.doing(f"read the log of {name}"):
            stream = self.client.api.logs(identifier, stream=True, follow=False, tail=lines, since=since)
            try:
                for part in stream:
                    found += part
                    if monotonic() > until or len(found) > LOG_BYTES:
                        break
            finally:
                stream.close()
        return found.decode("utf-8", "replace").splitlines()[:lines]

    def stats(self, identifier: str, name: str) -> dict[str, Any] | None:
        """Return what a container uses, measured twice by the engine, about a second apart; None if it has gone."""
        with self.doing(f"read what {name} uses"):
            try:
                found: dict[str, Any] = self.client.api.stats(identifier, stream=False)
            except docker.errors.NotFound:
                return None
        return found

    def update(self, identifier: str, name: str, resources: dict[str, int]) -> list[str]:
        """Change the limits of a container while it runs; return the engine's warnings."""
        api: Any = self.client.api
        with self.doing(f"limit {name}"):
            # The library's own call knows neither NanoCpus nor PidsLimit.
            answer = api._post_json(api._url("/containers/{0}/update", identifier), data=resources)  # noqa: SLF001
            done: dict[str, Any] = api._result(answer, json=True)  # noqa: SLF001 -- as above
        return done.get("Warnings") or []

    def events(self, label: str, kinds: Sequence[str], seconds: float) -> list[dict[str, Any]]:
        """Return events of containers with a label in the last seconds, as far as the engine remembers."""
        now = self.now()
        with self.doing("read the engine's events"):
            return list(
                self.client.api.events(
                    since=int(now - seconds),
                    until=int(now) + 1,
                    filters={"label": label, "event": list(kinds), "type": "container"},
                    decode=True,
                )
            )

    def images(self, repository: str) -> list[dict[str, Any]]:
        """List the local images of a repository."""
        with self.doing(f"list the images of {repository}"):
            found: list[dict[str, Any]] = self.client.api.images(name=repository)
        return found

    def image(self, name: str) -> dict[str, Any] | None:
        """Describe a local image; None if there is none of that name."""
        with self.doing(f"inspect image {name}"):
            try:
                found: dict[str, Any] = self.client.images.get(name).attrs
            except docker.errors.ImageNotFound:
                return None
        return found

    def swarm_services(self, labels: Sequence[str]) -> list[dict[str, Any]]:
        """List the services of the Swarm that carry all labels."""
        with self.doing("list the services of the Swarm"):
            api: Any = self.client.api
            found: list[dict[str, Any]] = api.services(filters={"label": list(labels)})
        return found

    def swarm_tasks(self, service: str) -> list[dict[str, Any]]:
        """List the tasks of a service that the Swarm remembers."""
        with self.doing("list the tasks of the Swarm"):
            api: Any = self.client.api
            found: list[dict[str, Any]] = api.tasks(filters={"service": service})
        return found

    def swarm_update(self, service: dict[str, Any], spec: dict[str, Any]) -> None:
        """Tell the Swarm a whole specification for a service, unless somebody else did so since it was read."""
        api: Any = self.client.api
        name = spec["Name"]
        with self.doing(f"update service {name}"):
            # The library's own call drops what it does not know of a specification.
            url, version = api._url("/services/{0}/update", service["ID"]), service["Version"]["Index"]  # noqa: SLF001
            answer = api._post_json(url, data=spec, params={"version": version})  # noqa: SLF001 -- as above
            api._raise_for_status(answer)  # noqa: SLF001 -- as above

    def now(self) -> float:
        """Return the time of the engine's clock, in seconds since 1970."""
        return time() + self._ahead.total_seconds()

    def seconds_since(self, moment: str) -> float:
        """Return the age of a time stamp by the engine's clock; 0 for one that was never set."""
        then = _moment(moment)
        if then.year == 1:
            return 0.0
        return max(0.0, (datetime.now(timezone.utc) + self._ahead - then).total_seconds())


def _grace(described: dict[str, Any]) -> int:
    """Return a container's grace period. It is given although the engine knows it: the library adds it to its limit."""
    own: int | None = described["Config"].get("StopTimeout")
    return DEFAULT_GRACE_SECONDS if own is None else own


def _moment(stamp: str) -> datetime:
    """Read the engine's time stamp, which carries nanoseconds and an offset."""
    whole, _dot, rest = stamp.partition(".")
    digits = len(rest) - len(rest.lstrip("0123456789"))
    fraction = timedelta(seconds=float(f"0.{rest[:digits] or 0}"))
    zone = (rest[digits:] if rest else whole[19:]).replace("Z", "") or "+00:00"
    return datetime.strptime(f"{whole[:19]}{zone}", "%Y-%m-%dT%H:%M:%S%z") + fraction


def _cause(error: Exception) -> str:
    """Return the engine's own words, without the library's frame around them."""
    explanation = getattr(error, "explanation", None) or str(error)
    text = explanation.decode("utf-8", "replace") if isinstance(explanation, bytes) else explanation
    return " ".join(text.split()).rstrip(".")
