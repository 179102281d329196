# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to the ops.runbooks collection: may change without notice.
"""Decide how a service gets its number of replicas, and see it through. Nothing here knows Docker."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ansible_collections.ops.runbooks.plugins.module_utils._arguments import ArgumentSpec
from ansible_collections.ops.runbooks.plugins.module_utils._errors import ActionFailed, OpsError, PreconditionFailed
from ansible_collections.ops.runbooks.plugins.module_utils._waiting import Clock, wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LOG_LINES = 20


@dataclass(frozen=True)
class Replica:
    """One container of a service."""

    id: str
    name: str
    number: int
    state: str  # as the engine names it: running, exited, restarting, ...
    health: str  # healthy, unhealthy, starting; empty without a health check
    up_seconds: float = 0.0
    exit_code: int = 0

    @property
    def counts(self) -> bool:
        """Whether it is meant to serve; an exited container is not."""
        return self.state in ("running", "restarting", "paused")

    def ready(self, stable_seconds: float) -> bool:
        """Whether it serves: healthy, or without a health check up for long enough."""
        if self.state != "running":
            return False
        return self.health == "healthy" if self.health else self.up_seconds >= stable_seconds

    @property
    def broken(self) -> bool:
        """Whether waiting longer is of no use."""
        return self.state in ("exited", "dead", "restarting") or self.health == "unhealthy"

    def as_return(self) -> dict[str, Any]:
        """Return what a reader needs."""
        return {"name": self.name, "state": self.state, "health": self.health or "no health check"}


@dataclass(frozen=True)
class Definition:
    """What the project says of a service."""

    name: str
    container_name: str | None
    host_ports: tuple[str, ...]
    replicas: int
    source: str


class ServiceEngine(ABC):
    """An engine that runs replicas of services."""

    @abstractmethod
    def definition(self, service: str) -> Definition:
        """Return what the project says; raises PreconditionFailed for an unknown project or service."""

    @abstractmethod
    def replicas(self, service: str) -> list[Replica]:
        """Return the containers of a service, exited ones included, by number."""

    @abstractmethod
    def add_replicas(self, service: str, total: int) -> None:
        """Create and start containers until there are ``total``; leaves existing ones as they are."""

    @abstractmethod
    def remove(self, replica: Replica) -> None:
        """Stop a container by its stop signal and grace period, then remove it."""

    @abstractmethod
    def log_tail(self, replica: Replica, lines: int) -> str:
        """Return the last lines that a container wrote."""


def scale_spec() -> ArgumentSpec:
    """Return the options of service_scale."""
    return ArgumentSpec(
        options={
            "project": {"type": "str", "required": True},
            "service": {"type": "str", "required": True},
            "replicas": {"type": "int", "required": True},
            "minimum": {"type": "int", "default": 1},
            "maximum": {"type": "int", "default": 10},
            "expected_replicas": {"type": "int"},
            "precondition_reaction": {"type": "str", "choices": ["fail", "skip", "warn"], "default": "fail"},
            "stable_seconds": {"type": "float", "default": 5.0},
            "timeout_seconds": {"type": "float", "default": 120.0},
        }
    )


@dataclass(frozen=True)
class ScaleRequest:
    """What service_scale is asked to do."""

    service: str
    replicas: int
    minimum: int
    maximum: int
    expected_replicas: int | None
    precondition_reaction: str
    stable_seconds: float
    timeout_seconds: float

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> ScaleRequest:
        """Build the request; raises ValueError for a count that is never right."""
        request = cls(**{name: params[name] for name in cls.__dataclass_fields__})
        if request.replicas < 0:
            raise ValueError(f"Cannot scale {request.service} to {request.replicas}: a count cannot be negative.")
        if not request.minimum <= request.replicas <= request.maximum:
            raise ValueError(
                f"Refused: cannot scale {request.service} to {request.replicas}: minimum is {request.minimum} and "
                f"maximum is {request.maximum}. Change the one that is wrong."
            )
        return request


def scale(engine: ServiceEngine, request: ScaleRequest, *, dry_run: bool, clock: Clock | None = None) -> dict[str, Any]:
    """Bring the service to its number of replicas and wait until each serves; a dry run says what would change.

    New replicas that do not become healthy are taken away again. Raises PreconditionFailed before anything is changed.
    """
    clock = clock or Clock()
    start = clock.now()
    definition = engine.definition(request.service)
    _refuse_fixed(definition)
    every = engine.replicas(request.service)
    current = [replica for replica in every if replica.counts]
    result: dict[str, Any] = {
        "changed": False,
        "service": request.service,
        "actions": [],
        "warnings": [],
        "before": _state(current),
        "after": _state(current),
    }
    problem = _unexpected(request, len(current))
    if problem and request.precondition_reaction == "fail":
        raise PreconditionFailed(problem, **result)
    if problem and request.precondition_reaction == "skip":
        result["actions"].append(f"Left everything alone: {problem}")
        return _timed(result, clock, start)
    if problem:
        result["warnings"].append(problem)
    if request.replicas == len(current):
        result["actions"].append(f"Nothing to change: {request.service} has {_count(len(current))}.")
    else:
        result["changed"] = True
        if dry_run:
            result["after"] = {"replicas": request.replicas}
            result["actions"].append(f"Would scale {request.service} from {len(current)} to {request.replicas}.")
        elif request.replicas > len(current):
            _up(engine, request, every, result, clock)
        else:
            _down(engine, request, current, result)
    _mention(definition, request, current, result)
    return _timed(result, clock, start)


def leaving_order(replicas: Sequence[Replica]) -> list[Replica]:
    """Return the replicas in the order in which they go: what does not serve first, then what came last."""
    return sorted(replicas, key=lambda replica: (replica.ready(0), -replica.number))


def _refuse_fixed(definition: Definition) -> None:
    if definition.container_name:
        raise PreconditionFailed(
            f"Cannot scale {definition.name}: {definition.source} gives it the fixed name "
            f"{definition.container_name!r}, which only one container can have. Remove container_name from it."
        )
    if definition.host_ports:
        raise PreconditionFailed(
            f"Cannot scale {definition.name}: {definition.source} binds the fixed host port "
            f"{', '.join(definition.host_ports)}, which only one container can have. Put a load balancer before it and "
            "remove the host port."
        )


def _unexpected(request: ScaleRequest, current: int) -> str | None:
    if request.expected_replicas is None or request.expected_replicas == current:
        return None
    return (
        f"Cannot scale {request.service} on old knowledge: it has {_count(current)}, expected "
        f"{request.expected_replicas}. Look again, then decide."
    )


def _up(
    engine: ServiceEngine, request: ScaleRequest, every: Sequence[Replica], result: dict[str, Any], clock: Clock
) -> None:
    known = {replica.id for replica in every}
    try:
        engine.add_replicas(request.service, request.replicas)
    except OpsError as error:
        left = _take_back(engine, request, known)
        raise ActionFailed(f"{error} {left}", **{**result, "changed": False, **error.details}) from error

    def serving() -> list[Replica]:
        return [replica for replica in engine.replicas(request.service) if replica.counts or replica.id not in known]

    waited = wait_until(
        serving,
        lambda now: (
            sum(r.ready(request.stable_seconds) for r in now) >= request.replicas
            or any(r.broken for r in now if r.id not in known)
        ),
        timeout_seconds=request.timeout_seconds,
        clock=clock,
    )
    failed = [r for r in waited.state if r.id not in known and not r.ready(request.stable_seconds)]
    if failed:
        worst = leaving_order(failed)[0]
        log = engine.log_tail(worst, LOG_LINES)
        left = _take_back(engine, request, known)
        raise ActionFailed(
            f"Cannot scale {request.service} to {request.replicas}: {worst.name} is {worst.state}"
            f"{f' and {worst.health}' if worst.health else ''} after {waited.seconds:.0f} s. {left} "
            "Its last lines are in log_tail.",
            **{**result, "changed": False, "log_tail": log},
        )
    result["after"] = _state([r for r in waited.state if r.counts])
    added = [r.name for r in waited.state if r.id not in known]
    result["actions"].append(
        f"Scaled {request.service} from {result['before']['replicas']} to {result['after']['replicas']}"
        + (f": started {', '.join(added)}." if added else ".")
    )


def _take_back(engine: ServiceEngine, request: ScaleRequest, known: set[str]) -> str:
    """Remove what this run added, so that a failed run leaves the service as it was."""
    new = [replica for replica in engine.replicas(request.service) if replica.id not in known]
    for replica in new:
        engine.remove(replica)
    return f"Took {', '.join(r.name for r in new)} away again." if new else "Nothing was added."


def _down(engine: ServiceEngine, request: ScaleRequest, current: Sequence[Replica], result: dict[str, Any]) -> None:
    leaving = leaving_order(current)[: len(current) - request.replicas]
    for replica in leaving:
        engine.remove(replica)
        result["actions"].append(f"Stopped and removed {replica.name}.")
    result["after"] = _state([r for r in engine.replicas(request.service) if r.counts])


def _mention(definition: Definition, request: ScaleRequest, current: Sequence[Replica], result: dict[str, Any]) -> None:
    """Say what the caller should know beside what was done."""
    unready = [r.name for r in current if r.broken]
    if unready:
        result["actions"].append(f"Left alone: {', '.join(unready)} is not healthy, and scaling does not heal it.")
    if definition.replicas != request.replicas:
        result["actions"].append(
            f"{definition.source} says {definition.replicas}: the next `docker compose up` returns to that. "
            f"Set deploy.replicas to {request.replicas} there to keep it."
        )


def _state(replicas: Sequence[Replica]) -> dict[str, Any]:
    return {"replicas": len(replicas), "containers": [replica.as_return() for replica in replicas]}


def _count(replicas: int) -> str:
    return "1 replica" if replicas == 1 else f"{replicas} replicas"


def _timed(result: dict[str, Any], clock: Clock, start: float) -> dict[str, Any]:
    result["duration_seconds"] = round(clock.now() - start, 3)
    return result
