# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to the ops.runbooks collection: may change without notice.
"""Prometheus and Alertmanager as the alerting modules see them: their options, and the way to ask them directly."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ansible_collections.ops.runbooks.plugins.module_utils._arguments import ArgumentSpec
from ansible_collections.ops.runbooks.plugins.module_utils._errors import ActionFailed, ConnectionFailed, Unsupported
from ansible_collections.ops.runbooks.plugins.module_utils._http import Http, cause

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ansible_collections.ops.runbooks.plugins.module_utils._prometheus_config import Run

OK = 200
LOG_LINES = 60
ENDED = frozenset({"exited", "dead"})
_SAMPLE = re.compile(r"^([a-zA-Z_:][\w:]*)(\{.*\})? (\S+)", re.MULTILINE)


def alerting_options(timeout_seconds: float = 2.0) -> ArgumentSpec:
    """Return the options that say where the two servers are (twin of the doc fragment ``alerting``)."""

    def server(file: str) -> dict[str, Any]:
        return {
            "type": "dict",
            "required": True,
            "options": {
                "url": {"type": "str", "required": True},
                "container": {"type": "str", "required": True},
                "file": {"type": "str", "default": file},
                "directory": {"type": "path", "required": True},
            },
        }

    return ArgumentSpec(
        options={
            "prometheus": server("/etc/prometheus/prometheus.yml"),
            "alertmanager": server("/etc/alertmanager/alertmanager.yml"),
            "timeout_seconds": {"type": "float", "default": timeout_seconds},
        }
    )


@dataclass(frozen=True)
class Server:
    """One of the two servers."""

    kind: str  # prometheus or alertmanager
    url: str
    container: str
    file: str  # its configuration, as the container sees it
    directory: str  # where that and what it names are, on the host

    @property
    def title(self) -> str:
        """Return its name as people write it."""
        return self.kind.capitalize()


def servers_of(params: Mapping[str, Any]) -> tuple[Server, Server]:
    """Return Prometheus and Alertmanager out of the options of ``alerting_options``."""
    prometheus, alertmanager = (
        Server(kind, given["url"].rstrip("/"), given["container"], given["file"], given["directory"])
        for kind in ("prometheus", "alertmanager")
        for given in [params[kind]]
    )
    return prometheus, alertmanager


@dataclass(frozen=True)
class Container:
    """What the engine says of a container."""

    state: str  # running, restarting, exited, paused ...
    exit_code: int
    restarts: int
    started: str
    image: str

    @property
    def has_ended(self) -> bool:
        """Whether it stays down until somebody starts it."""
        return self.state in ENDED

    def as_return(self) -> dict[str, Any]:
        """Return what a reader needs."""
        return {
            "state": self.state,
            "exit_code": self.exit_code,
            "restarts": self.restarts,
            "started": self.started,
        }


class Site(ABC):
    """The way to the two servers: each asked by itself, and their containers."""

    @abstractmethod
    def send(self, server: Server, path: str, *, method: str = "GET", data: str | None = None) -> tuple[int, str]:
        """Return status and body; raises ConnectionFailed if there is no answer in time."""

    @abstractmethod
    def run(self, command: list[str]) -> tuple[int, str, str]:
        """Run a program of the host; raises OSError if there is none of this name."""

    def document(self, server: Server, path: str) -> Any:
        """Return what is answered as JSON; raises ConnectionFailed, or ActionFailed for anything else."""
        status, body = self.send(server, path)
        try:
            answer = json.loads(body)
        except ValueError:
            answer = None
        if status != OK or answer is None:
            raise ActionFailed(f"{server.title} answered {status} to {path}: {' '.join(body.split())[:200]}")
        return answer["data"] if server.kind == "prometheus" else answer

    def metrics(self, server: Server) -> dict[str, float]:
        """Return the samples of its own exposition, summed over their labels."""
        status, body = self.send(server, "/metrics")
        if status != OK:
            raise ActionFailed(f"{server.title} answered {status} to /metrics.")
        sums: dict[str, float] = {}
        for name, _labels, value in _SAMPLE.findall(body):
            sums[name] = sums.get(name, 0.0) + float(value)
        return sums

    def docker(self, *arguments: str) -> str:
        """Run the Docker CLI and return what it printed; raises ActionFailed with its words."""
        try:
            code, out, err = self.run(["docker", *arguments])
        except OSError as error:
            raise Unsupported(f"Cannot run docker on this host: {error}. Install the Docker CLI.") from error
        if code:
            raise ActionFailed(f"docker {arguments[0]} failed: {(err or out).strip()[:500] or f'exit code {code}'}")
        return out

    def container(self, server: Server) -> Container:
        """Return the state of its container; raises ConnectionFailed if there is none."""
        try:
            found = json.loads(self.docker("inspect", "--type", "container", server.container))[0]
        except ActionFailed as error:
            raise ConnectionFailed(f"No container {server.container} for {server.title}: {error}") from error
        state = found["State"]
        return Container(
            state["Status"], state["ExitCode"], found["RestartCount"], state["StartedAt"], found["Config"]["Image"]
        )

    def beside(self, server: Server, script: str, *arguments: str, as_root: bool = False) -> str:
        """Run a shell script in a container that sees the volumes of a server, whether that runs or not."""
        user = ("--user", "0") if as_root else ()
        return self.docker(
            "run", "--rm", "--network", "none", "--volumes-from", server.container, *user, "--entrypoint", "sh",
            self.container(server).image, "-c", script, "sh", *arguments,
        )  # fmt: skip

    def log_tail(self, server: Server, *, since: str | None = None) -> Sequence[str]:
        """Return the last lines of its log, both streams; of those since a moment, if it is given."""
        after = ["--since", since] if since else []
        try:
            code, out, err = self.run(["docker", "logs", "--tail", str(LOG_LINES), *after, server.container])
        except OSError:
            return []
        return [] if code else (out + err).splitlines()


class HttpSite(Site):
    """The real ones."""

    def __init__(self, run: Run, timeout_seconds: float) -> None:
        self._run = run
        self._timeout = timeout_seconds

    def send(self, server: Server, path: str, *, method: str = "GET", data: str | None = None) -> tuple[int, str]:
        """Send one bounded request."""
        try:
            return Http(server.url, timeout_seconds=self._timeout).send(path, method=method, data=data)
        except (OSError, ValueError) as error:
            raise ConnectionFailed(f"no answer from {server.title} at {server.url}{path}: {cause(error)}") from error

    def run(self, command: list[str]) -> tuple[int, str, str]:
        """Run it through the module."""
        return self._run(command)
