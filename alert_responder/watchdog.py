# SPDX-License-Identifier: GPL-3.0-or-later
"""The dead man's switch: an alert that always fires arrives regularly; when it does not, the responder says so itself.

Prometheus cannot report that Prometheus is dead. `look` decides; moments are seconds of a clock that nobody sets, so
that a step of the time of day is no silence.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal

from alert_responder.alerts import Alert, Webhook
from alert_responder.errors import ResponderError
from alert_responder.incidents import fold
from alert_responder.routing import route

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from alert_responder.metrics import Metrics
    from alert_responder.runbooks import Catalog
    from alert_responder.store import Store

log = logging.getLogger(__name__)

# Neither is trouble: one says that the way from Prometheus to here works, the other that a check of that way runs.
HEARTBEAT = "Watchdog"
PROBE = "AlertingPathProbe"

ALARM = "PrometheusAlertingFailure"
FINGERPRINT = "alert-responder-watchdog"
_LABELS = {
    "alertname": ALARM,
    "severity": "critical",
    "service": "prometheus",
    "runbook": "prometheus-alerting",
    "reason": "watchdog",
}


@dataclass(frozen=True)
class Watch:
    """What is known about the heartbeat."""

    heard: float  # the last one, or the start
    alive: bool = False  # whether there was one since the start
    alarm: bool | None = None  # whether the alarm is raised; not known after a start
    told: float = -math.inf  # when it was raised or repeated last


def look(watch: Watch, moment: float, limit: float) -> Literal["firing", "resolved"] | None:
    """Say what is to be told of the alarm: raised after ``limit`` seconds of silence and repeated as often."""
    if moment - watch.heard >= limit:
        due = watch.alarm is not True or moment - watch.told >= limit
        return "firing" if due else None
    # The alarm of an earlier life of this process ends with the first heartbeat.
    return "resolved" if watch.alive and watch.alarm is not False else None


@dataclass
class Watchdog:
    """Listens for the heartbeat and delivers the alarm like any other alert: same record, same rules."""

    limit_seconds: float | None
    store: Store
    catalog: Catalog
    metrics: Metrics
    clock: Callable[[], datetime]
    moment: Callable[[], float] = time.monotonic
    watch: Watch = field(init=False)
    _since: datetime | None = None

    def __post_init__(self) -> None:
        """Begin to wait: a responder that has just started has missed nothing yet."""
        self.watch = Watch(heard=self.moment())

    def take(self, alert: Alert) -> bool:
        """Tell whether an alert is a signal and no trouble; a heartbeat is noted."""
        if alert.name == HEARTBEAT and alert.status == "firing":
            self.watch = replace(self.watch, heard=self.moment(), alive=True)
            self.metrics.watchdog_seen.set(self.clock().timestamp())
        return alert.name in (HEARTBEAT, PROBE)

    async def serve(
        self, deliver: Callable[[Webhook], Awaitable[object]], stop: asyncio.Event, poll_seconds: float
    ) -> None:
        """Look at the heartbeat regularly until ``stop``; does nothing without a limit."""
        while self.limit_seconds is not None and not stop.is_set():
            try:
                await self.step(deliver, self.limit_seconds)
            except ResponderError as error:
                # Not told yet, so the next look tries again.
                log.error("The alarm was not recorded: %s", error, extra={"action": "watchdog.failed"})
                self.metrics.errors.labels("watchdog").inc()
            try:
                await asyncio.wait_for(stop.wait(), poll_seconds)
            except TimeoutError:
                continue

    async def step(self, deliver: Callable[[Webhook], Awaitable[object]], limit: float) -> None:
        """Look once and deliver what there is to tell; raises StoreUnavailable when it is not on record."""
        watch, moment = self.watch, self.moment()
        status = look(watch, moment, limit)
        self.metrics.watchdog_silent.set(moment - watch.heard >= limit)
        if status is None:
            return
        silent = timedelta(seconds=moment - watch.heard)
        if status == "firing" and self._since is None:
            self._since = await asyncio.to_thread(self._recorded) or self.clock() - silent
        alert = self._alert(status, self._since or self.clock(), limit)
        await deliver(Webhook(alerts=(alert,), receiver="watchdog", truncated=0))
        if status == "resolved":
            self._since = None
        elif watch.alarm is not True:
            log.error("No heartbeat for %.0f s: alerting is broken.", silent.total_seconds(),
                      extra={"action": "watchdog.silent"})  # fmt: skip
        # A heartbeat that came meanwhile stays heard.
        self.watch = replace(self.watch, alarm=status == "firing", told=moment)

    def _recorded(self) -> datetime | None:
        """Return since when an open incident knows the alarm: after a restart it is the same episode."""
        identity = route(self._alert("firing", self.clock(), 0), self.catalog).identity
        for line in self.store.summaries(limit=1000):
            if line.open and line.identity == identity:
                return fold(self.store.events(line.id)).firing.get(FINGERPRINT)
        return None

    def _alert(self, status: Literal["firing", "resolved"], since: datetime, limit: float) -> Alert:
        return Alert(
            name=ALARM,
            service=_LABELS["service"],
            status=status,
            labels=_LABELS,
            annotations={
                "summary": "Alerts no longer arrive",
                "description": f"The heartbeat {HEARTBEAT} has not arrived for {limit:.0f} s: the way from Prometheus "
                "to the responder is broken.",
            },
            starts_at=since,
            ends_at=self.clock() if status == "resolved" else None,
            fingerprint=FINGERPRINT,
            generator="alert-responder",
        )
