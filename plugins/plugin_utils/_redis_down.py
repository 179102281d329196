# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to the ops.runbooks collection: may change without notice.
"""What the plays of redis-down decide: how far the memory limit may be raised, and what the evidence amounts to."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

MEGABYTE = 1 << 20
# A limit that somebody names must leave this much for work: taking one back must not fill the server.
FULL_SHARE = 0.9


def plan_limits(
    node: Mapping[str, Any],
    *,
    room_bytes: int | None,
    target_share: float,
    room_share: float,
    max_memory_bytes: int,
    policy: str,
) -> dict[str, Any]:
    """Return the limit and the policy that a Redis shall have, in the form of a registered result.

    ``node`` is what redis_memory_info says of the server, ``room_bytes`` the memory that its container or host has.
    Without a limit or a policy asked for, nothing is planned while ``target_share`` is not passed.
    """
    limit, used = node["limit_bytes"], node["used_bytes"]
    now = {"max_memory_bytes": limit, "policy": node["policy"], "used_bytes": used, "used_ratio": node["used_ratio"]}
    new_policy = policy or node["policy"]
    wanted = max_memory_bytes or max(limit, MEGABYTE * math.ceil(used / target_share / MEGABYTE))
    why = refusal = ""
    if not limit and not max_memory_bytes:
        why = "there is no limit (maxmemory 0); give it one that the host bears"
    elif not max_memory_bytes and not policy and used <= target_share * limit:
        why = f"{used} of {limit} bytes are used, which is not above {target_share:.0%}"
    elif (wanted, new_policy) == (limit, node["policy"]):
        why = "limit and policy are as asked for"
    elif room_bytes is not None and wanted > limit and wanted > room_share * room_bytes:
        refusal = (
            f"{wanted} bytes are needed, and its container or host has {room_bytes}, of which it may take "
            f"{room_share:.0%}. Raise that limit first, or move data away"
        )
    elif used > FULL_SHARE * wanted:
        refusal = f"{used} bytes are used, more than {FULL_SHARE:.0%} of the {wanted} asked for"
    if why or refusal:
        plan = {"changed": False, "actions": [f"Left the limit alone: {why or refusal}."], "before": now, "after": now}
        told = {"failed": True, "refused": True, "msg": f"Cannot change the memory limit of Redis: {refusal}."}
        return {**plan, **(told if refusal else {"failed": False})}
    actions = [f"maxmemory {limit} -> {wanted} bytes, policy {node['policy']} -> {new_policy}."]
    if new_policy.startswith("allkeys") and not node["policy"].startswith("allkeys"):
        actions.append(f"{new_policy} evicts keys without an expiry too: queues, sessions, locks.")
    after = {**now, "max_memory_bytes": wanted, "policy": new_policy, "used_ratio": round(used / wanted, 4)}
    return {"changed": True, "failed": False, "actions": actions, "before": now, "after": after}


def sum_up(
    *,
    ping: Mapping[str, Any],
    memory: Mapping[str, Any],
    evictable: Mapping[str, Any],
    clients: Mapping[str, Any],
    persistence: Mapping[str, Any],
    target_share: float,
) -> dict[str, Any]:
    """Return the values that the options ask for; what was not read counts as nothing."""
    (check,) = ping.get("checks") or [{}]
    error = check.get("error", "")
    (node, *_others) = memory.get("nodes") or [{}]
    used, limit, resident = (node.get(name) or 0 for name in ("used_bytes", "limit_bytes", "rss_bytes"))
    return {
        "answers": check.get("good") is True,
        "ping_error": error,
        "loading": "loading" in error.lower(),
        "login_refused": check.get("good") is None and bool(error),
        "used_ratio": node.get("used_ratio") or 0.0,
        "excess_bytes": max(0, round(used - target_share * limit)) if limit else 0,
        "evictable_keys": (evictable.get("estimate") or {}).get("keys", 0),
        "evictable_bytes": (evictable.get("estimate") or {}).get("bytes", 0),
        "clients_ratio": (clients.get("before") or {}).get("used_ratio", 0.0),
        "idle_clients": clients.get("selected_count", 0),
        "held_bytes": max(0, resident - used),
        "held_ratio": round(resident / used, 2) if used else 0.0,
        "persistence_damaged": persistence.get("damaged", False),
        "persistence": {
            name: persistence[name]
            for name in ("actions", "lost_bytes", "lost_commands", "lost_commands_exact", "lost_keys", "before")
            if name in persistence
        },
    }


def tell_kept(repaired: Mapping[str, Any], started: Mapping[str, Any], memory: Mapping[str, Any]) -> dict[str, Any]:
    """Join what a repair did with the start that followed and with what the server then holds."""
    actions = [*repaired.get("actions", []), *started.get("actions", [])]
    after = dict(repaired.get("after") or {})
    result = {**repaired, "changed": bool(repaired.get("changed") or started.get("changed"))}
    if memory.get("nodes"):
        after["keys"] = sum(node["keys"] for node in memory["nodes"])
        actions.append(f"Redis serves {after['keys']} keys.")
    if started.get("failed") or memory.get("failed"):
        failed = started if started.get("failed") else memory
        result.update(failed=True, msg=failed.get("msg", "Redis did not start."))
    return {**result, "actions": actions, "after": after}
