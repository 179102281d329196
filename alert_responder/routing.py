# SPDX-License-Identifier: GPL-3.0-or-later
"""Choose the runbook for one alert, by the alert's own labels, and the key that tells its incident from others."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from alert_responder.alerts import label_problem
from alert_responder.runbooks import ANY_SERVICE

if TYPE_CHECKING:
    from alert_responder.alerts import Alert
    from alert_responder.runbooks import AlertEntry, Catalog, Runbook

# A longer value may have been cut, and two cut values could look the same.
_LONGEST_IDENTITY_VALUE = 253


@dataclass(frozen=True)
class Route:
    """Where one alert goes; without a runbook, or with a problem, no playbook ever starts for it."""

    identity: str
    service: str
    runbook: str | None
    problem: str


def route(alert: Alert, catalog: Catalog) -> Route:
    """Choose the runbook, the service to heal and the identity of the incident."""
    found = _find(alert, catalog)
    if found is None:
        return Route(_identity(alert, ()), alert.service, None, _no_runbook(alert, catalog))
    runbook, entry = found
    service = alert.service if runbook.service == ANY_SERVICE else runbook.service
    problems = [label_problem(name, alert.labels.get(name)) for name in entry.labels]
    if runbook.service == ANY_SERVICE:
        problems.append(label_problem("service", alert.service))
    problem = "; ".join(dict.fromkeys(problem for problem in problems if problem))
    return Route(_identity(alert, entry.identity), service, runbook.runbook, problem)


def declared_labels(alert: Alert, runbook: Runbook) -> tuple[str, ...]:
    """Return the names of the labels that the playbooks of this runbook receive for this alert."""
    entry = _entry(alert, runbook)
    return entry.labels if entry else ()


def _find(alert: Alert, catalog: Catalog) -> tuple[Runbook, AlertEntry] | None:
    """Prefer the entry for the alert's own service to one for any service."""
    matches = [
        (runbook, entry) for runbook in catalog.runbooks.values() if (entry := _entry(alert, runbook)) is not None
    ]
    return min(matches, key=lambda match: match[1].service == ANY_SERVICE, default=None)


def _entry(alert: Alert, runbook: Runbook) -> AlertEntry | None:
    matches = [
        entry for entry in runbook.alerts if entry.name == alert.name and entry.service in (alert.service, ANY_SERVICE)
    ]
    return min(matches, key=lambda entry: entry.service == ANY_SERVICE, default=None)


def _no_runbook(alert: Alert, catalog: Catalog) -> str:
    services = [
        entry.service for runbook in catalog.runbooks.values() for entry in runbook.alerts if entry.name == alert.name
    ]
    if services:
        return (
            f"no runbook answers alert {alert.name[:80]!r} of service {alert.service[:80]!r}; "
            f"known services: {', '.join(services)}"
        )
    return f"no runbook answers alert {alert.name[:80]!r}"


def identity_labels(alert: Alert, runbook: Runbook) -> dict[str, str]:
    """Return the labels that tell this alert's incident from others; none if that is its fingerprint."""
    entry = _entry(alert, runbook)
    return _identity_labels(alert, entry.identity if entry else ())


def _identity_labels(alert: Alert, names: tuple[str, ...]) -> dict[str, str]:
    values = {name: alert.labels.get(name, "") for name in names}
    usable = all(0 < len(value) <= _LONGEST_IDENTITY_VALUE for value in values.values())
    return values if usable else {}


def _identity(alert: Alert, names: tuple[str, ...]) -> str:
    """Hash what tells two incidents apart, so that the key has one length whatever the labels hold."""
    key = [alert.name, _identity_labels(alert, names) or alert.fingerprint]
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
