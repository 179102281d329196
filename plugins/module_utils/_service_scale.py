# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to the ops.runbooks collection: may change without notice.
"""Decide how a service gets its number of replicas, and see it through. Nothing here knows Docker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ansible_collections.ops.runbooks.plugins.module_utils._arguments import ArgumentSpec
from ansible_collections.ops.runbooks.plugins.module_utils._errors import ActionFailed, OpsError, PreconditionFailed
from ansible_collections.ops.runbooks.plugins.module_utils._service_logs import tidy
from ansible_collections.ops.runbooks.plugins.module_utils._service_options import (
    Gate,
    Target,
    gate_options,
    service_options,
)
from ansible_collections.ops.runbooks.plugins.module_utils._service_ports import ReplicaEngine
from ansible_collections.ops.runbooks.plugins.module_utils._service_precondition import (
    Precondition,
    precondition_options,
)
from ansible_collections.ops.runbooks.plugins.module_utils._service_replacing import once_told
from ansible_collections.ops.runbooks.plugins.module_utils._service_replicas import (
    Definition,
    Replica,
    count,
    leaving_order,
    names,
    state_of,
)
from ansible_collections.ops.runbooks.plugins.module_utils._waiting import Clock, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ansible_collections.ops.runbooks.plugins.module_utils._service_ports import ServiceEngine

LOG_LINES = 20


def scale_spec() -> ArgumentSpec:
    """Return the options of service_scale."""
    own = ArgumentSpec(
        options={
            "replicas": {"type": "int", "required": True},
            "minimum": {"type": "int", "default": 1},
            "maximum": {"type": "int", "default": 10},
        }
    )
    return service_options() + gate_options() + own + precondition_options()


@dataclass(frozen=True)
class ScaleRequest:
    """What service_scale is asked to do."""

    target: Target
    gate: Gate
    precondition: Precondition
    replicas: int
    minimum: int
    maximum: int

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> ScaleRequest:
        """Build the request; raises ValueError for a count that is never right."""
        request = cls(
            target=Target.from_params(params),
            gate=Gate.from_params(params),
            precondition=Precondition.from_params(params),
            **{name: params[name] for name in ("replicas", "minimum", "maximum")},
        )
        if request.replicas < 0 or request.minimum < 0:
            raise ValueError(
                f"Cannot scale {request.target.service} to {request.replicas} with minimum {request.minimum}: "
                "a number of replicas cannot be negative. Ask for 0 or more."
            )
        return request


class Scaler:
    """Bring one service to its number of replicas."""

    def __init__(
        self,
        engine: ServiceEngine,
        request: ScaleRequest,
        warn: Callable[[str], None],
        clock: Clock | None = None,
    ) -> None:
        self._engine = engine
        self._request = request
        self._warn = warn
        self._clock = clock or Clock()
        self._result: dict[str, Any] = {"changed": False, **request.target.as_return(), "actions": []}

    def run(self, *, dry_run: bool) -> dict[str, Any]:
        """Scale and wait until each new replica serves; a dry run says what would change.

        Raises PreconditionFailed before anything is changed. A new replica that does not come to serve is taken away
        again: the service is then as before and ActionFailed is raised. What an error carries is true at its time.
        """
        start = self._clock.now()
        try:
            self._scale(dry_run=dry_run)
        except OpsError as error:
            error.details = {**self._result, **error.details}
            raise
        self._result["duration_seconds"] = round(self._clock.now() - start, 3)
        return self._result

    def _scale(self, *, dry_run: bool) -> None:
        request, service = self._request, self._request.target.service
        definition = self._engine.definition(service)
        every = self._engine.replicas(service)
        current = [replica for replica in every if replica.counts]
        self._result["before"] = self._result["after"] = state_of(current)
        doing = (f"scale to {request.replicas}", "Scaled")
        unmet = request.precondition.unmet(service, len(current), doing, self._warn)
        if unmet:
            self._say(f"Left everything alone: {unmet}.")
            return
        refuse_impossible(definition, request)
        if request.replicas == len(current):
            self._say(f"Nothing to change: {service} has {count(len(current))}.")
        elif request.replicas > len(current):
            self._up(every, definition, dry_run=dry_run)
        else:
            self._down(current, dry_run=dry_run)
        self._mention(definition, current)

    def _up(self, every: Sequence[Replica], definition: Definition, *, dry_run: bool) -> None:
        request, service = self._request, self._request.target.service
        before = self._result["before"]["replicas"]
        for difference in definition.drift:
            self._warn(f"A new replica of {service} differs from those that run: {difference}")
        self._result["changed"] = True
        if dry_run:
            self._result["after"] = {"replicas": request.replicas}
            self._say(f"Would scale {service} from {before} to {request.replicas}.")
            return
        there = {replica.id for replica in every if replica.counts}
        runs = {(replica.id, replica.started) for replica in every}
        try:
            self._engine.add(service, request.replicas)
            waited = wait_until(
                lambda: [
                    r for r in self._engine.replicas(service) if r.id not in there and (r.id, r.started) not in runs
                ],
                lambda new: self._settled(new, request.replicas - before),
                timeout_seconds=request.gate.timeout_seconds,
                clock=self._clock,
            )
        except OpsError as error:
            raise ActionFailed(f"{error} {self._take_back(every)}") from error
        new = waited.state
        failed = [replica for replica in new if not replica.ready(request.gate.stable_seconds)]
        missing = request.replicas - before - len(new)
        if failed or missing > 0:
            problem = f"{missing} did not appear"
            if failed:
                worst = leaving_order(failed)[0]
                problem = f"{worst.describe()} after {waited.seconds:.0f} s"
                lines = tidy(self._engine.log_tail(worst, LOG_LINES))
                self._result["log_tail"] = lines
                problem += f"; its last line: {lines[-1]}" if lines else "; it logged nothing"
            raise ActionFailed(
                f"Cannot scale {service} to {request.replicas}: {problem}. {self._take_back(every)} "
                "Find out why it does not come to serve, then repeat."
            )
        self._result["after"] = state_of([r for r in self._engine.replicas(service) if r.counts])
        self._say(f"Scaled {service} from {before} to {request.replicas}: started {names(new)}.")

    def _settled(self, new: Sequence[Replica], wanted: int) -> bool:
        """Tell whether every new replica serves, or one of them never will."""
        ready = [replica for replica in new if replica.ready(self._request.gate.stable_seconds)]
        return len(ready) >= wanted or any(replica.broken for replica in new)

    def _take_back(self, every: Sequence[Replica]) -> str:
        """Remove what this run added and stop what it started; return a sentence on how the service stands."""
        service = self._request.target.service
        known = {replica.id: replica for replica in every}
        try:
            now = self._engine.replicas(service)
            added = [replica for replica in now if replica.id not in known]
            started = [r for r in now if r.counts and r.id in known and not known[r.id].counts]
            if added:
                self._engine.remove(added, new=True)
            if isinstance(self._engine, ReplicaEngine):
                for replica in started:
                    self._engine.stop(replica)
        except OpsError as error:
            return f"Could not take back what was started: {error}"
        self._result["changed"] = False
        gone = [*added, *started]
        return f"Took {names(gone)} away again: {service} is as before." if gone else "Nothing was added."

    def _down(self, current: Sequence[Replica], *, dry_run: bool) -> None:
        request, service = self._request, self._request.target.service
        leaving = leaving_order(current)[: len(current) - request.replicas]
        staying = [replica for replica in current if replica not in leaving]
        stable = request.gate.stable_seconds
        if staying and not any(r.ready(stable) for r in staying) and any(r.ready(stable) for r in leaving):
            raise PreconditionFailed(
                f"Cannot scale {service} down to {request.replicas}: nothing that would stay serves "
                f"({'; '.join(r.describe() for r in staying)}). Heal it first."
            )
        if dry_run:
            self._result["changed"] = True
            self._result["after"] = {"replicas": request.replicas}
            which = names(leaving) if self._engine.picks_leaving else "what the engine chooses"
            self._say(f"Would scale {service} from {len(current)} to {request.replicas} and remove {which}.")
            return
        groups = [[replica] for replica in leaving] if self._engine.picks_leaving else [leaving]
        for group in groups:
            self._engine.remove(group, new=False)
            self._result["changed"] = True
            if self._engine.picks_leaving:
                self._say(f"Stopped and removed {names(group)}.")
        with once_told():
            waited = wait_until(
                lambda: [replica for replica in self._engine.replicas(service) if replica.counts],
                lambda left: len(left) <= request.replicas,
                timeout_seconds=request.gate.timeout_seconds,
                clock=self._clock,
            )
        self._result["after"] = state_of(waited.state)
        if not waited.reached:
            raise ActionFailed(
                f"Cannot scale {service} down to {request.replicas}: {count(len(waited.state))} still there after "
                f"{waited.seconds:.0f} s. Somebody else may be scaling it; look, then repeat."
            )
        if not self._engine.picks_leaving:
            left = {replica.id for replica in waited.state}
            self._say(f"Stopped and removed {names(r for r in current if r.id not in left)}.")

    def _mention(self, definition: Definition, current: Sequence[Replica]) -> None:
        """Say what the caller should know beside what was done."""
        request, service = self._request, self._request.target.service
        broken = [replica for replica in current if replica.broken]
        if broken:
            self._warn(f"{'; '.join(r.describe() for r in broken)}: scaling does not heal a replica, a restart may.")
        if definition.replicas is not None and definition.replicas != request.replicas:
            self._say(
                f"{definition.source} says {count(definition.replicas)}: the next `docker compose up` without "
                f"--scale returns {service} to that. Set deploy.replicas to {request.replicas} there to keep it."
            )

    def _say(self, sentence: str) -> None:
        self._result["actions"].append(sentence)


def refuse_impossible(definition: Definition, request: ScaleRequest) -> None:
    """Raise PreconditionFailed if the service cannot, or must not, have that many replicas."""
    service, wanted = definition.name, request.replicas
    if not request.minimum <= wanted <= request.maximum:
        raise PreconditionFailed(
            f"Cannot scale {service} to {wanted}: minimum is {request.minimum} and maximum is {request.maximum}. "
            "Change the one that is wrong."
        )
    if definition.one_per_node:
        raise PreconditionFailed(
            f"Cannot scale {service}: {definition.source} runs it in global mode, one on each node. "
            "Add or drain nodes instead."
        )
    if wanted <= 1:
        return
    if definition.container_name:
        raise PreconditionFailed(
            f"Cannot scale {service} to {wanted}: {definition.source} gives it the fixed container name "
            f"{definition.container_name!r}, which only one container can have. Remove container_name from it."
        )
    short = [port for port in definition.host_ports if port.size < wanted]
    if short:
        room = "only one container" if short[0].size == 1 else f"only {short[0].size} containers"
        raise PreconditionFailed(
            f"Cannot scale {service} to {wanted}: {definition.source} publishes the fixed host port "
            f"{short[0].published}, which {room} can have. Put a load balancer before it and remove the host port."
        )
