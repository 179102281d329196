#!/usr/bin/python
# Copyright (c) 2026, The ops.runbooks contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: prometheus_config_check
short_description: Validate files of Prometheus and Alertmanager with the servers' own tools
version_added: 0.1.0
author: The ops.runbooks contributors (@ops-runbooks)
description:
  - Has C(promtool) and C(amtool) check configuration and rules, on the host or in a container, where the version is that
    of the server and the paths are those that the server sees.
  - A server with wrong files keeps running with its old ones and says so in a metric only; it does not start again.
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
  prometheus_file:
    description: Configuration of Prometheus. The files of rules that it names are checked as well.
    type: str
  rule_files:
    description: Files of rules.
    type: list
    elements: str
    default: []
  alertmanager_file:
    description: Configuration of Alertmanager.
    type: str
  container:
    description:
      - Name of the container in which the tool runs. Without it the tool of the host is used.
      - If it does not run, the tool runs in a container of its own, from the same image and with the same files, which is
        removed again.
    type: str
  require_valid:
    description: Whether the task fails if a file is not valid.
    type: bool
    default: true
requirements:
  - promtool, amtool, or with O(container) the Docker CLI, on the managed host
"""

EXAMPLES = r"""
- name: Check what the running Prometheus would read
  ops.runbooks.prometheus_config_check:
    container: monitoring-prometheus-1
    prometheus_file: /etc/prometheus/prometheus.yml

- name: Tell whether new rules are valid
  ops.runbooks.prometheus_config_check:
    rule_files: [/srv/rules/alerts.yml]
    require_valid: false
  register: rules
"""

RETURN = r"""
valid:
  description: Whether every file is valid.
  returned: always, once checked
  type: bool
  sample: true
checks:
  description: Each file with the verdict, what the tool said, and for rules how many there are.
  returned: always, once checked
  type: list
  elements: dict
  sample:
    - kind: prometheus
      file: /etc/prometheus/prometheus.yml
      valid: true
      rules: 12
      output: "SUCCESS: /etc/prometheus/prometheus.yml is valid prometheus config file syntax"
"""

from typing import TYPE_CHECKING, Any

from ansible_collections.ops.runbooks.plugins.module_utils._module import run_module, runner_of
from ansible_collections.ops.runbooks.plugins.module_utils._prometheus_config import check_config, config_check_spec

if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule


def work(module: AnsibleModule) -> dict[str, Any]:
    return check_config(module.params, runner_of(module))


def main() -> None:
    run_module(config_check_spec(), work)


if __name__ == "__main__":
    main()
