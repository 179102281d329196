# SPDX-License-Identifier: GPL-3.0-or-later
"""What the responder tells Prometheus about itself."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest


class Metrics:
    """One registry for one responder, so that tests can have many."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        name = "alert_responder"
        self.alerts = Counter(
            f"{name}_alerts", "Alerts received, by what they meant.", ["outcome"], registry=self.registry
        )
        self.rejected = Counter(
            f"{name}_requests_rejected", "Requests that were not accepted.", ["code"], registry=self.registry
        )
        self.truncated = Counter(
            f"{name}_alerts_truncated", "Alerts that Alertmanager cut from its webhooks.", registry=self.registry
        )
        self.runs = Counter(
            f"{name}_runs",
            "Playbook runs that ended.",
            ["runbook", "action", "option", "result", "verdict"],
            registry=self.registry,
        )
        self.run_seconds = Histogram(
            f"{name}_run_duration_seconds",
            "Duration of playbook runs.",
            ["runbook", "action", "option"],
            buckets=(1, 2, 5, 10, 20, 30, 60, 120, 300, 600),
            registry=self.registry,
        )
        self.ended = Counter(
            f"{name}_incidents_ended",
            "Incidents that left the responder.",
            ["runbook", "status"],
            registry=self.registry,
        )
        self.open = Gauge(f"{name}_incidents_open", "Open incidents.", ["status"], registry=self.registry)
        self.queue_age = Gauge(
            f"{name}_queue_age_seconds", "How long the oldest due incident has been waiting.", registry=self.registry
        )
        self.heartbeat = Gauge(
            f"{name}_heartbeat_timestamp_seconds", "When the worker last looked for work.", registry=self.registry
        )
        self.store_contact = Gauge(
            f"{name}_store_contact_timestamp_seconds",
            "When the store last answered the worker.",
            registry=self.registry,
        )
        self.breaker = Gauge(
            f"{name}_breaker_open",
            "Whether the last options of a runbook did not heal, so that a person is called; `all` for every runbook.",
            ["runbook"],
            registry=self.registry,
        )
        self.watchdog_seen = Gauge(
            f"{name}_watchdog_last_seen_timestamp_seconds",
            "When the heartbeat of alerting arrived last.",
            registry=self.registry,
        )
        self.watchdog_silent = Gauge(
            f"{name}_watchdog_silent",
            "Whether the heartbeat has been missing for longer than watchdog_seconds.",
            registry=self.registry,
        )
        self.leases_lost = Counter(
            f"{name}_leases_lost", "Incidents whose lease was lost while they were worked on.", registry=self.registry
        )
        self.notices = Counter(
            f"{name}_notices",
            "Attempts to tell a person, by how they ended.",
            ["target", "kind", "result"],
            registry=self.registry,
        )
        self.notices_failing = Gauge(
            f"{name}_notices_failing",
            "Escalations and questions that could not be told yet.",
            ["target"],
            registry=self.registry,
        )
        self.errors = Counter(f"{name}_errors", "Failures of the responder itself.", ["where"], registry=self.registry)

    def text(self) -> bytes:
        """Return the exposition."""
        return generate_latest(self.registry)
