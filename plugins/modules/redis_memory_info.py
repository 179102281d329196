#!/usr/bin/python
# Copyright (c) 2026, The ops.runbooks contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: redis_memory_info
short_description: Read what fills the memory of a Redis server
version_added: 0.1.0
author: The ops.runbooks contributors (@ops-runbooks)
description:
  - Reads used memory, limit, policy, fragmentation, clients, hits and evictions of a server, or of every master of a
    cluster, and the prefixes that hold the most, with their keys that never expire.
  - Prefixes come from a bounded random sample, taken in batches of about a millisecond; the keys are never walked in
    full, unless there are no more of them than the sample has.
  - Where no limit is set there is no used share, and RV(notes) says so.
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
  sample_keys:
    description: Number of keys that are looked at, 100000 at most; 0 looks at none.
    type: int
    default: 5000
  prefix_separator:
    description: What stands between the parts of a key.
    type: str
    default: ":"
  prefix_depth:
    description: Number of parts that make a prefix.
    type: int
    default: 1
  top:
    description: Number of prefixes, and of keys without expiry, that are returned.
    type: int
    default: 10
extends_documentation_fragment:
  - ops.runbooks.redis
notes:
  - Needs the commands INFO, DBSIZE, EVAL, EVALSHA, RANDOMKEY, SCAN, PTTL and MEMORY USAGE, and CLUSTER SLOTS in a
    cluster. Without those from EVAL on, only the sample is missing, and RV(unreadable) says why.
  - The size of a large value is that of 5 of its elements, scaled, as MEMORY USAGE gives it by default.
"""

EXAMPLES = r"""
- name: Read what fills the cache
  ops.runbooks.redis_memory_info:
    login_host: cache1.example.com
    login_password: "{{ redis_password }}"
  register: memory

- name: Read the current master that the sentinels know, by two parts of each key, in check mode the same
  ops.runbooks.redis_memory_info:
    sentinels: [sentinel1.example.com:26379, sentinel2.example.com:26379]
    sentinel_service: cache
    prefix_depth: 2
  check_mode: true
"""

RETURN = r"""
instance:
  description: Address of the server, or of the node of a cluster that was asked for the others.
  returned: success
  type: str
  sample: cache1.example.com:6379
nodes:
  description: >-
    What each node says of itself. C(used_ratio) is null without a limit, C(hit_ratio) before the first look-up.
    C(evictable_ratio) is the share of the keys that the policy may evict.
  returned: success
  type: list
  elements: dict
  sample:
    - node: cache1.example.com:6379
      role: master
      version: 8.0.2
      used_bytes: 96000000
      peak_bytes: 97000000
      rss_bytes: 110000000
      limit_bytes: 100000000
      limited: true
      used_ratio: 0.96
      host_bytes: 16000000000
      policy: noeviction
      fragmentation_ratio: 1.14
      overhead_bytes: 30000000
      clients: {connected: 12, blocked: 0, maximum: 10000, buffer_bytes: 22000}
      hit_ratio: 0.93
      evicted_keys: 0
      expired_keys: 1200
      keys: 500000
      evictable_ratio: 0.0
sample:
  description: >-
    What was looked at, and the shares found. C(margin) is the half of a 95 % interval of a share, at its widest;
    C(exact) says that every key was looked at.
  returned: success
  type: dict
  sample:
    {keys: 5000, of: 500000, exact: false, bytes: 72000000, mean_bytes: 144, without_expiry_ratio: 0.4,
     without_expiry_bytes_ratio: 0.55, margin: 0.0139}
prefixes:
  description: The prefixes that hold the most, scaled from the sample to the whole.
  returned: success
  type: list
  elements: dict
  sample:
    - {prefix: "session:*", keys: 300000, bytes: 43000000, bytes_ratio: 0.597, without_expiry: 0, largest_bytes: 2048}
largest_without_expiry:
  description: The largest keys of the sample that never expire.
  returned: success
  type: list
  elements: dict
  sample:
    - {key: "report:2026", bytes: 1048576}
notes:
  description: What the numbers do not say by themselves.
  returned: success
  type: list
  elements: str
  sample: []
unreadable:
  description: What the login user could not read, and why.
  returned: success
  type: list
  elements: dict
  sample: []
"""

from typing import TYPE_CHECKING, Any

from ansible_collections.ops.runbooks.plugins.module_utils._module import run_module
from ansible_collections.ops.runbooks.plugins.module_utils._redis_adapter import connect
from ansible_collections.ops.runbooks.plugins.module_utils._redis_memory import InfoRequest, info_spec, read_info
from ansible_collections.ops.runbooks.plugins.module_utils._redis_node import RedisNode
from ansible_collections.ops.runbooks.plugins.module_utils._redis_options import Login, login_options

if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule


def work(module: AnsibleModule) -> dict[str, Any]:
    request = InfoRequest.from_params(module.params)
    login = Login.from_params(module.params)
    connections = connect(login)
    try:
        return read_info([RedisNode(one) for one in connections], request, instance=login.instance)
    finally:
        for connection in connections:
            connection.close()


def main() -> None:
    run_module(login_options() + info_spec(), work)


if __name__ == "__main__":
    main()
