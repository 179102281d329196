#!/usr/bin/python
# Copyright (c) 2026, The ops.runbooks contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: alertmanager_silence
short_description: Silence alerts while somebody works on their cause
version_added: 0.1.0
author: The ops.runbooks contributors (@ops-runbooks)
description:
  - Keeps one silence with an owner, a reason and a short life, or ends it.
  - Use V(absent) in the C(always) section of a block, so that success and failure end the silence. Ansible runs no
    C(always) when it is cancelled or killed, or when a host cannot be reached any more. Then the silence ends by itself
    after O(duration_seconds), so give it no longer than the work may take.
  - Never touches the silence of another owner.
attributes:
  check_mode:
    support: full
    description: Says what would change and changes nothing.
  diff_mode:
    support: full
    description: Shows the silences before and after.
  idempotent:
    support: full
    description: >-
      A silence that has at least half of O(duration_seconds) left is left as it is.
options:
  state:
    description: Whether the silence shall exist.
    type: str
    choices: [present, absent]
    default: present
  matchers:
    description:
      - Labels of the alerts that are meant; all must match. At least one must require a value.
      - With V(absent), the silences of O(owner) with exactly these matchers are ended.
    type: list
    elements: dict
    suboptions:
      name:
        description: Name of the label.
        type: str
        required: true
      value:
        description: Value of the label, or a regular expression.
        type: str
        required: true
      is_regex:
        description: Whether O(matchers[].value) is a regular expression.
        type: bool
        default: false
      is_equal:
        description: Whether the label must match; otherwise it must not.
        type: bool
        default: true
  id:
    description: Identity of the silence to end.
    type: str
  owner:
    description: Who answers for the silence.
    type: str
    required: true
  comment:
    description: Why it exists. Needed with V(present).
    type: str
  duration_seconds:
    description: How long it lasts from now, four hours at most.
    type: int
    default: 600
extends_documentation_fragment:
  - ops.runbooks.web_api
"""

EXAMPLES = r"""
- name: Restart a service without waking anybody
  block:
    - name: Silence its alerts
      ops.runbooks.alertmanager_silence:
        url: http://alertmanager.example.com:9093
        owner: runbook db-connections
        comment: option B restarts the backend
        duration_seconds: 300
        matchers:
          - {name: alertname, value: BackendDown}
          - {name: service, value: backend}
  always:
    - name: End the silence
      ops.runbooks.alertmanager_silence:
        url: http://alertmanager.example.com:9093
        state: absent
        owner: runbook db-connections
        matchers:
          - {name: alertname, value: BackendDown}
          - {name: service, value: backend}
"""

RETURN = r"""
id:
  description: Identity of the silence. Empty in check mode for one that would be created, null if there is none to end.
  returned: success
  type: str
  sample: 8d1d8a6c-3f1b-4a2e-9d43-2f9d8b2f9f10
actions:
  description: What was done.
  returned: success
  type: list
  elements: str
  sample: ["Created a silence until 03:14:15 UTC."]
before:
  description: The silences that are meant, before.
  returned: success
  type: list
  elements: dict
  sample: []
after:
  description: The silences that are meant, after. In check mode as before.
  returned: success
  type: list
  elements: dict
  sample:
    - id: 8d1d8a6c-3f1b-4a2e-9d43-2f9d8b2f9f10
      owner: runbook db-connections
      comment: option B restarts the backend
      starts_at: "2026-11-23T03:09:15+00:00"
      ends_at: "2026-11-23T03:14:15+00:00"
      state: active
      matchers: [{name: alertname, value: BackendDown, isRegex: false, isEqual: true}]
"""

from typing import TYPE_CHECKING, Any

from ansible_collections.ops.runbooks.plugins.module_utils._alertmanager import (
    HttpSilences,
    SilenceRequest,
    ensure_absent,
    ensure_present,
    silence_spec,
)
from ansible_collections.ops.runbooks.plugins.module_utils._http import Http
from ansible_collections.ops.runbooks.plugins.module_utils._module import run_module

if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule


def work(module: AnsibleModule) -> dict[str, Any]:
    request = SilenceRequest.from_params(module.params)
    silences = HttpSilences(Http.from_params(module.params))
    ensure = ensure_present if module.params["state"] == "present" else ensure_absent
    result = ensure(silences, request, dry_run=module.check_mode)
    if module._diff:
        result["diff"] = {"before": {"silences": result["before"]}, "after": {"silences": result["after"]}}
    return result


def main() -> None:
    run_module(silence_spec(), work)


if __name__ == "__main__":
    main()
