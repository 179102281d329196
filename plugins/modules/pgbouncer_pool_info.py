#!/usr/bin/python
# Copyright (c) 2026, The ops.runbooks contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: pgbouncer_pool_info
short_description: Read the databases, pools and waiting clients of PgBouncer
version_added: 0.1.0
author: The ops.runbooks contributors (@ops-runbooks)
description:
  - Reads PgBouncer's admin console. Changes nothing.
extends_documentation_fragment:
  - ops.runbooks.pgbouncer
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
options: {}
seealso:
  - module: ops.runbooks.pgbouncer_pool_reset
"""

EXAMPLES = r"""
- name: Read the pools
  ops.runbooks.pgbouncer_pool_info:
    login_host: 192.0.2.20
    login_user: monitor
    login_password: "{{ pgbouncer_password }}"
  register: pgbouncer

- name: Read the pools in check mode, which is the same
  ops.runbooks.pgbouncer_pool_info:
    login_unix_socket: /var/run/postgresql
    login_user: pgbouncer
  check_mode: true
"""

RETURN = r"""
instance:
  description: Address of the PgBouncer.
  returned: success
  type: str
  sample: 192.0.2.20:6432
version:
  description: Version of the PgBouncer.
  returned: success
  type: str
  sample: 1.24.1
state:
  description: Whether PgBouncer as a whole is V(active), V(paused) or V(suspended); null where the version cannot tell.
  returned: success
  type: str
  sample: active
may_reset:
  description: Whether the user that has logged in may run admin commands.
  returned: success
  type: bool
  sample: true
clients:
  description: Client connections in use, the most that are let in, and the share.
  returned: success
  type: dict
  sample: {"used": 24, "max": 200, "used_ratio": 0.12}
clients_waiting:
  description: Clients that wait for a connection to a server.
  returned: success
  type: int
  sample: 4
longest_wait_seconds:
  description: How long the first of them has waited.
  returned: success
  type: float
  sample: 2.31
databases:
  description:
    - Each database by name, with the sums over its pools. C(used_ratio) is the share of C(pool_size) that the fullest of
      its pools has in use; null where the size is not limited.
  returned: success
  type: dict
  sample:
    app:
      name: app
      host: 192.0.2.10
      port: 5432
      pool_size: 5
      paused: false
      disabled: false
      clients_active: 5
      clients_waiting: 4
      servers_active: 5
      servers_idle: 0
      servers_other: 0
      longest_wait_seconds: 2.31
      used_ratio: 1.0
pools:
  description: Each pool, which is one user's connections to one database.
  returned: success
  type: list
  elements: dict
  sample:
    - database: app
      user: shop
      pool_mode: transaction
      clients_active: 5
      clients_waiting: 4
      servers_active: 5
      servers_idle: 0
      servers_other: 0
      longest_wait_seconds: 2.31
server_login_retry_seconds:
  description: How long PgBouncer waits after a login to a server has failed.
  returned: success
  type: float
  sample: 15.0
query_wait_timeout_seconds:
  description: How long a client may wait before it is disconnected; 0 means for ever.
  returned: success
  type: float
  sample: 120.0
"""

from typing import TYPE_CHECKING, Any

from ansible_collections.ops.runbooks.plugins.module_utils._module import run_module
from ansible_collections.ops.runbooks.plugins.module_utils._pgbouncer_adapter import Psycopg2Console
from ansible_collections.ops.runbooks.plugins.module_utils._pgbouncer_info import read_info
from ansible_collections.ops.runbooks.plugins.module_utils._pgbouncer_reset import console_options
from ansible_collections.ops.runbooks.plugins.module_utils._postgresql_options import Login

if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule


def work(module: AnsibleModule) -> dict[str, Any]:
    login = Login.from_params(module.params)
    console = Psycopg2Console(login)
    try:
        return read_info(console, login)
    finally:
        console.close()


def main() -> None:
    run_module(console_options(), work)


if __name__ == "__main__":
    main()
