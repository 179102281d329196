"""Expectations of the proof that an alert arrives; the sink is real, on loopback, and the servers answer as told."""

from __future__ import annotations

import json
import socket
import urllib.request
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.ops.runbooks.plugins.module_utils import _alerting_check
from ansible_collections.ops.runbooks.plugins.module_utils._alerting_check import PROBE, check_path, check_spec
from ansible_collections.ops.runbooks.plugins.module_utils._errors import ConnectionFailed
from ansible_collections.ops.runbooks.plugins.module_utils._waiting import Clock

from tests.unit.plugins.module_utils.alerting import FakeSite

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime.fromisoformat("2027-01-15T08:00:10+00:00")


@pytest.fixture
def port() -> int:
    """Return a port that is free now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        found: int = one.getsockname()[1]
        return found


@pytest.fixture
def site(tmp_path: Path, port: int, monkeypatch: pytest.MonkeyPatch) -> FakeSite:
    """Return servers that are well and deliver every alert that has not ended to the sink."""
    monkeypatch.setattr(_alerting_check, "utc_now", lambda: NOW)
    made = FakeSite(tmp_path)

    def deliver(alert: dict[str, Any]) -> None:
        if datetime.fromisoformat(alert["endsAt"]) <= NOW:
            return
        for body in (b"not JSON", json.dumps({"alerts": [alert, alert]}).encode()):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/", body, timeout=5).close()

    made.on_post = deliver
    return made


def check(site: FakeSite, port: int, *, dry_run: bool = False, **given: Any) -> dict[str, Any]:
    now = iter(range(10_000))
    clock = Clock(now=lambda: float(next(now)), sleep=lambda _seconds: None)
    defaults = {name: option.get("default") for name, option in check_spec().options.items()}
    asked = {**defaults, **site.params(), "listen_host": "127.0.0.1", "listen_port": port, **given}
    return check_path({**asked, "recovery_timeout_seconds": 5.0}, site, dry_run=dry_run, clock=clock)


def bad(result: dict[str, Any]) -> dict[str, Any]:
    return {one["name"]: one["value"] or one["error"] for one in result["checks"] if one["good"] is not True}


def test_an_alert_that_arrives_is_recovery(site: FakeSite, port: int) -> None:
    """Twice in a row, each with a label of its own, each ended again."""
    result = check(site, port)
    assert (result["verdict"], bad(result)) == ("recovered", {})
    assert len(result["checks"]) == 9
    names = [alert["labels"]["probe"] for alert in site.posted]
    assert names[::2] == names[1::2]
    assert len(set(names)) == 2
    assert {alert["labels"]["alertname"] for alert in site.posted} == {PROBE}
    lives = [datetime.fromisoformat(alert["endsAt"]) - NOW for alert in site.posted]
    assert lives == [timedelta(seconds=60), timedelta(0)] * 2


def test_an_alert_that_does_not_arrive_is_none(site: FakeSite, port: int) -> None:
    """Every other hop is good, and the test alert is still ended."""
    site.on_post = lambda _alert: None
    result = check(site, port, arrival_seconds=0.01)
    assert (result["verdict"], bad(result)) == ("not_recovered", {"test alert arrives": "never"})
    assert len(site.posted) % 2 == 0


@pytest.mark.parametrize(
    ("change", "found"),
    [
        pytest.param({"silent": {"prometheus"}}, {
            "Prometheus is ready": "no answer from Prometheus",
            "Prometheus runs with its files": "no answer from Prometheus",
            "rules that fail": "no answer from Prometheus",
            "condition of the alert": "no answer from Prometheus",
        }, id="prometheus-away"),
        pytest.param({"starting": {"alertmanager"}}, {"Alertmanager is ready": 503}, id="alertmanager-not-ready"),
        pytest.param({"failing": ["B", "A", "A"]}, {"rules that fail": "A, B"}, id="rules"),
        pytest.param({"failed_reloads": {"alertmanager"}},
                     {"Alertmanager runs with its files": "older, or refused"}, id="reload"),
        pytest.param({"heartbeat": None}, {"age of the heartbeat in Alertmanager": "never"}, id="no-heartbeat"),
        pytest.param({"heartbeat": "2027-01-15T07:50:10Z"}, {"age of the heartbeat in Alertmanager": 600.0},
                     id="old-heartbeat"),
    ],
)  # fmt: skip
def test_each_hop_is_asked_by_itself(site: FakeSite, port: int, change: dict[str, Any], found: dict[str, Any]) -> None:
    """The hop that is ill is named, with its value."""
    for name, value in change.items():
        setattr(site, name, value)
    result = check(site, port)
    assert (result["verdict"], bad(result)) == ("not_recovered", found)


def test_a_real_receiver_that_refuses_is_seen(site: FakeSite, port: int) -> None:
    """The test alert goes the way of every alert as well, and its failures are counted."""
    deliver = site.on_post

    def fail_elsewhere(alert: dict[str, Any]) -> None:
        site.failures += 1
        deliver(alert)

    site.on_post = fail_elsewhere
    result = check(site, port)
    assert result["verdict"] == "not_recovered"
    assert list(bad(result)) == ["deliveries that failed meanwhile"]


def test_an_alert_that_has_not_ended_decays(site: FakeSite, port: int) -> None:
    """Its window is not empty yet."""
    site.alarms = ["rules", "rules", "reload"]
    result = check(site, port)
    assert (result["verdict"], bad(result)) == ("decaying", {"condition of the alert": "reload, rules"})


def test_check_mode_sends_nothing_and_proves_nothing(site: FakeSite, port: int) -> None:
    """Unknown is never success."""
    result = check(site, port, dry_run=True)
    assert (result["verdict"], site.posted) == ("unknown", [])


def test_a_refused_test_alert_cannot_be_told(site: FakeSite, port: int) -> None:
    """Alertmanager says why."""
    answer = site.send
    site.send = lambda server, path, **more: (  # type: ignore[method-assign]
        (400, "bad start") if more.get("method") == "POST" else answer(server, path, **more)
    )
    result = check(site, port)
    assert bad(result) == {"test alert arrives": "Alertmanager answered 400 to a test alert: bad start"}


def test_a_port_that_is_taken_is_told_where_to_set(site: FakeSite) -> None:
    """Another check may use it for a while; somebody else uses it for ever."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        with (
            pytest.raises(ConnectionFailed, match=f"Cannot listen on 127.0.0.1:{taken} for the test alert"),
            _alerting_check.listening("127.0.0.1", taken, 0.3),
        ):
            pass
