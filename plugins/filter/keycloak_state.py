# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: keycloak_state
short_description: Name the state of Keycloak
version_added: 0.1.0
author: The ops.runbooks contributors (@ops-runbooks)
description:
  - Puts together what M(ops.runbooks.service_info) and M(ops.runbooks.keycloak_info) found. Either may have failed.
  - The state is one of C(serving), C(refusing), C(starting), C(not_ready), C(hung), C(stopped), C(missing),
    C(crash_looping), C(out_of_memory) and C(unknown).
positional: _input
options:
  _input:
    description: The registered result of M(ops.runbooks.service_info).
    type: dict
    required: true
  answers:
    description: The registered result of M(ops.runbooks.keycloak_info).
    type: dict
    required: true
  service:
    description: The Compose service.
    type: str
    required: true
  start_seconds:
    description: Time, in seconds, that a start may take.
    type: float
    required: true
"""

EXAMPLES = r"""
- name: Name the state
  ansible.builtin.set_fact:
    __state: >-
      {{ containers | ops.runbooks.keycloak_state(answers=answers, service='keycloak', start_seconds=120) }}
"""

RETURN = r"""
_value:
  description: The state under C(state), and why under C(state_reason).
  type: dict
"""

from typing import TYPE_CHECKING

from ansible_collections.ops.runbooks.plugins.plugin_utils._keycloak import keycloak_state

if TYPE_CHECKING:
    from collections.abc import Callable


class FilterModule:
    """Filters of the runbook keycloak-down."""

    def filters(self) -> dict[str, Callable[..., dict[str, str]]]:
        """Return the filters by name."""
        return {"keycloak_state": keycloak_state}
