# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: join_acts
short_description: Join the results of several acts into one
version_added: 0.1.0
author: The ops.runbooks contributors (@ops-runbooks)
description:
  - An option that acts on several systems has one outcome. Joins the registered results of its modules, in their order;
    one that was skipped or not reached is left out.
positional: _input
options:
  _input:
    description: The registered results, each under the name that C(before) and C(after) shall have.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Join what was done
  ansible.builtin.set_fact:
    __acted: "{{ {'sessions': ended, 'pools': reset} | ops.runbooks.join_acts }}"
"""

RETURN = r"""
_value:
  description: One result, with C(changed), C(actions), C(before), C(after), and C(failed), C(refused) and C(msg) if one failed.
  type: dict
"""

from typing import TYPE_CHECKING, Any

from ansible_collections.ops.runbooks.plugins.plugin_utils._acts import join_acts

if TYPE_CHECKING:
    from collections.abc import Callable


class FilterModule:
    """Filters of the runbooks."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {"join_acts": join_acts}
