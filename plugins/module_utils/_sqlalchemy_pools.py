# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to the ops.runbooks collection: may change without notice.
"""What an application's pools look like, and which of its replicas a reset would touch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ansible_collections.ops.runbooks.plugins.module_utils._errors import PreconditionFailed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

COUNTS = ("capacity", "checked_in", "checked_out", "abandoned")


@dataclass(frozen=True)
class Replica:
    """One process of the application: a name for people and the address of its pools."""

    name: str
    url: str


@dataclass(frozen=True)
class Answer:
    """What a replica said, or why it said nothing; ``instance`` names the process that answered."""

    replica: Replica
    instance: str | None = None
    pools: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    error: str | None = None


@dataclass(frozen=True)
class Plan:
    """Which replicas are reset, and a sentence for each that is left alone."""

    reset: Sequence[Answer]
    left_alone: Sequence[str]


def parse_pools(document: object) -> tuple[str, dict[str, dict[str, Any]]]:
    """Read the answer to a GET: the process's name and the numbers of its pools.

    Raises:
        ValueError: Something else than the drop-in has answered.
    """
    if isinstance(document, dict) and isinstance(document.get("engines"), dict):
        pools = document["engines"]
        if isinstance(document.get("instance"), str) and all(_is_pool(pool) for pool in pools.values()):
            return document["instance"], pools
    raise ValueError("the answer is not that of integrations/sqlalchemy_pool")


def parse_reset(document: object) -> tuple[str, dict[str, dict[str, Any]]]:
    """Read the answer to a POST: the process's name and the numbers of its pools afterwards.

    Raises:
        ValueError: Something else than the drop-in has answered.
    """
    if isinstance(document, dict) and isinstance(document.get("engines"), dict):
        engines = document["engines"]
        if all(isinstance(engine, dict) for engine in engines.values()):
            return parse_pools({**document, "engines": {name: engine.get("after") for name, engine in engines.items()}})
    raise ValueError("the answer is not that of integrations/sqlalchemy_pool")


def _is_pool(pool: object) -> bool:
    return isinstance(pool, dict) and all(_is_count(pool.get(name)) for name in COUNTS)


def _is_count(value: object) -> bool:
    return value is None or (isinstance(value, int) and not isinstance(value, bool))


def total(answers: Sequence[Answer], engines: Sequence[str] | None) -> dict[str, int]:
    """Add up the numbers of the chosen engines; a pool without a limit adds nothing to the capacity."""
    pools = [pool for answer in answers for pool in chosen(answer, engines).values()]
    return {name: sum(pool.get(name) or 0 for pool in pools) for name in COUNTS}


def chosen(answer: Answer, engines: Sequence[str] | None) -> dict[str, Mapping[str, Any]]:
    """Return the pools that a reset is about."""
    return {name: pool for name, pool in answer.pools.items() if engines is None or name in engines}


def fullest(answers: Sequence[Answer], engines: Sequence[str] | None) -> float | None:
    """Return the highest share of its capacity that a pool has in use; None if no pool has a limit."""
    shares = [
        (pool.get("checked_out") or 0) / pool["capacity"]
        for answer in answers
        for pool in chosen(answer, engines).values()
        if pool.get("capacity")
    ]
    return max(shares) if shares else None


def require_distinct(answers: Sequence[Answer]) -> None:
    """Refuse addresses that lead to one process: the others behind a load balancer would be missed.

    Raises:
        PreconditionFailed: Two addresses were answered by the same process.
    """
    seen: dict[str | None, Replica] = {}
    for answer in answers:
        if answer.instance in seen:
            raise PreconditionFailed(
                f"Cannot reset the pools at {seen[answer.instance].url} and {answer.replica.url}: the same process "
                f"({answer.instance}) answers at both. Give the address of each process, not that of a load balancer."
            )
        seen[answer.instance] = answer.replica


def make_plan(answers: Sequence[Answer], engines: Sequence[str] | None) -> Plan:
    """Reset each replica that has connections open."""
    reset = []
    left_alone = []
    for answer in answers:
        missing = sorted(set(engines or ()) - set(answer.pools))
        if missing:
            raise PreconditionFailed(
                f"Cannot reset {', '.join(missing)} on {answer.replica.name}: the application has "
                f"{', '.join(sorted(answer.pools))}. Name engines that it gives to Pools()."
            )
        numbers = total([answer], engines)
        if numbers["checked_in"] or numbers["checked_out"]:
            reset.append(answer)
        else:
            left_alone.append(f"Left {answer.replica.name} alone: it has no connection open.")
    return Plan(reset, left_alone)


def share_headroom(server_headroom: int, answers: Sequence[Answer], engines: Sequence[str] | None) -> dict[str, int]:
    """Tell each replica how much of the server's room is left for it once every other one has taken its part.

    Raises:
        PreconditionFailed: The connections in use, which stay open, do not fit a second time.
    """
    in_use = total(answers, engines)["checked_out"]
    if in_use > server_headroom:
        raise PreconditionFailed(
            f"Cannot dispose of the pools of {len(answers)} replicas: {in_use} connections are in use and stay open, "
            f"and the server has room for {server_headroom} more. Use mode soft, or end the sessions on the server "
            "first.",
            before=total(answers, engines),
        )
    return {
        answer.replica.url: server_headroom - in_use + total([answer], engines)["checked_out"] for answer in answers
    }
