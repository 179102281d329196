#!/usr/bin/python
# Copyright (c) 2026, The ops.runbooks contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: recovery_check
short_description: Prove that a service has recovered
version_added: 0.1.0
author: The ops.runbooks contributors (@ops-runbooks)
description:
  - Asks several probes at the same time, again and again, and says whether the service has recovered.
  - V(recovered) means that every probe was good O(consecutive) times in a row.
  - V(not_recovered) means that a direct probe answered and is bad, or was not good often enough in a row.
  - V(decaying) means that the direct probes are good and a windowed one has yet to empty.
  - V(unknown) means that something could not be checked. It is never success.
attributes:
  check_mode:
    support: full
    description: Changes nothing in any mode, and probes in check mode as well.
  diff_mode:
    support: none
    description: There is nothing to compare.
  idempotent:
    support: full
    description: Reads only.
options:
  probes:
    description: What is asked. Each probe has a name, one kind, and for V(sql), V(redis) and V(promql) one expectation.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the probe in the result.
        type: str
        required: true
      windowed:
        description:
          - Whether the value looks back over a window, as the condition of an alert does, and so lags behind the service.
          - At least one probe must be direct.
        type: bool
        default: false
      unreachable_is:
        description:
          - What it means when nothing answers.
          - The default is V(bad) for the service itself (O(probes[].http), O(probes[].tcp), O(probes[].sql),
            O(probes[].redis)) and V(unknown) for what only reports on it (O(probes[].promql), O(probes[].container)).
        type: str
        choices: [bad, unknown]
      http:
        description: An HTTP request. The value is the status.
        type: dict
        suboptions:
          url:
            description: Address that is asked.
            type: str
            required: true
          method:
            description: Method of the request.
            type: str
            choices: [GET, HEAD, POST]
            default: GET
          status:
            description: Statuses that are good.
            type: list
            elements: int
            default: [200]
          body_contains:
            description: Text that the answer must contain.
            type: str
          form:
            description: Fields of a form that is sent, with V(POST).
            type: dict
          login_user:
            description: User, or client, of HTTP basic authentication.
            type: str
          login_password:
            description: Its password.
            type: str
          token:
            description: Bearer token.
            type: str
          timeout_seconds:
            description: Longest time to wait for the answer.
            type: float
            default: 3.0
          validate_certs:
            description: Whether the certificate is verified.
            type: bool
            default: true
          ca_path:
            description: File of the certificate authorities that are trusted.
            type: path
      tcp:
        description: A TCP connection.
        type: dict
        suboptions:
          host:
            description: Host to connect to.
            type: str
            required: true
          port:
            description: Port to connect to.
            type: int
            required: true
          timeout_seconds:
            description: Longest time to wait for the connection.
            type: float
            default: 3.0
      sql:
        description: A query of PostgreSQL that gives one value, in a read-only session.
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
            default: postgres
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
          query:
            description: The query, with C(%s) for each parameter.
            type: str
            required: true
          parameters:
            description: Parameters of the query.
            type: list
            elements: raw
            default: []
          timeout_seconds:
            description: Longest time the query may run.
            type: float
            default: 3.0
      redis:
        description: A command of Redis that reads.
        type: dict
        suboptions:
          login_host:
            description: Host name or address of the server.
            type: str
            default: localhost
          login_port:
            description: TCP port of the server.
            type: int
            default: 6379
          login_user:
            description: ACL user.
            type: str
          login_password:
            description: Password.
            type: str
          tls:
            description: Whether the connection is encrypted.
            type: bool
            default: false
          ca_certs:
            description: File of the certificate authorities that are trusted.
            type: path
          client_cert:
            description: File of the certificate that is shown to a server that asks for one.
            type: path
          client_key:
            description: File of the private key of O(probes[].redis.client_cert).
            type: path
          command:
            description: The command.
            type: str
            choices: [PING, INFO, DBSIZE, EXISTS, STRLEN, LLEN, HLEN, SCARD, ZCARD, TTL]
            default: PING
          arguments:
            description: Arguments of the command, such as the section of C(INFO) or a key.
            type: list
            elements: str
            default: []
          field:
            description: Field of C(INFO) that is the value.
            type: str
          share_of:
            description: Field of C(INFO) that O(probes[].redis.field) is divided by. A limit of 0 is none, and gives 0.
            type: str
          timeout_seconds:
            description: Longest time to wait for the answer.
            type: float
            default: 3.0
      container:
        description: Running replicas of a Docker Compose service that are not unhealthy. The value is their number.
        type: dict
        suboptions:
          project:
            description: Compose project.
            type: str
            required: true
          service:
            description: Compose service.
            type: str
            required: true
          minimum:
            description: Replicas that must be healthy.
            type: int
            default: 1
      promql:
        description: A query of Prometheus that gives one value.
        type: dict
        suboptions:
          url:
            description: Address of Prometheus.
            type: str
            required: true
          query:
            description: The query.
            type: str
            required: true
          no_data:
            description: What an empty result means. The expression of an alert is empty when all is well.
            type: str
            choices: [good, bad, unknown]
            default: unknown
          token:
            description: Bearer token.
            type: str
          timeout_seconds:
            description: Longest time to wait for the answer.
            type: float
            default: 3.0
          validate_certs:
            description: Whether the certificate is verified.
            type: bool
            default: true
          ca_path:
            description: File of the certificate authorities that are trusted.
            type: path
      equals:
        description: The value must be this, compared as text.
        type: raw
      at_least:
        description: The value must be this or more.
        type: float
      at_most:
        description: The value must be this or less.
        type: float
      above:
        description: The value must be more than this.
        type: float
      below:
        description: The value must be less than this.
        type: float
  consecutive:
    description: Good samples in a row that prove recovery.
    type: int
    default: 3
  interval_seconds:
    description: Time between two samples.
    type: float
    default: 1.0
  timeout_seconds:
    description: Longest time to wait for recovery.
    type: float
    default: 60.0
  decay_timeout_seconds:
    description: >-
      Longest time to wait for windowed probes once the direct ones are good; then the verdict is V(decaying).
    type: float
    default: 0.0
  require_recovered:
    description: Whether the task fails unless the verdict is V(recovered).
    type: bool
    default: false
requirements:
  - psycopg2 for sql, redis for redis, docker for container probes, on the managed host
"""

EXAMPLES = r"""
- name: Prove that the application and its database answer
  ops.runbooks.recovery_check:
    probes:
      - name: application
        http:
          url: http://app.example.com/ready
      - name: slots in use
        sql:
          login_host: db1.example.com
          login_user: runbooks
          login_password: "{{ postgres_password }}"
          query: SELECT count(*) FROM pg_stat_activity
        below: 80
      - name: condition of the alert
        windowed: true
        promql:
          url: http://prometheus.example.com:9090
          query: max(pg_stat_activity_count) / 100
        below: 0.9
  register: checked

- name: Check once in check mode, which probes as well
  ops.runbooks.recovery_check:
    consecutive: 1
    timeout_seconds: 5
    probes:
      - name: redis
        redis:
          login_host: redis1.example.com
        equals: PONG
  check_mode: true

- name: Fail unless two replicas are healthy
  ops.runbooks.recovery_check:
    require_recovered: true
    probes:
      - name: replicas
        container:
          project: shop
          service: web
          minimum: 2
"""

RETURN = r"""
verdict:
  description: V(recovered), V(not_recovered), V(decaying) or V(unknown).
  returned: always
  type: str
  sample: recovered
good:
  description: Whether the verdict is V(recovered).
  returned: always
  type: bool
  sample: true
reason:
  description: One sentence that names the probe that decided, its value and what was expected.
  returned: always
  type: str
  sample: Every probe was good 3 times in a row.
checks:
  description: The last reading of each probe. C(good) is null when it could not be told.
  returned: always
  type: list
  elements: dict
  sample:
    - {name: application, kind: http, windowed: false, value: 200, expectation: status 200, good: true, error: ""}
samples:
  description: Number of samples that were taken.
  returned: always
  type: int
  sample: 3
consecutive_good:
  description: Number of samples in a row, up to the last, in which every probe was good.
  returned: always
  type: int
  sample: 3
duration_seconds:
  description: How long it took.
  returned: always
  type: float
  sample: 2.03
"""

from typing import TYPE_CHECKING, Any

from ansible_collections.ops.runbooks.plugins.module_utils._module import run_module
from ansible_collections.ops.runbooks.plugins.module_utils._recovery_check import (
    RecoveryRequest,
    check_recovery,
    recovery_spec,
)
from ansible_collections.ops.runbooks.plugins.module_utils._recovery_probes import read, require_libraries

if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule


def work(module: AnsibleModule) -> dict[str, Any]:
    request = RecoveryRequest.from_params(module.params)
    require_libraries(request.probes)
    return check_recovery(request, read)


def main() -> None:
    run_module(recovery_spec(), work)


if __name__ == "__main__":
    main()
