# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: administrator
short_description: Tell how PostgreSQL treats an administrator
version_added: 0.1.0
author: The ops.runbooks contributors (@ops-runbooks)
description:
  - Tells a server that lets nobody in from one that refuses this login only, by the result of
    M(ops.runbooks.postgresql_pool_info).
positional: _input
options:
  _input:
    description: The registered result, failed or not.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Restart only what lets nobody in
  ansible.builtin.assert:
    that: (observed | ops.runbooks.administrator).state in ['no_slot', 'no_answer']
"""

RETURN = r"""
_value:
  description:
    - C(state) is V(accepted); V(no_slot) when every slot is taken, the reserved ones too; V(no_answer) when a login is not
      answered; V(unclear) for anything that a restart need not heal.
    - C(failed), C(refused) and C(msg) unless the server lets nobody in.
  type: dict
"""

from typing import TYPE_CHECKING, Any

from ansible_collections.ops.runbooks.plugins.plugin_utils._connection_limits import administrator

if TYPE_CHECKING:
    from collections.abc import Callable


class FilterModule:
    """Filters of the runbooks."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {"administrator": administrator}
