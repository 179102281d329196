#!/usr/bin/python
# Copyright (c) 2026, The ops.runbooks contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: sqlalchemy_pool_reset
short_description: Reset the SQLAlchemy pools of every replica of an application
version_added: 0.1.0
author: The ops.runbooks contributors (@ops-runbooks)
description:
  - Calls the address that C(integrations/sqlalchemy_pool) serves in every replica, at the same time, and reports each. The
    replicas are found by the label of their Compose or Swarm service and called at their own addresses, or are given as
    O(urls); a load balancer would hand out one of them.
  - A reset does not free a connection that the application holds. End leaked sessions on the server first, with
    M(ops.runbooks.postgresql_pool_reset), and prove recovery on the server and by a request, not by the gauge of the pool.
  - A replica that does not answer does not keep the others from being reset, but the task fails in the end and lists each.
  - Reading and resetting reach one process per address; run one worker process per container.
attributes:
  check_mode:
    support: full
    description: Reads the pools of every replica, checks the preconditions and says what would be reset.
  diff_mode:
    support: none
    description: RV(before) and RV(after) show the numbers.
  idempotent:
    support: none
    description: Each run resets the connections that are open at the time.
options:
  urls:
    description: The address of the pools in each replica, path included.
    type: list
    elements: str
  project:
    description: Compose project of O(service).
    type: str
  service:
    description: Compose service whose running containers are the replicas.
    type: str
  swarm_service:
    description:
      - Swarm service whose tasks are the replicas. The module must run on a manager, and every task on that node;
        otherwise use O(urls).
    type: str
  network:
    description:
      - Docker network on which the containers are called. Without it, the first by name in which a container has an address.
    type: str
  scheme:
    description: How the containers are called.
    type: str
    choices: [http, https]
    default: http
  port:
    description: Port of the application inside the containers.
    type: int
    default: 8000
  path:
    description: Path of the drop-in in the application.
    type: str
    default: /admin/pool/reset
  docker_host:
    description: Address of the Docker engine. Without it, the environment variable E(DOCKER_HOST) or the local socket.
    type: str
  token:
    description: Token that the application gives to the drop-in.
    type: str
    required: true
  validate_certs:
    description: Whether a certificate must be valid for the address that is called.
    type: bool
    default: true
  ca_path:
    description: File with the certificates that are trusted, instead of the system's.
    type: path
  timeout_seconds:
    description: Longest wait for an answer of a replica.
    type: int
    default: 10
  mode:
    description:
      - V(soft) has each connection replaced at its next checkout. Nothing is closed under anybody and no pool grows past its
        capacity.
      - V(dispose) closes idle connections at once and puts an empty pool in place. Connections in use stay open on the
        server beside those of the new pool, so it needs O(server_headroom).
    type: str
    choices: [soft, dispose]
    default: soft
  engines:
    description: Names of the engines, as the application gives them to the drop-in. Without it, every engine.
    type: list
    elements: str
  server_headroom:
    description:
      - How many sessions the database server has free for this application. With O(mode=dispose) the reset is refused when
        the replicas together have more connections in use.
    type: int
  only_above:
    description: Reset only if a pool of a replica has at least this share of its capacity in use, from 0 to 1.
    type: float
  expected_replicas:
    description: Reset only if this many replicas are found.
    type: int
  precondition_reaction:
    description:
      - What happens when O(only_above) or O(expected_replicas) does not hold. V(fail) fails, V(skip) leaves
        everything alone and succeeds, V(warn) warns and resets all the same.
    type: str
    choices: [fail, skip, warn]
    default: fail
requirements:
  - docker (Python library), with O(service) or O(swarm_service)
seealso:
  - module: ops.runbooks.postgresql_pool_reset
"""

EXAMPLES = r"""
- name: Reset the pools of every replica of a Compose service
  ops.runbooks.sqlalchemy_pool_reset:
    project: shop
    service: backend
    token: "{{ pool_reset_token }}"

- name: Say what a reset would touch
  ops.runbooks.sqlalchemy_pool_reset:
    project: shop
    service: backend
    token: "{{ pool_reset_token }}"
  check_mode: true

- name: Reset only if a pool is nearly full
  ops.runbooks.sqlalchemy_pool_reset:
    project: shop
    service: backend
    token: "{{ pool_reset_token }}"
    only_above: 0.9
    precondition_reaction: skip

- name: Drop idle connections to a database that has moved, if the new one has room
  ops.runbooks.sqlalchemy_pool_reset:
    urls:
      - https://192.0.2.11:8443/admin/pool/reset
      - https://192.0.2.12:8443/admin/pool/reset
    token: "{{ pool_reset_token }}"
    ca_path: /etc/ssl/shop/ca.pem
    mode: dispose
    engines: [database]
    server_headroom: 40
    expected_replicas: 2
"""

RETURN = r"""
actions:
  description: What was done, and what was left alone and why.
  returned: success, and failure after the replicas were read
  type: list
  elements: str
  sample: ["Reset shop-backend-1: 7 connections are replaced at their next checkout."]
mode:
  description: How the pools were reset.
  returned: as RV(actions)
  type: str
  sample: soft
fullest_ratio:
  description: Share of its capacity that the fullest pool of a replica had in use before; null if no pool has a limit.
  returned: as RV(actions)
  type: float
  sample: 0.9
before:
  description: Numbers of the chosen engines, all replicas together. A pool without a limit adds nothing to C(capacity).
  returned: as RV(actions)
  type: dict
  sample: {"capacity": 20, "checked_in": 5, "checked_out": 9, "abandoned": 0}
after:
  description:
    - The same numbers afterwards. C(abandoned) counts connections that the application still holds from pools that were
      disposed of; the server still has them. In check mode, the numbers that were read.
  returned: as RV(actions)
  type: dict
  sample: {"capacity": 20, "checked_in": 5, "checked_out": 9, "abandoned": 0}
replicas:
  description: Each replica with the process that answered, the numbers of its pools at the last answer, and its error.
  returned: as RV(actions)
  type: list
  elements: dict
  sample:
    - name: shop-backend-1
      url: http://172.18.0.5:8000/admin/pool/reset
      instance: 3f2a9c41d7e0-1-9b1c22d4
      engines:
        database:
          {"kind": "QueuePool", "size": 5, "capacity": 10, "checked_in": 4, "checked_out": 3, "overflow": 0, "abandoned": 0}
      error: null
refused:
  description: Whether nothing was reset because a precondition does not hold.
  returned: failure
  type: bool
  sample: true
"""

from typing import TYPE_CHECKING, Any

from ansible_collections.ops.runbooks.plugins.module_utils._module import run_module
from ansible_collections.ops.runbooks.plugins.module_utils._sqlalchemy_adapters import HttpPoolApi, open_finder
from ansible_collections.ops.runbooks.plugins.module_utils._sqlalchemy_reset import (
    ResetRequest,
    reset_pools,
    reset_spec,
)

if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule


def work(module: AnsibleModule) -> dict[str, Any]:
    params = module.params
    request = ResetRequest.from_params(params)
    api = HttpPoolApi(
        params["token"],
        timeout_seconds=params["timeout_seconds"],
        validate_certs=params["validate_certs"],
        ca_path=params["ca_path"],
    )
    return reset_pools(request, open_finder(params).find(), api, warn=module.warn, dry_run=module.check_mode)


def main() -> None:
    run_module(reset_spec(), work)


if __name__ == "__main__":
    main()
