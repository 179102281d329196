"""Expectations of the refusal of an option."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.ops.runbooks.plugins.plugin_utils._precondition import find_option, why_refused

OPTION = {
    "letter": "A",
    "when": "evidence.database.login == 'ok' and evidence.state in ['stopped', 'hung']",
    "reason": "It does not answer.",
}
START = f"Refused: option A is for this: It does not answer ({OPTION['when']})"


@pytest.mark.parametrize("state", ["stopped", "hung"])
def test_evidence_that_calls_for_it_is_no_reason_to_refuse(state: str) -> None:
    """The same expression as the responder judges."""
    assert why_refused(OPTION, {"state": state, "database": {"login": "ok"}}) == ""


def test_a_refusal_names_the_values_that_were_found() -> None:
    """So that a person sees what to look at."""
    evidence = {"state": "serving", "database": {"login": "ok"}, "other": 1}
    assert why_refused(OPTION, evidence) == f"{START}. Found: database.login is 'ok', state is 'serving'."


@pytest.mark.parametrize(
    ("when", "evidence", "why"),
    [
        pytest.param("evidence.stale.count > 0", {}, "has no attribute 'stale'", id="missing"),
        pytest.param("evidence.stale", {}, "has no attribute 'stale'", id="missing-alone"),
        pytest.param("evidence.used >= 0.8", {"used": "much"}, "not supported between", id="of-another-type"),
    ],
)
def test_evidence_that_is_missing_is_no_licence(when: str, evidence: dict[str, Any], why: str) -> None:
    """It is refused with what could not be judged."""
    refused = why_refused({**OPTION, "when": when}, evidence)
    assert "It cannot be judged: " in refused
    assert why in refused


def test_an_option_is_found_by_its_letter() -> None:
    """One that the runbook does not have is named with those that it has."""
    document = {"runbook": "r", "options": [OPTION]}
    assert find_option(document, "A") is OPTION
    with pytest.raises(ValueError, match=r"^Runbook 'r' has no option 'B'\. It has: A\.$"):
        find_option(document, "B")
