# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: outcome
short_description: Build the outcome that a play publishes
version_added: 0.1.0
author: The ops.runbooks contributors (@ops-runbooks)
description:
  - Joins the registered results of the phases of an option into the one document that a person, AWX and the
    responder read.
positional: _input
options:
  _input:
    description: >-
      The registered results of the phases, under the keys C(validated), C(observed), C(acted) and C(checked); an
      empty mapping stands for a phase that was not reached.
    type: dict
    required: true
  runbook:
    description: Name of the runbook.
    type: str
    required: true
  option:
    description: Letter of the option, or C(verify).
    type: str
    required: true
  check_mode:
    description: Whether the play ran in check mode.
    type: bool
    required: true
"""

EXAMPLES = r"""
- name: Build the outcome
  ansible.builtin.set_fact:
    __outcome: >-
      {{ {'validated': validated, 'observed': observed, 'acted': acted, 'checked': checked}
         | ops.runbooks.outcome(runbook='db-connections', option='A', check_mode=ansible_check_mode) }}
"""

RETURN = r"""
_value:
  description: The outcome, as docs/architecture.md describes it.
  type: dict
"""

from typing import TYPE_CHECKING, Any

from ansible_collections.ops.runbooks.plugins.plugin_utils._outcome import build_outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def outcome(phases: Mapping[str, Mapping[str, Any]], *, runbook: str, option: str, check_mode: bool) -> dict[str, Any]:
    """Build the outcome of one option from the results of its phases."""
    return build_outcome(
        runbook=runbook,
        option=option,
        check_mode=check_mode,
        validated=phases["validated"],
        observed=phases["observed"],
        acted=phases["acted"],
        checked=phases["checked"],
    )


class FilterModule:
    """Filters of the runbooks."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {"outcome": outcome}
