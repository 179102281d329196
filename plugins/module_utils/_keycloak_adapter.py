# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to the ops.runbooks collection: may change without notice.
"""The administration of Keycloak over HTTP: sign in once, then ask; errors in our words."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from ansible_collections.ops.runbooks.plugins.module_utils._arguments import ArgumentSpec
from ansible_collections.ops.runbooks.plugins.module_utils._errors import ActionFailed, ConnectionFailed
from ansible_collections.ops.runbooks.plugins.module_utils._http import Http, cause
from ansible_collections.ops.runbooks.plugins.module_utils._keycloak_ports import Admin, Server

if TYPE_CHECKING:
    from collections.abc import Mapping

OK, NO_CONTENT, UNAUTHORIZED, FORBIDDEN, NOT_FOUND = 200, 204, 401, 403, 404
ADMIN_CLI = "admin-cli"
CLIENTS_READ = 1000


def admin_options() -> ArgumentSpec:
    """Return the options that say where Keycloak is and who asks (twin of the doc fragment ``keycloak``)."""
    return ArgumentSpec(
        options={
            "url": {"type": "str", "required": True},
            "login_realm": {"type": "str", "default": "master"},
            "login_client_id": {"type": "str", "default": ADMIN_CLI},
            "login_client_secret": {"type": "str", "no_log": True},
            "login_user": {"type": "str"},
            "login_password": {"type": "str", "no_log": True},
            "timeout_seconds": {"type": "float", "default": 10.0},
            "validate_certs": {"type": "bool", "default": True},
            "ca_path": {"type": "path"},
        },
        required_together=[["login_user", "login_password"]],
        required_one_of=[["login_user", "login_client_secret"]],
    )


@dataclass(frozen=True)
class SignIn:
    """Who asks: a user, or a client with a service account; no secret shows in a representation."""

    realm: str
    client_id: str
    client_secret: str | None = field(default=None, repr=False)
    user: str | None = None
    password: str | None = field(default=None, repr=False)

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> SignIn:
        """Build from the options of ``admin_options``."""
        return cls(
            realm=params["login_realm"],
            client_id=params["login_client_id"],
            client_secret=params["login_client_secret"],
            user=params["login_user"],
            password=params["login_password"],
        )

    @property
    def who(self) -> str:
        """Name the one who asks."""
        return f'user "{self.user}"' if self.user else f'client "{self.client_id}"'

    def form(self) -> dict[str, str]:
        """Return what the token endpoint takes."""
        secret = {"client_secret": self.client_secret} if self.client_secret else {}
        grant = {"grant_type": "password", "username": self.user, "password": self.password or ""} if self.user else {}
        return {"grant_type": "client_credentials", "client_id": self.client_id, **secret, **grant}


def ask_for_token(http: Http, sign_in: SignIn) -> tuple[int, dict[str, Any]]:
    """Return the status and the answer of the token endpoint; raises OSError or ValueError if there is no answer."""
    status, body = http.send(
        f"/realms/{quote(sign_in.realm, safe='')}/protocol/openid-connect/token",
        method="POST",
        data=urlencode(sign_in.form()),
        content_type="application/x-www-form-urlencoded",
    )
    return status, _document(body)


class HttpAdmin(Admin):
    """Through the admin API."""

    def __init__(self, http: Http, sign_in: SignIn) -> None:
        self._http = http
        self._sign_in = sign_in
        self._signed_in: Http | None = None

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> HttpAdmin:
        """Build from the options of ``admin_options``; nothing is sent yet."""
        return cls(Http.from_params({**params, "token": None}), SignIn.from_params(params))

    def realm(self, name: str) -> Mapping[str, Any] | None:
        """Read one realm."""
        found: dict[str, Any] | None = self._get(f"/{quote(name, safe='')}", name)
        return found

    def clients(self, realm: str) -> list[dict[str, Any]]:
        """List the clients."""
        return self._get(f"/{quote(realm, safe='')}/clients?max={CLIENTS_READ}", realm) or []

    def user(self, realm: str, identity: str) -> Mapping[str, Any] | None:
        """Read one user."""
        found: dict[str, Any] | None = self._get(f"/{quote(realm, safe='')}/users/{quote(identity, safe='')}", realm)
        return found

    def clear(self, realm: str, cache: str) -> None:
        """Post to the address that clears it."""
        status, body = self._call("POST", f"/{quote(realm, safe='')}/clear-{cache}-cache", realm)
        if status != NO_CONTENT:
            raise self._unexpected(status, body)

    def _get(self, path: str, realm: str) -> Any:
        status, body = self._call("GET", path, realm)
        if status == NOT_FOUND:
            return None
        if status != OK:
            raise self._unexpected(status, body)
        try:
            return json.loads(body)
        except ValueError as error:
            raise ActionFailed(f"What answers at {self._http.url} is not Keycloak. Check url.") from error

    def _call(self, method: str, path: str, realm: str) -> tuple[int, str]:
        if self._signed_in is None:
            self._signed_in = self._log_in()
        try:
            status, body = self._signed_in.send(f"/admin/realms{path}", method=method)
        except (OSError, ValueError) as error:
            raise self._no_answer(error) from error
        if status == FORBIDDEN:
            raise ActionFailed(
                f'The {self._sign_in.who} may not administer realm "{realm}" on Keycloak {self._http.url}. '
                "Give it the roles manage-realm, view-clients and view-users of that realm."
            )
        return status, body

    def _log_in(self) -> Http:
        try:
            status, answer = ask_for_token(self._http, self._sign_in)
        except (OSError, ValueError) as error:
            raise self._no_answer(error) from error
        if status == OK and "access_token" in answer:
            return replace(self._http, token=answer["access_token"])
        where = f'Cannot sign in to realm "{self._sign_in.realm}" of Keycloak {self._http.url} as {self._sign_in.who}'
        said = answer.get("error_description") or answer.get("error") or "no reason"
        if status == NOT_FOUND:
            raise ConnectionFailed(f"{where}: {said}. Check url and login_realm.")
        if status in (400, UNAUTHORIZED, FORBIDDEN):
            names = "login_user and login_password" if self._sign_in.user else "login_client_id and login_client_secret"
            raise ConnectionFailed(f"{where}: {said}. Check {names}.")
        raise ConnectionFailed(f"{where}: it answered {status} ({said}). Check url, and that Keycloak is ready.")

    def _no_answer(self, error: BaseException) -> ConnectionFailed:
        return ConnectionFailed(
            f"No answer from Keycloak {self._http.url}: {cause(error)}. Check url, and that it runs and is not frozen."
        )

    def _unexpected(self, status: int, body: str) -> ActionFailed:
        return ActionFailed(f"Keycloak {self._http.url} answered {status}: {' '.join(body.split())[:300]}")


PATHS = {"discovery": ".well-known/openid-configuration", "certs": "protocol/openid-connect/certs"}


class HttpServer(Server):
    """Over HTTP, each question bounded by the time-out."""

    def __init__(self, http: Http, management: Http | None, client: SignIn | None) -> None:
        self._http = http
        self._management = management
        self._client = client

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> HttpServer:
        """Build from the options of keycloak_info."""
        http = Http.from_params({**params, "token": None})
        management = replace(http, url=params["management_url"].rstrip("/")) if params["management_url"] else None
        client = SignIn(params["realm"], params["client_id"], params["client_secret"]) if params["client_id"] else None
        return cls(http, management, client)

    def ready(self) -> dict[str, Any]:
        """Ask the management interface."""
        if self._management is None:
            return {"status": None, "down": [], "error": "no management_url was given"}
        status, body, error = _ask(self._management, "/health/ready")
        checks = _document(body).get("checks", [])
        down = [check["name"] for check in checks if check.get("status") != "UP"]
        return {"status": status, "down": down, "error": error}

    def status(self, what: str, realm: str) -> dict[str, Any]:
        """Ask an address that everybody may ask."""
        status, _body, error = _ask(self._http, f"/realms/{quote(realm, safe='')}/{PATHS[what]}")
        return {"status": status, "error": error}

    def token(self, realm: str) -> dict[str, Any]:
        """Ask as a client of this realm does; the token itself is dropped."""
        if self._client is None:
            return {"status": None, "error": "no client_id was given"}
        try:
            status, answer = ask_for_token(self._http, replace(self._client, realm=realm))
        except (OSError, ValueError) as error:
            return {"status": None, "error": cause(error)}
        return {"status": status, "error": str(answer.get("error_description") or answer.get("error") or "")}


def _ask(http: Http, path: str) -> tuple[int | None, str, str]:
    try:
        status, body = http.send(path)
    except (OSError, ValueError) as error:
        return None, "", cause(error)
    return status, body, ""


def _document(body: str) -> dict[str, Any]:
    """Read an answer; what is no JSON object says nothing."""
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
