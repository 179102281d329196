# SPDX-License-Identifier: GPL-3.0-or-later
"""Put received alerts on record; who waits here waits until they are on disk."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from alert_responder.alerts import Alert, Webhook
from alert_responder.errors import Overloaded
from alert_responder.routing import Route, route
from alert_responder.store import Delivery, Receipt, Store

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from alert_responder.metrics import Metrics
    from alert_responder.runbooks import Catalog

log = logging.getLogger(__name__)

# So many alerts may wait for the disk; who sends more is asked to come again.
MOST_WAITING = 20_000


@dataclass
class Receiver:
    """Writes what arrived while the last write was on its way in one transaction (group commit)."""

    store: Store
    catalog: Catalog
    metrics: Metrics
    clock: Callable[[], datetime]
    on_news: Callable[[], None]
    is_signal: Callable[[Alert], bool] = lambda _alert: False  # such as a heartbeat: heard, and no trouble
    _waiting: list[tuple[list[Delivery], asyncio.Future[list[Receipt]]]] = field(default_factory=list)
    _writer: asyncio.Task[None] | None = None

    async def receive(self, webhook: Webhook) -> list[Receipt]:
        """Return once every alert is durable; raises StoreUnavailable when it is not, Overloaded when too many wait."""
        waiting = sum(len(deliveries) for deliveries, _ in self._waiting)
        if waiting >= MOST_WAITING:
            raise Overloaded(f"{waiting} alerts wait for the disk; nothing was recorded. Try again.")
        signals = [self.is_signal(alert) for alert in webhook.alerts]
        self.metrics.alerts.labels("signal").inc(sum(signals))
        deliveries = [
            Delivery(alert, route(alert, self.catalog))
            for alert, signal in zip(webhook.alerts, signals, strict=True)
            if not signal
        ]
        if webhook.truncated:
            deliveries.append(self._truncated(webhook))
        if not deliveries:
            return []
        future: asyncio.Future[list[Receipt]] = asyncio.get_running_loop().create_future()
        self._waiting.append((deliveries, future))
        if self._writer is None:
            self._writer = asyncio.create_task(self._write())
        receipts = await future
        for receipt in receipts:
            self.metrics.alerts.labels(receipt.outcome).inc()
        return receipts

    async def _write(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                await self._commit(batch)
        finally:
            self._writer = None

    async def _commit(self, batch: list[tuple[list[Delivery], asyncio.Future[list[Receipt]]]]) -> None:
        every = [delivery for deliveries, _ in batch for delivery in deliveries]
        try:
            receipts = await asyncio.to_thread(self.store.receive, every, now=self.clock())
        except Exception as error:  # noqa: BLE001 -- whatever it is, each sender must hear of it
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
            return
        rest = iter(receipts)
        for deliveries, future in batch:
            mine = [next(rest) for _ in deliveries]
            if not future.done():
                future.set_result(mine)
        # What no runbook answers waits for a person; nobody looks for work because of it.
        if any(
            receipt.outcome in ("opened", "fired", "ended") and delivery.route.runbook is not None
            for delivery, receipt in zip(every, receipts, strict=True)
        ):
            self.on_news()

    def _truncated(self, webhook: Webhook) -> Delivery:
        """Make the alerts that were cut off an incident of their own: nobody else will tell of them."""
        self.metrics.truncated.inc(webhook.truncated)
        receiver = webhook.receiver[:80]
        log.error(
            "Alertmanager cut %d alerts from a webhook to receiver %r.",
            webhook.truncated,
            receiver,
            extra={"action": "webhook.truncated"},
        )
        name = "AlertmanagerTruncated"
        alert = Alert(
            name=name,
            service="alertmanager",
            status="firing",
            labels={"alertname": name, "receiver": receiver},
            annotations={},
            starts_at=self.clock(),
            ends_at=None,
            fingerprint=name,
            generator="",
        )
        problem = (
            f"Alertmanager left {webhook.truncated} alerts out of a webhook to receiver {receiver!r}; "
            "raise max_alerts of the receiver, or group by fewer labels"
        )
        identity = hashlib.sha256(f"{name} {receiver}".encode()).hexdigest()
        return Delivery(alert, Route(identity, "alertmanager", None, problem))
