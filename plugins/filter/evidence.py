# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: evidence
short_description: Build the evidence that a diagnosis publishes
version_added: 0.1.0
author: The ops.runbooks contributors (@ops-runbooks)
description:
  - Merges the registered results of read-only tasks into one document; what could not be read is listed with the
    reason, so that the document is complete even when the service answers nothing.
positional: _input
options:
  _input:
    description: The registered result of each source, under the name by which C(unreadable) shall call it.
    type: dict
    required: true
  runbook:
    description: Name of the runbook.
    type: str
    required: true
  collected_at:
    description: When the evidence was taken, UTC, ISO 8601.
    type: str
    required: true
  derived:
    description: Further values, under their own names.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Build the evidence
  ansible.builtin.set_fact:
    __evidence: >-
      {{ {'sessions': sessions}
         | ops.runbooks.evidence(runbook='db-connections', collected_at=now(utc=true).isoformat()) }}
"""

RETURN = r"""
_value:
  description: The evidence, as docs/architecture.md describes it.
  type: dict
"""

from typing import TYPE_CHECKING, Any

from ansible_collections.ops.runbooks.plugins.plugin_utils._evidence import build_evidence

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def evidence(
    sources: Mapping[str, Mapping[str, Any]],
    *,
    runbook: str,
    collected_at: str,
    derived: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Build the evidence document from the results of read-only tasks."""
    return build_evidence(sources, runbook=runbook, collected_at=collected_at, derived=derived or {})


class FilterModule:
    """Filters of the runbooks."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {"evidence": evidence}
