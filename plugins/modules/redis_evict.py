#!/usr/bin/python
# Copyright (c) 2026, The ops.runbooks contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: redis_evict
short_description: Evict chosen keys of a Redis server without holding it up
version_added: 0.1.0
author: The ops.runbooks contributors (@ops-runbooks)
description:
  - Removes the keys that match a pattern and every given filter, and none that O(protect) names.
  - Works in slices of O(slice_milliseconds) with a little pause after each. A slice scans, filters and unlinks inside
    the server; between two slices other clients are served.
  - Stops at O(target_share) of the memory limit or at O(max_keys), whichever comes first; without either, when all keys
    have been seen. With an O(order), the first to go are found by measuring all keys first.
  - Replicas are never written to. Of a cluster every master is worked on in turn, each with its own memory limit.
  - Criteria that would mean every key, without a point to stop at, are refused.
attributes:
  check_mode:
    support: full
    description: >-
      Estimates keys and bytes from a random sample, with a margin, and verifies the permission to remove what was
      sampled; a database with no more keys than the sample is counted. Evicts nothing.
  diff_mode:
    support: full
    description: Shows memory and number of keys before and after.
  idempotent:
    support: none
    description: Each run evicts what matches at that moment. With a target that is reached, nothing does.
options:
  patterns:
    description:
      - Glob patterns as Redis reads them; a key is meant if it matches one of them.
      - A pattern has no more than five stars.
    type: list
    elements: str
    required: true
  protect:
    description: Glob patterns of keys that are never evicted.
    type: list
    elements: str
    default: []
  minimum_idle_seconds:
    description: Shortest time that nobody has read or written the key. Unknown under an LFU policy, and refused there.
    type: float
  ttl:
    description: Whether keys with an expiry are meant, keys without one, or both.
    type: str
    choices: [any, with, without]
    default: any
  expires_within_seconds:
    description: Only keys that expire within this time.
    type: float
  minimum_bytes:
    description: Smallest memory of a key, as MEMORY USAGE gives it.
    type: int
  order:
    description:
      - What goes first where there is a point to stop at, V(idle) the longest idle, V(frequency) the least frequently
        used, V(expiry) the next to expire, V(size) the largest. V(none) is the fastest.
      - V(frequency) needs an LFU policy, V(idle) any other.
      - Measures are compared in steps of about nine percent; within a step the order is that of the scan.
    type: str
    choices: [none, idle, frequency, expiry, size]
    default: none
  target_share:
    description: Share of C(maxmemory), 0 to 1, at which to stop. Refused where there is no limit.
    type: float
  max_keys:
    description: Most keys that one run evicts, over all nodes.
    type: int
  only_above:
    description: Share of C(maxmemory), 0 to 1, below which nothing is evicted; in a cluster that of the fullest master.
    type: float
  precondition_reaction:
    description: What happens below O(only_above).
    type: str
    choices: [fail, skip, warn]
    default: fail
  slice_milliseconds:
    description: Time that one slice may hold the server up, about; 0.5 to 100.
    type: float
    default: 5.0
  sample_keys:
    description: Number of keys that check mode looks at.
    type: int
    default: 5000
extends_documentation_fragment:
  - ops.runbooks.redis
seealso:
  - module: ops.runbooks.redis_memory_info
notes:
  - Needs the commands INFO, DBSIZE, EVAL, EVALSHA, SCAN and UNLINK; MEMORY USAGE, PTTL, OBJECT IDLETIME and OBJECT FREQ;
    RANDOMKEY in check mode; CLUSTER SLOTS in a cluster.
  - The resident memory of the process shrinks later and less than the used memory, if at all.
  - What OBJECT IDLETIME and OBJECT FREQ say is meaningless right after a change of the policy.
"""

EXAMPLES = r"""
- name: Evict the sessions that nobody has used for a day, but no administrator's
  ops.runbooks.redis_evict:
    login_host: cache1.example.com
    login_password: "{{ redis_password }}"
    patterns: ["session:*"]
    protect: ["session:admin:*"]
    minimum_idle_seconds: 86400

- name: Say what would be evicted
  ops.runbooks.redis_evict:
    login_host: cache1.example.com
    patterns: ["page:*"]
    ttl: without
  check_mode: true

- name: Bring the cache from above 90 % down to 70 % of its limit, the longest idle first
  ops.runbooks.redis_evict:
    login_host: cache1.example.com
    patterns: ["page:*", "thumbnail:*"]
    order: idle
    target_share: 0.7
    only_above: 0.9
    precondition_reaction: skip
"""

RETURN = r"""
instance:
  description: Address of the server, or of the node of a cluster that was asked for the others.
  returned: always, once connected
  type: str
  sample: cache1.example.com:6379
actions:
  description: What was done, and what matched and was left alone, with the reason.
  returned: always, once connected
  type: list
  elements: str
  sample:
    - Evicted 250000 keys and freed about 45.8 MiB.
    - "Left 12 keys alone: protected."
before:
  description: Memory and number of keys before, over all nodes. C(used_ratio) is null without a limit.
  returned: always, once connected
  type: dict
  sample: {used_bytes: 96000000, limit_bytes: 100000000, used_ratio: 0.96, keys: 500000}
after:
  description: The same after, when the server's threads have freed what was unlinked. In check mode the same as before.
  returned: always, once connected
  type: dict
  sample: {used_bytes: 48000000, limit_bytes: 100000000, used_ratio: 0.48, keys: 250000}
nodes:
  description: The same for each node, and what was evicted there.
  returned: always, once connected
  type: list
  elements: dict
  sample:
    - node: cache1.example.com:6379
      before: {used_bytes: 96000000, limit_bytes: 100000000, used_ratio: 0.96, keys: 500000}
      after: {used_bytes: 48000000, limit_bytes: 100000000, used_ratio: 0.48, keys: 250000}
      evicted: 250000
scanned:
  description: Number of keys that were passed, about; an order passes them two or three times.
  returned: always, once connected
  type: int
  sample: 500000
evicted:
  description: Number of keys that were evicted.
  returned: always, once connected
  type: int
  sample: 250000
protected:
  description: Number of keys that a pattern means and O(protect) saved, of those that were passed.
  returned: always, once connected
  type: int
  sample: 12
skipped:
  description: Number of keys that a pattern means and a filter left, of those that were passed.
  returned: always, once connected
  type: int
  sample: 0
bytes_freed:
  description: Memory of the evicted keys. Exact where their size was asked for, else scaled from every sixteenth.
  returned: always, once connected
  type: int
  sample: 48000000
slices:
  description: Number of slices.
  returned: always, once connected
  type: int
  sample: 70
longest_slice_ms:
  description: Longest slice in milliseconds, as this client saw it.
  returned: always, once connected
  type: float
  sample: 6.2
target_reached:
  description: Whether memory is at or below O(target_share) on every node. Null without a target, and in check mode.
  returned: always, once connected
  type: bool
  sample: true
estimate:
  description: Keys and bytes that a run would evict. The margins are halves of 95 % intervals, 0 where all were counted.
  returned: in check mode
  type: dict
  sample: {keys: 250000, keys_margin: 6930, bytes: 48000000, bytes_margin: 1330000, sampled: 5000}
duration_seconds:
  description: How long it took.
  returned: success
  type: float
  sample: 0.82
"""

from typing import TYPE_CHECKING, Any

from ansible_collections.ops.runbooks.plugins.module_utils._module import run_module
from ansible_collections.ops.runbooks.plugins.module_utils._redis_adapter import connect
from ansible_collections.ops.runbooks.plugins.module_utils._redis_evict import EvictRequest, evict, evict_spec
from ansible_collections.ops.runbooks.plugins.module_utils._redis_node import RedisNode
from ansible_collections.ops.runbooks.plugins.module_utils._redis_options import Login, login_options

if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule


def work(module: AnsibleModule) -> dict[str, Any]:
    request = EvictRequest.from_params(module.params)
    login = Login.from_params(module.params)
    connections = connect(login)
    try:
        nodes = [RedisNode(one) for one in connections]
        result = evict(nodes, request, instance=login.instance, dry_run=module.check_mode)
    finally:
        for connection in connections:
            connection.close()
    for warning in result.pop("warnings"):
        module.warn(warning)
    if module._diff:
        result["diff"] = {"before": result["before"], "after": result["after"]}
    return result


def main() -> None:
    run_module(login_options() + evict_spec(), work)


if __name__ == "__main__":
    main()
