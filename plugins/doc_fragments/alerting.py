# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  prometheus:
    description: Where Prometheus and its files are.
    type: dict
    required: true
    suboptions:
      url:
        description: Address, without the path of its API.
        type: str
        required: true
      container:
        description: Name of its container.
        type: str
        required: true
      file:
        description: Its configuration, as the container sees it.
        type: str
        default: /etc/prometheus/prometheus.yml
      directory:
        description:
          - Directory of its configuration and rules on the host (C(.yml), C(.yaml), C(.rules), C(.tmpl)).
          - Service discovery in JSON may lie there as well; it is read without a reload, and left alone.
        type: path
        required: true
  alertmanager:
    description: Where Alertmanager and its files are.
    type: dict
    required: true
    suboptions:
      url:
        description: Address, without the path of its API.
        type: str
        required: true
      container:
        description: Name of its container.
        type: str
        required: true
      file:
        description: Its configuration, as the container sees it.
        type: str
        default: /etc/alertmanager/alertmanager.yml
      directory:
        description: Directory of its configuration and templates on the host.
        type: path
        required: true
  timeout_seconds:
    description: Longest time, in seconds, to wait for one answer.
    type: float
    default: 2.0
requirements:
  - the Docker CLI on the managed host
"""
