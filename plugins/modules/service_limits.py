#!/usr/bin/python
# Copyright (c) 2026, The ops.runbooks contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: service_limits
short_description: Change memory, CPU and process limits of a service while it runs
version_added: 0.1.0
author: The ops.runbooks contributors (@ops-runbooks)
description:
  - Sets limits on every container of a Docker Compose service, at once and without a restart. A Swarm keeps limits and
    replaces the tasks for them, one after the other, gated on health. If one cannot be changed,
    those before it get their limits back.
  - Refuses limits that the host does not have, and limits that what runs would not survive.
  - Swap keeps its distance to memory; where it was the engine's default of as much again, it is so afterwards.
  - A program that reads its limit when it starts, such as a JVM or one that counts its workers by it, uses a new limit
    after a restart only.
  - Limits set on a container go with it. To keep them, set O(override_file).
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
    description: Shows the limits before and after.
  idempotent:
    support: full
    description: A second run changes nothing.
options:
  memory_bytes:
    description: Memory limit in bytes.
    type: int
  cpus:
    description: CPU limit in cores.
    type: float
  pids:
    description: Most processes and threads.
    type: int
  override_file:
    description:
      - Compose override file that keeps the limits across a recreate. It is written as JSON, which Compose reads, and
        must be a file of its own. Nothing is recreated here.
    type: path
  allow_below_use:
    description:
      - Set limits below or close to what a replica uses now. The kernel may kill it.
    type: bool
    default: false
requirements:
  - Docker CLI with Compose 2.20 or later on the managed host, for O(override_file)
seealso:
  - module: ops.runbooks.service_info
"""

EXAMPLES = r"""
- name: Give a service more memory at once
  ops.runbooks.service_limits:
    project: shop
    service: web
    memory_bytes: 268435456

- name: Say what would change
  ops.runbooks.service_limits:
    project: shop
    service: web
    cpus: 0.5
  check_mode: true

- name: Throttle a noisy neighbour and keep it so, unless somebody has scaled it meanwhile
  ops.runbooks.service_limits:
    project: shop
    service: reports
    cpus: 0.25
    pids: 100
    override_file: /srv/shop/compose.limits.json
    expected_replicas: 1
    precondition_reaction: skip
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
  sample: ["Limited shop-web-1: 268435456 bytes of memory."]
before:
  description: Number of replicas and the limits of their containers before; null is no limit. To undo, set these.
  returned: always, once the service is known
  type: dict
  sample:
    replicas: 1
    containers: [{name: shop-web-1, state: running, memory_bytes: 134217728, cpus: 0.5, pids: null}]
after:
  description: The same after, read from the engine; predicted in check mode.
  returned: always, once the service is known
  type: dict
  sample:
    replicas: 1
    containers: [{name: shop-web-1, state: running, memory_bytes: 268435456, cpus: 0.5, pids: null}]
"""

from typing import TYPE_CHECKING, Any

from ansible_collections.ops.runbooks.plugins.module_utils._module import run_module
from ansible_collections.ops.runbooks.plugins.module_utils._service_engines import (
    open_engine,
    open_limiter,
    open_override,
)
from ansible_collections.ops.runbooks.plugins.module_utils._service_limits import Limiter, LimitsRequest, limits_spec

if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule


def work(module: AnsibleModule) -> dict[str, Any]:
    request = LimitsRequest.from_params(module.params)
    limiter = Limiter(open_limiter(module), open_engine(module), request, module.warn, open_override(module))
    result = limiter.run(dry_run=module.check_mode)
    if module._diff:
        result["diff"] = {"before": result["before"], "after": result["after"]}
    return result


def main() -> None:
    run_module(limits_spec(), work)


if __name__ == "__main__":
    main()
