"""Expectations of silences."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from ansible_collections.ops.runbooks.plugins.module_utils._alertmanager import (
    Matcher,
    SilenceRequest,
    Silences,
    ensure_absent,
    ensure_present,
    silence_spec,
)
from ansible_collections.ops.runbooks.plugins.module_utils._errors import PreconditionFailed

from tests.unit.plugins.module_utils.alertmanager import FakeSilences, SilencesContract

DEFAULTS = {name: option.get("default") for name, option in silence_spec().options.items()}
MATCHERS = [{"name": "alertname", "value": "BackendDown"}]
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def request(**given: Any) -> SilenceRequest:
    asked = {"owner": "runbook", "comment": "a restart", "matchers": MATCHERS, **given}
    return SilenceRequest.from_params({**DEFAULTS, **asked})


def present(silences: FakeSilences, *, minutes: float = 0, dry_run: bool = False, **given: Any) -> dict[str, Any]:
    return ensure_present(silences, request(**given), dry_run=dry_run, now=lambda: NOON + timedelta(minutes=minutes))


class TestFakeSilences(SilencesContract):
    """The silences in memory keep the contract that the real ones keep in the integration tests."""

    @pytest.fixture
    def silences(self) -> Silences:
        return FakeSilences()


def test_a_silence_is_created_once() -> None:
    """A second run within half of its life changes nothing."""
    silences = FakeSilences()
    first = present(silences)
    assert (first["changed"], first["before"], len(first["after"])) == (True, [], 1)
    assert first["actions"] == ["Created a silence until 12:10:00 UTC."]
    second = present(silences, minutes=4)
    assert (second["changed"], second["id"]) == (False, first["id"])


def test_a_silence_that_nears_its_end_is_extended() -> None:
    """The same one lives longer; there are never two."""
    silences = FakeSilences()
    first = present(silences)
    again = present(silences, minutes=6)
    assert (again["changed"], again["id"]) == (True, first["id"])
    assert again["actions"] == ["Extended a silence until 12:16:00 UTC."]
    assert len(silences.active()) == 1


def test_a_dry_run_creates_nothing() -> None:
    """Check mode says until when it would be."""
    silences = FakeSilences()
    planned = present(silences, dry_run=True)
    assert (planned["changed"], planned["after"], silences.kept) == (True, [], {})
    assert planned["actions"] == ["Would have created a silence until 12:10:00 UTC."]


def test_only_ones_own_silence_counts_and_ends() -> None:
    """The silence of another owner with the same matchers is left alone."""
    silences = FakeSilences()
    present(silences, owner="somebody else")
    assert present(silences)["changed"] is True
    ended = ensure_absent(silences, request(), dry_run=False)
    assert ended["changed"] is True
    assert [one.owner for one in silences.active()] == ["somebody else"]
    assert ensure_absent(silences, request(), dry_run=False)["changed"] is False


def test_by_identity_a_strangers_silence_is_refused() -> None:
    """The message names the owner."""
    silences = FakeSilences()
    theirs = present(silences, owner="somebody else")["id"]
    with pytest.raises(PreconditionFailed, match="belongs to somebody else, not to runbook"):
        ensure_absent(silences, request(id=theirs, matchers=None), dry_run=False)
    mine = present(silences)["id"]
    assert ensure_absent(silences, request(id=mine, matchers=None), dry_run=True)["changed"] is True
    assert len(silences.active()) == 2


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"matchers": []}, "silence nearly everything"),
        ({"matchers": [{"name": "alertname", "value": ""}]}, "silence nearly everything"),
        ({"matchers": [{"name": "alertname", "value": ".*", "is_regex": True}]}, "silence nearly everything"),
        ({"matchers": [{"name": "alertname", "value": ".+", "is_regex": True}]}, "silence nearly everything"),
        ({"matchers": [{"name": "alertname", "value": "X", "is_equal": False}]}, "silence nearly everything"),
        ({"owner": " "}, "who answers"),
        ({"duration_seconds": 0}, "expected 1 to 14400"),
        ({"duration_seconds": 86400}, "hides the next alert"),
    ],
)
def test_a_silence_that_nobody_should_want_is_refused(given: dict[str, Any], message: str) -> None:
    """Too wide, too long, or nobody's."""
    with pytest.raises(ValueError, match=message):
        request(**given)


def test_matchers_are_compared_whatever_their_order() -> None:
    """As given, and as Alertmanager answers them."""
    two = [{"name": "b", "value": "1"}, {"name": "a", "value": "x.*", "is_regex": True}]
    built = request(matchers=two).matchers
    assert built == tuple(sorted(Matcher.from_mapping(matcher.as_api()) for matcher in reversed(built)))
