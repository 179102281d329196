# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  url:
    description: Address of the server, without the path of its API.
    type: str
    required: true
  token:
    description: Bearer token.
    type: str
  timeout_seconds:
    description: Longest time, in seconds, to wait for an answer.
    type: float
    default: 10.0
  validate_certs:
    description: Whether the certificate is verified.
    type: bool
    default: true
  ca_path:
    description: File of the certificate authorities that are trusted.
    type: path
"""
