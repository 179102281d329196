# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to the ops.runbooks collection: may change without notice.
"""Reset the SQLAlchemy pools of every replica of an application, and report each."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from ansible_collections.ops.runbooks.plugins.module_utils import _sqlalchemy_pools as pools
from ansible_collections.ops.runbooks.plugins.module_utils._arguments import ArgumentSpec
from ansible_collections.ops.runbooks.plugins.module_utils._errors import (
    ActionFailed,
    ConnectionFailed,
    OpsError,
    PreconditionFailed,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ansible_collections.ops.runbooks.plugins.module_utils._sqlalchemy_pools import Answer, Replica
    from ansible_collections.ops.runbooks.plugins.module_utils._sqlalchemy_ports import PoolApi

    Parse = Callable[[object], "tuple[str, dict[str, dict[str, Any]]]"]


@dataclass(frozen=True)
class ResetRequest:
    """What to reset, how, and when not to."""

    mode: str
    engines: Sequence[str] | None
    server_headroom: int | None
    only_above: float | None
    expected_replicas: int | None
    precondition_reaction: str

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> ResetRequest:
        """Take what the module was given.

        Raises:
            ValueError: A number is outside of what it can be.
        """
        only_above = params["only_above"]
        if only_above is not None and not 0 <= only_above <= 1:
            raise ValueError(f"only_above must be between 0 and 1, not {only_above}.")
        for name in ("server_headroom", "expected_replicas"):
            if params[name] is not None and params[name] < 0:
                raise ValueError(f"{name} must not be negative, it is {params[name]}.")
        if params["engines"] == []:
            raise ValueError("engines must name at least one engine; leave it out to reset them all.")
        return cls(
            mode=params["mode"],
            engines=params["engines"],
            server_headroom=params["server_headroom"],
            only_above=only_above,
            expected_replicas=params["expected_replicas"],
            precondition_reaction=params["precondition_reaction"],
        )

    @property
    def about(self) -> dict[str, object]:
        """Name what every order to a replica says."""
        return {"mode": self.mode} if self.engines is None else {"mode": self.mode, "engines": list(self.engines)}


def reset_spec() -> ArgumentSpec:
    """Describe the options of ``sqlalchemy_pool_reset``, the ways to find the replicas included."""
    return ArgumentSpec(
        options={
            "urls": {"type": "list", "elements": "str"},
            "project": {"type": "str"},
            "service": {"type": "str"},
            "swarm_service": {"type": "str"},
            "network": {"type": "str"},
            "scheme": {"type": "str", "choices": ["http", "https"], "default": "http"},
            "port": {"type": "int", "default": 8000},
            "path": {"type": "str", "default": "/admin/pool/reset"},
            "docker_host": {"type": "str"},
            "token": {"type": "str", "required": True, "no_log": True},
            "validate_certs": {"type": "bool", "default": True},
            "ca_path": {"type": "path"},
            "timeout_seconds": {"type": "int", "default": 10},
            "mode": {"type": "str", "choices": ["soft", "dispose"], "default": "soft"},
            "engines": {"type": "list", "elements": "str"},
            "server_headroom": {"type": "int"},
            "only_above": {"type": "float"},
            "expected_replicas": {"type": "int"},
            "precondition_reaction": {"type": "str", "choices": ["fail", "skip", "warn"], "default": "fail"},
        },
        mutually_exclusive=[["urls", "service", "swarm_service"]],
        required_one_of=[["urls", "service", "swarm_service"]],
        required_together=[["project", "service"]],
        required_if=[["mode", "dispose", ["server_headroom"]]],
    )


def reset_pools(
    request: ResetRequest,
    replicas: Sequence[Replica],
    api: PoolApi,
    *,
    warn: Callable[[str], None],
    dry_run: bool,
) -> dict[str, Any]:
    """Read every replica, decide, and reset those that have connections open, all at once.

    A replica that does not answer does not keep the others from being reset (their pools are as full as its own), but
    the whole fails in the end and says which was missed.

    Raises:
        PreconditionFailed: Nothing was reset, on purpose.
        ActionFailed: At least one replica was not reset; the details list each.
    """
    read = in_parallel(partial(_ask, call=api.read, parse=pools.parse_pools), replicas)
    answered = [answer for answer in read if answer.error is None]
    if not answered:
        raise ConnectionFailed(
            f"Cannot read the pools of any of {len(read)} replicas: {_name_errors(read)}.", replicas=_list(read)
        )
    pools.require_distinct(answered)
    reason = _find_reason_against(request, read, answered)
    if reason and request.precondition_reaction == "fail":
        raise PreconditionFailed(f"Cannot reset the pools, on request: {reason}", replicas=_list(read))
    if reason and request.precondition_reaction == "skip":
        plan = pools.Plan([], [f"Left every replica alone: {reason}"])
    else:
        plan = pools.make_plan(answered, request.engines)
        if reason:
            warn(f"Reset all the same: {reason}")
    orders = _make_orders(request, read, answered) if plan.reset else {}
    done = read
    if not dry_run:
        acted = in_parallel(partial(_reset, api=api, orders=orders), plan.reset)
        by_url = {answer.replica.url: answer for answer in acted}
        done = [by_url.get(answer.replica.url, answer) for answer in read]
    failed = [answer for answer in done if answer.error is not None]
    missed = {answer.replica.url for answer in failed}
    reset = [answer for answer in plan.reset if answer.replica.url not in missed]
    verb = "Would reset" if dry_run else "Reset"
    result = {
        "changed": bool(reset),
        "mode": request.mode,
        "actions": [*(_describe(verb, answer, request) for answer in reset), *plan.left_alone],
        "fullest_ratio": pools.fullest(answered, request.engines),
        "before": pools.total(answered, request.engines),
        "after": pools.total([answer for answer in done if answer.error is None], request.engines),
        "replicas": _list(done),
    }
    if failed:
        raise ActionFailed(
            f"Cannot reset the pools of {len(failed)} of {len(read)} replicas: {_name_errors(failed)}. "
            f"{verb} the others: {len(reset)}. Repair or restart those named and run this again.",
            **result,
        )
    return result


def in_parallel(function: Callable[[Any], Answer], items: Sequence[Any]) -> list[Answer]:
    """Apply ``function`` to every item at the same time and keep the order."""
    if not items:
        return []
    with ThreadPoolExecutor(max_workers=min(len(items), 32)) as threads:
        return list(threads.map(function, items))


def _ask(replica: Replica, *, call: Callable[[str], object], parse: Parse) -> Answer:
    try:
        instance, numbers = parse(call(replica.url))
    except (OpsError, ValueError) as error:
        return pools.Answer(replica, error=str(error))
    return pools.Answer(replica, instance, numbers)


def _reset(before: Answer, *, api: PoolApi, orders: Mapping[str, Mapping[str, object]]) -> Answer:
    after = _ask(before.replica, call=lambda url: api.reset(url, orders[url]), parse=pools.parse_reset)
    if after.error is None and after.instance != before.instance:
        error = f"two processes ({before.instance}, {after.instance}) answer at this address, so one may be missed"
        return pools.Answer(before.replica, after.instance, after.pools, error)
    return after


def _find_reason_against(request: ResetRequest, read: Sequence[Answer], answered: Sequence[Answer]) -> str | None:
    """Return the precondition that does not hold."""
    if request.expected_replicas is not None and len(read) != request.expected_replicas:
        return f"{len(read)} replicas were found and {request.expected_replicas} expected."
    if request.only_above is not None:
        share = pools.fullest(answered, request.engines)
        if share is None:
            return "No pool has a limit, so none can be full."
        if share < request.only_above:
            return f"The fullest pool is {share:.0%} in use, below {request.only_above:.0%}."
    return None


def _make_orders(
    request: ResetRequest, read: Sequence[Answer], answered: Sequence[Answer]
) -> dict[str, dict[str, object]]:
    if request.mode == "soft" or request.server_headroom is None:
        return {answer.replica.url: request.about for answer in answered}
    silent = [answer for answer in read if answer.error is not None]
    if silent:
        raise PreconditionFailed(
            f"Cannot dispose of the pools: {_name_errors(silent)}, so nobody knows how many connections are in use. "
            "Use mode soft, or repair the replicas named.",
            replicas=_list(read),
        )
    rooms = pools.share_headroom(request.server_headroom, answered, request.engines)
    return {url: {**request.about, "server_headroom": room} for url, room in rooms.items()}


def _describe(verb: str, before: Answer, request: ResetRequest) -> str:
    numbers = pools.total([before], request.engines)
    if request.mode == "soft":
        how = f"{numbers['checked_in'] + numbers['checked_out']} connections are replaced at their next checkout"
    else:
        how = f"{numbers['checked_in']} idle connections closed, {numbers['checked_out']} in use stay open"
    return f"{verb} {before.replica.name}: {how}."


def _name_errors(answers: Sequence[Answer]) -> str:
    return "; ".join(f"{answer.replica.name}: {answer.error}" for answer in answers)


def _list(answers: Sequence[Answer]) -> list[dict[str, Any]]:
    return [
        {
            "name": answer.replica.name,
            "url": answer.replica.url,
            "instance": answer.instance,
            "engines": answer.pools,
            "error": answer.error,
        }
        for answer in answers
    ]
