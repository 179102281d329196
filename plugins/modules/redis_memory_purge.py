#!/usr/bin/python
# Copyright (c) 2026, The ops.runbooks contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: redis_memory_purge
short_description: Have a Redis server return memory that its keys no longer need
version_added: 0.1.0
author: The ops.runbooks contributors (@ops-runbooks)
description:
  - Has the allocator return the pages in which nothing is (C(MEMORY PURGE)). Where too much is left because keys stand
    scattered over the pages, active defragmentation moves them, and is switched as it was before.
  - Nothing is done unless the process holds too much by ratio and by amount. The ratio alone is high on every small
    server.
attributes:
  check_mode:
    support: full
    description: Says on which nodes memory would be returned, and not how much, which only the allocator knows.
  diff_mode:
    support: full
    description: Shows used and resident memory before and after.
  idempotent:
    support: full
    description: Below the thresholds nothing is done.
options:
  only_above_ratio:
    description: Resident memory in parts of the used memory, below which nothing is done; 1 or more.
    type: float
    default: 1.5
  only_above_bytes:
    description: Resident memory beside the used memory, in bytes, below which nothing is done.
    type: int
    default: 67108864
  precondition_reaction:
    description: What happens below them.
    type: str
    choices: [fail, skip]
    default: skip
  active_defragmentation:
    description:
      - Whether keys are moved where a purge was not enough. It costs processor time while it runs.
      - A server that is not built with its own jemalloc, as those of Debian are, cannot; the result says so.
    type: bool
    default: true
  timeout_seconds:
    description: Longest time, in seconds, that keys are moved.
    type: float
    default: 60.0
extends_documentation_fragment:
  - ops.runbooks.redis
seealso:
  - module: ops.runbooks.redis_memory_info
notes:
  - Needs the commands INFO, MEMORY PURGE, CONFIG GET and CONFIG SET, and CLUSTER SLOTS in a cluster.
"""

EXAMPLES = r"""
- name: Return what the cache no longer needs
  ops.runbooks.redis_memory_purge:
    login_host: cache1.example.com
    login_password: "{{ redis_password }}"

- name: Say whether there is something to return
  ops.runbooks.redis_memory_purge:
    login_host: cache1.example.com
  check_mode: true

- name: Return memory only where the process has twice what it uses, without moving keys
  ops.runbooks.redis_memory_purge:
    login_host: cache1.example.com
    only_above_ratio: 2
    precondition_reaction: fail
    active_defragmentation: false
"""

RETURN = r"""
instance:
  description: Address of the server, or of the node of a cluster that was asked for the others.
  returned: always, once connected
  type: str
  sample: cache1.example.com:6379
actions:
  description: What was done, or why nothing was.
  returned: always, once connected
  type: list
  elements: str
  sample:
    - cache1.example.com:6379 returned 114294784 bytes when purged.
before:
  description: Memory of the node that holds the most beside what it uses.
  returned: always, once connected
  type: dict
  sample: {used_bytes: 5860128, rss_bytes: 130805760, held_bytes: 124945632, fragmentation_ratio: 22.32}
after:
  description: The same after. In check mode the same as before.
  returned: always, once connected
  type: dict
  sample: {used_bytes: 5885032, rss_bytes: 16515072, held_bytes: 10630040, fragmentation_ratio: 2.81}
duration_seconds:
  description: How long it took.
  returned: success
  type: float
  sample: 0.21
"""

from typing import TYPE_CHECKING, Any

from ansible_collections.ops.runbooks.plugins.module_utils._module import run_module
from ansible_collections.ops.runbooks.plugins.module_utils._redis_adapter import connect
from ansible_collections.ops.runbooks.plugins.module_utils._redis_options import Login, login_options
from ansible_collections.ops.runbooks.plugins.module_utils._redis_purge import (
    PurgeRequest,
    RedisAllocator,
    purge_spec,
    return_memory,
)

if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule


def work(module: AnsibleModule) -> dict[str, Any]:
    request = PurgeRequest.from_params(module.params)
    login = Login.from_params(module.params)
    connections = connect(login)
    try:
        allocators = [RedisAllocator(one) for one in connections]
        result = return_memory(allocators, request, instance=login.instance, dry_run=module.check_mode)
    finally:
        for connection in connections:
            connection.close()
    if module._diff:
        result["diff"] = {"before": result["before"], "after": result["after"]}
    return result


def main() -> None:
    run_module(login_options() + purge_spec(), work)


if __name__ == "__main__":
    main()
