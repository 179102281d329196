#!/usr/bin/python
# Copyright (c) 2026, The ops.runbooks contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: service_restart
short_description: Restart a service one replica after the other, gated on health
version_added: 0.1.0
author: The ops.runbooks contributors (@ops-runbooks)
description:
  - Restarts the replicas of a Docker Compose service. Each is stopped by its own stop signal and grace period, started,
    and waited for until it serves; only then the next one goes. Those that do not serve are restarted first.
  - A Swarm restarts a service as a whole, by new tasks. Each starts before its predecessor stops where that can be;
    this module watches it until all serve, and the Swarm stops at the first that does not.
  - Stops at the first replica that does not come to serve. The others serve on as they are, and the error names that
    replica, its state and its last log lines.
  - Refuses to take away the only replica that serves while the others do not. A service with one replica is down while
    that restarts; the result says so.
  - The containers stay the same ones. A changed Compose file, environment or image takes effect with
    C(docker compose up), not with a restart.
  - Requests are lost if a service ends at its stop signal without finishing what it was asked, or if a load balancer
    does not notice; see O(settle_seconds).
extends_documentation_fragment:
  - ops.runbooks.service
  - ops.runbooks.service.project
  - ops.runbooks.service.gate
  - ops.runbooks.service.precondition
attributes:
  check_mode:
    support: full
    description: Says what would be restarted and changes nothing.
  diff_mode:
    support: full
    description: Shows the replicas and their start times before and after.
  idempotent:
    support: partial
    description: A second run changes nothing.
    details:
      - It finds replicas younger than O(minimum_age_seconds), which must be more than a whole run takes. With
        O(only_unhealthy) it changes nothing at any later time either.
options:
  mode:
    description:
      - V(rolling) restarts one replica at a time.
      - V(at_once) stops all, then starts all. It is an outage, and the right thing where replicas of before and after
        must not run side by side. A run that is killed between the two leaves replicas stopped; a second run starts
        them.
    type: str
    choices: [rolling, at_once]
    default: rolling
  only_unhealthy:
    description: Restart only what is unhealthy, starts again and again, is paused or has exited.
    type: bool
    default: false
  only_replicas:
    description: Restart only these replicas, by the names of their containers. A Swarm cannot.
    type: list
    elements: str
  dependents:
    description:
      - Services of the same project that are restarted after it, in this order and in the same way.
      - They are left alone if the service needed no restart, and where they have started after it. So a second run
        restarts what a first one did not come to.
    type: list
    elements: str
    default: []
  minimum_age_seconds:
    description: A running replica that started less than this time ago, in seconds, is left alone unless it is broken.
    type: float
    default: 60.0
  settle_seconds:
    description:
      - Time, in seconds, between a replica that serves again and the next one that goes. Must be longer than a load
        balancer needs to find the replica.
    type: float
    default: 3.0
"""

EXAMPLES = r"""
- name: Restart one replica after the other
  ops.runbooks.service_restart:
    project: shop
    service: web

- name: Say what would be restarted
  ops.runbooks.service_restart:
    project: shop
    service: web
  check_mode: true

- name: Restart what is unhealthy, unless somebody has scaled the service meanwhile
  ops.runbooks.service_restart:
    project: shop
    service: web
    only_unhealthy: true
    expected_replicas: 3
    precondition_reaction: skip

- name: Restart the cache at once, then what keeps connections to it
  ops.runbooks.service_restart:
    project: shop
    service: cache
    mode: at_once
    dependents: [web, worker]
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
    - "Restarted shop-web-2: it serves after 3.1 s."
    - "Left shop-web-1 alone: it started 12 s ago (minimum_age_seconds is 60)."
restarted:
  description: Names of the containers that were restarted and serve, in that order. Empty in check mode.
  returned: always, once the engine answered
  type: list
  elements: str
  sample: [shop-web-2, shop-web-1]
before:
  description: Number of replicas and their containers before, and those of the dependents if there are any.
  returned: always, once the service is known
  type: dict
  sample:
    replicas: 1
    containers: [{name: shop-web-1, state: running, health: unhealthy, started: "2026-01-05T08:00:00.0Z"}]
after:
  description: The same after. In check mode the start time of what would be restarted is C(by this run).
  returned: always, once the service is known
  type: dict
  sample:
    replicas: 1
    containers: [{name: shop-web-1, state: running, health: healthy, started: "2026-01-05T08:07:12.0Z"}]
failed_replica:
  description: Name of the container that did not come to serve.
  returned: on failure, when a replica did not come to serve
  type: str
  sample: shop-web-2
log_tail:
  description: Last lines of that replica; what looks like a secret is replaced by stars.
  returned: on failure, when a replica did not come to serve
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
from ansible_collections.ops.runbooks.plugins.module_utils._service_restart import (
    Restarter,
    RestartRequest,
    restart_spec,
)

if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule


def work(module: AnsibleModule) -> dict[str, Any]:
    request = RestartRequest.from_params(module.params)
    result = Restarter(open_engine(module), request, module.warn).run(dry_run=module.check_mode)
    if module._diff:
        result["diff"] = {"before": result["before"], "after": result["after"]}
    return result


def main() -> None:
    run_module(restart_spec(), work)


if __name__ == "__main__":
    main()
