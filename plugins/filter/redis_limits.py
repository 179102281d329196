# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: redis_limits
short_description: Decide how far the memory limit of a Redis may be raised
version_added: 0.1.0
author: The ops.runbooks contributors (@ops-runbooks)
description:
  - Takes what M(ops.runbooks.redis_memory_info) says of a node and returns the limit and the policy that it shall have,
    in the form of a registered result, refused where its container or host has no room.
positional: _input
options:
  _input:
    description: One of the nodes that M(ops.runbooks.redis_memory_info) returns.
    type: dict
    required: true
  room_bytes:
    description: Memory limit of the container, or memory of the host. Without it there is no such bound.
    type: int
  target_share:
    description: Share of the new limit that shall be used.
    type: float
    default: 0.7
  room_share:
    description: Share of the room that the limit may have. The rest is for buffers, forks and fragmentation.
    type: float
    default: 0.7
  max_memory_bytes:
    description: The limit that is wanted; 0 works it out.
    type: int
    default: 0
  policy:
    description: The policy that is wanted; empty leaves it.
    type: str
    default: ''
"""

EXAMPLES = r"""
- name: Decide
  ansible.builtin.set_fact:
    __plan: "{{ memory.nodes[0] | ops.runbooks.redis_limits(room_bytes=268435456) }}"
"""

RETURN = r"""
_value:
  description: C(changed), C(actions), C(before) and C(after), and C(failed), C(refused) and C(msg) where it may not be.
  type: dict
"""

from typing import TYPE_CHECKING, Any

from ansible_collections.ops.runbooks.plugins.plugin_utils._redis_down import plan_limits

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def redis_limits(
    node: Mapping[str, Any],
    *,
    room_bytes: int | None = None,
    target_share: float = 0.7,
    room_share: float = 0.7,
    max_memory_bytes: int = 0,
    policy: str = "",
) -> dict[str, Any]:
    """Decide about the limit of one node."""
    return plan_limits(
        node,
        room_bytes=room_bytes,
        target_share=target_share,
        room_share=room_share,
        max_memory_bytes=max_memory_bytes,
        policy=policy,
    )


class FilterModule:
    """Filters of the runbook redis-down."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {"redis_limits": redis_limits}
