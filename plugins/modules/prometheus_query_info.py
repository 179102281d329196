#!/usr/bin/python
# Copyright (c) 2026, The ops.runbooks contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: prometheus_query_info
short_description: Ask Prometheus several instant queries
version_added: 0.1.0
author: The ops.runbooks contributors (@ops-runbooks)
description:
  - Evaluates every query at the same time and returns the series of each under its name.
  - A query that cannot be read is listed with the reason. The task fails if none could be read, or with O(require_all) if
    any could not.
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
  queries:
    description: What is asked.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the query in the result.
        type: str
        required: true
      query:
        description: Expression in PromQL.
        type: str
        required: true
  time:
    description: Evaluate at this moment (RFC 3339 or Unix time) instead of now.
    type: str
  require_all:
    description: Whether the task fails if any query cannot be read.
    type: bool
    default: false
extends_documentation_fragment:
  - ops.runbooks.web_api
seealso:
  - module: ops.runbooks.recovery_check
"""

EXAMPLES = r"""
- name: Read what is down, and how full the slots are
  ops.runbooks.prometheus_query_info:
    url: http://prometheus.example.com:9090
    queries:
      - name: down
        query: up == 0
      - name: slots
        query: sum by (instance) (pg_stat_activity_count)
  register: metrics

- name: Read how it was when the alert began, or fail
  ops.runbooks.prometheus_query_info:
    url: http://prometheus.example.com:9090
    time: "2026-11-23T03:09:15Z"
    require_all: true
    queries:
      - name: used
        query: max(pg_stat_activity_count)
"""

RETURN = r"""
results:
  description: >-
    The series of each query that could be read, by name, at most 1000 each; a scalar is one series without labels. Values
    that are not finite are text.
  returned: success
  type: dict
  sample:
    down: []
    slots:
      - {labels: {instance: "db1:9187"}, value: 42.0}
unreadable:
  description: What could not be read, and why.
  returned: always, once asked
  type: list
  elements: dict
  sample:
    - {what: slots, why: "Prometheus answered 400: parse error"}
truncated:
  description: Names of the queries of which more series exist than are returned.
  returned: always, once asked
  type: list
  elements: str
  sample: []
warnings_of_prometheus:
  description: What Prometheus warns of.
  returned: always, once asked
  type: list
  elements: str
  sample: []
"""

from typing import TYPE_CHECKING, Any

from ansible_collections.ops.runbooks.plugins.module_utils._module import run_module
from ansible_collections.ops.runbooks.plugins.module_utils._prometheus import query_spec, read_queries

if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule


def work(module: AnsibleModule) -> dict[str, Any]:
    return read_queries(module.params)


def main() -> None:
    run_module(query_spec(), work)


if __name__ == "__main__":
    main()
