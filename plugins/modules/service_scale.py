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
  - Brings a service of a Docker Compose project or of a Swarm to a number of replicas and waits until each new one
    serves.
  - If a new replica does not come to serve, all new ones are taken away again, and the module fails with its last log
    lines. The service is then as it was.
  - Replicas that go are stopped by their own stop signal and grace period, one after the other. Those that do not serve
    go first, then the highest numbers. Nothing goes if what would stay does not serve.
  - Refuses what cannot work, such as two replicas of a service with a fixed container name or host port.
  - New replicas come from the images that are on the host; nothing is pulled or built. The result warns if they differ
    from those that run.
  - A Swarm chooses itself which replicas go, and keeps their number. Compose keeps none. The next C(docker compose up)
    without C(--scale) returns the service to what its files say; the result tells if that is another number.
extends_documentation_fragment:
  - ops.runbooks.service
  - ops.runbooks.service.project
  - ops.runbooks.service.gate
  - ops.runbooks.service.precondition
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
requirements:
  - Docker CLI with Compose 2.20 or later on the managed host
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

- name: Run two replicas of a project that has no containers yet
  ops.runbooks.service_scale:
    project: shop
    project_src: /srv/shop
    files: [compose.yml, compose.production.yml]
    service: web
    replicas: 2
"""

RETURN = r"""
project:
  description: The project.
  returned: always, once the engine answered
  type: str
  sample: shop
service:
  description: The service.
  returned: always, once the engine answered
  type: str
  sample: web
actions:
  description: What was done or left alone, and what the caller should know.
  returned: always, once the engine answered
  type: list
  elements: str
  sample:
    - "Scaled web from 2 to 3: started shop-web-3."
before:
  description: Number of replicas and their containers before.
  returned: always, once the service is known
  type: dict
  sample: {replicas: 2, containers: [{name: shop-web-1, state: running, health: healthy}]}
after:
  description: Number of replicas and their containers after. In check mode the number only.
  returned: always, once the service is known
  type: dict
  sample: {replicas: 3, containers: [{name: shop-web-1, state: running, health: healthy}]}
log_tail:
  description: Last lines of a new replica that did not come to serve; what looks like a secret is replaced by stars.
  returned: on failure, when a new replica did not come to serve
  type: list
  elements: str
  sample: ["Error: cannot bind to port 8000"]
duration_seconds:
  description: How long it took.
  returned: success
  type: float
  sample: 6.4
"""

from typing import TYPE_CHECKING, Any

from ansible_collections.ops.runbooks.plugins.module_utils._module import run_module
from ansible_collections.ops.runbooks.plugins.module_utils._service_engines import open_engine
from ansible_collections.ops.runbooks.plugins.module_utils._service_scale import Scaler, ScaleRequest, scale_spec

if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule


def work(module: AnsibleModule) -> dict[str, Any]:
    request = ScaleRequest.from_params(module.params)
    result = Scaler(open_engine(module), request, module.warn).run(dry_run=module.check_mode)
    if module._diff:
        result["diff"] = {"before": result["before"], "after": result["after"]}
    return result


def main() -> None:
    run_module(scale_spec(), work)


if __name__ == "__main__":
    main()
