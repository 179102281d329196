# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to the ops.runbooks collection: may change without notice.
"""Ask a real service one question. Every probe is bounded by its own time-out and changes nothing."""

from __future__ import annotations

import socket
import traceback
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from ansible_collections.ops.runbooks.plugins.module_utils import _prometheus as prometheus
from ansible_collections.ops.runbooks.plugins.module_utils._errors import ConnectionFailed, MissingLibrary, OpsError
from ansible_collections.ops.runbooks.plugins.module_utils._http import Http, cause
from ansible_collections.ops.runbooks.plugins.module_utils._postgresql_adapter import Connection
from ansible_collections.ops.runbooks.plugins.module_utils._postgresql_options import Login
from ansible_collections.ops.runbooks.plugins.module_utils._recovery_verdict import Probe, Reading

try:
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    REDIS_FAILURE: str | None = None
except ImportError:
    REDIS_FAILURE = traceback.format_exc()

try:
    import docker
    import docker.errors

    DOCKER_FAILURE: str | None = None
except ImportError:
    DOCKER_FAILURE = traceback.format_exc()

if TYPE_CHECKING:
    from collections.abc import Iterable


FORM = "application/x-www-form-urlencoded"


def require_libraries(probes: Iterable[Probe]) -> None:
    """Raise MissingLibrary before the first sample if a probe needs what is not installed."""
    kinds = {probe.kind for probe in probes}
    if "redis" in kinds and REDIS_FAILURE is not None:
        raise MissingLibrary("redis", REDIS_FAILURE)
    if "container" in kinds and DOCKER_FAILURE is not None:
        raise MissingLibrary("docker", DOCKER_FAILURE)


def read(probe: Probe) -> Reading:
    """Take one reading; a failure to reach the service is bad or unknown, as the probe says."""
    return _PROBES[probe.kind](probe)


def _unreachable(probe: Probe, error: str) -> Reading:
    return Reading(good=False if probe.settings["unreachable_is"] == "bad" else None, error=error.rstrip("."))


def _judge(probe: Probe, value: Any) -> Reading:
    if probe.expectation is None:
        raise ValueError(f"Probe {probe.name!r} has no expectation.")
    return probe.expectation.judge(value)


def _http(probe: Probe) -> Reading:
    settings = probe.settings
    http = replace(Http.from_params(settings), user=settings["login_user"], password=settings["login_password"])
    form = urlencode(settings["form"]) if settings["form"] else None
    try:
        status, body = http.send(method=settings["method"], data=form, content_type=FORM)
    except (OSError, ValueError) as error:
        return _unreachable(probe, f"no answer from {settings['url']}: {cause(error)}")
    if status not in settings["status"]:
        return Reading(good=False, value=status)
    if settings["body_contains"] and settings["body_contains"] not in body:
        return Reading(good=False, value=status, error=f"the answer does not contain {settings['body_contains']!r}")
    return Reading(good=True, value=status)


def _tcp(probe: Probe) -> Reading:
    settings = probe.settings
    address = (settings["host"], settings["port"])
    try:
        with socket.create_connection(address, timeout=settings["timeout_seconds"]):
            return Reading(good=True, value="open")
    except OSError as error:
        return _unreachable(probe, f"no connection to {address[0]}:{address[1]}: {cause(error)}")


def _sql(probe: Probe) -> Reading:
    settings = probe.settings
    try:
        connection = Connection(
            Login.from_params(settings),
            statement_timeout_seconds=max(1, round(settings["timeout_seconds"])),
            read_only=True,
        )
    except ConnectionFailed as error:
        return _unreachable(probe, str(error))
    try:
        rows = connection.rows(settings["query"], settings["parameters"] or None)
    except ConnectionFailed as error:
        return _unreachable(probe, str(error))
    except OpsError as error:
        # 57014: the statement took too long, which is the server's fault; anything else is the query's.
        slow = error.details.get("sqlstate") == "57014"
        return _unreachable(probe, str(error)) if slow else Reading(good=None, error=str(error).rstrip("."))
    finally:
        connection.close()
    if len(rows) != 1 or len(rows[0]) != 1:
        return Reading(good=None, error=f"the query gives {len(rows)} rows, expected one row with one value")
    (value,) = rows[0].values()
    return _judge(probe, value)


def _redis(probe: Probe) -> Reading:
    settings = probe.settings
    client: Any = redis.Redis(
        host=settings["login_host"],
        port=settings["login_port"],
        username=settings["login_user"],
        password=settings["login_password"],
        ssl=settings["tls"],
        ssl_ca_certs=settings["ca_certs"],
        ssl_certfile=settings["client_cert"],
        ssl_keyfile=settings["client_key"],
        socket_timeout=settings["timeout_seconds"],
        socket_connect_timeout=settings["timeout_seconds"],
        # One look is one try: the library's own would make a server that hangs cost half a minute.
        retry=Retry(NoBackoff(), 0),
        decode_responses=True,
    )
    try:
        answer = client.execute_command(settings["command"], *settings["arguments"])
    except (redis.AuthenticationError, redis.exceptions.NoPermissionError) as error:
        return Reading(good=None, error=f"Redis refused the login: {error}")
    except redis.RedisError as error:
        where = f"{settings['login_host']}:{settings['login_port']}"
        return _unreachable(probe, f"no good answer from Redis {where}: {error}")
    finally:
        client.close()
    if settings["field"]:
        if not isinstance(answer, dict) or settings["field"] not in answer:
            return Reading(good=None, error=f"the answer has no field {settings['field']}")
        if settings["share_of"]:
            return _share(probe, answer, settings["field"], settings["share_of"])
        answer = answer[settings["field"]]
    return _judge(probe, "PONG" if answer is True else answer)


def _share(probe: Probe, info: dict[str, Any], part: str, whole: str) -> Reading:
    """Judge a part of a limit; where the limit is 0 there is none, and nothing of it is used."""
    if whole not in info:
        return Reading(good=None, error=f"the answer has no field {whole}")
    return _judge(probe, round(info[part] / info[whole], 4) if info[whole] else 0.0)


def _container(probe: Probe) -> Reading:
    settings = probe.settings
    labels = [
        f"com.docker.compose.project={settings['project']}",
        f"com.docker.compose.service={settings['service']}",
        "com.docker.compose.oneoff=False",
    ]
    try:
        client = docker.from_env(timeout=10)
        try:
            containers = client.api.containers(filters={"label": labels, "status": "running"})
        finally:
            client.close()
    except (docker.errors.DockerException, OSError) as error:
        return _unreachable(probe, f"the Docker engine does not answer: {cause(error)}")
    healthy = [c for c in containers if not any(s in c["Status"] for s in ("unhealthy", "health: starting"))]
    return Reading(good=len(healthy) >= settings["minimum"], value=len(healthy))


def _promql(probe: Probe) -> Reading:
    settings = probe.settings
    try:
        series = prometheus.query(Http.from_params(settings), settings["query"]).series
    except ConnectionFailed as error:
        return _unreachable(probe, str(error))
    except OpsError as error:
        return Reading(good=None, error=str(error))
    if not series:
        good = {"good": True, "bad": False, "unknown": None}[settings["no_data"]]
        return Reading(good=good, error="the query gives no data")
    if len(series) > 1:
        return Reading(good=None, error=f"the query gives {len(series)} series, aggregate it to one")
    return _judge(probe, series[0].value)


_PROBES = {
    "http": _http,
    "tcp": _tcp,
    "sql": _sql,
    "redis": _redis,
    "container": _container,
    "promql": _promql,
}
