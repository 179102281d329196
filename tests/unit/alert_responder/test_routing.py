"""Each alert goes where its own labels send it."""

from __future__ import annotations

from typing import Any

import pytest

from alert_responder.routing import declared_labels, route
from alert_responder.runbooks import Catalog
from tests.unit.alert_responder.makers import make_alert, make_runbook


def entry(name: str, service: str, **changes: Any) -> dict[str, Any]:
    return {"name": name, "severity": "warning", "service": service, "identity": [], "labels": [], **changes}


CATALOG = Catalog(
    {
        "tiny": make_runbook(),
        "down": make_runbook(
            runbook="down", service="any", alerts=[entry("Down", "any"), entry("Down", "cache", labels=["shard"])]
        ),
        "cpu": make_runbook(runbook="cpu", service="any", alerts=[entry("HighCPU", "any", labels=["container"])]),
    }
)


@pytest.mark.parametrize(
    ("labels", "runbook", "service", "problem"),
    [
        pytest.param({}, "tiny", "thing", "", id="name-and-service"),
        pytest.param({"alertname": "Down", "service": "web"}, "down", "web", "", id="any-service"),
        pytest.param(
            {"alertname": "Down", "service": "cache"}, "down", "cache", "label shard is missing", id="own-entry-first"
        ),
        pytest.param({"alertname": "HighCPU", "container": "a1", "service": "web"}, "cpu", "web", "", id="declared"),
        pytest.param({"alertname": "Nope"}, None, "thing", "no runbook answers alert 'Nope'", id="unknown-alert"),
        pytest.param(
            {"service": "other"},
            None,
            "other",
            "no runbook answers alert 'ThingFull' of service 'other'; known services: thing",
            id="other-service",
        ),
    ],
)
def test_route(labels: dict[str, str], runbook: str | None, service: str, problem: str) -> None:
    """Each row: labels, and where they lead."""
    found = route(make_alert(labels=labels), CATALOG)

    assert (found.runbook, found.service, found.problem) == (runbook, service, problem)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        pytest.param({"instance": "{{ lookup('pipe','touch pwned') }}"}, "template marker", id="declared-label"),
        pytest.param({"alertname": "Down", "service": "a b"}, "label service is 'a b'", id="service-to-heal"),
    ],
)
def test_unusable_labels_are_a_problem_on_record(labels: dict[str, str], said: str) -> None:
    """The alert keeps its runbook and is never handed to it."""
    found = route(make_alert(labels=labels), CATALOG)

    assert found.runbook is not None
    assert said in found.problem


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        pytest.param({}, {"fingerprint": "f2", "labels": {"pod": "x"}}, True, id="only-identity-labels-count"),
        pytest.param({}, {"labels": {"instance": "db2"}}, False, id="another-instance"),
        pytest.param(
            {"labels": {"instance": ""}}, {"labels": {"instance": ""}, "fingerprint": "f2"}, False, id="empty"
        ),
        pytest.param(
            {"labels": {"instance": "x" * 254}},
            {"labels": {"instance": "x" * 254}, "fingerprint": "f2"},
            False,
            id="long",
        ),
        pytest.param({"labels": {"alertname": "Nope"}}, {"labels": {"alertname": "Nope"}}, True, id="fingerprint"),
        pytest.param(
            {"labels": {"alertname": "Down"}}, {"labels": {"alertname": "HighCPU"}}, False, id="another-alert"
        ),
    ],
)
def test_identity(one: dict[str, Any], other: dict[str, Any], same: bool) -> None:
    """Two alerts are one incident when their identity labels agree; without usable ones, their fingerprint tells."""
    identities = {route(make_alert(**dict(changes)), CATALOG).identity for changes in (one, other)}

    assert (len(identities) == 1) is same


def test_declared_labels_are_those_of_the_alerts_own_entry() -> None:
    """A runbook hands on what it declares for this alert of this service."""
    assert declared_labels(make_alert(), CATALOG.get("tiny")) == ("instance",)
    cache = make_alert(labels={"alertname": "Down", "service": "cache"})
    assert declared_labels(cache, CATALOG.get("down")) == ("shard",)
    assert declared_labels(cache, CATALOG.get("tiny")) == ()
