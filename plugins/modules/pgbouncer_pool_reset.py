#!/usr/bin/python
# Copyright (c) 2026, The ops.runbooks contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: pgbouncer_pool_reset
short_description: Replace the server connections of PgBouncer, database by database
version_added: 0.1.0
author: The ops.runbooks contributors (@ops-runbooks)
description:
  - Replaces the connections that PgBouncer has to its servers, for each database that is named.
  - No database stays paused, whatever fails half-way. The module resumes on a fresh connection and checks it; a second process
    does so if the module itself is killed. If PgBouncer cannot be reached for a minute, the message says what to run.
  - A database that somebody else has paused, or that is disabled, is left alone.
extends_documentation_fragment:
  - ops.runbooks.pgbouncer
attributes:
  check_mode:
    support: full
    description: Checks the login, the right to run admin commands and the preconditions, and says what would be done.
  diff_mode:
    support: none
    description: RV(before) and RV(after) show the numbers.
  idempotent:
    support: none
    description: Each run replaces the connections that are open at the time.
options:
  databases:
    description: Databases as PgBouncer names them.
    type: list
    elements: str
    required: true
  mode:
    description:
      - V(reconnect) closes each server connection as soon as it is released. No client notices.
      - V(pause_kill_resume) lets running transactions end for O(pause_timeout_seconds), then drops every client and server
        connection of the database, and resumes. Each client sees one error. For clients that hold connections and do not
        give them back.
    type: str
    choices: [reconnect, pause_kill_resume]
    default: reconnect
  pause_timeout_seconds:
    description: Longest wait for running transactions, with O(mode=pause_kill_resume). V(0) does not wait.
    type: int
    default: 5
  wait_timeout_seconds:
    description:
      - How long the module waits for the effect, which is that each old server connection is closed, or after
        O(mode=pause_kill_resume) that no client waits any more. If it does not come in time, RV(actions) says so.
    type: int
    default: 5
  only_above:
    description: Reset only if a pool of a database has at least this share of its size in use, from 0 to 1.
    type: float
  precondition_reaction:
    description:
      - What happens when O(only_above) does not hold. V(fail) fails, V(skip) leaves everything alone and succeeds,
        V(warn) warns and resets all the same.
    type: str
    choices: [fail, skip, warn]
    default: fail
notes:
  - PgBouncer lets clients wait for C(server_login_retry) seconds (15 by default) when a login to a server fails while a
    database is killed. O(mode=pause_kill_resume) therefore lowers the setting to 1 s for the moment and restores it.
seealso:
  - module: ops.runbooks.pgbouncer_pool_info
"""

EXAMPLES = r"""
- name: Replace the server connections of a database
  ops.runbooks.pgbouncer_pool_reset:
    login_host: 192.0.2.20
    login_user: runbooks
    login_password: "{{ pgbouncer_password }}"
    databases: [app]

- name: Say what a reset would do
  ops.runbooks.pgbouncer_pool_reset:
    login_host: 192.0.2.20
    login_user: runbooks
    login_password: "{{ pgbouncer_password }}"
    databases: [app]
    mode: pause_kill_resume
  check_mode: true

- name: Drop clients that hold every connection, only if the pool is nearly full
  ops.runbooks.pgbouncer_pool_reset:
    login_host: 192.0.2.20
    login_user: runbooks
    login_password: "{{ pgbouncer_password }}"
    databases: [app]
    mode: pause_kill_resume
    pause_timeout_seconds: 2
    only_above: 0.9
    precondition_reaction: skip
"""

RETURN = r"""
actions:
  description: What was done, and what was left alone and why.
  returned: success, and failure after the databases were read
  type: list
  elements: str
  sample: ["Reconnected app; server connections: 5."]
instance:
  description: Address of the PgBouncer.
  returned: as RV(actions)
  type: str
  sample: 192.0.2.20:6432
mode:
  description: How the databases were reset.
  returned: as RV(actions)
  type: str
  sample: reconnect
before:
  description: Each named database before, as in M(ops.runbooks.pgbouncer_pool_info).
  returned: as RV(actions)
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
after:
  description: Each named database afterwards. In check mode, as before.
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
      clients_active: 9
      clients_waiting: 0
      servers_active: 2
      servers_idle: 3
      servers_other: 0
      longest_wait_seconds: 0.0
      used_ratio: 0.4
duration_seconds:
  description: How long it took.
  returned: as RV(actions)
  type: float
  sample: 0.412
refused:
  description: Whether nothing was reset because a precondition does not hold.
  returned: failure
  type: bool
  sample: true
"""

from functools import partial
from typing import TYPE_CHECKING, Any

from ansible_collections.ops.runbooks.plugins.module_utils._module import run_module
from ansible_collections.ops.runbooks.plugins.module_utils._pgbouncer_adapter import Psycopg2Console
from ansible_collections.ops.runbooks.plugins.module_utils._pgbouncer_guard import ForkedGuard
from ansible_collections.ops.runbooks.plugins.module_utils._pgbouncer_reset import ResetRequest, Resetter, reset_spec
from ansible_collections.ops.runbooks.plugins.module_utils._postgresql_options import Login

if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule


def work(module: AnsibleModule) -> dict[str, Any]:
    request = ResetRequest.from_params(module.params)
    login = Login.from_params(module.params)
    resetter = Resetter(login, partial(Psycopg2Console, login), ForkedGuard(), module.warn)
    return resetter.run(request, dry_run=module.check_mode)


def main() -> None:
    run_module(reset_spec(), work)


if __name__ == "__main__":
    main()
