# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to the ops.runbooks collection: may change without notice.
"""Prove that an alert gets from Prometheus to a receiver: each hop by itself, the last by an alert that arrives."""

from __future__ import annotations

import json
import threading
import time
import uuid
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from ansible_collections.ops.runbooks.plugins.module_utils._alerting_path import (
    failing_rules,
    files_of,
    heartbeat_age,
    is_stale,
    utc_now,
)
from ansible_collections.ops.runbooks.plugins.module_utils._alerting_site import (
    OK,
    Server,
    Site,
    alerting_options,
    servers_of,
)
from ansible_collections.ops.runbooks.plugins.module_utils._errors import ActionFailed, ConnectionFailed, OpsError
from ansible_collections.ops.runbooks.plugins.module_utils._recovery_check import RecoveryRequest, check_recovery
from ansible_collections.ops.runbooks.plugins.module_utils._recovery_verdict import Probe, Reading

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from ansible_collections.ops.runbooks.plugins.module_utils._arguments import ArgumentSpec
    from ansible_collections.ops.runbooks.plugins.module_utils._waiting import Clock

PROBE = "AlertingPathProbe"
ALARM = "PrometheusAlertingFailure"
FAILED = "alertmanager_notification_requests_failed_total"
LIFE = timedelta(seconds=60)
BODY_LIMIT = 1_000_000
BIND_AGAIN_SECONDS = 0.2


def check_spec() -> ArgumentSpec:
    """Return the options of alerting_path_check."""
    own = alerting_options()
    own.options.update(
        listen_host={"type": "str", "required": True},
        listen_port={"type": "int", "default": 19098},
        arrival_seconds={"type": "float", "default": 10.0},
        heartbeat_seconds={"type": "float", "default": 180.0},
        consecutive={"type": "int", "default": 2},
        interval_seconds={"type": "float", "default": 1.0},
        recovery_timeout_seconds={"type": "float", "default": 60.0},
        decay_timeout_seconds={"type": "float", "default": 0.0},
    )
    return own


class Sink:
    """A receiver that listens while the check runs, and knows the test alerts that came."""

    def __init__(self) -> None:
        self._arrived: set[str] = set()
        self._news = threading.Condition()

    def take(self, body: bytes) -> None:
        """Note the test alerts of one webhook; anything else is no concern of this check."""
        try:
            alerts = json.loads(body)["alerts"]
            names = {one["labels"]["probe"] for one in alerts if one["labels"]["alertname"] == PROBE}
        except (ValueError, KeyError, TypeError):
            return
        with self._news:
            self._arrived |= names
            self._news.notify_all()

    def wait_for(self, name: str, seconds: float) -> bool:
        """Tell whether a test alert came in time."""
        with self._news:
            return self._news.wait_for(lambda: name in self._arrived, seconds)


@contextmanager
def listening(host: str, port: int, seconds: float) -> Iterator[Sink]:
    """Listen until the block ends; waits ``seconds`` for a port that another check still uses.

    Raises:
        ConnectionFailed: The address cannot be had.
    """
    sink = Sink()

    class Handler(BaseHTTPRequestHandler):
        timeout = 5

        def do_POST(self) -> None:
            length = self.headers.get("Content-Length", "0")
            sink.take(self.rfile.read(min(int(length) if length.isdecimal() else 0, BODY_LIMIT)))
            self.send_response(OK)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing: the output is the module's result."""

    deadline = time.monotonic() + seconds
    while True:
        try:
            server = ThreadingHTTPServer((host, port), Handler)
            break
        except OSError as error:
            if time.monotonic() > deadline:
                raise ConnectionFailed(
                    f"Cannot listen on {host}:{port} for the test alert: {error}. "
                    "Set listen_host and listen_port to where Alertmanager's receiver alerting-path-probe sends."
                ) from error
            time.sleep(BIND_AGAIN_SECONDS)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield sink
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass
class Hops:
    """Reads each hop; the first reading of the failures of receivers is what later ones are held against."""

    site: Site
    prometheus: Server
    alertmanager: Server
    sink: Sink | None  # none: no test alert may be sent
    arrival_seconds: float
    heartbeat_seconds: float
    failures_before: float | None = None
    token: Callable[[], str] = field(default=lambda: uuid.uuid4().hex)

    def read(self, probe: Probe) -> Reading:
        """Take one reading; a server that does not answer is bad, but for what only reports."""
        try:
            return getattr(self, f"_{probe.kind}")(probe)  # type: ignore[no-any-return]  # the methods below
        except ConnectionFailed as error:
            return Reading(good=None if probe.windowed else False, error=str(error))
        except (OpsError, OSError, KeyError, TypeError, ValueError) as error:
            return Reading(good=None, error=str(error))

    def _server(self, probe: Probe) -> Server:
        return self.prometheus if probe.settings["server"] == "prometheus" else self.alertmanager

    def _ready(self, probe: Probe) -> Reading:
        status = self.site.send(self._server(probe), "/-/ready")[0]
        return Reading(good=status == OK, value=status)

    def _loaded(self, probe: Probe) -> Reading:
        server = self._server(probe)
        stale = is_stale(self.site.metrics(server), server, files_of(server))
        return Reading(good=not stale, value="older, or refused" if stale else "on disk")

    def _rules(self, _probe: Probe) -> Reading:
        wrong = failing_rules(self.site.document(self.prometheus, "/api/v1/rules")["groups"])
        return Reading(good=not wrong, value=", ".join(sorted({one["rule"] for one in wrong})) or "none")

    def _handover(self, _probe: Probe) -> Reading:
        age = heartbeat_age(self.site.document(self.alertmanager, "/api/v2/alerts?active=true"), utc_now())
        return Reading(good=age is not None and age <= self.heartbeat_seconds, value="never" if age is None else age)

    def _failures(self, _probe: Probe) -> Reading:
        failed = self.site.metrics(self.alertmanager)[FAILED]
        if self.failures_before is None:
            self.failures_before = failed
        return Reading(good=failed <= self.failures_before, value=failed - self.failures_before)

    def _alarm(self, _probe: Probe) -> Reading:
        alerts = self.site.document(self.prometheus, "/api/v1/alerts")["alerts"]
        reasons = sorted({one["labels"].get("reason", "") for one in alerts if one["labels"]["alertname"] == ALARM})
        return Reading(good=not reasons, value=", ".join(reasons) or "none")

    def _arrival(self, _probe: Probe) -> Reading:
        if self.sink is None:
            return Reading(good=None, error="check mode sends no test alert")
        name, began = self.token(), time.monotonic()
        self._post(name, LIFE)
        try:
            arrived = self.sink.wait_for(name, self.arrival_seconds)
        finally:
            self._post(name, timedelta(0))
        took = time.monotonic() - began
        return Reading(good=arrived, value=f"after {took:.1f} s" if arrived else "never")

    def _post(self, name: str, life: timedelta) -> None:
        now = utc_now()
        alert = {
            "labels": {"alertname": PROBE, "probe": name, "service": "prometheus", "severity": "none"},
            "annotations": {"summary": "A test of the way of an alert; nothing is wrong"},
            "startsAt": (now - timedelta(seconds=1)).isoformat(),
            "endsAt": (now + life).isoformat(),
        }
        status, body = self.site.send(self.alertmanager, "/api/v2/alerts", method="POST", data=json.dumps([alert]))
        if status != OK:
            raise ActionFailed(f"Alertmanager answered {status} to a test alert: {' '.join(body.split())[:200]}")


def probes(request: Mapping[str, Any]) -> tuple[Probe, ...]:
    """Return the hops in their order."""

    def probe(name: str, kind: str, expected: str, server: str = "", *, windowed: bool = False) -> Probe:
        return Probe(name, kind, {"server": server, "expected": expected}, windowed=windowed)

    return (
        probe("Prometheus is ready", "ready", "status 200", "prometheus"),
        probe("Prometheus runs with its files", "loaded", "on disk", "prometheus"),
        probe("rules that fail", "rules", "none"),
        probe("Alertmanager is ready", "ready", "status 200", "alertmanager"),
        probe("Alertmanager runs with its files", "loaded", "on disk", "alertmanager"),
        probe("age of the heartbeat in Alertmanager", "handover", f"at most {request['heartbeat_seconds']:g} s"),
        probe("test alert arrives", "arrival", f"within {request['arrival_seconds']:g} s"),
        probe("deliveries that failed meanwhile", "failures", "0"),
        probe("condition of the alert", "alarm", "none", windowed=True),
    )


def check_path(params: Mapping[str, Any], site: Site, *, dry_run: bool, clock: Clock | None = None) -> dict[str, Any]:
    """Return the verdict with the value of each hop."""
    request = RecoveryRequest(
        probes=probes(params),
        consecutive=params["consecutive"],
        interval_seconds=params["interval_seconds"],
        timeout_seconds=params["recovery_timeout_seconds"],
        decay_timeout_seconds=params["decay_timeout_seconds"],
        require_recovered=False,
    )
    servers = servers_of(params)
    limits = (params["arrival_seconds"], params["heartbeat_seconds"])
    if dry_run:
        return check_recovery(request, Hops(site, *servers, None, *limits).read, clock=clock)
    host, port = params["listen_host"], params["listen_port"]
    with listening(host, port, params["recovery_timeout_seconds"]) as sink:
        return check_recovery(request, Hops(site, *servers, sink, *limits).read, clock=clock)
