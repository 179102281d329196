#!/usr/bin/python
# Copyright (c) 2026, The ops.runbooks contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: prometheus_storage_repair
short_description: Move the damaged part of the storage of Prometheus aside
version_added: 0.1.0
author: The ops.runbooks contributors (@ops-runbooks)
description:
  - For a Prometheus that does not start because it cannot open its storage, and says so in its log. Refuses otherwise.
  - Finds the write-ahead log, the head chunks or the blocks that are damaged, moves them to a directory C(set-aside) inside
    the storage, and starts Prometheus. Repeats while it names another part. Never deletes anything.
  - What is set aside is missing from every query until somebody mends and returns it; of the log that is up to three hours.
extends_documentation_fragment:
  - ops.runbooks.alerting
attributes:
  check_mode:
    support: full
    description: Says what would be moved first and changes nothing.
  diff_mode:
    support: none
    description: There is nothing to compare; the result names what was moved.
  idempotent:
    support: full
    description: Refuses once Prometheus has started.
options:
  path:
    description: Directory of the storage, as the container sees it.
    type: str
    default: /data
  ready_seconds:
    description: Longest time that Prometheus may take to become ready.
    type: float
    default: 300.0
"""

EXAMPLES = r"""
- name: Say what would be moved aside
  ops.runbooks.prometheus_storage_repair:
    prometheus:
      url: http://127.0.0.1:9090
      container: monitoring-prometheus-1
      directory: /etc/prometheus
    alertmanager:
      url: http://127.0.0.1:9093
      container: monitoring-alertmanager-1
      directory: /etc/alertmanager
  check_mode: true

- name: Let Prometheus start again
  ops.runbooks.prometheus_storage_repair:
    prometheus:
      url: http://127.0.0.1:9090
      container: monitoring-prometheus-1
      directory: /etc/prometheus
    alertmanager:
      url: http://127.0.0.1:9093
      container: monitoring-alertmanager-1
      directory: /etc/alertmanager
    path: /prometheus
"""

RETURN = r"""
moved:
  description: Where the damaged parts are now, in the container. Empty in check mode.
  returned: always, once it began
  type: list
  elements: str
  sample: [/data/set-aside/20260105T031415Z/wal]
actions:
  description: What was done.
  returned: always, once it began
  type: list
  elements: str
  sample: ["Moved wal to /data/set-aside/20260105T031415Z.", "Prometheus is ready after 2 s."]
before:
  description: Whether Prometheus was ready, and why it did not start.
  returned: always, once it began
  type: dict
  sample: {ready: false, error: "get segment range: segments are not sequential"}
after:
  description: The same after. In check mode as before.
  returned: always, once it began
  type: dict
  sample: {ready: true, error: ""}
"""

from typing import TYPE_CHECKING, Any

from ansible_collections.ops.runbooks.plugins.module_utils._alerting_site import HttpSite
from ansible_collections.ops.runbooks.plugins.module_utils._module import run_module, runner_of
from ansible_collections.ops.runbooks.plugins.module_utils._prometheus_storage import Repairer, storage_spec

if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule


def work(module: AnsibleModule) -> dict[str, Any]:
    site = HttpSite(runner_of(module), module.params["timeout_seconds"])
    return Repairer(site, module.params).run(dry_run=module.check_mode)


def main() -> None:
    run_module(storage_spec(), work)


if __name__ == "__main__":
    main()
