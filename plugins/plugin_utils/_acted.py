# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to the ops.runbooks collection: may change without notice.
"""Join the results of the tasks with which an option acts into one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def join_acted(
    results: Sequence[Mapping[str, Any]], *, sentences: Sequence[str] = (), check_mode: bool = False
) -> dict[str, Any]:
    """Return what the phase that acts did, as the outcome takes it.

    A result without ``actions`` of its own, as other collections return, is told by the sentence at its place, an
    imperative, if it changed something. A task that was not reached is an empty mapping.
    """
    actions: list[str] = []
    joined: dict[str, Any] = {"changed": any(result.get("changed") for result in results), "actions": actions}
    for result, sentence in zip(results, [*sentences, *[""] * len(results)]):
        if _told(result):
            actions.extend(result["actions"])
        elif result.get("changed") and sentence:
            actions.append(f"{'Would' if check_mode else 'Did'}: {sentence}")
        if result.get("failed"):
            joined |= {key: result[key] for key in ("failed", "refused", "msg") if key in result}
        for key in ("before", "after"):
            if result.get(key) and key not in joined:
                joined[key] = result[key]
    return joined


def _told(result: Mapping[str, Any]) -> bool:
    """Tell whether ``actions`` are sentences; community.docker returns mappings under the same name."""
    actions = result.get("actions") or []
    return bool(actions) and all(isinstance(action, str) for action in actions)
