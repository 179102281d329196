"""Expectations of the outcome document."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.ops.runbooks.plugins.plugin_utils._outcome import build_outcome

ACTED = {"changed": True, "actions": ["Ended 40 sessions."], "before": {"used": 50}, "after": {"used": 10}}
RECOVERED = {"verdict": "recovered", "reason": "3 good samples in a row", "checks": [{"name": "slots", "good": True}]}
NOT_RECOVERED = {"verdict": "not_recovered", "reason": "slots is 0.95", "checks": []}


def outcome(*, check_mode: bool = False, **phases: dict[str, Any]) -> dict[str, Any]:
    every: dict[str, dict[str, Any]] = {"validated": {}, "observed": {}, "acted": {}, "checked": {}}
    return build_outcome(runbook="r", option="A", check_mode=check_mode, **{**every, **phases})


@pytest.mark.parametrize(
    ("phases", "check_mode", "status", "verdict", "reason"),
    [
        pytest.param(
            {"acted": ACTED, "checked": RECOVERED},
            False,
            "acted",
            "recovered",
            "3 good samples in a row",
            id="acted and recovered",
        ),
        pytest.param(
            {"acted": {"changed": False}, "checked": RECOVERED},
            False,
            "unchanged",
            "recovered",
            "3 good samples in a row",
            id="healthy system",
        ),
        pytest.param(
            {"acted": ACTED, "checked": NOT_RECOVERED},
            False,
            "acted",
            "not_recovered",
            "slots is 0.95",
            id="acted in vain",
        ),
        pytest.param(
            {"acted": ACTED},
            True,
            "acted",
            "unchecked",
            "Nothing was changed, so recovery was not checked.",
            id="check mode",
        ),
        pytest.param(
            {"observed": {"failed": True, "refused": True, "msg": "Slots are 40 % used."}},
            False,
            "refused",
            "unchecked",
            "Slots are 40 % used.",
            id="refused before acting",
        ),
        pytest.param(
            {"acted": {"failed": True, "refused": True, "msg": "Only 2 of 3 are left."}},
            False,
            "refused",
            "unchecked",
            "Only 2 of 3 are left.",
            id="the module refuses",
        ),
        pytest.param(
            {"acted": {"failed": True, "changed": True, "msg": "The server went away."}},
            False,
            "failed",
            "unknown",
            "The server went away.",
            id="failed half-way",
        ),
        pytest.param(
            {"validated": {"failed": True, "msg": "idle_seconds is 0, the least allowed is 1"}},
            False,
            "failed",
            "unknown",
            "idle_seconds is 0, the least allowed is 1",
            id="bad input",
        ),
        pytest.param(
            {"acted": ACTED, "checked": {"failed": True, "msg": "No probes."}},
            False,
            "acted",
            "unknown",
            "No probes.",
            id="the check itself failed",
        ),
        pytest.param(
            {"acted": ACTED}, False, "acted", "unknown", "The check for recovery did not run.", id="never checked"
        ),
    ],
)
def test_the_phases_decide_status_verdict_and_reason(
    phases: dict[str, Any], check_mode: bool, status: str, verdict: str, reason: str
) -> None:
    """Status, verdict and reason follow from the first phase that failed, else from act and check."""
    document = outcome(check_mode=check_mode, **phases)
    assert (document["status"], document["verdict"], document["reason"]) == (status, verdict, reason)


def test_the_document_carries_what_the_phases_returned() -> None:
    """Actions, before, after and checks reach the record unchanged."""
    assert outcome(acted=ACTED, checked=RECOVERED) == {
        "schema": 1,
        "runbook": "r",
        "option": "A",
        "status": "acted",
        "verdict": "recovered",
        "reason": "3 good samples in a row",
        "changed": True,
        "check_mode": False,
        "actions": ["Ended 40 sessions."],
        "before": {"used": 50},
        "after": {"used": 10},
        "checks": [{"name": "slots", "good": True}],
    }
