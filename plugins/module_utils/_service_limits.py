# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to the ops.runbooks collection: may change without notice.
"""Decide whether the replicas of a service may have other limits, and see it through. Nothing here knows Docker."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from ansible_collections.ops.runbooks.plugins.module_utils._arguments import ArgumentSpec
from ansible_collections.ops.runbooks.plugins.module_utils._errors import ActionFailed, OpsError, PreconditionFailed
from ansible_collections.ops.runbooks.plugins.module_utils._service_observed import Limits, Observed, ServiceObserver
from ansible_collections.ops.runbooks.plugins.module_utils._service_options import (
    Gate,
    Target,
    gate_options,
    service_options,
)
from ansible_collections.ops.runbooks.plugins.module_utils._service_override import text_of
from ansible_collections.ops.runbooks.plugins.module_utils._service_ports import Change, OrchestratedEngine
from ansible_collections.ops.runbooks.plugins.module_utils._service_precondition import (
    Precondition,
    precondition_options,
)
from ansible_collections.ops.runbooks.plugins.module_utils._service_replacing import (
    START_FIRST,
    order_of,
    see_through,
)
from ansible_collections.ops.runbooks.plugins.module_utils._waiting import Clock

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ansible_collections.ops.runbooks.plugins.module_utils._service_override import OverrideFile
    from ansible_collections.ops.runbooks.plugins.module_utils._service_ports import ServiceEngine
    from ansible_collections.ops.runbooks.plugins.module_utils._service_replicas import Definition, Replica

# A replica that is this close to its new limit would reach it with the next request.
ROOM = 0.9
LEAST_MEMORY_BYTES = 6 * 1024 * 1024  # what the engine takes


def limits_spec() -> ArgumentSpec:
    """Return the options of service_limits."""
    own = ArgumentSpec(
        options={
            "memory_bytes": {"type": "int"},
            "cpus": {"type": "float"},
            "pids": {"type": "int"},
            "override_file": {"type": "path"},
            "allow_below_use": {"type": "bool", "default": False},
        },
        required_one_of=[["memory_bytes", "cpus", "pids"]],
    )
    return service_options() + gate_options() + own + precondition_options()


@dataclass(frozen=True)
class LimitsRequest:
    """What service_limits is asked to do; a limit that is None stays as it is."""

    target: Target
    gate: Gate
    precondition: Precondition
    wanted: Limits
    allow_below_use: bool

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> LimitsRequest:
        """Build the request; raises ValueError for a limit that is never right."""
        wanted = Limits(params["memory_bytes"], params["cpus"], params["pids"])
        if any(limit is not None and limit <= 0 for limit in (wanted.cpus, wanted.pids)):
            raise ValueError("cpus and pids must be above 0. A limit cannot be taken away from a running container.")
        if wanted.memory_bytes is not None and wanted.memory_bytes < LEAST_MEMORY_BYTES:
            raise ValueError(f"memory_bytes must be at least {LEAST_MEMORY_BYTES}, the least that the engine takes.")
        return cls(
            target=Target.from_params(params),
            gate=Gate.from_params(params),
            precondition=Precondition.from_params(params),
            wanted=wanted,
            allow_below_use=params["allow_below_use"],
        )


@dataclass(frozen=True)
class Host:
    """What the engine's machine has."""

    memory_bytes: int
    cpus: float


class LimitsSource(ServiceObserver):
    """An engine that also tells what there is to share."""

    @abstractmethod
    def host(self) -> Host:
        """Return what there is to share."""


class LimitsEngine(LimitsSource):
    """An engine that can also change the limits of what runs."""

    @abstractmethod
    def update(self, replica: Replica, limits: Limits) -> None:
        """Set the limits that are not None; swap keeps its distance to memory."""


class Limiter:
    """Give the replicas of one service their limits."""

    def __init__(
        self,
        limits: LimitsSource,
        services: ServiceEngine,
        request: LimitsRequest,
        warn: Callable[[str], None],
        file: OverrideFile | None = None,
        *,
        clock: Clock | None = None,
    ) -> None:
        self._clock = clock or Clock()
        self._limits = limits
        self._services = services
        self._request = request
        self._warn = warn
        self._file = file
        self._result: dict[str, Any] = {"changed": False, **request.target.as_return(), "actions": []}

    def run(self, *, dry_run: bool) -> dict[str, Any]:
        """Set limits on every replica, then in the file; a dry run says what would change.

        Raises PreconditionFailed before anything is changed. If a replica cannot be changed, those before it get their
        limits back and ActionFailed is raised.
        """
        try:
            self._run(dry_run=dry_run)
        except OpsError as error:
            error.details = {**self._result, **error.details}
            raise
        return self._result

    def _run(self, *, dry_run: bool) -> None:
        request, service = self._request, self._request.target.service
        every = self._limits.observe()
        own = [one for one in every if one.replica.service == service]
        if not own:
            self._services.definition(service)  # raises if there is no such service
            raise PreconditionFailed(f"Cannot limit {service}: it has no replicas. Start it first.")
        self._result["before"] = self._result["after"] = _state_of(own)
        there = sum(one.replica.counts for one in own)
        unmet = request.precondition.unmet(service, there, (f"limit {service}", "Limited"), self._warn)
        if unmet:
            self._say(f"Left everything alone: {unmet}.")
            return
        text = self._text()
        changing = [one for one in own if applied(one.limits, request.wanted) != one.limits]
        self._refuse(service, changing)
        after = [replace(one, limits=applied(one.limits, request.wanted)) for one in own]
        self._mention(every, after)
        if changing:
            self._result["changed"] = True
            told = f"{', '.join(one.replica.name for one in changing)}: {_told(request.wanted)}"
            if dry_run:
                self._result["after"] = _state_of(after)
                self._say(f"Would limit {told}.")
            else:
                self._set(changing)
                self._result["after"] = self._verified(service)
                self._say(f"Limited {told}.")
        if text is not None and self._file is not None:
            self._result["changed"] = True
            if not dry_run:
                self._file.write(text)
            self._say(
                f"{'Would write' if dry_run else 'Wrote'} {self._file.name}. Name it as the last --file of "
                "`docker compose up`: that recreates the service, and keeps the limits."
            )
        elif changing and isinstance(self._limits, LimitsEngine):
            self._say("The next recreate returns to the limits of the Compose file. Set override_file to keep these.")
        if not self._result["changed"]:
            self._say(f"Nothing to change: {service} has these limits.")

    def _refuse(self, service: str, changing: Sequence[Observed]) -> None:
        """Raise PreconditionFailed for limits that the host does not have, or that what runs would not survive."""
        wanted, host = self._request.wanted, self._limits.host()
        for what, asked, most in (
            ("bytes of memory", wanted.memory_bytes, host.memory_bytes),
            ("CPUs", wanted.cpus, host.cpus),
        ):
            if asked is not None and asked > most:
                raise PreconditionFailed(
                    f"Cannot limit {service} to {asked:g} {what}: the host has {most:g}. Ask for less."
                    if what == "CPUs"
                    else f"Cannot limit {service} to {asked} {what}: the host has {most}. Ask for less."
                )
        if self._request.allow_below_use:
            return
        for one in changing:
            usage = self._limits.usage(one.replica) if one.replica.counts else None
            if usage is None:
                continue
            old = one.limits
            for what, used, limit, before, end in (
                ("bytes of memory", usage.memory_bytes, wanted.memory_bytes, old.memory_bytes, "be killed"),
                ("processes and threads", usage.pids, wanted.pids, old.pids, "fail to start more"),
            ):
                lowered = limit is not None and (before is None or limit < before)
                if limit is not None and lowered and used > limit * ROOM:
                    raise PreconditionFailed(
                        f"Cannot limit {one.replica.name} to {limit} {what}: it uses {used} and would {end}. "
                        "Ask for more, or set allow_below_use."
                    )

    def _set(self, changing: Sequence[Observed]) -> None:
        if isinstance(self._limits, LimitsEngine):
            self._update(self._limits, changing)
        elif isinstance(self._services, OrchestratedEngine):
            self._replace(self._services, len(changing))

    def _replace(self, engine: OrchestratedEngine, replicas: int) -> None:
        """Have an engine that keeps limits itself replace the replicas; it returns to the old ones by itself."""
        request, service = self._request, self._request.target.service
        order = order_of(engine.definition(service), engine.data(service), replicas)
        change = Change(limits=request.wanted, start_first=order == START_FIRST, undo=True)
        try:
            _new, beside = see_through(engine, service, change, request.gate, self._clock)
        except OpsError as error:
            self._result["changed"] = not error.details.get("undone", False)
            raise type(error)(f"Cannot limit {service}: {error}", **error.details) from error
        for sentence in beside:
            self._say(sentence)

    def _update(self, engine: LimitsEngine, changing: Sequence[Observed]) -> None:
        done: list[Observed] = []
        for one in changing:
            try:
                engine.update(one.replica, self._request.wanted)
            except OpsError as error:
                raise ActionFailed(f"{error} {self._give_back(engine, done)}") from error
            done.append(one)

    def _give_back(self, engine: LimitsEngine, done: Sequence[Observed]) -> str:
        """Restore the limits of these replicas; return a sentence on how they stand."""
        wanted, kept = self._request.wanted, []
        for one in done:
            try:
                engine.update(one.replica, one.limits)
            except OpsError:
                kept.append(one.replica.name)
                continue
            # What had no limit cannot be given none again while it runs.
            if any(new is not None and old is None for new, old in zip(_values(wanted), _values(one.limits))):
                kept.append(one.replica.name)
        self._result["changed"] = bool(kept)
        if kept:
            return f"{', '.join(kept)} could not be given back the old limits. Recreate the service to have one state."
        return "The others have their old limits." if done else "Nothing was changed."

    def _verified(self, service: str) -> dict[str, Any]:
        now = [one for one in self._limits.observe() if one.replica.service == service]
        wrong = [one for one in now if applied(one.limits, self._request.wanted) != one.limits]
        if wrong:
            self._result["after"] = _state_of(now)
            raise ActionFailed(
                f"Cannot limit {wrong[0].replica.name}: the engine took the limits and shows others. It may have been "
                "recreated meanwhile; repeat."
            )
        return _state_of(now)

    def _mention(self, every: Sequence[Observed], after: Sequence[Observed]) -> None:
        """Warn if the limits of all that runs add up to more than there is."""
        new = {one.replica.id: one for one in after}
        running = [new.get(one.replica.id, one) for one in every if one.replica.counts]
        total, most = sum(one.limits.memory_bytes or 0 for one in running), self._limits.host().memory_bytes
        if self._request.wanted.memory_bytes is not None and total > most:
            self._warn(
                f"The memory limits of this project add up to {total} bytes, the host has {most}: the kernel may kill "
                "before a limit is reached."
            )

    def _text(self) -> str | None:
        """Return what the file has to say; None if it says it, or if nothing is to be kept."""
        if self._file is None:
            return None
        document = self._file.document()
        definition = self._services.definition(self._request.target.service)
        text = text_of(keep(document, definition, self._request.wanted))
        return None if text == self._file.read() else text

    def _say(self, sentence: str) -> None:
        self._result["actions"].append(sentence)


def applied(limits: Limits, wanted: Limits) -> Limits:
    """Return limits with those replaced that are wanted."""
    return replace(limits, **{name: value for name, value in asdict(wanted).items() if value is not None})


def keep(document: Mapping[str, Any], definition: Definition, wanted: Limits) -> dict[str, Any]:
    """Return a Compose override with these limits, stated in the way in which the project's files state theirs.

    Compose refuses a service that states them in both ways and not alike.
    """
    services = dict(document.get("services", {}))
    own = dict(services.get(definition.name, {}))
    values = {"memory": wanted.memory_bytes, "cpus": wanted.cpus, "pids": wanted.pids}
    if "service" in definition.limits_stated:
        names = {"memory": "mem_limit", "cpus": "cpus", "pids": "pids_limit"}
        own.update({names[key]: value for key, value in values.items() if value is not None})
    if "deploy" in definition.limits_stated:
        there = own.get("deploy", {}).get("resources", {}).get("limits", {})
        stated = {key: value if key == "pids" else str(value) for key, value in values.items() if value is not None}
        own["deploy"] = {"resources": {"limits": {**there, **stated}}}
    if definition.swap_beyond_memory is not None and wanted.memory_bytes is not None:
        own["memswap_limit"] = wanted.memory_bytes + definition.swap_beyond_memory
    return {**document, "services": {**services, definition.name: own}}


def _values(limits: Limits) -> tuple[float | None, ...]:
    return (limits.memory_bytes, limits.cpus, limits.pids)


def _told(wanted: Limits) -> str:
    """Return limits as part of a sentence."""
    parts = [
        f"{wanted.memory_bytes} bytes of memory" if wanted.memory_bytes is not None else "",
        f"{wanted.cpus:g} CPUs" if wanted.cpus is not None else "",
        f"{wanted.pids} processes and threads" if wanted.pids is not None else "",
    ]
    return ", ".join(part for part in parts if part)


def _state_of(seen: Sequence[Observed]) -> dict[str, Any]:
    return {
        "replicas": sum(one.replica.counts for one in seen),
        "containers": [{"name": one.replica.name, "state": one.replica.state, **asdict(one.limits)} for one in seen],
    }
