# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to the ops.runbooks collection: may change without notice.
"""The only place that imports redis: connections to nodes, and library errors in our words."""

from __future__ import annotations

import hashlib
import traceback
from typing import TYPE_CHECKING, Any

from ansible_collections.ops.runbooks.plugins.module_utils._errors import (
    ActionFailed,
    ConnectionFailed,
    MissingLibrary,
)

try:
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry
    from redis.sentinel import Sentinel

    IMPORT_FAILURE: str | None = None
except ImportError:
    IMPORT_FAILURE = traceback.format_exc()

if TYPE_CHECKING:
    from ansible_collections.ops.runbooks.plugins.module_utils._redis_options import Login

# What the server or the network says, and what to do about it; the first that matches is used.
_REMEDIES = (
    ("invalid username-password", "Check {login}_user and {login}_password."),
    ("WRONGPASS", "Check {login}_user and {login}_password."),
    ("invalid password", "Check {login}_user and {login}_password."),
    ("without any password configured", "The server asks for no password; leave {login}_password out."),
    ("Authentication required", "Set {login}_password, and {login}_user if the server has ACL users."),
    ("DB index is out of range", "Check login_db."),
    ("max number of clients", "Close clients on the server, or raise its maxclients."),
    ("Redis is loading", "The server loads its data; try again when it has finished."),
    ("MASTERDOWN", "The replica has lost its master; look at the master first."),
    ("CERTIFICATE_VERIFY_FAILED", "Check ca_certs and the name in the server's certificate."),
    ("certificate required", "Set client_cert and client_key: the server asks for a certificate."),
    ("unknown ca", "Check client_cert: the server does not trust whoever signed it."),
    ("KEY_VALUES_MISMATCH", "Check that client_key is the key of client_cert."),
    ("No such file", "Check ca_certs, client_cert and client_key: a file is missing."),
    ("NO_CERTIFICATE_OR_CRL", "Check ca_certs: the file holds no certificate."),
    ("PEM lib", "Check client_cert and client_key: a file does not hold what it should."),
    ("No master found", "Check sentinels and sentinel_service, and that the sentinels run."),
    ("Connection refused", "Check login_host and login_port, and that the server runs."),
    ("Name or service not known", "Check login_host."),
    ("No address associated", "Check login_host."),
    ("name resolution", "Check login_host."),
    ("SSL", "Check tls: the server and this client must agree on it."),
    ("Connection closed by server", "Check that the server runs, and whether it expects tls."),
    ("Connection reset", "Check that the server runs, and whether it expects tls."),
    ("imeout", "Check that the server is not frozen and can be reached, or raise connect_timeout_seconds."),
    ("imed out", "Check that the server is not frozen and can be reached, or raise connect_timeout_seconds."),
)
_REFUSALS = (
    (
        "o permissions",
        "As an administrator, give login_user the commands and keys that the module's notes list (ACL SETUSER).",
    ),
    ("can't run this command", "As an administrator, give login_user the commands that the module's notes list."),
    ("can't access", "As an administrator, give login_user the keys that are meant (ACL SETUSER)."),
    ("cluster support disabled", "The server is no cluster; leave cluster out."),
    ("MISCONF", "The server stops writes because it cannot save: free its disk and look at its log."),
    ("read only replica", "The node is a replica now; connect to the master."),
    ("CLUSTERDOWN", "The cluster has lost slots; repair it first."),
    ("non local key", "A slot moves to another node; run again when the cluster is stable."),
)


class Connection:
    """One connection to one node. Nothing is repeated by itself, so that what was done is known."""

    def __init__(self, login: Login, host: str, port: int) -> None:
        """Connect; raises ConnectionFailed with the reason and a remedy, never with the password."""
        _require_library()
        self.login = login
        self.name = f"{host}:{port}"
        self._client: Any = redis.Redis(host=host, port=port, db=login.database, **_settings(login))
        self._known: set[str] = set()
        try:
            self._client.ping()
        except redis.exceptions.NoPermissionError:
            pass  # logged in, and PING is not what the module needs
        except redis.exceptions.RedisError as error:
            self.close()
            raise connection_failed(login, self.name, error) from None

    def ask(self, *command: Any) -> Any:
        """Send one command and return its answer.

        Raises ActionFailed when the server refuses, ConnectionFailed when it went away.
        """
        try:
            return self._client.execute_command(*command)
        except redis.exceptions.NoScriptError:
            raise
        except (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError) as error:
            raise connection_failed(self.login, self.name, error, "Lost the connection to") from None
        except redis.exceptions.RedisError as error:
            raise refused(self.login, self.name, error) from None

    def script(self, body: str, *arguments: Any) -> Any:
        """Run a script, by its digest once the server has it."""
        if body in self._known:
            try:
                return self.ask("EVALSHA", _digest(body), 0, *arguments)
            except redis.exceptions.NoScriptError:
                pass  # somebody emptied the server's cache of scripts; nothing was run
        answer = self.ask("EVAL", body, 0, *arguments)
        self._known.add(body)
        return answer

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


def _digest(body: str) -> str:
    """Return the name that the server gives a script."""
    return hashlib.sha1(body.encode()).hexdigest()  # noqa: S324 - the protocol's choice


def connect(login: Login) -> list[Connection]:
    """Return a connection to the server, to the sentinels' current master, or to every master of the cluster."""
    _require_library()
    if login.sentinels:
        return [Connection(login, *_master(login))]
    first = Connection(login, login.host, login.port)
    if not login.cluster:
        return [first]
    opened: list[Connection] = []
    try:
        for host, port in _masters(first):
            opened.append(Connection(login, host or login.host, port))
    except BaseException:
        for connection in opened:
            connection.close()
        raise
    finally:
        first.close()
    return opened


def _require_library() -> None:
    if IMPORT_FAILURE is not None:
        raise MissingLibrary("redis", IMPORT_FAILURE)


def _settings(login: Login) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "username": login.user,
        "password": login.password,
        "socket_timeout": login.timeout_seconds,
        "socket_connect_timeout": login.timeout_seconds,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
    }
    if login.tls:
        settings.update(
            ssl=True,
            ssl_ca_certs=login.ca_certs,
            ssl_certfile=login.client_cert,
            ssl_keyfile=login.client_key,
            ssl_cert_reqs="required",
            ssl_check_hostname=True,
        )
    return settings


def _master(login: Login) -> tuple[str, int]:
    asking = login.of_sentinels
    make: Any = Sentinel  # carries no type information
    sentinel = make(list(login.sentinels), sentinel_kwargs=_settings(asking))
    try:
        host, port = sentinel.discover_master(login.service)
    except redis.exceptions.RedisError:
        told = _silence(sentinel.sentinels)
        raise connection_failed(asking, login.instance, f"No master found for {login.service!r}{told}") from None
    finally:
        for one in sentinel.sentinels:
            one.close()
    return str(host), int(port)


def _silence(sentinels: list[Any]) -> str:
    """Return why the last sentinel does not answer, for the library does not say; empty if one does."""
    silence = ""
    for one in sentinels:
        try:
            one.sentinel_masters()
        except redis.exceptions.RedisError as error:
            silence = f": {error}"
        else:
            return ""
    return silence


def _masters(connection: Connection) -> list[tuple[str, int]]:
    # A range of slots: first, last, host and port of its master, replicas. No host means the one that was asked.
    slots = connection.ask("CLUSTER", "SLOTS")
    return sorted({((owner[2][0] or b"").decode(), int(owner[2][1])) for owner in slots})


def connection_failed(
    login: Login, node: str, error: BaseException | str, what: str = "Cannot connect to"
) -> ConnectionFailed:
    """Translate a library error; the remedy follows from what was said."""
    reason = _clean(login, error)
    remedy = next((remedy for sign, remedy in _REMEDIES if sign in reason), "Check that the server runs and answers.")
    if login.tls and "imeout" in reason:
        remedy = f"Check tls: a server that expects plain text never answers. {remedy}"
    remedy = remedy.format(login=login.options)
    return ConnectionFailed(f'{what} Redis {node} as "{login.user or "default"}": {reason}. {remedy}')


def refused(login: Login, node: str, error: BaseException | str) -> ActionFailed:
    """Translate what the server answered to a command."""
    reason = _clean(login, error)
    remedy = next((remedy for sign, remedy in _REFUSALS if sign in reason), "Look at the server's log.")
    return ActionFailed(f'Redis {node} refused a command of "{login.user or "default"}": {reason}. {remedy}')


def _clean(login: Login, error: BaseException | str) -> str:
    reason = " ".join(str(error).split()) or "no message"
    if login.password:
        reason = reason.replace(login.password, "********")
    return reason.rstrip(".")
