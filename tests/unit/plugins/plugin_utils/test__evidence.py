"""Expectations of the evidence document."""

from __future__ import annotations

import pytest
from ansible_collections.ops.runbooks.plugins.plugin_utils._evidence import build_evidence

AT = "2026-11-23T03:00:00Z"


def test_results_are_merged_without_what_ansible_adds() -> None:
    """Only what a source found is evidence."""
    document = build_evidence(
        {"sessions": {"changed": False, "failed": False, "invocation": {}, "slots": {"used": 3}}},
        runbook="db-connections",
        collected_at=AT,
        derived={"idle_past_threshold": 2},
    )
    assert document == {
        "schema": 1,
        "runbook": "db-connections",
        "collected_at": AT,
        "evidence": {"slots": {"used": 3}, "idle_past_threshold": 2},
        "unreadable": [],
    }


def test_a_source_that_failed_is_listed_with_its_reason() -> None:
    """A patient that answers nothing still gives a complete document."""
    document = build_evidence(
        {"sessions": {"failed": True, "msg": "Cannot connect.", "slots": {}}},
        runbook="r",
        collected_at=AT,
        derived={},
    )
    assert document["evidence"] == {}
    assert document["unreadable"] == [{"what": "sessions", "why": "Cannot connect."}]


def test_what_a_source_could_not_read_is_passed_on() -> None:
    """A partially privileged source says what is missing."""
    missing = {"what": "query texts", "why": "not a member of pg_monitor"}
    document = build_evidence(
        {"sessions": {"slots": {}, "unreadable": [missing]}}, runbook="r", collected_at=AT, derived={}
    )
    assert document["unreadable"] == [missing]


def test_two_sources_with_one_key_are_refused() -> None:
    """Nothing that was found is overwritten in silence."""
    with pytest.raises(ValueError, match=r"^Cannot add b to the evidence: it already has x\.$"):
        build_evidence({"a": {"x": 1}, "b": {"x": 2}}, runbook="r", collected_at=AT, derived={})
