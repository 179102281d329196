#!/usr/bin/python
# Copyright (c) 2026, The ops.runbooks contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: runbook_precondition
short_description: Refuse an option of a runbook that the evidence does not call for
version_added: 0.1.0
author: The ops.runbooks contributors (@ops-runbooks)
description:
  - Judges the C(when) of an option, which its runbook declares in its front matter, on fresh evidence. So a person who
    starts a playbook is held to the same condition as the responder that chooses one.
  - Evidence that is missing is no licence; the message says what could not be judged.
  - Runs on the controller.
attributes:
  check_mode:
    support: full
    description: Reads only.
  diff_mode:
    support: none
    description: There is nothing to compare.
  idempotent:
    support: full
    description: Reads only.
options:
  runbook:
    description: Name of the runbook, which is the name of its file without C(.md).
    type: str
    required: true
  option:
    description: Letter of the option.
    type: str
    required: true
  evidence:
    description: The evidence, as C(evidence) of the document that a diagnosis publishes.
    type: dict
    required: true
seealso:
  - module: ops.runbooks.runbook_inputs
"""

EXAMPLES = r"""
- name: Go on only if the evidence calls for option A
  ops.runbooks.runbook_precondition:
    runbook: keycloak-down
    option: A
    evidence: "{{ evidence }}"
  register: observed

- name: Say in check mode whether it does
  ops.runbooks.runbook_precondition:
    runbook: keycloak-down
    option: C
    evidence: {state: crash_looping, database: {login: ok}}
  check_mode: true
"""

RETURN = r"""
refused:
  description: Whether the option must not run. The task has failed then.
  returned: always
  type: bool
  sample: false
msg:
  description: Why it must not run, with the values that were found; otherwise the reason for the option.
  returned: always
  type: str
  sample: It was stopped, or runs and does not answer.
"""
