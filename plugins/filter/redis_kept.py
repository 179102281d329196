# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: redis_kept
short_description: Join the repair of a Redis with the start that followed
version_added: 0.1.0
author: The ops.runbooks contributors (@ops-runbooks)
description:
  - Returns the result of a repair with the actions of the start, and the number of keys that the server then holds.
positional: _input, started, memory
options:
  _input:
    description: The result of M(ops.runbooks.redis_persistence_repair).
    type: dict
    required: true
  started:
    description: The result of M(ops.runbooks.service_restart).
    type: dict
    required: true
  memory:
    description: The result of M(ops.runbooks.redis_memory_info).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Join
  ansible.builtin.set_fact:
    __acted: "{{ repaired | ops.runbooks.redis_kept(started, memory) }}"
"""

RETURN = r"""
_value:
  description: The result of the repair; C(failed) if the start failed.
  type: dict
"""

from typing import TYPE_CHECKING, Any

from ansible_collections.ops.runbooks.plugins.plugin_utils._redis_down import tell_kept

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def redis_kept(repaired: Mapping[str, Any], started: Mapping[str, Any], memory: Mapping[str, Any]) -> dict[str, Any]:
    """Join the results of three tasks."""
    return tell_kept(repaired, started, memory)


class FilterModule:
    """Filters of the runbook redis-down."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {"redis_kept": redis_kept}
