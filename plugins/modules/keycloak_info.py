#!/usr/bin/python
# Copyright (c) 2026, The ops.runbooks contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: keycloak_info
short_description: Read what Keycloak answers, whether its database lets it in, and what it serves that is stale
version_added: 0.1.0
author: The ops.runbooks contributors (@ops-runbooks)
description:
  - Asks the management interface, a realm, and, as a client does, for a token. Logs in to the database as Keycloak does.
  - Compares realm, clients and users as Keycloak serves them with the rows of its database. A difference means that a
    cache is stale.
  - Everything is asked at the same time and bounded by O(timeout_seconds), a listing by three times as much. What cannot be read is listed and does not
    fail. Changes nothing.
extends_documentation_fragment:
  - ops.runbooks.keycloak
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
  timeout_seconds:
    default: 2.0
  login_client_secret:
    description: Secret of the client. Without it and O(login_user) nothing is compared.
  management_url:
    description: Address of the management interface, which tells whether Keycloak is ready. Port 9000 since Keycloak 25.
    type: str
  realm:
    description: The realm that is asked and compared.
    type: str
    required: true
  client_id:
    description: Client of O(realm) with a service account that asks for a token.
    type: str
  client_secret:
    description: Its secret.
    type: str
  users:
    description: Most users that are compared, those changed last. Users of a federation are left out.
    type: int
    default: 20
  database:
    description: How Keycloak itself logs in to its database, which must be PostgreSQL. The session only reads.
    type: dict
    suboptions:
      login_host:
        description: Host name or address of the server.
        type: str
        default: localhost
      login_port:
        description: TCP port of the server.
        type: int
        default: 5432
      login_unix_socket:
        description: Directory of a Unix socket to use in place of the host.
        type: path
      login_user:
        description: Role to log in as.
        type: str
        default: postgres
      login_password:
        description: Password of the role.
        type: str
      login_db:
        description: Database to log in to.
        type: str
        default: keycloak
      ssl_mode:
        description: Whether and how the connection is encrypted, as libpq defines it.
        type: str
        choices: [disable, allow, prefer, require, verify-ca, verify-full]
        default: prefer
      ca_cert:
        description: File of the certificate authorities that are trusted.
        type: path
      connect_timeout_seconds:
        description: Longest time to wait for a connection.
        type: int
        default: 5
requirements:
  - psycopg2 for O(database), on the managed host
seealso:
  - module: ops.runbooks.keycloak_cache_clear
"""

EXAMPLES = r"""
- name: Read how Keycloak stands
  ops.runbooks.keycloak_info:
    url: https://login.example.com
    management_url: http://192.0.2.31:9000
    realm: shop
    client_id: probe
    client_secret: "{{ probe_secret }}"
    login_client_id: runbooks
    login_client_secret: "{{ keycloak_client_secret }}"
    database:
      login_host: db1.example.com
      login_user: keycloak
      login_password: "{{ keycloak_db_password }}"
  register: keycloak

- name: Ask only what everybody may ask, in check mode, which is the same
  ops.runbooks.keycloak_info:
    url: https://login.example.com
    realm: shop
  check_mode: true
"""

RETURN = r"""
ready:
  description: Status of the readiness check, null without an answer, and the checks that are not up.
  returned: success
  type: dict
  sample: {status: 503, down: [Keycloak database connections async health check], error: ""}
endpoints:
  description: Status of the discovery document, of the keys and of a token, null without an answer, each with its error.
  returned: success
  type: dict
  sample:
    discovery: {status: 200, error: ""}
    certs: {status: 200, error: ""}
    token: {status: 403, error: Realm not enabled}
database:
  description:
    - Whether the database lets Keycloak's role in. C(refused) means that it lives and does not; C(full) that no slot is
      free, C(no_answer) that nothing answers.
  returned: success
  type: dict
  sample: {login: ok, why: ""}
stale:
  description:
    - How many values Keycloak serves that its database does not hold, among how many objects, and the first of them. Of a
      client's secret only that it differs.
  returned: when both could be read
  type: dict
  sample:
    count: 1
    compared: 12
    differences: [{what: realm shop, field: enabled, served: false, stored: true}]
unreadable:
  description: What could not be read, and why.
  returned: success
  type: list
  elements: dict
  sample: []
"""

from typing import TYPE_CHECKING, Any

from ansible_collections.ops.runbooks.plugins.module_utils._keycloak_adapter import HttpAdmin, HttpServer
from ansible_collections.ops.runbooks.plugins.module_utils._keycloak_info import Reading, info_spec
from ansible_collections.ops.runbooks.plugins.module_utils._module import run_module
from ansible_collections.ops.runbooks.plugins.module_utils._postgresql_adapter import Connection
from ansible_collections.ops.runbooks.plugins.module_utils._postgresql_options import Login

if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

LISTINGS = 3


def work(module: AnsibleModule) -> dict[str, Any]:
    params = module.params
    signs_in = params["login_user"] or params["login_client_secret"]
    # A listing takes longer than a probe.
    administration = {**params, "timeout_seconds": LISTINGS * params["timeout_seconds"]}
    login = Login.from_params(params["database"]) if params["database"] else None
    return Reading(
        realm=params["realm"],
        server=HttpServer.from_params(params),
        admin=HttpAdmin.from_params(administration) if signs_in else None,
        database=(lambda: Connection(login, statement_timeout_seconds=2, read_only=True)) if login else None,
        users=params["users"],
    ).read()


def main() -> None:
    run_module(info_spec(), work)


if __name__ == "__main__":
    main()
