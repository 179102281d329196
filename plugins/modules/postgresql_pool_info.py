#!/usr/bin/python
# Copyright (c) 2026, The ops.runbooks contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: postgresql_pool_info
short_description: Read who holds the connection slots of a PostgreSQL server
version_added: 0.1.0
author: The ops.runbooks contributors (@ops-runbooks)
description:
  - Reads sessions by state, user, application, database and client, the slots that an application can get, the longest
    transaction and statement, and who waits on whom.
  - Counts client backends, which are what holds slots; background workers and replication are not among them.
  - Works with every role. One that is no member of C(pg_monitor) sees less, and RV(unreadable) says what.
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
  include_queries:
    description: Whether the text of statements is returned. It may hold data of users.
    type: bool
    default: true
  query_length:
    description: Characters of each statement that are returned.
    type: int
    default: 200
extends_documentation_fragment:
  - ops.runbooks.postgresql
seealso:
  - module: ops.runbooks.postgresql_pool_reset
"""

EXAMPLES = r"""
- name: Read the sessions and the slots
  ops.runbooks.postgresql_pool_info:
    login_host: db1.example.com
    login_user: runbooks
    login_password: "{{ postgres_password }}"
  register: pool

- name: Read them without the text of statements, in check mode the same
  ops.runbooks.postgresql_pool_info:
    login_host: db1.example.com
    include_queries: false
  check_mode: true
"""

RETURN = r"""
server:
  description: Version and start of the server, and where C(max_connections) is set.
  returned: success
  type: dict
  sample:
    version: "17.6"
    version_num: 170006
    in_recovery: false
    started_at: "2026-11-23 01:00:00.000000+00"
    max_connections_source: configuration file
slots:
  description: >-
    Slots of the server. C(application) is what a role without privileges can get, C(used_ratio) the share of it in use.
  returned: success
  type: dict
  sample:
    {max: 100, superuser_reserved: 3, reserved: 2, application: 95, used: 90, free: 5, used_ratio: 0.9474}
sessions:
  description: Number of sessions in all, by state, and by user, application, database and client, largest first.
  returned: success
  type: dict
  sample:
    total: 90
    by_state: {active: 2, idle: 8, idle_in_transaction: 80, idle_in_transaction_aborted: 0}
    by_application:
      - {name: worker, sessions: 80, active: 0, idle: 0, idle_in_transaction: 80, idle_in_transaction_aborted: 0,
         oldest_seconds: 610.2}
holders:
  description: Who holds the most slots, by user, application and state.
  returned: success
  type: list
  elements: dict
  sample:
    - {user: app, application: worker, state: idle_in_transaction, sessions: 80, oldest_seconds: 610.2}
longest_transaction:
  description: The oldest open transaction with its age in C(seconds), or null.
  returned: success
  type: dict
  sample:
    {pid: 4711, user: app, application: worker, database: app, client: 192.0.2.7, state: idle_in_transaction,
     state_seconds: 609.0, seconds: 610.2, query: SELECT 1}
longest_statement:
  description: The statement that has run longest with its age in C(seconds), or null.
  returned: success
  type: dict
  sample: null
blocking:
  description: Who waits on whom, root blockers first; C(blocks) holds the waiters.
  returned: success
  type: list
  elements: dict
  sample:
    - {pid: 4711, user: app, state: idle_in_transaction, blocks: [{pid: 4712, state: active, blocks: []}]}
waiting:
  description: Number of sessions that wait for a lock.
  returned: success
  type: int
  sample: 1
unreadable:
  description: What the login role could not read, and why.
  returned: success
  type: list
  elements: dict
  sample:
    - {what: state and age of 12 sessions, why: the login role is not a member of pg_monitor}
"""

from typing import TYPE_CHECKING, Any

from ansible_collections.ops.runbooks.plugins.module_utils._module import run_module
from ansible_collections.ops.runbooks.plugins.module_utils._postgresql_adapter import Connection
from ansible_collections.ops.runbooks.plugins.module_utils._postgresql_options import Login, login_options
from ansible_collections.ops.runbooks.plugins.module_utils._postgresql_pool import info_spec, read_info
from ansible_collections.ops.runbooks.plugins.module_utils._postgresql_source import PostgresqlSessions

if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule


def work(module: AnsibleModule) -> dict[str, Any]:
    connection = Connection(Login.from_params(module.params))
    length = module.params["query_length"] if module.params["include_queries"] else 0
    try:
        return read_info(PostgresqlSessions(connection, query_length=length))
    finally:
        connection.close()


def main() -> None:
    run_module(login_options() + info_spec(), work)


if __name__ == "__main__":
    main()
