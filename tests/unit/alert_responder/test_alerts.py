"""Whatever is posted is only data: read within bounds, or refused with a sentence."""

from __future__ import annotations

import json
from typing import Any

import pytest

from alert_responder.alerts import LONGEST_VALUE, MOST_ALERTS, MOST_LABELS, label_problem, parse_webhook, run_variables
from alert_responder.errors import BadPayload
from tests.unit.alert_responder.makers import make_alert

ALERT = {
    "status": "firing",
    "labels": {"alertname": "ThingFull", "service": "thing"},
    "annotations": {"summary": "It is full."},
    "startsAt": "2026-11-23T12:00:00.123456789Z",
    "endsAt": "0001-01-01T00:00:00Z",
    "generatorURL": "http://prometheus.example.com/graph",
    "fingerprint": "a1b2",
}


def payload(document: dict[str, Any] | None = None, /, **alert: Any) -> bytes:
    return json.dumps({"version": "4", "alerts": [{**ALERT, **alert}], **(document or {})}).encode()


def test_a_webhook_becomes_alerts() -> None:
    """Name and service come from the alert's own labels; times are UTC; a firing alert has no end."""
    webhook = parse_webhook(payload({"truncatedAlerts": 3, "receiver": "responder", "commonLabels": {"service": "x"}}))

    [alert] = webhook.alerts
    assert (alert.name, alert.service, alert.status, alert.fingerprint) == ("ThingFull", "thing", "firing", "a1b2")
    assert alert.starts_at.isoformat() == "2026-11-23T12:00:00.123456+00:00"
    assert alert.ends_at is None
    assert (webhook.truncated, webhook.receiver) == (3, "responder")


def test_a_number_may_be_written_with_a_point() -> None:
    """2.0 is 2: JSON does not tell them apart."""
    assert parse_webhook(payload({"truncatedAlerts": 2.0})).truncated == 2


def test_a_resolved_alert_has_an_end() -> None:
    """The end of a resolved alert is kept, in UTC."""
    [alert] = parse_webhook(payload(status="resolved", endsAt="2026-11-23T13:00:00+01:00")).alerts

    assert alert.ends_at is not None
    assert alert.ends_at.isoformat() == "2026-11-23T12:00:00+00:00"


def test_grafana_sends_the_same_shape() -> None:
    """Grafana calls it version 1 and adds keys of its own."""
    document = {"version": "1", "orgId": 1, "title": "[FIRING:1]", "state": "alerting", "message": "x"}
    [alert] = parse_webhook(payload(document, values={"B": 5}, silenceURL="http://grafana.example.com")).alerts

    assert alert.name == "ThingFull"


def test_a_long_value_is_cut_and_does_not_cost_the_other_alerts() -> None:
    """100 kB in one label leave a cut label and a payload that is accepted."""
    [alert] = parse_webhook(payload(labels={"alertname": "ThingFull", "instance": "x" * 100_000})).alerts

    assert alert.labels["instance"] == "x" * LONGEST_VALUE + "… (cut, 100000 characters)"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        pytest.param(b"", "invalid JSON: EOF", id="empty"),
        pytest.param(b"alerts=1", "invalid JSON", id="not-json"),
        pytest.param(b"\xff\xfe", "invalid JSON", id="not-utf-8"),
        pytest.param(b"[" * 200_000, "recursion limit exceeded", id="deep-nesting"),
        pytest.param(b'{"version":"4","alerts":' + b"9" * 9000 + b"}", "number out of range", id="huge-number"),
        pytest.param(b"null", "document is None: input should be an object", id="null"),
        pytest.param(b"{}", "version is missing; alerts is missing", id="empty-object"),
        pytest.param(payload({"version": "3"}), "version is '3', expected '4'", id="version"),
        pytest.param(payload({"version": "1"}), "version is '1', expected '4'", id="grafana-version-alone"),
        pytest.param(payload({"version": 4}), "version is 4: input should be a valid string", id="version-number"),
        pytest.param(payload({"truncatedAlerts": -1}), "truncatedAlerts is -1", id="truncated"),
        pytest.param(payload({"truncatedAlerts": 10**400}), "less than or equal to 2147483647", id="truncated-beyond"),
        pytest.param(payload({"truncatedAlerts": 0.5}), "truncatedAlerts is 0.5", id="truncated-in-part"),
        pytest.param(payload({"alerts": {}}), "alerts is {}: input should be a valid", id="alerts-object"),
        pytest.param(payload(labels=None), "alerts.0.labels is None", id="labels"),
        pytest.param(payload(labels={"a": 1}), "alerts.0.labels.a is 1: input should be a valid string", id="number"),
        pytest.param(payload(labels={"a": {"__ansible_vault": "x"}}), "alerts.0.labels.a is {", id="vault"),
        pytest.param(payload(annotations={"a": ["x"]}), "alerts.0.annotations.a is ['x']", id="list"),
        pytest.param(payload(labels={"a": "\ud800"}), "invalid JSON", id="lone-surrogate"),
        pytest.param(payload(labels={"a" * 300: "x"}), "at most 256 characters", id="long-name"),
        pytest.param(
            payload(labels={str(n): "" for n in range(MOST_LABELS + 1)}), "at most 100 items", id="labels-many"
        ),
        pytest.param(payload({"alerts": [ALERT] * (MOST_ALERTS + 1)}), "at most 2000 items", id="alerts-many"),
        pytest.param(payload(status="pending"), "alerts.0.status is 'pending'", id="status"),
        pytest.param(payload(startsAt="yesterday"), "alerts.0.startsAt is 'yesterday'", id="time"),
        pytest.param(payload(startsAt="2026-11-23T12:00:00"), "should have timezone info", id="no-zone"),
        pytest.param(payload(startsAt="0001-01-01T00:00:00+09:00"), "between the years 1 and 9999", id="before-time"),
        pytest.param(payload(fingerprint=""), "alerts.0.fingerprint is ''", id="fingerprint"),
    ],
)
def test_what_cannot_be_read_is_refused_with_a_sentence(body: bytes, said: str) -> None:
    """Each row is answered with the key, the value and what was expected."""
    with pytest.raises(BadPayload) as caught:
        parse_webhook(body)

    assert said in str(caught.value)
    assert len(str(caught.value)) < 2000


@pytest.mark.parametrize(
    "value", ["db1.example.com:5432", "10.0.0.1", "a", "/dev/sda".lstrip("/"), "x" * 253, "a@b-c_d"]
)
def test_ordinary_label_values_may_be_used(value: str) -> None:
    """Host names, addresses and paths are accepted."""
    assert label_problem("instance", value) == ""


@pytest.mark.parametrize(
    ("value", "said"),
    [
        pytest.param(None, "label instance is missing", id="missing"),
        pytest.param("{{ lookup('pipe','touch pwned') }}", "label instance carries a template marker", id="template"),
        pytest.param("a{%x%}", "template marker", id="statement"),
        pytest.param("a{#x#}", "template marker", id="comment"),
        pytest.param("'; DROP TABLE x", "expected at most 253 characters out of letters", id="sql"),
        pytest.param("a\nb", "expected at most", id="newline"),
        pytest.param("a\n", "expected at most", id="newline-at-the-end"),
        pytest.param("", "expected at most", id="empty"),
        pytest.param("-e@x", "expected at most", id="option"),
        pytest.param("x" * 254, "expected at most", id="long"),
        pytest.param("ä", "expected at most", id="not-ascii"),
        pytest.param("a;b", "expected at most", id="shell"),
    ],
)
def test_hostile_label_values_may_not_be_used(value: str | None, said: str) -> None:
    """Each row is refused with a short reason."""
    problem = label_problem("instance", value)

    assert said in problem
    assert len(problem) < 300


def test_every_leaf_that_a_play_receives_is_wrapped() -> None:
    """Only declared labels travel, and none of them can be read as a template."""
    variables = run_variables(make_alert(labels={"secret": "x"}), ("instance",), run="r1", incident=7)

    assert variables == {
        "runbook_alert": {
            "name": {"__ansible_unsafe": "ThingFull"},
            "fingerprint": {"__ansible_unsafe": "f1"},
            "starts_at": {"__ansible_unsafe": "2026-11-23T12:00:00+00:00"},
            "labels": {"instance": {"__ansible_unsafe": "db1:5432"}},
        },
        "runbook_run": {"id": {"__ansible_unsafe": "r1"}, "incident": {"__ansible_unsafe": "7"}},
    }
