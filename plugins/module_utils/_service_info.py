# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to the ops.runbooks collection: may change without notice.
"""Tell how the services of a project stand, within bounds of time and size. Nothing here knows Docker."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from ansible_collections.ops.runbooks.plugins.module_utils._arguments import ArgumentSpec
from ansible_collections.ops.runbooks.plugins.module_utils._errors import OpsError, PreconditionFailed
from ansible_collections.ops.runbooks.plugins.module_utils._service_logs import group_errors, tidy
from ansible_collections.ops.runbooks.plugins.module_utils._service_observed import (
    Image,
    Observed,
    Past,
    Usage,
    older_images,
    repository_of,
    usage_as_return,
)
from ansible_collections.ops.runbooks.plugins.module_utils._service_options import COMPOSE, project_options

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ansible_collections.ops.runbooks.plugins.module_utils._service_observed import ServiceObserver

READERS = 8
SHORT = len("sha256:") + 12


def info_spec() -> ArgumentSpec:
    """Return the options of service_info."""
    own = ArgumentSpec(
        options={
            "services": {"type": "list", "elements": "str"},
            "since_seconds": {"type": "float", "default": 900.0},
            "log_lines": {"type": "int", "default": 500},
            "log_timeout_seconds": {"type": "float", "default": 5.0},
            "error_groups": {"type": "int", "default": 10},
        }
    )
    return project_options() + own


@dataclass(frozen=True)
class InfoRequest:
    """What service_info is asked to read."""

    project: str
    engine: str
    services: tuple[str, ...] | None
    since_seconds: float
    log_lines: int
    log_timeout_seconds: float
    error_groups: int

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> InfoRequest:
        """Build the request; raises ValueError for a bound that is none."""
        own = ("project", "engine", "since_seconds", "log_lines", "log_timeout_seconds", "error_groups")
        services = params["services"]
        request = cls(services=None if services is None else tuple(services), **{name: params[name] for name in own})
        if min(request.since_seconds, request.log_lines, request.log_timeout_seconds, request.error_groups) <= 0:
            raise ValueError("since_seconds, log_lines, log_timeout_seconds and error_groups must be above 0.")
        return request


@dataclass(frozen=True)
class Reading:
    """What was read of one replica, beside what the engine said of all at once."""

    seen: Observed
    usage: Usage | None
    log: list[str]
    unreadable: list[dict[str, str]]


def read_info(observer: ServiceObserver, request: InfoRequest) -> dict[str, Any]:
    """Return what service_info publishes; what of it cannot be read is listed and does not fail.

    Raises PreconditionFailed for a project without containers.
    """
    every = observer.observe()
    if not every:
        raise PreconditionFailed(
            f"Cannot find {'Compose project' if request.engine == COMPOSE else 'stack'} {request.project!r}: it has no "
            f"containers. Check the name (docker {'compose ls --all' if request.engine == COMPOSE else 'stack ls'})."
        )
    chosen = [one for one in every if request.services is None or one.replica.service in request.services]
    with ThreadPoolExecutor(max_workers=max(1, min(READERS, len(chosen)))) as pool:
        readings = list(pool.map(lambda one: _read(observer, request, one), chosen))
    unreadable = [entry for reading in readings for entry in reading.unreadable]
    past: dict[str, Past] = _try(
        lambda: observer.past(request.since_seconds), {}, "the past of the replicas", unreadable
    )
    services = {}
    for name in sorted({one.replica.service for one in chosen}):
        own = [reading for reading in readings if reading.seen.replica.service == name]
        images = {
            repository: _try(partial(observer.images, repository), [], f"images of {repository}", unreadable)
            for repository in sorted({repository_of(reading.seen.image) for reading in own} - {""})
        }
        services[name] = _service(own, past, [image for found in images.values() for image in found], request)
    return {
        "changed": False,
        "project": request.project,
        "services": services,
        "missing": sorted(set(request.services or ()) - set(services)),
        "unreadable": unreadable,
    }


def _read(observer: ServiceObserver, request: InfoRequest, seen: Observed) -> Reading:
    replica = seen.replica
    unreadable: list[dict[str, str]] = []
    usage: Usage | None = None
    if replica.counts:
        usage = _try(lambda: observer.usage(replica), None, f"use of {replica.name}", unreadable)
    log: list[str] = _try(
        lambda: observer.log(
            replica,
            seconds=request.since_seconds,
            lines=request.log_lines,
            limit_seconds=request.log_timeout_seconds,
        ),
        [],
        f"log of {replica.name}",
        unreadable,
    )
    return Reading(seen, usage, log, unreadable)


def _try(read: Callable[[], Any], otherwise: Any, what: str, unreadable: list[dict[str, str]]) -> Any:
    """Read one thing; note what cannot be read and go on."""
    try:
        return read()
    except OpsError as error:
        unreadable.append({"what": what, "why": str(error)})
        return otherwise


def _service(
    readings: Sequence[Reading], past: Mapping[str, Past], images: Sequence[Image], request: InfoRequest
) -> dict[str, Any]:
    replicas = [reading.seen.replica for reading in readings]
    containers = [_container(reading, past.get(reading.seen.replica.id, Past())) for reading in readings]
    errors = group_errors({reading.seen.replica.name: reading.log for reading in readings})
    return {
        "replicas": sum(replica.counts for replica in replicas),
        # One look cannot tell for how long: without a health check, what runs counts.
        "healthy": sum(replica.state == "running" and replica.health in ("", "healthy") for replica in replicas),
        "broken": [replica.name for replica in replicas if replica.broken],
        "restarts": sum(replica.restarts for replica in replicas),
        "out_of_memory": [one["name"] for one in containers if one["out_of_memory"]],
        "containers": containers,
        "images_before": images_before(readings, images),
        "error_lines": sum(group.count for group in errors),
        "errors": [group.as_return() for group in errors[: request.error_groups]],
        "errors_left_out": max(0, len(errors) - request.error_groups),
    }


def _container(reading: Reading, past: Past) -> dict[str, Any]:
    seen, replica = reading.seen, reading.seen.replica
    ended = replica.state in ("exited", "dead", "restarting")
    ago = past.ended_seconds_ago
    return {
        **replica.as_return(),
        "started": replica.started,
        "up_seconds": round(replica.up_seconds, 1) if replica.counts else 0.0,
        "restarts": replica.restarts,
        "last_exit_code": replica.exit_code if ended else past.exit_code,
        "last_exit_seconds_ago": None if ago is None else round(ago, 1),
        "out_of_memory": seen.out_of_memory or past.out_of_memory,
        "error": replica.error,
        "health_output": "\n".join(tidy(seen.health_output.splitlines()[-5:])),
        "image": seen.image,
        "image_id": replica.image[:SHORT],
        **usage_as_return(reading.usage, seen.limits),
        "log_lines": len(reading.log),
    }


def images_before(readings: Sequence[Reading], images: Sequence[Image]) -> list[dict[str, Any]]:
    """Return the images on the host that are older than every one that a service runs, newest first."""
    return [
        {"id": image.id[:SHORT], "names": list(image.names), "created_seconds_ago": round(image.created_seconds_ago)}
        for image in older_images({reading.seen.replica.image for reading in readings}, images)
    ]
