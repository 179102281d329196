# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: redis_summary
short_description: Sum up the evidence about a Redis
version_added: 0.1.0
author: The ops.runbooks contributors (@ops-runbooks)
description:
  - Takes the registered results of read-only tasks and returns the values that the options of the runbook redis-down
    ask for. What was not read counts as nothing.
positional: _input
options:
  _input:
    description:
      - The results C(ping) of M(ops.runbooks.recovery_check), C(memory) of M(ops.runbooks.redis_memory_info),
        C(evictable) of M(ops.runbooks.redis_evict) and C(clients) of M(ops.runbooks.redis_clients_disconnect) in check
        mode, and C(persistence) of M(ops.runbooks.redis_persistence_repair) in check mode.
    type: dict
    required: true
  target_share:
    description: Share of the memory limit down to which keys are to be evicted.
    type: float
    required: true
"""

EXAMPLES = r"""
- name: Sum up
  ansible.builtin.set_fact:
    __summary: >-
      {{ {'ping': ping, 'memory': memory, 'evictable': {}, 'clients': {}, 'persistence': {}}
         | ops.runbooks.redis_summary(target_share=0.7) }}
"""

RETURN = r"""
_value:
  description: The values by name, such as C(answers), C(used_ratio) and C(evictable_bytes).
  type: dict
"""

from typing import TYPE_CHECKING, Any

from ansible_collections.ops.runbooks.plugins.plugin_utils._redis_down import sum_up

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def redis_summary(results: Mapping[str, Mapping[str, Any]], *, target_share: float) -> dict[str, Any]:
    """Sum up what was read."""
    return sum_up(**results, target_share=target_share)


class FilterModule:
    """Filters of the runbook redis-down."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {"redis_summary": redis_summary}
