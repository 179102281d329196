#!/usr/bin/python
# Copyright (c) 2026, The ops.runbooks contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: alerting_path_check
short_description: Prove that an alert gets from Prometheus to a receiver
version_added: 0.1.0
author: The ops.runbooks contributors (@ops-runbooks)
description:
  - Asks each hop by itself, as M(ops.runbooks.alerting_path_info) does, and sends Alertmanager a test alert with a label of
    its own, C(AlertingPathProbe), that must arrive at the receiver which this module opens while it runs. Afterwards the
    test alert is ended.
  - Alertmanager needs a route for it; see C(observability/alertmanager/alertmanager.yml). That route also sends it the way
    of every real alert, and a delivery that fails meanwhile is bad.
  - That Prometheus hands its alerts over is proved by the age of the heartbeat C(Watchdog) in Alertmanager.
  - The verdicts are those of M(ops.runbooks.recovery_check).
extends_documentation_fragment:
  - ops.runbooks.alerting
attributes:
  check_mode:
    support: partial
    description: Sends nothing.
    details:
      - Sends no test alert, and so proves nothing; the verdict is at best V(unknown).
  diff_mode:
    support: none
    description: There is nothing to compare.
  idempotent:
    support: full
    description: Leaves nothing behind.
options:
  listen_host:
    description: Address of this host on which the test alert is awaited; Alertmanager must reach it.
    type: str
    required: true
  listen_port:
    description: Port on which the test alert is awaited.
    type: int
    default: 19098
  arrival_seconds:
    description: Longest time that a test alert may take.
    type: float
    default: 10.0
  heartbeat_seconds:
    description: Greatest age of the heartbeat. Prometheus hands it over once a minute by default.
    type: float
    default: 180.0
  consecutive:
    description: Good samples in a row that prove recovery; each sends a test alert.
    type: int
    default: 2
  interval_seconds:
    description: Time between two samples.
    type: float
    default: 1.0
  recovery_timeout_seconds:
    description: Longest time to wait for recovery.
    type: float
    default: 60.0
  decay_timeout_seconds:
    description: Longest time to wait until the condition of the alert is gone once every hop is good.
    type: float
    default: 0.0
"""

EXAMPLES = r"""
- name: Prove that alerts arrive
  ops.runbooks.alerting_path_check:
    prometheus:
      url: http://127.0.0.1:9090
      container: monitoring-prometheus-1
      directory: /etc/prometheus
    alertmanager:
      url: http://127.0.0.1:9093
      container: monitoring-alertmanager-1
      directory: /etc/alertmanager
    listen_host: 172.17.0.1
  register: checked

- name: Ask every hop and send nothing
  ops.runbooks.alerting_path_check:
    prometheus:
      url: http://127.0.0.1:9090
      container: monitoring-prometheus-1
      directory: /etc/prometheus
    alertmanager:
      url: http://127.0.0.1:9093
      container: monitoring-alertmanager-1
      directory: /etc/alertmanager
    listen_host: 127.0.0.1
    consecutive: 1
    recovery_timeout_seconds: 5
  check_mode: true
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
  description: One sentence that names the hop that decided, its value and what was expected.
  returned: always
  type: str
  sample: Every probe was good 2 times in a row.
checks:
  description: The last reading of each hop. C(good) is null when it could not be told.
  returned: always
  type: list
  elements: dict
  sample:
    - {name: test alert arrives, kind: arrival, windowed: false, value: after 0.1 s, expectation: within 10 s, good: true,
       error: ""}
samples:
  description: Number of samples that were taken.
  returned: always
  type: int
  sample: 2
consecutive_good:
  description: Number of samples in a row, up to the last, in which every hop was good.
  returned: always
  type: int
  sample: 2
duration_seconds:
  description: How long it took.
  returned: always
  type: float
  sample: 1.4
"""

from typing import TYPE_CHECKING, Any

from ansible_collections.ops.runbooks.plugins.module_utils._alerting_check import check_path, check_spec
from ansible_collections.ops.runbooks.plugins.module_utils._alerting_site import HttpSite
from ansible_collections.ops.runbooks.plugins.module_utils._module import run_module, runner_of

if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule


def work(module: AnsibleModule) -> dict[str, Any]:
    site = HttpSite(runner_of(module), module.params["timeout_seconds"])
    return check_path(module.params, site, dry_run=module.check_mode)


def main() -> None:
    run_module(check_spec(), work)


if __name__ == "__main__":
    main()
