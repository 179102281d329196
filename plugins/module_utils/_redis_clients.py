# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to the ops.runbooks collection: may change without notice.
"""Choose clients of a Redis server and disconnect them: the work behind redis_clients_disconnect."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ansible_collections.ops.runbooks.plugins.module_utils._arguments import ArgumentSpec
from ansible_collections.ops.runbooks.plugins.module_utils._errors import (
    ActionFailed,
    ConnectionFailed,
    PreconditionFailed,
    TimedOut,
)
from ansible_collections.ops.runbooks.plugins.module_utils._waiting import Clock, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

NORMAL, BLOCKED, PUBSUB, MONITOR, REPLICATION = "normal", "blocked", "pubsub", "monitor", "replication"
KINDS = [NORMAL, BLOCKED, PUBSUB, MONITOR]
BATCH = 50
SELECTED_SHOWN = 100


@dataclass(frozen=True)
class Client:
    """One connection, as CLIENT LIST gives it. An id is never used twice."""

    id: int
    address: str  # host:port, or the path of a socket
    name: str
    user: str
    idle_seconds: int
    kind: str
    command: str = ""
    own: bool = False

    @property
    def host(self) -> str:
        """Return the address without the port."""
        return self.address.rpartition(":")[0].strip("[]")

    def summary(self) -> dict[str, Any]:
        """Return what a reader needs of a client."""
        return {
            "id": self.id,
            "address": self.address,
            "name": self.name,
            "user": self.user,
            "idle_seconds": self.idle_seconds,
            "kind": self.kind,
            "command": self.command,
        }


class ClientSource(ABC):
    """A server whose clients can be listed and disconnected."""

    name: str

    @abstractmethod
    def clients(self) -> list[Client]:
        """Return every client."""

    @abstractmethod
    def again(self, clients: Sequence[Client]) -> list[Client]:
        """Return those of the clients that still exist, as they are now."""

    @abstractmethod
    def require_permission(self) -> None:
        """Raise ActionFailed if the login may not disconnect."""

    @abstractmethod
    def disconnect(self, client: Client) -> bool:
        """Disconnect a client that is still of its type, and return whether it was."""

    @abstractmethod
    def maximum(self) -> int:
        """Return the most clients that the server takes."""


def disconnect_spec() -> ArgumentSpec:
    """Return the options of redis_clients_disconnect."""
    names = {"type": "list", "elements": "str", "default": []}
    return ArgumentSpec(
        options={
            "minimum_idle_seconds": {"type": "int"},
            "names": dict(names),
            "addresses": dict(names),
            "users": dict(names),
            "exclude_names": dict(names),
            "exclude_users": dict(names),
            "kinds": {"type": "list", "elements": "str", "choices": KINDS, "default": [NORMAL]},
            "only_above": {"type": "float"},
            "precondition_reaction": {"type": "str", "choices": ["fail", "skip", "warn"], "default": "fail"},
            "limit": {"type": "int", "default": 500},
            "timeout_seconds": {"type": "float", "default": 5.0},
        }
    )


@dataclass(frozen=True)
class Criteria:
    """A client is meant if every criterion that is set holds."""

    minimum_idle_seconds: int | None = None
    names: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    exclude_names: tuple[str, ...] = ()
    exclude_users: tuple[str, ...] = ()
    kinds: tuple[str, ...] = (NORMAL,)

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> Criteria:
        """Build criteria from the module's options; raises ValueError for what must not be asked."""
        idle = params["minimum_idle_seconds"]
        if idle is not None and idle < 0:
            raise ValueError(f"minimum_idle_seconds is {idle} and must not be negative.")
        lists = ("names", "addresses", "users", "exclude_names", "exclude_users", "kinds")
        built = cls(minimum_idle_seconds=idle, **{name: tuple(params[name]) for name in lists})
        if idle is None and not (built.names or built.addresses or built.users):
            raise ValueError(
                "These criteria mean every client. Set minimum_idle_seconds, or names, addresses or users."
            )
        if not built.kinds:
            raise ValueError("kinds is empty. Leave it out for clients that wait for nothing.")
        return built

    def matches(self, client: Client) -> bool:
        """Return whether the client is meant, whatever its kind."""
        return (
            (self.minimum_idle_seconds is None or client.idle_seconds >= self.minimum_idle_seconds)
            and (not self.names or client.name in self.names)
            and (not self.addresses or client.address in self.addresses or client.host in self.addresses)
            and (not self.users or client.user in self.users)
            and client.name not in self.exclude_names
            and client.user not in self.exclude_users
        )

    def spares(self, client: Client) -> str | None:
        """Return why a client that is meant is left alone, or None."""
        if client.own:
            return "this module's own connection"
        if client.kind == REPLICATION:
            return "replication"
        # Sentinels name their connections; without them nobody notices that the master is gone.
        if client.name.startswith("sentinel-") and client.name not in self.names:
            return "a sentinel"
        return None if client.kind in self.kinds else client.kind


@dataclass(frozen=True)
class DisconnectRequest:
    """What redis_clients_disconnect is asked to do."""

    criteria: Criteria
    only_above: float | None
    precondition_reaction: str
    limit: int
    timeout_seconds: float

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> DisconnectRequest:
        """Build the request from the module's options; raises ValueError for what must not be asked."""
        share = params["only_above"]
        if share is not None and not 0 <= share <= 1:
            raise ValueError(f"only_above is {share}, expected a share between 0 and 1.")
        if params["limit"] < 1:
            raise ValueError(f"limit is {params['limit']}, expected at least 1.")
        return cls(
            Criteria.from_params(params),
            share,
            params["precondition_reaction"],
            params["limit"],
            params["timeout_seconds"],
        )


@dataclass(frozen=True)
class Plan:
    """What is to happen on one server."""

    source: ClientSource
    end: tuple[Client, ...]
    left: Mapping[str, int]


def make_plan(source: ClientSource, found: Sequence[Client], criteria: Criteria) -> Plan:
    """Sort the clients that are meant into those to end and those to leave, with the reason."""
    meant = [client for client in found if criteria.matches(client)]
    reasons = [criteria.spares(client) for client in meant]
    end = tuple(client for client, reason in zip(meant, reasons) if reason is None)
    return Plan(source, end, Counter(reason for reason in reasons if reason))


def disconnect(
    sources: Sequence[ClientSource],
    request: DisconnectRequest,
    *,
    instance: str,
    dry_run: bool,
    clock: Clock | None = None,
) -> dict[str, Any]:
    """Disconnect the clients that match, and return what was done; a dry run makes the same choice.

    Raises PreconditionFailed before anything is changed, ActionFailed, ConnectionFailed or TimedOut with what was done.
    """
    clock = clock or Clock()
    start = clock.now()
    found = [source.clients() for source in sources]
    before = [_slots(len(clients), source.maximum()) for source, clients in zip(sources, found)]
    result: dict[str, Any] = {
        "changed": False,
        "instance": instance,
        "actions": [],
        "warnings": [],
        "selected": [],
        "selected_count": 0,
        "disconnected": 0,
        "spared": 0,
        "before": _add(before),
        "after": _add(before),
    }
    fullest = max(slots["used_ratio"] for slots in before)
    if request.only_above is not None and fullest < request.only_above:
        problem = (
            f"{fullest:.0%} of maxclients are connected to {instance}, below the {request.only_above:.0%} from which "
            "clients are disconnected."
        )
        if request.precondition_reaction == "fail":
            raise PreconditionFailed(f"{problem} Lower only_above if it shall be done all the same.", **result)
        if request.precondition_reaction == "skip":
            result["actions"].append(f"Left everything alone: {problem}")
            return _timed(result, clock, start)
        result["warnings"].append(problem)
    plans = [make_plan(source, clients, request.criteria) for source, clients in zip(sources, found)]
    chosen = [client for plan in plans for client in plan.end]
    result["selected"] = [client.summary() for client in chosen[:SELECTED_SHOWN]]
    result["selected_count"] = len(chosen)
    if len(chosen) > request.limit:
        raise PreconditionFailed(
            f"Cannot disconnect clients of {instance}: {len(chosen)} match and limit is {request.limit}. "
            "Narrow the criteria, or raise limit.",
            **result,
        )
    for plan in plans:
        if plan.end:
            plan.source.require_permission()
    if dry_run:
        result["changed"] = bool(chosen)
        if chosen:
            result["actions"].append(f"Would disconnect {_count(len(chosen))}{_of(chosen)}.")
    else:
        _act(plans, request, result, clock)
    _describe_left(plans, result)
    return _timed(result, clock, start)


def _act(plans: Sequence[Plan], request: DisconnectRequest, result: dict[str, Any], clock: Clock) -> None:
    """Look again at each batch just before it is disconnected."""
    gone: list[Client] = []
    told: list[tuple[ClientSource, list[Client]]] = []
    try:
        for plan in plans:
            ended: list[Client] = []
            told.append((plan.source, ended))
            for batch in _batches(plan.end):
                for client in plan.source.again(batch):
                    meant = request.criteria.matches(client) and request.criteria.spares(client) is None
                    if meant and plan.source.disconnect(client):
                        ended.append(client)
                        gone.append(client)
                        result.update(disconnected=len(gone), changed=True)
        result["spared"] = result["selected_count"] - len(gone)
        waited = wait_until(
            lambda: [client for source, ended in told for client in source.again(ended)],
            lambda left: not left,
            timeout_seconds=request.timeout_seconds,
            interval_seconds=0.05,
            clock=clock,
        )
        result["after"] = _add([_slots(len(plan.source.clients()), plan.source.maximum()) for plan in plans])
    except (ActionFailed, ConnectionFailed) as error:
        raise type(error)(
            f"{error} Before that, {_count(result['disconnected'])} were disconnected. A second run finishes the rest.",
            **{**result, **error.details},
        ) from error
    if result["disconnected"]:
        result["actions"].append(f"Disconnected {_count(result['disconnected'])}{_of(gone)}.")
    if result["spared"]:
        result["actions"].append(f"Spared {_count(result['spared'])}: they worked or left by themselves meanwhile.")
    if not waited.reached:
        raise TimedOut(
            f"Told {_count(result['disconnected'])} of {result['instance']} to go, and {len(waited.state)} are still "
            f"there after {request.timeout_seconds:.0f} s. Look again, or raise timeout_seconds.",
            **result,
        )


def _batches(clients: Sequence[Client]) -> Iterator[Sequence[Client]]:
    for start in range(0, len(clients), BATCH):
        yield clients[start : start + BATCH]


def _describe_left(plans: Sequence[Plan], result: dict[str, Any]) -> None:
    left: Counter[str] = Counter()
    for plan in plans:
        left.update(plan.left)
    result["actions"] += [f"Left {_count(number)} alone: {reason}." for reason, number in sorted(left.items())]
    if not result["actions"]:
        result["actions"].append("Nothing to disconnect: no client matches.")


def _of(clients: Sequence[Client]) -> str:
    """Name the largest groups of some clients, for a sentence."""
    names = Counter(client.name or client.host for client in clients)
    return " of " + ", ".join(f"{name} ({number})" for name, number in names.most_common(5))


def _slots(used: int, maximum: int) -> dict[str, Any]:
    return {"connected": used, "maximum": maximum, "used_ratio": round(used / maximum, 4) if maximum else 1.0}


def _add(slots: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return _slots(sum(one["connected"] for one in slots), sum(one["maximum"] for one in slots))


def _count(clients: int) -> str:
    return "1 client" if clients == 1 else f"{clients} clients"


def _timed(result: dict[str, Any], clock: Clock, start: float) -> dict[str, Any]:
    result["duration_seconds"] = round(clock.now() - start, 3)
    return result
