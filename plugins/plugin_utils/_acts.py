# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to the ops.runbooks collection: may change without notice.
"""Join the results of several acts of one option into the one that an outcome tells of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


def join_acts(results: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return one result for several, in their order; one that was never reached, or skipped, is an empty mapping.

    ``before`` and ``after`` keep each result's numbers under its name. A refusal counts as one only if nothing had been
    changed until then.
    """
    acts = {name: result for name, result in results.items() if result and not result.get("skipped")}
    changed = any(act.get("changed") for act in acts.values())
    joined: dict[str, Any] = {
        "changed": changed,
        "actions": [sentence for act in acts.values() for sentence in act.get("actions", [])],
        **{
            moment: {name: act[moment] for name, act in acts.items() if act.get(moment) is not None}
            for moment in ("before", "after")
        },
    }
    failed = next((act for act in acts.values() if act.get("failed")), None)
    if failed is not None:
        refused = bool(failed.get("refused")) and not changed
        joined.update(failed=True, refused=refused, msg=str(failed.get("msg", "A task failed without a message.")))
    return joined
