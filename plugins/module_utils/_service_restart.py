# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to the ops.runbooks collection: may change without notice.
"""Decide which replicas of a service are restarted, in which order, and see it through. Nothing here knows Docker."""

from __future__ import annotations

from dataclasses import dataclass, replace
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
from ansible_collections.ops.runbooks.plugins.module_utils._service_ports import (
    Change,
    OrchestratedEngine,
    ReplicaEngine,
)
from ansible_collections.ops.runbooks.plugins.module_utils._service_precondition import (
    Precondition,
    precondition_options,
)
from ansible_collections.ops.runbooks.plugins.module_utils._service_replacing import (
    START_FIRST,
    order_of,
    see_through,
)
from ansible_collections.ops.runbooks.plugins.module_utils._service_replicas import Replica, leaving_order, names
from ansible_collections.ops.runbooks.plugins.module_utils._waiting import Clock, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ansible_collections.ops.runbooks.plugins.module_utils._service_ports import ServiceEngine

LOG_LINES = 20


def restart_spec() -> ArgumentSpec:
    """Return the options of service_restart."""
    own = ArgumentSpec(
        options={
            "mode": {"type": "str", "choices": ["rolling", "at_once"], "default": "rolling"},
            "only_unhealthy": {"type": "bool", "default": False},
            "only_replicas": {"type": "list", "elements": "str"},
            "dependents": {"type": "list", "elements": "str", "default": []},
            "minimum_age_seconds": {"type": "float", "default": 60.0},
            "settle_seconds": {"type": "float", "default": 3.0},
        }
    )
    return service_options() + gate_options() + own + precondition_options()


@dataclass(frozen=True)
class RestartRequest:
    """What service_restart is asked to do."""

    target: Target
    gate: Gate
    precondition: Precondition
    mode: str
    only_unhealthy: bool
    only_replicas: tuple[str, ...] | None
    dependents: tuple[str, ...]
    minimum_age_seconds: float
    settle_seconds: float

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> RestartRequest:
        """Build the request; raises ValueError for what is never right."""
        wanted = params["only_replicas"]
        request = cls(
            target=Target.from_params(params),
            gate=Gate.from_params(params),
            precondition=Precondition.from_params(params),
            mode=params["mode"],
            only_unhealthy=params["only_unhealthy"],
            only_replicas=None if wanted is None else tuple(wanted),
            dependents=tuple(params["dependents"]),
            minimum_age_seconds=params["minimum_age_seconds"],
            settle_seconds=params["settle_seconds"],
        )
        if request.minimum_age_seconds < 0 or request.settle_seconds < 0:
            raise ValueError("minimum_age_seconds and settle_seconds must not be negative.")
        service = request.target.service
        if service in request.dependents or len(set(request.dependents)) < len(request.dependents):
            raise ValueError(
                f"Cannot restart {', '.join(request.dependents)} after {service}: a service is named twice. "
                "Name each dependent once, and not the service itself."
            )
        return request


@dataclass(frozen=True)
class Group:
    """The replicas of one service that are restarted, in their order, and all replicas that it has."""

    service: str
    chosen: tuple[Replica, ...]
    every: tuple[Replica, ...]


class Restarter:
    """Restart one service, and then those that depend on it."""

    def __init__(
        self,
        engine: ServiceEngine,
        request: RestartRequest,
        warn: Callable[[str], None],
        clock: Clock | None = None,
    ) -> None:
        self._engine = engine
        self._request = request
        self._warn = warn
        self._clock = clock or Clock()
        self._stable = request.gate.stable_seconds
        self._result: dict[str, Any] = {"changed": False, **request.target.as_return(), "actions": [], "restarted": []}

    def run(self, *, dry_run: bool) -> dict[str, Any]:
        """Restart and wait until each replica serves; a dry run says what would be restarted.

        Raises PreconditionFailed before anything is changed, and ActionFailed at the first replica that does not come
        to serve: the others then serve on as they are. What an error carries is true at its time.
        """
        start = self._clock.now()
        try:
            self._restart(dry_run=dry_run)
        except OpsError as error:
            error.details = {**self._result, **error.details}
            raise
        self._result["duration_seconds"] = round(self._clock.now() - start, 3)
        return self._result

    def _restart(self, *, dry_run: bool) -> None:
        request, service = self._request, self._request.target.service
        found = {name: self._engine.replicas(name) for name in (service, *request.dependents)}
        for name, replicas in found.items():
            if not replicas:
                self._engine.definition(name)  # raises if there is no such service
        if not found[service]:
            raise PreconditionFailed(
                f"Cannot restart {service}: it has no replicas. Start it with `docker compose up --detach {service}`."
            )
        self._result["before"] = self._result["after"] = self._state(found)
        there = sum(replica.counts for replica in found[service])
        unmet = request.precondition.unmet(service, there, (f"restart {service}", "Restarted"), self._warn)
        if unmet:
            self._say(f"Left everything alone: {unmet}.")
            return
        groups = self._plan(found)
        if request.mode == "rolling" and isinstance(self._engine, ReplicaEngine):
            for group in groups:
                refuse_outage(group, self._stable)
        if not groups:
            self._say(f"Nothing to restart of {service}.")
        elif dry_run:
            self._predict(groups, found)
        else:
            for group in groups:
                self._group(group)
            self._result["after"] = self._state({name: self._engine.replicas(name) for name in found})

    def _plan(self, found: Mapping[str, Sequence[Replica]]) -> list[Group]:
        """Choose what is restarted, and say what is not, and why."""
        request, service = self._request, self._request.target.service
        chosen, young = choose(request, found[service])
        if chosen and isinstance(self._engine, OrchestratedEngine):
            if request.only_replicas is not None:
                raise PreconditionFailed(
                    f"Cannot restart {', '.join(request.only_replicas)} alone: a Swarm restarts a service as a whole. "
                    "Leave only_replicas away."
                )
            chosen, young = list(found[service]), []
        for replica in young:
            self._say(
                f"Left {replica.name} alone: it started {replica.up_seconds:.0f} s ago "
                f"(minimum_age_seconds is {request.minimum_age_seconds:g})."
            )
        groups = [Group(service, tuple(chosen), tuple(found[service]))] if chosen else []
        for name in request.dependents:
            stale = list(found[name])
            if not chosen:  # a run before this one restarted the service and may not have come to its dependents
                last = min((r.up_seconds for r in young), default=0.0)
                stale = [r for r in stale if not r.counts or r.up_seconds > last]
            if stale and (chosen or young):
                groups.append(Group(name, tuple(in_order(stale, self._stable)), tuple(found[name])))
            elif not found[name]:
                self._say(f"{name} has no replicas: nothing to restart there.")
            elif chosen or young:
                self._say(f"Left {name} alone: it started after {service}.")
        return groups

    def _predict(self, groups: Sequence[Group], found: Mapping[str, Sequence[Replica]]) -> None:
        self._result["changed"] = True
        how = "one after the other" if self._request.mode == "rolling" else "at once"
        for group in groups:
            one = len(group.chosen) == 1
            self._say(f"Would restart {names(group.chosen)}{'' if one else ', ' + how}.")
            if self._outage(group) and isinstance(self._engine, ReplicaEngine):
                self._say(f"{group.service} will be down until {'it' if one else 'one of them'} serves again.")
        restarted = {replica.id for group in groups for replica in group.chosen}
        self._result["after"] = self._state(
            {
                name: [
                    replace(r, state="running", health=r.health and "healthy", started="by this run")
                    if r.id in restarted
                    else r
                    for r in replicas
                ]
                for name, replicas in found.items()
            }
        )

    def _group(self, group: Group) -> None:
        if isinstance(self._engine, OrchestratedEngine):
            self._replace(self._engine, group)
        elif isinstance(self._engine, ReplicaEngine):
            (self._roll if self._request.mode == "rolling" else self._at_once)(self._engine, group)

    def _replace(self, engine: OrchestratedEngine, group: Group) -> None:
        """Have the engine replace every replica of a service."""
        service, begin = group.service, self._clock.now()
        order = order_of(engine.definition(service), engine.data(service), len(group.every))
        change = Change(start_first=order == START_FIRST, at_once=self._request.mode == "at_once")
        try:
            new, beside = see_through(engine, service, change, self._request.gate, self._clock)
        except OpsError as error:
            self._refresh()
            self._result["changed"] = self._result["changed"] or not error.details.get("undone", False)
            raise type(error)(f"Cannot restart {service}: {error}", **error.details) from error
        self._result["changed"] = True
        self._result["restarted"].extend(replica.name for replica in new)
        self._say(f"The Swarm replaced {names(new)}: serving after {self._clock.now() - begin:.1f} s.")
        for sentence in beside:
            self._say(sentence)

    def _roll(self, engine: ReplicaEngine, group: Group) -> None:
        """Restart one replica after the other; the next goes only while what was restarted serves."""
        done: list[Replica] = []
        for position, replica in enumerate(group.chosen):
            if done:
                self._clock.sleep(self._request.settle_seconds)
            rest = group.chosen[position + 1 :]
            self._look(group, replica, done)
            begin = self._clock.now()
            try:
                engine.restart(replica)
                self._result["changed"] = True
                (seen,) = self._await(group.service, [replica])
            except OpsError as error:
                self._refresh()
                raise ActionFailed(f"{error} {_standing(done, rest)}", **error.details) from error
            done.append(seen)
            seconds = self._clock.now() - begin
            self._result["restarted"].append(replica.name)
            self._say(f"Restarted {replica.name}: it serves after {seconds:.1f} s.")
            if self._outage(group):
                self._say(f"{group.service} has only this replica: it was down meanwhile.")

    def _look(self, group: Group, replica: Replica, done: Sequence[Replica]) -> None:
        """Raise ActionFailed if going on would take away the last replica that serves."""
        now = {r.id: r for r in self._engine.replicas(group.service)}
        fallen = [now.get(r.id, r) for r in done if r.id not in now or not now[r.id].ready(self._stable)]
        others = [r for r in now.values() if r.id != replica.id]
        alone = replica.id in now and now[replica.id].ready(self._stable) and others
        if fallen or (alone and not any(r.ready(self._stable) for r in others)):
            # Before the first replica goes, this is what refuse_outage has just ruled out.
            self._refresh()
            problem = fallen[0].describe() if fallen else "; ".join(r.describe() for r in others)
            raise ActionFailed(
                f"Cannot go on to restart {replica.name}: {problem}. Restarted before: {names(done) or 'nothing'}. "
                "Heal that first, then repeat."
            )

    def _at_once(self, engine: ReplicaEngine, group: Group) -> None:
        """Stop all, then start all: no replica of before runs beside one of after."""
        begin = self._clock.now()
        problems: list[OpsError] = []
        self._result["changed"] = True
        try:
            engine.stop_all([replica for replica in group.chosen if replica.counts])
        except OpsError as error:
            problems.append(error)
        for replica in group.chosen:  # whatever went wrong: nothing that can run is left stopped
            try:
                engine.start(replica)
            except OpsError as error:
                problems.append(error)
        if problems:
            self._refresh()
            raise ActionFailed(f"{problems[0]} All that could be started was started.") from problems[0]
        try:
            self._await(group.service, group.chosen)
        except OpsError:
            self._refresh()
            raise
        self._result["restarted"].extend(replica.name for replica in group.chosen)
        self._say(f"Restarted {names(group.chosen)} at once: serving after {self._clock.now() - begin:.1f} s.")
        if self._outage(group):
            self._say(f"{group.service} was down meanwhile.")

    def _await(self, service: str, restarted: Sequence[Replica]) -> list[Replica]:
        """Wait until these replicas serve; raises ActionFailed if one does not."""
        old = {replica.id: replica.started for replica in restarted}

        def read() -> list[Replica]:
            # The engine may still show a replica as it was before.
            return [r for r in self._engine.replicas(service) if r.id in old and r.started != old[r.id]]

        waited = wait_until(
            read,
            lambda new: (
                any(r.broken for r in new) or (len(new) == len(old) and all(r.ready(self._stable) for r in new))
            ),
            timeout_seconds=self._request.gate.timeout_seconds,
            clock=self._clock,
        )
        failed = leaving_order(r for r in waited.state if not r.ready(self._stable))
        if failed:
            lines = tidy(self._engine.log_tail(failed[0], LOG_LINES))
            said = f"its last line: {lines[-1].rstrip('.')}" if lines else "it logged nothing"
            raise ActionFailed(
                f"Cannot restart {service}: {failed[0].describe()} after {waited.seconds:.0f} s; {said}. "
                "Find out why it does not come to serve, then repeat.",
                failed_replica=failed[0].name,
                log_tail=lines,
            )
        if len(waited.state) < len(old):
            seen = {replica.id for replica in waited.state}
            raise ActionFailed(
                f"Cannot restart {service}: {names(r for r in restarted if r.id not in seen)} did not start again in "
                f"{waited.seconds:.0f} s. Somebody else may have removed it; look again, then decide."
            )
        return waited.state

    def _outage(self, group: Group) -> bool:
        """Tell whether nothing of a service serves while these replicas are away."""
        chosen = {replica.id for replica in group.chosen}
        if self._request.mode == "rolling":
            return len(group.every) == 1
        return not any(r.ready(self._stable) for r in group.every if r.id not in chosen)

    def _refresh(self) -> None:
        """Bring what a failure returns up to date, if the engine still answers."""
        request = self._request
        try:
            found = {name: self._engine.replicas(name) for name in (request.target.service, *request.dependents)}
        except OpsError:
            return
        self._result["after"] = self._state(found)

    def _state(self, found: Mapping[str, Sequence[Replica]]) -> dict[str, Any]:
        service = self._request.target.service
        state = _state_of(found[service])
        if self._request.dependents:
            state["dependents"] = {name: _state_of(found[name]) for name in self._request.dependents}
        return state

    def _say(self, sentence: str) -> None:
        self._result["actions"].append(sentence)


def choose(request: RestartRequest, every: Sequence[Replica]) -> tuple[list[Replica], list[Replica]]:
    """Return the replicas to restart in their order, and those that are too young for it.

    A broken replica is never too young: what a restart has not healed may be restarted again.
    """
    service = request.target.service
    wanted = list(every)
    if request.only_replicas is not None:
        unknown = sorted(set(request.only_replicas) - {replica.name for replica in every})
        if unknown:
            raise PreconditionFailed(
                f"Cannot restart {', '.join(unknown)}: {service} has no such replica. It has {names(every)}."
            )
        wanted = [replica for replica in every if replica.name in request.only_replicas]
    if request.only_unhealthy:
        wanted = [replica for replica in wanted if replica.broken or replica.state != "running"]
    young = [
        replica
        for replica in wanted
        if replica.state == "running" and not replica.broken and replica.up_seconds < request.minimum_age_seconds
    ]
    return in_order([r for r in wanted if r not in young], request.gate.stable_seconds), young


def in_order(replicas: Sequence[Replica], stable_seconds: float) -> list[Replica]:
    """Return replicas in the order in which they are restarted: what does not serve first."""
    return sorted(leaving_order(replicas), key=lambda replica: replica.ready(stable_seconds))


def refuse_outage(group: Group, stable_seconds: float) -> None:
    """Raise PreconditionFailed if the only replica that serves would go while others do not come to serve first.

    What does not serve is restarted first, and the run stops if it does not come to serve: only a first replica that
    serves can be the last one. A service with one replica has no other way.
    """
    first = group.chosen[0]
    others = [replica for replica in group.every if replica.id != first.id]
    if others and first.ready(stable_seconds) and not any(r.ready(stable_seconds) for r in others):
        raise PreconditionFailed(
            f"Cannot restart {first.name}: nothing else of {group.service} serves "
            f"({'; '.join(r.describe() for r in others)}). Restart what does not serve first, or wait until it does; "
            "mode at_once accepts the outage."
        )


def _state_of(replicas: Sequence[Replica]) -> dict[str, Any]:
    return {
        "replicas": sum(replica.counts for replica in replicas),
        "containers": [{**replica.as_return(), "started": replica.started} for replica in replicas],
    }


def _standing(done: Sequence[Replica], rest: Sequence[Replica]) -> str:
    """Return how far a run came."""
    before = f"Restarted before it: {names(done)}." if done else "Nothing was restarted before it."
    return f"{before} Left as they are: {names(rest)}." if rest else before
