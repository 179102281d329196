# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to the ops.runbooks collection: may change without notice.
"""Find replicas through the Docker engine and talk to them over HTTP."""

from __future__ import annotations

import json
import ssl
import traceback
from http.client import HTTPException
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError
from urllib.request import HTTPRedirectHandler, HTTPSHandler, ProxyHandler, Request, build_opener

from ansible_collections.ops.runbooks.plugins.module_utils._errors import (
    ActionFailed,
    ConnectionFailed,
    MissingLibrary,
    PreconditionFailed,
    Unsupported,
)
from ansible_collections.ops.runbooks.plugins.module_utils._sqlalchemy_pools import Replica
from ansible_collections.ops.runbooks.plugins.module_utils._sqlalchemy_ports import PoolApi, ReplicaFinder

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

try:
    import docker
    import docker.errors
    import requests
except ImportError:
    HAS_DOCKER, DOCKER_TRACEBACK = False, traceback.format_exc()
else:
    HAS_DOCKER, DOCKER_TRACEBACK = True, ""

LONGEST_ANSWER = 1_000_000
PROJECT, SERVICE = "com.docker.compose.project", "com.docker.compose.service"
SWARM_SERVICE = "com.docker.swarm.service.name"


def open_finder(params: Mapping[str, Any]) -> ReplicaFinder:
    """Return the way to the replicas that the module's options name."""
    if params["urls"] is not None:
        return GivenUrls(params["urls"])
    return DockerReplicas(params)


class GivenUrls(ReplicaFinder):
    """The caller knows the address of every replica."""

    def __init__(self, urls: Sequence[str]) -> None:
        self._urls = urls

    def find(self) -> list[Replica]:
        """Return the given addresses."""
        if not self._urls or len(set(self._urls)) < len(self._urls):
            raise ValueError("urls must name each replica once, and at least one.")
        for url in self._urls:
            if not url.startswith(("http://", "https://")):
                raise ValueError(f"urls must begin with http:// or https://, {url} does not.")
        return [Replica(url, url) for url in self._urls]


class DockerReplicas(ReplicaFinder):
    """Containers of one service, by label; their own addresses, so that no load balancer comes between."""

    def __init__(self, params: Mapping[str, Any]) -> None:
        if not HAS_DOCKER:
            raise MissingLibrary("docker", DOCKER_TRACEBACK)
        self._swarm: str | None = params["swarm_service"]
        self._labels = (
            [f"{SWARM_SERVICE}={self._swarm}"]
            if self._swarm
            else [f"{PROJECT}={params['project']}", f"{SERVICE}={params['service']}"]
        )
        self._what = (
            f"Swarm service {self._swarm}"
            if self._swarm
            else f"service {params['service']} of Compose project {params['project']}"
        )
        self._network: str | None = params["network"]
        self._scheme, self._port, self._path = params["scheme"], params["port"], params["path"]
        self._docker_host: str | None = params["docker_host"]

    def find(self) -> list[Replica]:
        """Ask the engine."""
        where = self._docker_host or "the local Docker engine"
        try:
            client = docker.DockerClient(base_url=self._docker_host) if self._docker_host else docker.from_env()
        except docker.errors.DockerException as error:
            raise ConnectionFailed(
                f"Cannot reach {where}: {error}. Start it, set docker_host, or allow this user to use its socket."
            ) from error
        try:
            return self._find(client)
        except (docker.errors.DockerException, requests.RequestException) as error:
            raise ConnectionFailed(
                f"Cannot list the containers of {self._what} on {where}: {error}. Look at the engine's log."
            ) from error
        finally:
            client.close()

    def _find(self, client: Any) -> list[Replica]:
        # One list call has names and addresses; the SDK's objects would cost a request per container.
        containers = client.api.containers(filters={"label": self._labels, "status": ["running"]})
        if self._swarm:
            self._require_local(client, len(containers))
        if not containers:
            raise PreconditionFailed(
                f"Cannot reset the pools of {self._what}: no container of it runs here. Start it, or correct the name."
            )
        return sorted((self._replica(container) for container in containers), key=lambda replica: replica.name)

    def _replica(self, container: Mapping[str, Any]) -> Replica:
        name = container["Names"][0].lstrip("/")
        networks = container["NetworkSettings"]["Networks"]
        addresses = {name: network["IPAddress"] for name, network in networks.items() if network["IPAddress"]}
        wanted = self._network or next(iter(sorted(addresses)), None)
        if wanted not in addresses:
            have = ", ".join(sorted(addresses)) or "no network with an address (host network?)"
            raise PreconditionFailed(
                f"Cannot reach container {name} on network {wanted}: it has {have}. "
                "Set network to one that this host can reach, or give urls."
            )
        host = addresses[wanted]
        return Replica(name, f"{self._scheme}://{host}:{self._port}{self._path}")

    def _require_local(self, client: Any, here: int) -> None:
        """Refuse when tasks run where this engine cannot see them."""
        if not client.info()["Swarm"].get("ControlAvailable"):
            raise Unsupported(
                f"Cannot tell whether every task of {self._what} runs here: this node is no manager of a Swarm. "
                "Run this on a manager, or give urls."
            )
        tasks = client.api.tasks(filters={"service": self._swarm, "desired-state": "running"})
        running = sum(task["Status"]["State"] == "running" for task in tasks)
        if running > here:
            raise PreconditionFailed(
                f"Cannot reset the pools of {self._what}: {running - here} of {running} tasks run on other nodes. "
                "Give the address of every task as urls."
            )


class _NoRedirect(HTTPRedirectHandler):
    def redirect_request(self, *_arguments: Any, **_keywords: Any) -> None:
        """Follow nothing: the token is for the address that was given."""


class HttpPoolApi(PoolApi):
    """The drop-in's address, over HTTP; never through a proxy, which could not reach a container."""

    def __init__(
        self, token: str, *, timeout_seconds: float, validate_certs: bool = True, ca_path: str | None = None
    ) -> None:
        self._token = token
        self._timeout_seconds = timeout_seconds
        try:
            context = ssl.create_default_context(cafile=ca_path)
        except OSError as error:
            raise ValueError(f"Cannot read the certificates in ca_path {ca_path}: {error}.") from error
        if not validate_certs:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        self._opener = build_opener(_NoRedirect, ProxyHandler({}), HTTPSHandler(context=context))

    def read(self, url: str) -> object:
        """Send a GET."""
        return self._call(Request(url))  # noqa: S310 - the caller checks the scheme

    def reset(self, url: str, order: Mapping[str, object]) -> object:
        """Send a POST."""
        body = json.dumps(order).encode()
        return self._call(Request(url, data=body, headers={"Content-Type": "application/json"}))  # noqa: S310 - as above

    def _call(self, request: Request) -> object:
        request.add_unredirected_header("Authorization", f"Bearer {self._token}")
        try:
            with self._opener.open(request, timeout=self._timeout_seconds) as response:
                return _parse(response.read(LONGEST_ANSWER))
        except HTTPError as error:
            with error:
                raise ActionFailed(_explain(error)) from error
        except (OSError, HTTPException) as error:
            reason = getattr(error, "reason", error)
            raise ConnectionFailed(f"no answer ({reason})") from error


def _explain(error: HTTPError) -> str:
    document = _parse(error.read(LONGEST_ANSWER))
    said = str(document["error"]) if isinstance(document, dict) and "error" in document else error.reason
    advice = {401: " Give the token that the application was started with.", 404: " Is it the right path?"}
    return f"HTTP {error.code}: {said}{advice.get(error.code, '')}"


def _parse(body: bytes) -> object:
    try:
        return json.loads(body)
    except ValueError:
        return None  # what is not JSON is not the drop-in's, which the caller finds out
