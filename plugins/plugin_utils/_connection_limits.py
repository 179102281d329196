# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to the ops.runbooks collection: may change without notice.
"""Decide how many connections PostgreSQL shall accept, and whether an administrator still gets in."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ansible_collections.ops.runbooks.plugins.module_utils._postgresql_adapter import NO_SLOT

if TYPE_CHECKING:
    from collections.abc import Mapping

MEBIBYTE = 1024 * 1024
STEP = 10
# Above this share of its memory limit a server is not sent by a raise.
MEMORY_SHARE = 0.8
NO_ANSWER = ("timeout expired", "server closed the connection unexpectedly")


def plan_raise(
    info: Mapping[str, Any],
    *,
    max_connections: int,
    only_above: float,
    memory_limit_bytes: int | None,
    shared_bytes: int,
    session_bytes: int,
) -> dict[str, Any]:
    """Return the ``max_connections`` to set, or the refusal, as a result that an outcome understands.

    ``info`` is what postgresql_pool_info returns. With ``max_connections`` 0, the sessions of now shall fill two thirds
    of what an application can get.
    """
    slots = info["slots"]
    kept_back = slots["superuser_reserved"] + slots["reserved"]
    wanted = max_connections or STEP * math.ceil((slots["used"] * 1.5 + kept_back) / STEP)
    needed = shared_bytes + wanted * session_bytes
    if slots["used_ratio"] < only_above:
        return _refuse(f"{slots['used_ratio']:.0%} of the slots are in use, below {only_above:.0%}.", slots)
    if wanted <= slots["max"]:
        return _refuse(f"max_connections is {slots['max']} and {wanted} is asked for, which raises nothing.", slots)
    if (problem := _not_in_force(info)) is not None:
        return _refuse(problem, slots)
    if memory_limit_bytes is not None and needed > memory_limit_bytes * MEMORY_SHARE:
        return _refuse(
            f"{wanted} sessions may need {needed // MEBIBYTE} MiB, and {MEMORY_SHARE:.0%} of the limit of "
            f"{memory_limit_bytes // MEBIBYTE} MiB is all that may be planned. Raise the memory limit first.",
            slots,
        )
    return _plan("Raise", wanted, slots)


def plan_undo(info: Mapping[str, Any], *, max_connections: int) -> dict[str, Any]:
    """Return the plan to go back to an earlier ``max_connections``; refuse while the sessions would not fit.

    0 is a limit that nobody knows.
    """
    slots = info["slots"]
    if not max_connections:
        return _refuse("the earlier limit is not known. Give it as max_connections.", slots)
    if max_connections >= slots["max"]:
        return {**_plan("Leave", slots["max"], slots), "changed": False}
    room = max_connections - slots["superuser_reserved"] - slots["reserved"]
    if slots["used"] > room * MEMORY_SHARE:
        return _refuse(
            f"{slots['used']} sessions are open, and {max_connections} connections leave {room} for applications. "
            "Wait until the load is over.",
            slots,
        )
    if (problem := _not_in_force(info)) is not None:
        return _refuse(problem, slots)
    return _plan("Lower", max_connections, slots)


def _not_in_force(info: Mapping[str, Any]) -> str | None:
    """Return why ALTER SYSTEM would not help."""
    if info["server"]["in_recovery"]:
        return "the server is a standby, whose limit must not be below that of its primary. Change the primary first."
    source = info["server"]["max_connections_source"]
    if source == "command line":
        return f"max_connections comes from the {source}, which wins over ALTER SYSTEM. Change it where it is given."
    return None


def _plan(verb: str, wanted: int, slots: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "changed": wanted != slots["max"],
        "max_connections": wanted,
        "actions": [f"{verb} max_connections: {slots['max']}, then {wanted}. It is in force after a restart."],
        "before": {"max_connections": slots["max"], "used": slots["used"]},
        "after": {"max_connections": wanted},
    }


def _refuse(reason: str, slots: Mapping[str, Any]) -> dict[str, Any]:
    message = f"Refused to change max_connections: {reason}"
    return {
        "failed": True,
        "refused": True,
        "changed": False,
        "msg": message,
        "max_connections": slots["max"],
        "before": {"max_connections": slots["max"], "used": slots["used"]},
    }


def administrator(result: Mapping[str, Any]) -> dict[str, Any]:
    """Tell from the result of postgresql_pool_info how the server treats an administrator, and whether to restart it.

    The ``state`` is accepted; no_slot when every slot is taken, the reserved ones too; no_answer when nobody answers a
    login; unclear for anything that a restart need not heal, such as a wrong password. It is a refusal, as a result
    that an outcome understands, unless the server lets nobody in.
    """
    message = str(result.get("msg", ""))
    if not result.get("failed"):
        state, reason = "accepted", "it accepts an administrator."
    elif any(sign in message for sign in NO_SLOT):
        return {"state": "no_slot"}
    elif any(sign in message for sign in NO_ANSWER):
        return {"state": "no_answer"}
    else:
        state, reason = "unclear", f"a restart need not help. {message}"
    return {"state": state, "failed": True, "refused": True, "msg": f"Refused to restart PostgreSQL: {reason}"}
