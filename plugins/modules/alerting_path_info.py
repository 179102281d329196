#!/usr/bin/python
# Copyright (c) 2026, The ops.runbooks contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: alerting_path_info
short_description: Read the way of an alert hop by hop
version_added: 0.1.0
author: The ops.runbooks contributors (@ops-runbooks)
description:
  - Asks Prometheus, Alertmanager, their containers and their files each by itself, at the same time, so that the answer is
    complete when one of them is the patient.
  - Whether files are valid is judged by C(promtool) and C(amtool) of the servers' own images.
extends_documentation_fragment:
  - ops.runbooks.alerting
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
  starting_seconds:
    description: >-
      Time, in seconds, that a Prometheus which answers that it is not ready may take to replay its log before it counts as
      hung.
    type: float
    default: 900.0
  storage_path:
    description: Directory of the storage of Prometheus, as its container sees it.
    type: str
    default: /data
  demand:
    description:
      - What must be true for the caller to act; otherwise the task fails with C(refused).
      - V(alertmanager_down) is an Alertmanager that is not ready although its files are not wrong.
      - V(prometheus_down) is a Prometheus that is not ready, does not just start, and is kept from it neither by its files
        nor by its storage.
    type: str
    choices: [alertmanager_down, prometheus_down]
"""

EXAMPLES = r"""
- name: Read every hop
  ops.runbooks.alerting_path_info:
    prometheus:
      url: http://127.0.0.1:9090
      container: monitoring-prometheus-1
      directory: /etc/prometheus
    alertmanager:
      url: http://127.0.0.1:9093
      container: monitoring-alertmanager-1
      directory: /etc/alertmanager
  register: path

- name: Refuse to go on unless Prometheus is down
  ops.runbooks.alerting_path_info:
    prometheus:
      url: http://127.0.0.1:9090
      container: monitoring-prometheus-1
      directory: /etc/prometheus
    alertmanager:
      url: http://127.0.0.1:9093
      container: monitoring-alertmanager-1
      directory: /etc/alertmanager
    demand: prometheus_down
"""

RETURN = r"""
prometheus:
  description: >-
    Whether it answers, is ready or starts, its container, whether its last reload failed or is older than its files, its
    rules, its Alertmanagers, its counters of failures, and what the tool says of its files.
  returned: always
  type: dict
  sample:
    ready: true
    answers: true
    starting: false
    stale: false
    rules: 12
    alertmanagers: ["http://alertmanager:9093/api/v2/alerts"]
    container: {state: running, exit_code: 0, restarts: 0, started: "2026-01-05T08:00:00Z"}
    configuration: {valid: true, output: "SUCCESS: 12 rules found"}
alertmanager:
  description: The same of Alertmanager, with the age of the heartbeat C(Watchdog) that Prometheus last handed over.
  returned: always
  type: dict
  sample: {ready: true, answers: true, starting: false, stale: false, alerts: 1, heartbeat_age_seconds: 3.0}
failing_rules:
  description: Rules whose last evaluation failed for a reason in their file, at most twenty.
  returned: always
  type: list
  elements: dict
  sample: [{group: g, file: /etc/prometheus/alerts.yml, rule: A, error: "found duplicate series"}]
invalid:
  description: Servers whose files on disk are not valid.
  returned: always
  type: list
  elements: str
  sample: []
stale:
  description: Servers that are ready, whose files are valid, and that do not run with them.
  returned: always
  type: list
  elements: str
  sample: [alertmanager]
storage:
  description:
    - Whether Prometheus does not start because its storage is damaged, whether it can write there, and what it says.
    - On a full disk a running Prometheus stays ready and keeps no sample.
  returned: always
  type: dict
  sample: {damaged: false, writable: true, error: ""}
unreadable:
  description: What could not be read, and why.
  returned: always
  type: list
  elements: dict
  sample: []
"""

from typing import TYPE_CHECKING, Any

from ansible_collections.ops.runbooks.plugins.module_utils._alerting_path import Observer, demand, path_spec
from ansible_collections.ops.runbooks.plugins.module_utils._alerting_site import HttpSite
from ansible_collections.ops.runbooks.plugins.module_utils._module import run_module, runner_of

if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule


def work(module: AnsibleModule) -> dict[str, Any]:
    site = HttpSite(runner_of(module), module.params["timeout_seconds"])
    evidence = Observer(site, module.params).observe()
    if module.params["demand"]:
        demand(evidence, module.params["demand"])
    return evidence


def main() -> None:
    run_module(path_spec(), work)


if __name__ == "__main__":
    main()
