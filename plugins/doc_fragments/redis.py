# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  login_host:
    description: Host name or address of the server, or of any node of a cluster.
    type: str
    default: localhost
  login_port:
    description: TCP port of the server.
    type: int
    default: 6379
  login_user:
    description: ACL user to log in as. Without it, the password is that of the default user.
    type: str
  login_password:
    description: Password of the user.
    type: str
  login_db:
    description: Number of the database. A cluster has only 0.
    type: int
    default: 0
  tls:
    description: Whether the connection is encrypted and the server's certificate verified.
    type: bool
    default: false
  ca_certs:
    description: File of the certificate authorities that are trusted, in place of those of the system.
    type: path
  client_cert:
    description: File of the certificate that is shown to a server that asks for one, as Redis does by default over TLS.
    type: path
  client_key:
    description: File of the private key of O(client_cert), without a passphrase.
    type: path
  connect_timeout_seconds:
    description: Longest time, in seconds, to wait for a connection, and for each answer.
    type: int
    default: 5
  sentinels:
    description:
      - Sentinels as C(host:port). The current master of O(sentinel_service) is used in place of O(login_host).
      - They are asked over TLS if O(tls) is set, with the same certificates, and with a login of their own.
    type: list
    elements: str
  sentinel_service:
    description: Name of the service that the sentinels watch.
    type: str
  sentinel_user:
    description: ACL user of the sentinels. Without it, the password is that of their default user.
    type: str
  sentinel_password:
    description: Password of the sentinels (their C(requirepass)). Without it they are asked without a login.
    type: str
  cluster:
    description: Whether the server is a node of a Redis Cluster. Every master is then worked on in turn.
    type: bool
    default: false
requirements:
  - redis (Python library) 5.0 or later on the managed host
  - Redis 5 or later
"""
