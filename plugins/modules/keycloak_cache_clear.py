#!/usr/bin/python
# Copyright (c) 2026, The ops.runbooks contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: keycloak_cache_clear
short_description: Clear the realm, user and key caches of Keycloak
version_added: 0.1.0
author: The ops.runbooks contributors (@ops-runbooks)
description:
  - Has Keycloak forget what it keeps of its database, so that it reads it again. That is what helps when it serves data
    that its database no longer holds, as after a change by SQL or a restore.
  - Needs a Keycloak that answers and a user or client that may administer the realm. It is no remedy for one that is down.
  - User sessions are left alone. The keys are those of clients and identity providers, not those that sign the tokens
    of the realm.
  - Keycloak clears the caches of all realms, whichever is named, and then reads them again from its database. On a
    large installation that is felt.
extends_documentation_fragment:
  - ops.runbooks.keycloak
attributes:
  check_mode:
    support: full
    description: Signs in, looks for the realm and says what would be cleared.
  diff_mode:
    support: none
    description: Keycloak does not show what its caches hold.
  idempotent:
    support: none
    description: Each run clears again.
options:
  realm:
    description: A realm that must exist.
    type: str
    required: true
  caches:
    description:
      - What is cleared. V(realm) holds realms, clients, roles and groups, V(user) users, and V(keys) the public keys of
        clients and identity providers.
    type: list
    elements: str
    choices: [realm, user, keys]
    default: [realm, user, keys]
seealso:
  - module: ops.runbooks.keycloak_info
"""

EXAMPLES = r"""
- name: Clear all caches
  ops.runbooks.keycloak_cache_clear:
    url: https://login.example.com
    login_client_id: runbooks
    login_client_secret: "{{ keycloak_client_secret }}"
    realm: shop

- name: Say what would be cleared
  ops.runbooks.keycloak_cache_clear:
    url: https://login.example.com
    login_user: admin
    login_password: "{{ keycloak_admin_password }}"
    realm: shop
  check_mode: true

- name: Clear the users only, after a change of theirs by SQL
  ops.runbooks.keycloak_cache_clear:
    url: https://login.example.com
    login_client_id: runbooks
    login_client_secret: "{{ keycloak_client_secret }}"
    realm: shop
    caches: [user]
"""

RETURN = r"""
realm:
  description: The realm.
  returned: always, once the request was valid
  type: str
  sample: shop
cleared:
  description: The caches that were cleared, in that order. Empty in check mode.
  returned: always, once the request was valid
  type: list
  elements: str
  sample: [realm, user, keys]
actions:
  description: What was done, or would be in check mode.
  returned: always, once the request was valid
  type: list
  elements: str
  sample: ["Cleared the user cache (users) of every realm."]
"""

from typing import TYPE_CHECKING, Any

from ansible_collections.ops.runbooks.plugins.module_utils._keycloak_adapter import HttpAdmin
from ansible_collections.ops.runbooks.plugins.module_utils._keycloak_cache import (
    ClearRequest,
    cache_clear_spec,
    clear_caches,
)
from ansible_collections.ops.runbooks.plugins.module_utils._module import run_module

if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule


def work(module: AnsibleModule) -> dict[str, Any]:
    request = ClearRequest.from_params(module.params)
    return clear_caches(HttpAdmin.from_params(module.params), request, dry_run=module.check_mode)


def main() -> None:
    run_module(cache_clear_spec(), work)


if __name__ == "__main__":
    main()
