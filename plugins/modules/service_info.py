#!/usr/bin/python
# Copyright (c) 2026, The ops.runbooks contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: service_info
short_description: Read health, ends, use against limits, images and log errors of a project's services
version_added: 0.1.0
author: The ops.runbooks contributors (@ops-runbooks)
description:
  - Reads how the services of a Docker Compose project, or of a stack of a Docker Swarm, stand. Changes nothing.
  - Reading is bounded. Replicas are read side by side, of a log only the last lines of the last minutes, and each for a
    limited time. What cannot be read is listed and does not fail.
  - Log lines that look like errors are grouped by what they have in common, with numbers, identities and quoted text
    replaced. What looks like a secret is replaced by stars.
extends_documentation_fragment:
  - ops.runbooks.service.project
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
  services:
    description: Services of the project. All that have containers by default.
    type: list
    elements: str
  since_seconds:
    description: How far back logs and earlier ends are read, in seconds.
    type: float
    default: 900.0
  log_lines:
    description: Most lines that are read of the log of one replica.
    type: int
    default: 500
  log_timeout_seconds:
    description: Longest time, in seconds, to read the log of one replica.
    type: float
    default: 5.0
  error_groups:
    description: Most groups of error lines that are returned for one service.
    type: int
    default: 10
seealso:
  - module: ops.runbooks.service_restart
  - module: ops.runbooks.service_scale
"""

EXAMPLES = r"""
- name: Read how every service of the project stands
  ops.runbooks.service_info:
    project: shop
  register: shop

- name: Read one service in check mode, which is the same
  ops.runbooks.service_info:
    project: shop
    services: [web]
    since_seconds: 300
  check_mode: true
"""

RETURN = r"""
project:
  description: The project.
  returned: success
  type: str
  sample: shop
services:
  description:
    - Each service by name. C(broken) names the replicas that do not serve, C(out_of_memory) those in which the kernel
      has killed something. Without a health check what runs counts in C(healthy).
    - In C(containers), C(last_exit_code) is that of the run before this one, null if the engine no longer knows it;
      a limit is null where there is none, and then so is the used ratio. C(cpu.used) is in cores over the last
      second or two. C(throttled_ratio) is the share of scheduler periods since the start that the CPU limit cut short,
      C(throttled_now_ratio) the same over that second.
    - C(images_before) are the images of the same repository on the host that are older than those that run, newest
      first. An image that has lost its name to a newer one is not among them.
    - C(errors) are the most frequent groups of error lines, C(error_lines) the number of all error lines and
      C(errors_left_out) the number of further groups.
  returned: success
  type: dict
  sample:
    web:
      replicas: 1
      healthy: 0
      broken: [shop-web-1]
      restarts: 2
      out_of_memory: [shop-web-1]
      containers:
        - name: shop-web-1
          state: running
          health: unhealthy
          started: "2026-01-05T08:00:00.0Z"
          up_seconds: 312.4
          restarts: 2
          last_exit_code: 137
          last_exit_seconds_ago: 313.0
          out_of_memory: true
          error: ""
          health_output: connection refused
          image: shop/web:1.4.2
          image_id: sha256:1501963f2e9f
          memory: {used_bytes: 130023424, limit_bytes: 134217728, used_ratio: 0.9688}
          cpu: {used: 0.74, limit: 0.75, used_ratio: 0.9867, throttled_ratio: 0.21, throttled_now_ratio: 0.9}
          pids: {used: 12, limit: null, used_ratio: null}
          log_lines: 500
      images_before:
        - {id: "sha256:0c1be16bd9a1", names: ["shop/web:1.4.1"], created_seconds_ago: 864000}
      error_lines: 41
      errors:
        - shape: 'ERROR order # failed: "*"'
          count: 41
          replicas: [shop-web-1]
          last: 'ERROR order 8812 failed: "no connection"'
      errors_left_out: 0
missing:
  description: Services that were asked for and have no containers.
  returned: success
  type: list
  elements: str
  sample: [worker]
unreadable:
  description: What could not be read, and why.
  returned: success
  type: list
  elements: dict
  sample:
    - what: log of shop-web-1
      why: "Cannot read the log of shop-web-1: configured logging driver does not support reading."
"""

from typing import TYPE_CHECKING, Any

from ansible_collections.ops.runbooks.plugins.module_utils._module import run_module
from ansible_collections.ops.runbooks.plugins.module_utils._service_engines import open_observer
from ansible_collections.ops.runbooks.plugins.module_utils._service_info import InfoRequest, info_spec, read_info

if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule


def work(module: AnsibleModule) -> dict[str, Any]:
    request = InfoRequest.from_params(module.params)
    return read_info(open_observer(module), request)


def main() -> None:
    run_module(info_spec(), work)


if __name__ == "__main__":
    main()
