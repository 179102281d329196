"""The rules about the responder fire when they must and only then, and ask for metrics that it has."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
import yaml

from alert_responder.metrics import Metrics
from tests.integration.rules.test_rules import amtool, promtool

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.integration

FOLDER = "observability/prometheus"


@pytest.fixture
def rules(root: Path, tmp_path: Path) -> Path:
    """Return a copy of the rules and their cases that a test may damage."""
    tmp_path.chmod(0o755)  # the programs in the containers have users of their own
    for name in ("responder-alerts.yml", "responder-tests.yml"):
        (tmp_path / name).write_text((root / FOLDER / name).read_text())
    return tmp_path


def test_every_case_holds(rules: Path) -> None:
    """The rules are valid and every case holds."""
    checked = promtool(rules, "check", "rules", "--lint-fatal", "responder-alerts.yml")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    tested = promtool(rules, "test", "rules", "responder-tests.yml")
    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_every_alert_has_a_case_that_fires(rules: Path) -> None:
    """A rule that nobody has seen fire may never do so."""
    known = {rule["alert"] for group in _load(rules, "alerts")["groups"] for rule in group["rules"]}
    cases = [check for case in _load(rules, "tests")["tests"] for check in case["alert_rule_test"]]
    assert {check["alertname"] for check in cases if check["exp_alerts"]} == known
    assert {check["alertname"] for check in cases if not check["exp_alerts"]} == known


def test_every_metric_is_one_that_the_responder_has(rules: Path) -> None:
    """A rule over a metric that was renamed is silent for ever."""
    asked = set(re.findall(r"\balert_responder_\w+", (rules / "responder-alerts.yml").read_text()))
    metrics = Metrics()
    known = {
        f"{metric.name}_total" if metric.type == "counter" else metric.name for metric in metrics.registry.collect()
    }
    assert asked - known == set()


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        pytest.param('up{job="alert-responder"} == 0', 'up{job="responder"} == 0', id="job"),
        pytest.param("for: 2m", "for: 10m", id="too-late"),
        pytest.param(
            'heartbeat_timestamp_seconds{job="alert-responder"} >', "heartbeat_timestamp_seconds > 9", id="slow"
        ),
        pytest.param("401|413|429|5..", "4..|5..", id="what-a-sender-does-wrong"),
        pytest.param(', where!="store"', "", id="errors-of-the-store"),
        pytest.param('breaker_open{job="alert-responder"} == 1', "breaker_open == 2", id="breaker"),
        pytest.param('notices_failing{job="alert-responder"} > 0', "notices_failing > 2", id="nobody-told"),
    ],
)
def test_the_cases_notice_a_wrong_rule(rules: Path, right: str, wrong: str) -> None:
    """Each of these mistakes breaks a case."""
    file = rules / "responder-alerts.yml"
    text = file.read_text()
    assert right in text
    file.write_text(text.replace(right, wrong))
    tested = promtool(rules, "test", "rules", "responder-tests.yml")
    assert tested.returncode == 1, tested.stdout


def test_alerts_about_the_responder_go_to_a_person(root: Path, tmp_path: Path) -> None:
    """The responder may be what is down."""
    tmp_path.chmod(0o755)
    (tmp_path / "alertmanager.yml").write_text((root / "observability/alertmanager/alertmanager.yml").read_text())
    routing = ["config", "routes", "test", "--config.file=alertmanager.yml"]
    labels = ["alertname=ResponderDown", "service=alert-responder", "severity=critical"]
    assert amtool(tmp_path, *routing, *labels).stdout.strip() == "on-call"


def _load(folder: Path, which: str) -> dict[str, list[dict[str, list[dict[str, str]]]]]:
    loaded: dict[str, list[dict[str, list[dict[str, str]]]]] = yaml.safe_load(
        (folder / f"responder-{which}.yml").read_text()
    )
    return loaded
