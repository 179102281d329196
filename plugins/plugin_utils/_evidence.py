# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to the ops.runbooks collection: may change without notice.
"""Build the document that a diagnosis publishes (docs/architecture.md, section 2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

SCHEMA = 1

# What Ansible adds to every registered result, and what read-only modules say about the call itself.
BOOKKEEPING = frozenset(
    {"changed", "failed", "msg", "invocation", "warnings", "deprecations", "exception", "ansible_facts", "unreadable"}
)


def build_evidence(
    sources: Mapping[str, Mapping[str, Any]], *, runbook: str, collected_at: str, derived: Mapping[str, Any]
) -> dict[str, Any]:
    """Merge the results of read-only tasks into one document.

    A source that was skipped says nothing. One that failed is listed under ``unreadable`` with its message; so is what
    a source itself could not read. ``derived`` adds values under their own names. Raises ValueError when two sources
    return the same key, for one of them would be lost.
    """
    evidence: dict[str, Any] = {}
    unreadable: list[dict[str, str]] = []
    for what, result in sources.items():
        if result.get("skipped"):
            continue
        if result.get("failed"):
            unreadable.append({"what": what, "why": str(result.get("msg", "no message"))})
            continue
        unreadable.extend(result.get("unreadable", []))
        facts = {key: value for key, value in result.items() if key not in BOOKKEEPING}
        _add(evidence, facts, what)
    _add(evidence, derived, "derived")
    return {
        "schema": SCHEMA,
        "runbook": runbook,
        "collected_at": collected_at,
        "evidence": evidence,
        "unreadable": unreadable,
    }


def _add(evidence: dict[str, Any], facts: Mapping[str, Any], what: str) -> None:
    twice = evidence.keys() & facts.keys()
    if twice:
        raise ValueError(f"Cannot add {what} to the evidence: it already has {', '.join(sorted(twice))}.")
    evidence.update(facts)
