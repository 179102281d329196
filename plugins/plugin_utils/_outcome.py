# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to the ops.runbooks collection: may change without notice.
"""Build the document that a play publishes from the results of its phases (docs/architecture.md, section 2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

SCHEMA = 1


def build_outcome(
    *,
    runbook: str,
    option: str,
    check_mode: bool,
    validated: Mapping[str, Any],
    observed: Mapping[str, Any],
    acted: Mapping[str, Any],
    checked: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the outcome; a phase that was never reached is an empty mapping.

    The first phase that failed gives the status and the reason. Something that was done and not
    verified is ``unknown``; something that was not done and not verified is ``unchecked``.
    """
    stopped = next((phase for phase in (validated, observed, acted, checked) if phase.get("failed")), None)
    changed = bool(acted.get("changed"))
    if stopped is not None and stopped is not checked:
        status = "refused" if stopped.get("refused") else "failed"
    else:
        status = "acted" if changed else "unchanged"
    if "verdict" in checked:
        verdict, reason = checked["verdict"], checked.get("reason", "")
    elif check_mode or (status == "refused" and not changed):
        verdict, reason = "unchecked", "Nothing was changed, so recovery was not checked."
    else:
        verdict, reason = "unknown", "The check for recovery did not run."
    if stopped is not None:
        reason = str(stopped.get("msg", "A task failed without a message."))
    return {
        "schema": SCHEMA,
        "runbook": runbook,
        "option": option,
        "status": status,
        "verdict": verdict,
        "reason": reason,
        "changed": changed,
        "check_mode": check_mode,
        "actions": list(acted.get("actions", [])),
        "before": dict(acted.get("before") or {}),
        "after": dict(acted.get("after") or {}),
        "checks": list(checked.get("checks", [])),
    }
