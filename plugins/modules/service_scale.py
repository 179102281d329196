#!/usr/bin/python
# Copyright (c) 2026, The ops.runbooks contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: service_scale
short_description: Give a service its number of replicas, gated on health
version_added: 0.1.0
author: The ops.runbooks contributors (@ops-runbooks)
description:
  - Brings a Docker Compose service to a number of replicas and waits until each of them serves.
  - New replicas that do not become healthy are taken away again, and the last lines of their log are returned.
  - Replicas that go are stopped by their own stop signal and grace period. What does not serve goes first, then what
    came last.
  - Finds the project by the labels of its containers, so it needs no path. At least one container of it must exist.
  - Refuses a service with a fixed container name or host port, which only one container can have.
attributes:
  check_mode:
    support: full
    description: Says what would change and changes nothing.
  diff_mode:
    support: full
    description: Shows the replicas before and after.
  idempotent:
    support: full
    description: A second run changes nothing.
options:
  project:
    description: Compose project.
    type: str
    required: true
  service:
    description: Compose service.
    type: str
    required: true
  replicas:
    description: Number of replicas.
    type: int
    required: true
  minimum:
    description: Least number of replicas that may be asked for.
    type: int
    default: 1
  maximum:
    description: Greatest number of replicas that may be asked for.
    type: int
    default: 10
  expected_replicas:
    description: Number of replicas that the caller believes there are.
    type: int
  precondition_reaction:
    description: What happens when there are not O(expected_replicas).
    type: str
    choices: [fail, skip, warn]
    default: fail
  stable_seconds:
    description: Time that a replica without a health check must be up to count as serving.
    type: float
    default: 5.0
  timeout_seconds:
    description: Longest time to wait until every replica serves.
    type: float
    default: 120.0
requirements:
  - docker (Python) and the Docker CLI with Compose v2 on the managed host
"""

EXAMPLES = r"""
- name: Run three replicas
  ops.runbooks.service_scale:
    project: shop
    service: web
    replicas: 3

- name: Say what would change
  ops.runbooks.service_scale:
    project: shop
    service: web
    replicas: 3
  check_mode: true

- name: Add one to two, unless somebody else has scaled it meanwhile
  ops.runbooks.service_scale:
    project: shop
    service: web
    replicas: 3
    expected_replicas: 2
    precondition_reaction: skip
"""

RETURN = r"""
service:
  description: The service.
  returned: always, once the engine answered
  type: str
  sample: web
actions:
  description: What was done, and what the caller should know.
  returned: always, once the engine answered
  type: list
  elements: str
  sample:
    - "Scaled web from 2 to 3: started shop-web-3."
before:
  description: Number of replicas and their containers before.
  returned: always, once the engine answered
  type: dict
  sample: {replicas: 2, containers: [{name: shop-web-1, state: running, health: healthy}]}
after:
  description: Number of replicas and their containers after.
  returned: always, once the engine answered
  type: dict
  sample: {replicas: 3, containers: [{name: shop-web-1, state: running, health: healthy}]}
log_tail:
  description: Last lines of a new replica that did not become healthy.
  returned: on failure
  type: str
  sample: "Error: cannot bind"
duration_seconds:
  description: How long it took.
  returned: success
  type: float
  sample: 6.4
"""

from typing import TYPE_CHECKING, Any

from ansible_collections.ops.runbooks.plugins.module_utils._module import run_module
from ansible_collections.ops.runbooks.plugins.module_utils._service_compose import ComposeEngine
from ansible_collections.ops.runbooks.plugins.module_utils._service_scale import ScaleRequest, scale, scale_spec

if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule


def work(module: AnsibleModule) -> dict[str, Any]:
    request = ScaleRequest.from_params(module.params)
    engine = ComposeEngine(
        module.params["project"], lambda command: module.run_command(command, handle_exceptions=False)
    )
    result = scale(engine, request, dry_run=module.check_mode)
    for warning in result.pop("warnings"):
        module.warn(warning)
    if module._diff:
        result["diff"] = {"before": result["before"], "after": result["after"]}
    return result


def main() -> None:
    run_module(scale_spec(), work)


if __name__ == "__main__":
    main()
