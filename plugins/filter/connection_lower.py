# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: connection_lower
short_description: Decide whether a raise of max_connections can be taken back
version_added: 0.1.0
author: The ops.runbooks contributors (@ops-runbooks)
description:
  - Plans the way back to an earlier C(max_connections) from what M(ops.runbooks.postgresql_pool_info) returned, or says why it
    must wait. Changes nothing itself.
positional: _input
options:
  _input:
    description: The result of M(ops.runbooks.postgresql_pool_info).
    type: dict
    required: true
  max_connections:
    description: The earlier limit.
    type: int
    required: true
"""

EXAMPLES = r"""
- name: Plan
  ansible.builtin.set_fact:
    __plan: "{{ observed | ops.runbooks.connection_lower(max_connections=100) }}"
"""

RETURN = r"""
_value:
  description: C(max_connections), C(before), C(after) and C(actions); or C(failed), C(refused) and C(msg).
  type: dict
"""

from typing import TYPE_CHECKING, Any

from ansible_collections.ops.runbooks.plugins.plugin_utils._connection_limits import plan_undo

if TYPE_CHECKING:
    from collections.abc import Callable


class FilterModule:
    """Filters of the runbooks."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {"connection_lower": plan_undo}
