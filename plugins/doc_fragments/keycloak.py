# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  url:
    description: Address of Keycloak with its relative path, if it has one.
    type: str
    required: true
  login_realm:
    description: Realm to sign in to. One in V(master) can still be signed in to when the realm in question cannot.
    type: str
    default: master
  login_client_id:
    description: Client to sign in with.
    type: str
    default: admin-cli
  login_client_secret:
    description: Secret of the client. Without O(login_user) its service account signs in.
    type: str
  login_user:
    description: User to sign in as; needs O(login_password) and a client that allows direct access grants.
    type: str
  login_password:
    description: Password of the user.
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
