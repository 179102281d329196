#!/usr/bin/python
# Copyright (c) 2026, The ops.runbooks contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: alerting_config
short_description: Load, keep or restore the files of Prometheus and Alertmanager
version_added: 0.1.0
author: The ops.runbooks contributors (@ops-runbooks)
description:
  - V(loaded) has a server whose last reload failed or is older than its files load them, once its own tool finds them
    valid. A server that is not ready, or runs with its files, is left alone.
  - V(kept) copies the files that a server runs with, and whose rules can be evaluated, as the last good ones.
  - V(restored) puts the last good files back where the files on disk are not valid, or a rule cannot be evaluated, and
    loads them. What was on disk is set aside under O(keep), never deleted.
extends_documentation_fragment:
  - ops.runbooks.alerting
attributes:
  check_mode:
    support: full
    description: Says what would change and changes nothing.
  diff_mode:
    support: none
    description: The result names the files that differ; what is in them may be secret.
  idempotent:
    support: full
    description: A second run finds nothing to do.
options:
  state:
    description: What is wanted.
    type: str
    choices: [loaded, kept, restored]
    required: true
  keep:
    description: Directory of the last good files and of what was set aside, outside of the servers' directories.
    type: path
    required: true
"""

EXAMPLES = r"""
- name: Load valid files that are not in force
  ops.runbooks.alerting_config:
    prometheus:
      url: http://127.0.0.1:9090
      container: monitoring-prometheus-1
      directory: /etc/prometheus
    alertmanager:
      url: http://127.0.0.1:9093
      container: monitoring-alertmanager-1
      directory: /etc/alertmanager
    state: loaded
    keep: /var/lib/ops-runbooks/alerting

- name: Say which files would be put back
  ops.runbooks.alerting_config:
    prometheus:
      url: http://127.0.0.1:9090
      container: monitoring-prometheus-1
      directory: /etc/prometheus
    alertmanager:
      url: http://127.0.0.1:9093
      container: monitoring-alertmanager-1
      directory: /etc/alertmanager
    state: restored
    keep: /var/lib/ops-runbooks/alerting
  check_mode: true
"""

RETURN = r"""
actions:
  description: What was done or left alone, and why.
  returned: always, once it began
  type: list
  elements: str
  sample: ["Alertmanager loaded its files."]
before:
  description: >-
    Of each server whether its files are valid, whether it runs without them (null if it does not answer), and how they
    differ from the last good ones.
  returned: always, once it began
  type: dict
  sample:
    prometheus: {valid: true, stale: false, has_last_good: true, differs_from_last_good: {changed: [], added: [], missing: []}}
after:
  description: The same after. In check mode as before.
  returned: success
  type: dict
  sample: {}
"""

from typing import TYPE_CHECKING, Any

from ansible_collections.ops.runbooks.plugins.module_utils._alerting_config import Configurator, config_spec
from ansible_collections.ops.runbooks.plugins.module_utils._alerting_site import HttpSite
from ansible_collections.ops.runbooks.plugins.module_utils._module import run_module, runner_of

if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule


def work(module: AnsibleModule) -> dict[str, Any]:
    site = HttpSite(runner_of(module), module.params["timeout_seconds"])
    return Configurator(site, module.params, dry_run=module.check_mode).run()


def main() -> None:
    run_module(config_spec(), work)


if __name__ == "__main__":
    main()
