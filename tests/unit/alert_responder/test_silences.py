"""A silence is as narrow as its incident, ends in time, and never stays; the contract is held by a real one as well."""

from __future__ import annotations

import asyncio
import json
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from pydantic import SecretStr

from alert_responder.metrics import Metrics
from alert_responder.silences import AlertmanagerSilences, labels_to_silence
from tests.unit.alert_responder.makers import make_alert, make_runbook
from tests.unit.alert_responder.silences_contract import SilencesContract, listed

if TYPE_CHECKING:
    from collections.abc import Callable

TOKEN = "s3cr3t-of-alertmanager"


@dataclass
class Alertmanager:
    """Its API for silences, version 2, as far as the responder uses it: what was ended stays, expired."""

    kept: dict[str, dict[str, Any]] = field(default_factory=dict)
    requests: list[httpx.Request] = field(default_factory=list)
    down: bool = False

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if self.down:
            raise httpx.ConnectError("refused", request=request)
        path = request.url.path.removeprefix("/api/v2")
        if (request.method, path) == ("GET", "/silences"):
            return httpx.Response(200, json=list(self.kept.values()))
        if (request.method, path) == ("POST", "/silences"):
            identity = str(uuid.uuid4())
            self.kept[identity] = {"id": identity, "status": {"state": "active"}, **json.loads(request.content)}
            return httpx.Response(200, json={"silenceID": identity})
        found = self.kept.get(path.removeprefix("/silence/"))
        if request.method != "DELETE" or found is None:
            return httpx.Response(404)
        found["status"] = {"state": "expired"}
        return httpx.Response(200)


@pytest.fixture
def alertmanager() -> Alertmanager:
    """Return an Alertmanager without silences."""
    return Alertmanager()


@pytest.fixture
def metrics() -> Metrics:
    """Return the metrics of one responder."""
    return Metrics()


@pytest.fixture
def silences(alertmanager: Alertmanager, metrics: Metrics) -> AlertmanagerSilences:
    """Return silences in it."""
    made = AlertmanagerSilences(
        "http://alertmanager.example.com/", "responder", metrics, lambda: datetime.now(UTC), SecretStr(TOKEN)
    )
    made._client = httpx.AsyncClient(
        headers=made._client.headers, transport=httpx.MockTransport(alertmanager), timeout=1
    )
    return made


@pytest.fixture
def asked(alertmanager: Alertmanager) -> Callable[[], list[dict[str, Any]]]:
    """Return a function that lists the silences that have not ended."""
    return lambda: listed(list(alertmanager.kept.values()))


class TestAlertmanagerInMemory(SilencesContract):
    """The one above keeps the contract."""


def put(silences: AlertmanagerSilences, incident: int = 7, **labels: str) -> None:
    given = labels or {"alertname": "ThingFull", "instance": "db1"}
    asyncio.run(silences.put(incident, given, seconds=60, reason="option A runs."))


def test_a_silence_that_would_mute_too_much_is_not_made(
    silences: AlertmanagerSilences, alertmanager: Alertmanager
) -> None:
    """A name alone is every instance; without a name it is everything."""
    put(silences, alertname="ThingFull")
    put(silences, alertname="", instance="db1")

    assert alertmanager.requests == []


def test_an_alertmanager_that_is_away_delays_nothing_and_is_counted(
    silences: AlertmanagerSilences, alertmanager: Alertmanager, metrics: Metrics, caplog: pytest.LogCaptureFixture
) -> None:
    """No step fails for want of a silence; neither log nor error holds the token."""
    alertmanager.down = True
    put(silences)
    asyncio.run(silences.lift(7))
    asyncio.run(silences.sweep([]))

    assert metrics.registry.get_sample_value("alert_responder_errors_total", {"where": "silence"}) == 3
    assert "Incident 7 goes on without a silence" in caplog.text
    assert TOKEN not in caplog.text
    assert alertmanager.requests[0].headers["authorization"] == f"Bearer {TOKEN}"


def test_a_silence_that_ended_meanwhile_is_no_failure(
    silences: AlertmanagerSilences, alertmanager: Alertmanager, metrics: Metrics
) -> None:
    """Somebody was faster; anything else is one."""
    put(silences)
    listed_once = list(alertmanager.kept.values())
    alertmanager.kept.clear()
    asyncio.run(silences._end([one["id"] for one in listed_once]))
    alertmanager.down = True
    with pytest.raises(httpx.ConnectError):
        asyncio.run(silences._end(["x"]))
    assert metrics.registry.get_sample_value("alert_responder_errors_total", {"where": "silence"}) is None


@pytest.mark.parametrize(
    ("alert", "expected"),
    [
        pytest.param({}, {"alertname": "ThingFull", "instance": "db1:5432"}, id="identity"),
        pytest.param(
            {"labels": {"instance": ""}},
            {"alertname": "ThingFull", "service": "thing", "instance": ""},
            id="no-identity-every-label",
        ),
    ],
)
def test_the_labels_are_those_of_the_identity(alert: dict[str, Any], expected: dict[str, str]) -> None:
    """What another incident is about is not muted."""
    assert labels_to_silence(make_alert(**alert), make_runbook()) == expected


def test_the_end_is_the_limit_of_the_run(silences: AlertmanagerSilences, alertmanager: Alertmanager) -> None:
    """Whatever becomes of the responder, it ends by itself."""
    put(silences)
    [made] = alertmanager.kept.values()

    starts, ends = (datetime.fromisoformat(made[name]) for name in ("startsAt", "endsAt"))
    assert ends - starts == timedelta(seconds=60)
