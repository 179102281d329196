# SPDX-License-Identifier: GPL-3.0-or-later
"""Read a webhook of Alertmanager (or Grafana) into alerts. Everything in it comes from outside and is only data."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
)

from alert_responder.errors import BadPayload, explain

MOST_ALERTS = 2000
MOST_LABELS = 100
LONGEST_NAME = 256
LONGEST_VALUE = 4096
_MOST_TRUNCATED = 2**31 - 1

# What a declared label may hold, and what it may never hold (docs/architecture.md, section 3).
_LABEL_VALUE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,252}")
_TEMPLATE_MARKERS = ("{{", "{%", "{#")
_GRAFANA_VERSION = "1"


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("expected a time between the years 1 and 9999 in UTC") from error


def _cut(value: str) -> str:
    if len(value) <= LONGEST_VALUE:
        return value
    return f"{value[:LONGEST_VALUE]}… (cut, {len(value)} characters)"


def _whole(value: Any) -> Any:
    """Take 2.0 for 2: to JSON they are one number."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Moment = Annotated[AwareDatetime, AfterValidator(_in_utc)]
LabelName = Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_NAME)]
# One poisoned value must not cost the other alerts of the group: a long value is cut, not refused.
LabelValue = Annotated[str, AfterValidator(_cut)]
Labels = Annotated[dict[LabelName, LabelValue], Field(max_length=MOST_LABELS)]


class Alert(BaseModel):
    """One alert as it was received."""

    model_config = ConfigDict(frozen=True)

    name: str
    service: str
    status: Literal["firing", "resolved"]
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    starts_at: Moment
    ends_at: Moment | None
    fingerprint: str
    generator: str


class PostedAlert(BaseModel):
    """One alert of a webhook."""

    status: Literal["firing", "resolved"]
    labels: Labels
    annotations: Labels = {}
    starts_at: Moment = Field(alias="startsAt")
    ends_at: Moment | None = Field(alias="endsAt", default=None)
    generator: LabelValue = Field(alias="generatorURL", default="")
    fingerprint: Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_NAME)]

    def as_alert(self) -> Alert:
        """Return what is kept of it."""
        return Alert(
            name=self.labels.get("alertname", ""),
            service=self.labels.get("service", ""),
            status=self.status,
            labels=self.labels,
            annotations=self.annotations,
            starts_at=self.starts_at,
            ends_at=self.ends_at if self.status == "resolved" else None,
            fingerprint=self.fingerprint,
            generator=self.generator,
        )


class Posted(BaseModel):
    """The parts of a webhook that are read; what Grafana or a later Alertmanager adds is ignored."""

    version: str
    alerts: Annotated[list[PostedAlert], Field(max_length=MOST_ALERTS)]
    receiver: LabelValue = ""
    truncated: Annotated[
        int, Field(ge=0, le=_MOST_TRUNCATED, alias="truncatedAlerts", strict=True), BeforeValidator(_whole)
    ] = 0
    grafana_organisation: int | None = Field(alias="orgId", default=None)


class Webhook(BaseModel):
    """What one request brought."""

    model_config = ConfigDict(frozen=True)

    alerts: tuple[Alert, ...]
    receiver: str
    truncated: int


def parse_webhook(body: bytes) -> Webhook:
    """Return the alerts of one request; raises BadPayload with every problem found, at most five."""
    try:
        posted = Posted.model_validate_json(body)
    except ValidationError as error:
        raise BadPayload(f"The payload was not accepted: {'; '.join(explain(error)[:5])}.") from error
    # Grafana sends the same shape and calls it version 1.
    if posted.version != "4" and not (posted.version == _GRAFANA_VERSION and posted.grafana_organisation is not None):
        raise BadPayload(f"The payload was not accepted: version is {_cut(posted.version)[:40]!r}, expected '4'.")
    return Webhook(
        alerts=tuple(alert.as_alert() for alert in posted.alerts),
        receiver=posted.receiver,
        truncated=posted.truncated,
    )


def label_problem(name: str, value: str | None) -> str:
    """Say why a declared label may not be handed to a playbook; empty if it may."""
    if value is None:
        return f"label {name} is missing"
    if any(marker in value for marker in _TEMPLATE_MARKERS):
        return f"label {name} carries a template marker: {value[:80]!r}"
    if _LABEL_VALUE.fullmatch(value) is None:
        return (
            f"label {name} is {value[:80]!r}, expected at most 253 characters out of letters, digits and . _ : / @ -, "
            "beginning with a letter or digit"
        )
    return ""


def run_variables(
    alert: Alert, declared: tuple[str, ...], *, run: str, incident: int, undo: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the documents that a play receives when an alert started it; ``undo`` is what an undo takes back.

    Every leaf is wrapped, so that Ansible never reads it as a template (docs/architecture.md, section 3).
    """
    documents: dict[str, Any] = {
        "runbook_alert": {
            "name": alert.name,
            "fingerprint": alert.fingerprint,
            "starts_at": alert.starts_at.isoformat(),
            "labels": {name: alert.labels[name] for name in declared},
        },
        "runbook_run": {"id": run, "incident": str(incident)},
    }
    if undo is not None:
        documents["runbook_undo"] = undo
    wrapped: dict[str, Any] = _wrap(documents)
    return wrapped


def _wrap(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _wrap(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_wrap(item) for item in value]
    # Only text can be read as a template; a number stays one.
    return {"__ansible_unsafe": value} if isinstance(value, str) else value
