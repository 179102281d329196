#!/usr/bin/python
# Copyright (c) 2026, The ops.runbooks contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: runbook_inputs
short_description: Check the inputs of a runbook option against the runbook
version_added: 0.1.0
author: The ops.runbooks contributors (@ops-runbooks)
description:
  - Reads the variables that an option declares in the front matter of its runbook, takes their values from the
    play's variables, checks type, choices and bounds, and returns every one with its value or default.
  - Runs on the controller.
attributes:
  check_mode:
    support: full
    description: Changes nothing in any mode.
  diff_mode:
    support: none
    description: There is nothing to compare.
  idempotent:
    support: full
    description: Reads only.
options:
  runbook:
    description: Name of the runbook, without C(.md).
    type: str
    required: true
  option:
    description: Letter of the option.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Validate inputs
  ops.runbooks.runbook_inputs:
    runbook: db-connections
    option: A
  register: validated

- name: Validate inputs in check mode, which is the same
  ops.runbooks.runbook_inputs:
    runbook: db-connections
    option: A
  check_mode: true
"""

RETURN = r"""
values:
  description: Each declared variable with its value.
  returned: success
  type: dict
  sample: {"idle_seconds": 300, "keep_per_application": 1}
"""
