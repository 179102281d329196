#!/usr/bin/python
# Copyright (c) 2026, The ops.runbooks contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: redis_clients_disconnect
short_description: Disconnect chosen clients of a Redis server
version_added: 0.1.0
author: The ops.runbooks contributors (@ops-runbooks)
description:
  - Disconnects the clients that match every given criterion and so gives their connections back.
  - Never disconnects replicas, masters, its own connection, or sentinels unless O(names) names them. Clients that
    subscribe, monitor or wait in a blocking command are left alone unless O(kinds) names them.
  - Each batch is looked at again just before it is disconnected, so a client that began to work in the meantime is
    spared. The server itself checks identity and type in the command that disconnects.
  - Criteria that would mean every client are refused.
attributes:
  check_mode:
    support: full
    description: Makes the same choice and disconnects nobody.
  diff_mode:
    support: full
    description: Shows the connections before and after.
  idempotent:
    support: none
    description: Each run disconnects what matches at that moment. On a healthy server nothing does.
options:
  minimum_idle_seconds:
    description: Shortest time since the last command of the client.
    type: int
  names:
    description: Names of connections (CLIENT SETNAME) that are meant. Empty means any.
    type: list
    elements: str
    default: []
  addresses:
    description: Client addresses that are meant, with the port or without. Empty means any.
    type: list
    elements: str
    default: []
  users:
    description: ACL users that are meant. Empty means any.
    type: list
    elements: str
    default: []
  exclude_names:
    description: Names of connections that are left alone.
    type: list
    elements: str
    default: []
  exclude_users:
    description: ACL users whose connections are left alone.
    type: list
    elements: str
    default: []
  kinds:
    description:
      - Kinds of clients that are meant. A client that waits in a blocking command, as workers of a queue do, seems idle
        and is not.
    type: list
    elements: str
    choices: [normal, blocked, pubsub, monitor]
    default: [normal]
  only_above:
    description: Share of C(maxclients), 0 to 1, below which nobody is disconnected; that of the fullest node.
    type: float
  precondition_reaction:
    description: What happens below O(only_above).
    type: str
    choices: [fail, skip, warn]
    default: fail
  limit:
    description: Most clients that one run may disconnect. If more match, the run refuses and disconnects none.
    type: int
    default: 500
  timeout_seconds:
    description: Longest time to wait until the disconnected clients are gone.
    type: float
    default: 5.0
extends_documentation_fragment:
  - ops.runbooks.redis
seealso:
  - module: ops.runbooks.redis_memory_info
notes:
  - Needs Redis 6.2 or later, and the commands INFO, CLIENT ID, CLIENT LIST and CLIENT KILL; CLUSTER SLOTS in a cluster.
  - At the limit of clients nobody gets a connection, this module neither.
"""

EXAMPLES = r"""
- name: Disconnect clients that have sent nothing for an hour
  ops.runbooks.redis_clients_disconnect:
    login_host: cache1.example.com
    login_password: "{{ redis_password }}"
    minimum_idle_seconds: 3600

- name: Say which would go
  ops.runbooks.redis_clients_disconnect:
    login_host: cache1.example.com
    addresses: [192.0.2.7]
  check_mode: true

- name: Disconnect idle clients of one application, only while the server is nearly full
  ops.runbooks.redis_clients_disconnect:
    login_host: cache1.example.com
    names: [shop]
    minimum_idle_seconds: 60
    only_above: 0.8
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
    - Disconnected 80 clients of shop (80).
    - "Left 2 clients alone: blocked."
selected:
  description: The first 100 clients that were chosen.
  returned: always, once connected
  type: list
  elements: dict
  sample:
    - {id: 4711, address: "192.0.2.7:50412", name: shop, user: default, idle_seconds: 4000, kind: normal, command: get}
selected_count:
  description: Number of clients that were chosen.
  returned: always, once connected
  type: int
  sample: 80
disconnected:
  description: Number of clients that were disconnected.
  returned: always, once connected
  type: int
  sample: 80
spared:
  description: Number of chosen clients that worked again or left before they were disconnected.
  returned: always, once connected
  type: int
  sample: 0
before:
  description: Connections before, over all nodes.
  returned: always, once connected
  type: dict
  sample: {connected: 90, maximum: 100, used_ratio: 0.9}
after:
  description: Connections after. In check mode the same as before.
  returned: always, once connected
  type: dict
  sample: {connected: 10, maximum: 100, used_ratio: 0.1}
duration_seconds:
  description: How long it took.
  returned: success
  type: float
  sample: 0.03
"""

from typing import TYPE_CHECKING, Any

from ansible_collections.ops.runbooks.plugins.module_utils._module import run_module
from ansible_collections.ops.runbooks.plugins.module_utils._redis_adapter import connect
from ansible_collections.ops.runbooks.plugins.module_utils._redis_client_source import RedisClients
from ansible_collections.ops.runbooks.plugins.module_utils._redis_clients import (
    DisconnectRequest,
    disconnect,
    disconnect_spec,
)
from ansible_collections.ops.runbooks.plugins.module_utils._redis_options import Login, login_options

if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule


def work(module: AnsibleModule) -> dict[str, Any]:
    request = DisconnectRequest.from_params(module.params)
    login = Login.from_params(module.params)
    connections = connect(login)
    try:
        sources = [RedisClients(one) for one in connections]
        result = disconnect(sources, request, instance=login.instance, dry_run=module.check_mode)
    finally:
        for connection in connections:
            connection.close()
    for warning in result.pop("warnings"):
        module.warn(warning)
    if module._diff:
        result["diff"] = {"before": result["before"], "after": result["after"]}
    return result


def main() -> None:
    run_module(login_options() + disconnect_spec(), work)


if __name__ == "__main__":
    main()
