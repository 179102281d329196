# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: acted
short_description: Join the results of the tasks with which an option acts
version_added: 0.1.0
author: The ops.runbooks contributors (@ops-runbooks)
description:
  - Makes one result of several, so that P(ops.runbooks.outcome#filter) can tell what the option did.
positional: _input
options:
  _input:
    description: The registered results, in order; an empty mapping stands for a task that was not reached.
    type: list
    elements: dict
    required: true
  sentences:
    description: What each did, as an imperative; for modules that return no C(actions) of this kind.
    type: list
    elements: str
    default: []
  check_mode:
    description: Whether the play runs in check mode.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Join what was done
  ansible.builtin.set_fact:
    __acted: >-
      {{ [recreated | default({}), restarted | default({})]
         | ops.runbooks.acted(sentences=['recreate the container'], check_mode=ansible_check_mode) }}
"""

RETURN = r"""
_value:
  description: C(changed), C(actions), C(before), C(after) and, if a task failed, C(failed) and C(msg).
  type: dict
"""

from typing import TYPE_CHECKING

from ansible_collections.ops.runbooks.plugins.plugin_utils._acted import join_acted

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class FilterModule:
    """Filters of the runbooks."""

    def filters(self) -> dict[str, Callable[..., dict[str, Any]]]:
        """Return the filters by name."""
        return {"acted": join_acted}
