# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: connection_raise
short_description: Decide how many connections PostgreSQL shall accept
version_added: 0.1.0
author: The ops.runbooks contributors (@ops-runbooks)
description:
  - Plans a raise of C(max_connections) from what M(ops.runbooks.postgresql_pool_info) returned, or says why there must be
    none. Changes nothing itself.
positional: _input
options:
  _input:
    description: The result of M(ops.runbooks.postgresql_pool_info).
    type: dict
    required: true
  max_connections:
    description: The new limit; V(0) takes one of which the sessions of now fill two thirds.
    type: int
    required: true
  only_above:
    description: Share of the application slots in use, from 0 to 1, below which a raise is refused.
    type: float
    required: true
  memory_limit_bytes:
    description: Memory limit of the server; none if there is no limit.
    type: int
    required: true
  shared_bytes:
    description: Memory that the server takes before the first session.
    type: int
    required: true
  session_bytes:
    description: Memory that a session may take.
    type: int
    required: true
"""

EXAMPLES = r"""
- name: Plan
  ansible.builtin.set_fact:
    __plan: >-
      {{ observed | ops.runbooks.connection_raise(max_connections=0, only_above=0.8, memory_limit_bytes=none,
                                                  shared_bytes=134217728, session_bytes=4194304) }}
"""

RETURN = r"""
_value:
  description: C(max_connections), C(before), C(after) and C(actions); or C(failed), C(refused) and C(msg).
  type: dict
"""

from typing import TYPE_CHECKING, Any

from ansible_collections.ops.runbooks.plugins.plugin_utils._connection_limits import plan_raise

if TYPE_CHECKING:
    from collections.abc import Callable


class FilterModule:
    """Filters of the runbooks."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {"connection_raise": plan_raise}
