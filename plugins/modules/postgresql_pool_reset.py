#!/usr/bin/python
# Copyright (c) 2026, The ops.runbooks contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: postgresql_pool_reset
short_description: End chosen sessions of a PostgreSQL server
version_added: 0.1.0
author: The ops.runbooks contributors (@ops-runbooks)
description:
  - Ends the sessions that match every given criterion and so gives their connection slots back.
  - A session that runs a statement is cancelled first and terminated only if it does not yield within
    O(grace_seconds). One that idles is terminated.
  - Never ends replication, autovacuum or another background worker, its own session, sessions of superusers unless
    O(allow_superusers) is set and O(users) names them, sessions of roles that monitor or may use reserved slots
    unless O(users) names them, or of backup programs unless O(applications) names them.
  - The choice is made from one snapshot. Identity and criteria are checked again in the statement that signals, so a
    session that began to work in the meantime is spared.
  - Criteria that would mean every session are refused.
attributes:
  check_mode:
    support: full
    description: Makes the same choice, verifies the privileges, and ends nothing.
  diff_mode:
    support: full
    description: Shows the slots before and after.
  idempotent:
    support: none
    description: Each run ends what matches at that moment. On a healthy server nothing does.
options:
  states:
    description: States of the sessions that are meant.
    type: list
    elements: str
    choices: [active, idle, idle_in_transaction, idle_in_transaction_aborted]
    default: [idle, idle_in_transaction, idle_in_transaction_aborted]
  minimum_idle_seconds:
    description: Shortest time that an idle session has been idle.
    type: float
  minimum_idle_in_transaction_seconds:
    description:
      - Shortest time that a session has idled in a transaction, aborted or not.
      - Such a session is a leak much sooner than an idle one, which may be a pool in reserve. The default is
        O(minimum_idle_seconds).
    type: float
  minimum_transaction_seconds:
    description: Shortest age of the open transaction.
    type: float
  minimum_statement_seconds:
    description: Shortest time the current statement has run. Applies to active sessions only.
    type: float
  applications:
    description: Names of the applications that are meant, exactly as they give them. Empty means any.
    type: list
    elements: str
    default: []
  users:
    description: Roles that are meant. Empty means any.
    type: list
    elements: str
    default: []
  databases:
    description: Databases that are meant. Empty means any.
    type: list
    elements: str
    default: []
  clients:
    description: Client addresses that are meant; C(local) stands for the Unix socket. Empty means any.
    type: list
    elements: str
    default: []
  exclude_applications:
    description: Applications whose sessions are left alone.
    type: list
    elements: str
    default: []
  exclude_users:
    description: Roles whose sessions are left alone.
    type: list
    elements: str
    default: []
  blockers_only:
    description:
      - Whether only sessions are meant that another one waits for and that wait for nobody themselves.
      - A waiter blocks those behind it in the queue for the lock; it goes on by itself once the root has ended.
    type: bool
    default: false
  allow_superusers:
    description: Whether sessions of superusers that O(users) names may be ended.
    type: bool
    default: false
  keep_per_application:
    description:
      - Usable sessions (idle or active) that each application keeps, the most recently used first.
      - A session that idles in a transaction serves nobody; it neither counts nor is kept.
    type: int
    default: 1
  only_above:
    description: Share of the application slots, 0 to 1, below which nothing is ended.
    type: float
  precondition_reaction:
    description: What happens below O(only_above).
    type: str
    choices: [fail, skip, warn]
    default: fail
  limit:
    description: Most sessions that one run may end. If more match, the run refuses and ends none.
    type: int
    default: 500
  grace_seconds:
    description: Time that a cancelled statement gets to yield before its session is terminated.
    type: float
    default: 5.0
  timeout_seconds:
    description: Longest time to wait until the terminated sessions are gone.
    type: float
    default: 30.0
extends_documentation_fragment:
  - ops.runbooks.postgresql
seealso:
  - module: ops.runbooks.postgresql_pool_info
notes:
  - Ending the sessions of another role needs membership in C(pg_signal_backend) or in that role.
  - At the limit only a role that may use reserved slots gets a connection.
"""

EXAMPLES = r"""
- name: End what has idled in a transaction for one minute
  ops.runbooks.postgresql_pool_reset:
    login_host: db1.example.com
    login_user: runbooks
    login_password: "{{ postgres_password }}"
    states: [idle_in_transaction, idle_in_transaction_aborted]
    minimum_idle_in_transaction_seconds: 60

- name: Say what would be ended
  ops.runbooks.postgresql_pool_reset:
    login_host: db1.example.com
    minimum_idle_seconds: 300
  check_mode: true

- name: End idle sessions of one application, only while the slots are nearly full
  ops.runbooks.postgresql_pool_reset:
    login_host: db1.example.com
    states: [idle]
    applications: [worker]
    only_above: 0.8
    precondition_reaction: skip

- name: Cancel statements that have run for ten minutes and block others
  ops.runbooks.postgresql_pool_reset:
    login_host: db1.example.com
    states: [active]
    minimum_statement_seconds: 600
    blockers_only: true
"""

RETURN = r"""
instance:
  description: Address of the server.
  returned: always, once connected
  type: str
  sample: db1.example.com:5432
actions:
  description: What was done, and what matched and was left alone, with the reason.
  returned: always, once connected
  type: list
  elements: str
  sample:
    - Ended 80 sessions of worker (80).
    - "Left 2 sessions alone: superuser."
selected:
  description: The first 100 sessions that were chosen.
  returned: always, once connected
  type: list
  elements: dict
  sample:
    - {pid: 4711, user: app, application: worker, database: app, client: 192.0.2.7, state: idle_in_transaction,
       state_seconds: 609.0, query: SELECT 1}
selected_count:
  description: Number of sessions that were chosen.
  returned: always, once connected
  type: int
  sample: 80
cancelled:
  description: Number of statements that were cancelled.
  returned: always, once connected
  type: int
  sample: 0
terminated:
  description: Number of sessions that were told to end.
  returned: always, once connected
  type: int
  sample: 80
spared:
  description: Number of chosen sessions that changed or ended by themselves before they were told.
  returned: always, once connected
  type: int
  sample: 0
survived:
  description: Process identifiers of the sessions that still exist after O(timeout_seconds).
  returned: always, once connected
  type: list
  elements: int
  sample: []
before:
  description: Slots before.
  returned: always, once connected
  type: dict
  sample: {max: 100, superuser_reserved: 3, reserved: 2, application: 95, used: 90, free: 5, used_ratio: 0.9474}
after:
  description: Slots after. In check mode the same as before.
  returned: always, once connected
  type: dict
  sample: {max: 100, superuser_reserved: 3, reserved: 2, application: 95, used: 10, free: 85, used_ratio: 0.1053}
duration_seconds:
  description: How long it took.
  returned: success
  type: float
  sample: 0.21
"""

from typing import TYPE_CHECKING, Any

from ansible_collections.ops.runbooks.plugins.module_utils._module import run_module
from ansible_collections.ops.runbooks.plugins.module_utils._postgresql_adapter import Connection
from ansible_collections.ops.runbooks.plugins.module_utils._postgresql_options import Login, login_options
from ansible_collections.ops.runbooks.plugins.module_utils._postgresql_pool import ResetRequest, reset, reset_spec
from ansible_collections.ops.runbooks.plugins.module_utils._postgresql_source import PostgresqlSessions

if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule


def work(module: AnsibleModule) -> dict[str, Any]:
    request = ResetRequest.from_params(module.params)
    login = Login.from_params(module.params)
    connection = Connection(login)
    try:
        result = reset(PostgresqlSessions(connection), request, instance=login.instance, dry_run=module.check_mode)
    finally:
        connection.close()
    for warning in result.pop("warnings"):
        module.warn(warning)
    if module._diff:
        result["diff"] = {"before": result["before"], "after": result["after"]}
    return result


def main() -> None:
    run_module(login_options() + reset_spec(), work)


if __name__ == "__main__":
    main()
