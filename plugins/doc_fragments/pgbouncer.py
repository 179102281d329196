# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  login_host:
    description: Host name or address of PgBouncer.
    type: str
    default: localhost
  login_port:
    description: TCP port of PgBouncer.
    type: int
    default: 6432
  login_unix_socket:
    description: Directory of a Unix socket to use in place of O(login_host).
    type: path
  login_user:
    description: User in C(admin_users); to read only, one in C(stats_users) is enough.
    type: str
    default: postgres
  login_password:
    description: Password of the user.
    type: str
  login_db:
    description: Name of the console.
    type: str
    default: pgbouncer
  ssl_mode:
    description: Whether and how the connection is encrypted, as libpq defines it.
    type: str
    choices: [disable, allow, prefer, require, verify-ca, verify-full]
    default: prefer
  ca_cert:
    description: File of the certificate authorities that are trusted.
    type: path
  connect_timeout_seconds:
    description: Longest time, in seconds, to wait for a connection.
    type: int
    default: 5
requirements:
  - psycopg2 2.8 or later on the managed host
  - PgBouncer 1.18 or later
"""
