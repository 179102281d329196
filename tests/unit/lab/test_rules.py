"""Lab rules from production rules."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from lab.rules import derive_alertmanager, derive_rules, seconds, shorten, shorten_expression

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("duration", "expected"),
    [
        pytest.param("0", 0, id="zero"),
        pytest.param("0s", 0, id="zero-seconds"),
        pytest.param("90s", 90, id="seconds"),
        pytest.param("1h30m", 5400, id="two-units"),
        pytest.param("1d", 86400, id="day"),
        pytest.param("500ms", 0.5, id="milliseconds"),
        pytest.param("1y2w", 31536000 + 2 * 604800, id="year-and-weeks"),
    ],
)
def test_duration_is_read_as_prometheus_reads_it(duration: str, expected: float) -> None:
    """Every unit counts."""
    assert seconds(duration) == expected


@pytest.mark.parametrize("text", ["", "5", "m", "5 m", "-5m", "5m!"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    """A typo stops the derivation."""
    with pytest.raises(ValueError, match="not a duration"):
        seconds(text)


@pytest.mark.parametrize(
    ("duration", "at_least", "expected"),
    [
        pytest.param("5m", 0, "10s", id="five-minutes"),
        pytest.param("2m", 0, "4s", id="two-minutes"),
        pytest.param("10s", 0, "333ms", id="below-a-second"),
        pytest.param("0s", 0, "0s", id="none"),
        pytest.param("1m", 8, "8s", id="floor"),
    ],
)
def test_time_passes_thirty_times_faster(duration: str, at_least: float, expected: str) -> None:
    """Five minutes are ten seconds, and a range keeps enough scrapes."""
    assert shorten(duration, at_least) == expected


@pytest.mark.parametrize(
    ("production", "lab"),
    [
        pytest.param("rate(x[5m]) > 0.1", "rate(x[10s]) > 0.1", id="range"),
        pytest.param("rate(x[1m])", "rate(x[8s])", id="range-keeps-four-scrapes"),
        pytest.param("x unless x offset 10m", "x unless x offset 20s", id="offset"),
        pytest.param("x offset -10m", "x offset -20s", id="negative-offset"),
        pytest.param("max_over_time(up[1h:1m])", "max_over_time(up[120s:])", id="subquery"),
        pytest.param("max_over_time(x[1h] offset 5m)", "max_over_time(x[120s] offset 10s)", id="both"),
        pytest.param('x{path=~"/[a-z]+", offset="5m"}', 'x{path=~"/[a-z]+", offset="5m"}', id="labels-stay"),
        pytest.param("vector(1)", "vector(1)", id="nothing-to-do"),
    ],
)
def test_only_times_in_an_expression_change(production: str, lab: str) -> None:
    """Metrics, labels and thresholds are those of production."""
    assert shorten_expression(production) == lab


@given(st.integers(1, 10_000), st.sampled_from(["s", "m", "h", "d"]))
def test_a_shorter_duration_never_grows_and_stays_readable(number: int, unit: str) -> None:
    """Whatever the duration, the lab's is a valid one and not longer than production's, but for rounding."""
    duration = f"{number}{unit}"
    assert seconds(shorten(duration)) <= seconds(duration) / 30 + 0.001
    assert seconds(shorten(duration)) >= seconds(duration) / 30 - 0.001


@pytest.fixture
def production(root: Path) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((root / "observability/prometheus/alerts.yml").read_text())
    return document


def test_derived_rules_are_the_same_alerts_sooner(production: dict[str, Any]) -> None:
    """Names, labels and annotations are kept; every wait is a thirtieth; the input is left alone."""
    before = yaml.safe_dump(production)
    derived = derive_rules(production)
    assert yaml.safe_dump(production) == before
    for group, lab_group in zip(production["groups"], derived["groups"], strict=True):
        for rule, lab_rule in zip(group["rules"], lab_group["rules"], strict=True):
            times = {"expr", "for", "keep_firing_for"}
            assert {k: v for k, v in rule.items() if k not in times} == {
                k: v for k, v in lab_rule.items() if k not in times
            }
            assert seconds(lab_rule.get("for", "0")) == pytest.approx(seconds(rule.get("for", "0")) / 30, abs=0.001)


def test_no_rule_hides_seconds_in_its_expression(production: dict[str, Any]) -> None:
    """A number of seconds would not be scaled: durations are written as ranges, offsets and `for` only."""
    for group in production["groups"]:
        for rule in group["rules"]:
            assert not re.search(r"\btime\(\)|predict_linear|timestamp\(", rule["expr"]), rule["alert"]


def test_an_interval_of_a_group_is_dropped() -> None:
    """The lab evaluates every group at its own pace."""
    rules = {
        "groups": [{"name": "g", "interval": "1m", "rules": [{"record": "r", "expr": "x", "keep_firing_for": "5m"}]}]
    }
    expected = {"groups": [{"name": "g", "rules": [{"record": "r", "expr": "x", "keep_firing_for": "10s"}]}]}
    assert derive_rules(rules) == expected


def test_alertmanager_reports_to_the_responder_within_seconds(root: Path) -> None:
    """The responder gets every alert and the heartbeat with its token, the probe its test alert; waits are short."""
    production = yaml.safe_load((root / "observability/alertmanager/alertmanager.yml").read_text())
    derived = derive_alertmanager(production, "http://receiver:9095", "http://host.docker.internal:19098")
    webhooks = {receiver["name"]: receiver["webhook_configs"] for receiver in derived["receivers"]}
    token = {"authorization": {"credentials_file": "/run/secrets/responder_token"}}
    to_the_responder = {"url": "http://receiver:9095/api/v1/alerts", "http_config": token}
    assert webhooks == {
        "responder": [{**to_the_responder, "send_resolved": True}],
        "heartbeat": [{**to_the_responder, "send_resolved": False}],
        "alerting-path-probe": [{"url": "http://host.docker.internal:19098", "send_resolved": False}],
    }
    route = derived["route"]
    assert (route["group_wait"], route["group_interval"], route["repeat_interval"]) == ("1s", "5s", "30s")
    assert (route["receiver"], route["group_by"]) == ("responder", ["alertname", "service"])
    heartbeat, probe, also = route["routes"]
    receivers = ["heartbeat", "alerting-path-probe", "responder"]
    assert [child["receiver"] for child in (heartbeat, probe, also)] == receivers
    assert (heartbeat["group_wait"], heartbeat["group_interval"], heartbeat["repeat_interval"]) == ("0s", "2s", "4s")
    assert (probe["group_wait"], also["group_wait"]) == ("0s", "0s")
