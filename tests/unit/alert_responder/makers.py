"""Runbooks, alerts and outcomes that the tests of the responder share."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from alert_responder.alerts import Alert
from alert_responder.documents import Evidence, Outcome
from alert_responder.runbooks import Runbook

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def make_option(letter: str, **changes: Any) -> dict[str, Any]:
    return {
        "letter": letter,
        "title": f"Title {letter}",
        "playbook": f"ops.tests.option_{letter.lower()}",
        "when": f"evidence.{letter.lower()}",
        "reason": f"Reason {letter}.",
        "automation": "auto",
        "idempotent": False,
        "expected_seconds": 1,
        "timeout_seconds": 5,
        "impact": "None.",
        **changes,
    }


def make_runbook(*options: dict[str, Any], **changes: Any) -> Runbook:
    play = {"expected_seconds": 1, "timeout_seconds": 5}
    return Runbook.model_validate(
        {
            "runbook": "tiny",
            "title": "Something is full",
            "service": "thing",
            "owner": "Team",
            "reviewed": NOON.date(),
            "review_every_days": 90,
            "target_group": "things",
            "alerts": [
                {
                    "name": "ThingFull",
                    "severity": "critical",
                    "service": "thing",
                    "identity": ["instance"],
                    "labels": ["instance"],
                }
            ],
            "diagnose": {"playbook": "ops.tests.diagnose", **play},
            "verify": {"playbook": "ops.tests.verify", **play},
            "recovered": "It is no longer full.",
            "options": list(options) or [make_option("A"), make_option("B"), make_option("C")],
            **changes,
        }
    )


def make_alert(**changes: Any) -> Alert:
    labels = {"alertname": "ThingFull", "service": "thing", "instance": "db1:5432", **changes.pop("labels", {})}
    return Alert.model_validate(
        {
            "name": labels["alertname"],
            "service": labels["service"],
            "status": "firing",
            "labels": labels,
            "annotations": {},
            "starts_at": NOON,
            "ends_at": None,
            "fingerprint": "f1",
            "generator": "",
            **changes,
        }
    )


def make_outcome(verdict: str, **changes: Any) -> Outcome:
    return Outcome.model_validate(
        {
            "schema": 1,
            "runbook": "tiny",
            "option": "verify",
            "status": "acted",
            "verdict": verdict,
            "reason": f"It is {verdict}.",
            "changed": True,
            "check_mode": False,
            "actions": [],
            "before": {},
            "after": {},
            "checks": [],
            **changes,
        }
    )


def make_evidence(**evidence: Any) -> Evidence:
    return Evidence.model_validate(
        {"schema": 1, "runbook": "tiny", "collected_at": NOON.isoformat(), "evidence": evidence}
    )
