# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to the ops.runbooks collection: may change without notice.
"""How to log in to Redis; twin of the documentation fragment ``redis``."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ansible_collections.ops.runbooks.plugins.module_utils._arguments import ArgumentSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

SENTINEL_PORT = 26379


def login_options() -> ArgumentSpec:
    """Return the login options that every module of the group shares."""
    return ArgumentSpec(
        options={
            "login_host": {"type": "str", "default": "localhost"},
            "login_port": {"type": "int", "default": 6379},
            "login_user": {"type": "str"},
            "login_password": {"type": "str", "no_log": True},
            "login_db": {"type": "int", "default": 0},
            "tls": {"type": "bool", "default": False},
            "ca_certs": {"type": "path"},
            "client_cert": {"type": "path"},
            "client_key": {"type": "path", "no_log": False},  # a file's name
            "connect_timeout_seconds": {"type": "int", "default": 5},
            "sentinels": {"type": "list", "elements": "str"},
            "sentinel_service": {"type": "str"},
            "sentinel_user": {"type": "str"},
            "sentinel_password": {"type": "str", "no_log": True},
            "cluster": {"type": "bool", "default": False},
        },
        required_together=[["sentinels", "sentinel_service"], ["client_cert", "client_key"]],
        required_by={"sentinel_user": ["sentinel_password"], "sentinel_password": ["sentinels"]},
    )


@dataclass(frozen=True)
class Login:
    """Where to log in, and as whom; no password ever shows in a representation."""

    host: str
    port: int = 6379
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    database: int = 0
    tls: bool = False
    ca_certs: str | None = None
    client_cert: str | None = None
    client_key: str | None = None
    timeout_seconds: int = 5
    sentinels: tuple[tuple[str, int], ...] = ()
    service: str | None = None
    sentinel_user: str | None = None
    sentinel_password: str | None = field(default=None, repr=False)
    cluster: bool = False
    options: str = "login"  # how the names of the options begin that say as whom

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> Login:
        """Build a login from the options of ``login_options``; raises ValueError for what cannot be meant."""
        if params["cluster"] and params["sentinels"]:
            raise ValueError("cluster and sentinels exclude each other: a cluster elects its masters itself.")
        if params["cluster"] and params["login_db"]:
            raise ValueError(f"login_db is {params['login_db']}, and a cluster has only database 0.")
        if params["connect_timeout_seconds"] < 1:
            raise ValueError(f"connect_timeout_seconds is {params['connect_timeout_seconds']}, expected at least 1.")
        return cls(
            host=params["login_host"],
            port=params["login_port"],
            user=params["login_user"],
            password=params["login_password"],
            database=params["login_db"],
            tls=params["tls"],
            ca_certs=params["ca_certs"],
            client_cert=params["client_cert"],
            client_key=params["client_key"],
            timeout_seconds=params["connect_timeout_seconds"],
            sentinels=tuple(_address(text) for text in params["sentinels"] or ()),
            service=params["sentinel_service"],
            sentinel_user=params["sentinel_user"],
            sentinel_password=params["sentinel_password"],
            cluster=params["cluster"],
        )

    @property
    def instance(self) -> str:
        """Name the server, the cluster by the node that is asked, in messages and results."""
        return f"{self.service} (sentinel)" if self.sentinels else f"{self.host}:{self.port}"

    @property
    def of_sentinels(self) -> Login:
        """Return the login with which the sentinels are asked for the master."""
        return replace(self, user=self.sentinel_user, password=self.sentinel_password, options="sentinel")


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon:
        return text, SENTINEL_PORT
    if not port.isdigit() or not host:
        raise ValueError(f'sentinels has "{text}", expected host:port.')
    return host.strip("[]"), int(port)
