# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to the ops.runbooks collection: may change without notice.
"""Bounded HTTP requests: no redirect, which would carry the token to somebody else, and no proxy."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError, URLError

from ansible.module_utils.urls import open_url
from ansible_collections.ops.runbooks.plugins.module_utils._arguments import ArgumentSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

BODY_LIMIT = 10_000_000


def http_options(timeout_seconds: float = 3.0) -> ArgumentSpec:
    """Return the options that say how a server is asked (twin of the doc fragment ``web_api``)."""
    return ArgumentSpec(
        options={
            "url": {"type": "str", "required": True},
            "token": {"type": "str", "no_log": True},
            "timeout_seconds": {"type": "float", "default": timeout_seconds},
            "validate_certs": {"type": "bool", "default": True},
            "ca_path": {"type": "path"},
        }
    )


@dataclass(frozen=True)
class Http:
    """How a server is asked; the token never shows in a representation."""

    url: str
    token: str | None = field(default=None, repr=False)
    timeout_seconds: float = 3.0
    validate_certs: bool = True
    ca_path: str | None = None
    user: str | None = None
    password: str | None = field(default=None, repr=False)

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> Http:
        """Build from the options of ``http_options``."""
        names = ("token", "timeout_seconds", "validate_certs", "ca_path")
        return cls(params["url"].rstrip("/"), **{name: params[name] for name in names})

    def send(
        self, path: str = "", *, method: str = "GET", data: str | None = None, content_type: str = "application/json"
    ) -> tuple[int, str]:
        """Return status and body, whatever the status; raises OSError or ValueError if there is no answer."""
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        if data is not None:
            headers["Content-Type"] = content_type
        try:
            answer = open_url(
                self.url + path,
                method=method,
                data=data,
                headers=headers,
                timeout=self.timeout_seconds,
                validate_certs=self.validate_certs,
                ca_path=self.ca_path,
                follow_redirects="none",
                url_username=self.user,
                url_password=self.password,
                force_basic_auth=self.user is not None,
                use_proxy=False,
            )
            return answer.status, answer.read(BODY_LIMIT).decode("utf-8", "replace")
        except HTTPError as error:
            return error.code, error.read(BODY_LIMIT).decode("utf-8", "replace")


def cause(error: BaseException) -> str:
    """Return why there was no answer."""
    reason = error.reason if isinstance(error, URLError) else error
    return str(reason) or type(error).__name__
