# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to the ops.runbooks collection: may change without notice.
"""How to log in to PostgreSQL; twin of the documentation fragment ``postgresql``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ansible_collections.ops.runbooks.plugins.module_utils._arguments import ArgumentSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

SSL_MODES = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]


def login_options(default_port: int = 5432, default_db: str = "postgres") -> ArgumentSpec:
    """Return the login options that every module of the group shares."""
    return ArgumentSpec(
        options={
            "login_host": {"type": "str", "default": "localhost"},
            "login_port": {"type": "int", "default": default_port},
            "login_unix_socket": {"type": "path"},
            "login_user": {"type": "str", "default": "postgres"},
            "login_password": {"type": "str", "no_log": True},
            "login_db": {"type": "str", "default": default_db},
            "ssl_mode": {"type": "str", "choices": SSL_MODES, "default": "prefer"},
            "ca_cert": {"type": "path"},
            "connect_timeout_seconds": {"type": "int", "default": 5},
        }
    )


@dataclass(frozen=True)
class Login:
    """Where to log in, and as whom; the password never shows in a representation."""

    host: str
    port: int
    user: str
    database: str
    password: str | None = field(default=None, repr=False)
    ssl_mode: str = "prefer"
    ca_cert: str | None = None
    connect_timeout_seconds: int = 5

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> Login:
        """Build a login from the options of ``login_options``."""
        return cls(
            host=params["login_unix_socket"] or params["login_host"],
            port=params["login_port"],
            user=params["login_user"],
            database=params["login_db"],
            password=params["login_password"],
            ssl_mode=params["ssl_mode"],
            ca_cert=params["ca_cert"],
            connect_timeout_seconds=params["connect_timeout_seconds"],
        )

    @property
    def instance(self) -> str:
        """Name the server in messages and results."""
        return f"{self.host}:{self.port}"
