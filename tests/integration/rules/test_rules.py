"""The alert rules fire when they must and only then, at production durations, by Prometheus' own judgement."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from lab.rules import derive_alertmanager, derive_rules

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.integration

ALERTS = "observability/prometheus/alerts.yml"
TESTS = "observability/prometheus/tests"


def tool(image: str, program: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a program of an image over a folder."""
    mount = ["--volume", f"{folder}:/data:ro", "--workdir", "/data", "--network", "none"]
    command = ["docker", "run", "--rm", "--label", "ops.runbooks.test=1", *mount, "--entrypoint", program, image]
    return subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=60, check=False)


def promtool(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return tool("runbooks-lab/prometheus:2.53", "promtool", folder, *arguments)


def amtool(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return tool("runbooks-lab/alertmanager:0.28", "amtool", folder, *arguments)


@pytest.fixture(scope="session")
def cases(root: Path) -> list[str]:
    return [f"tests/{path.name}" for path in sorted((root / TESTS).glob("*.yml"))]


@pytest.fixture
def workshop(root: Path, tmp_path: Path) -> Path:
    """Return a copy of the rules and their cases that a test may damage."""
    tmp_path.chmod(0o755)  # the programs in the containers have users of their own
    (tmp_path / "tests").mkdir()
    (tmp_path / "alerts.yml").write_text((root / ALERTS).read_text())
    for path in (root / TESTS).glob("*.yml"):
        (tmp_path / "tests" / path.name).write_text(path.read_text())
    return tmp_path


def test_every_case_holds(workshop: Path, cases: list[str]) -> None:
    """The rules are valid and every case of every file holds."""
    checked = promtool(workshop, "check", "rules", "--lint-fatal", "alerts.yml")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    tested = promtool(workshop, "test", "rules", *cases)
    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_every_alert_has_a_case_that_fires(root: Path, cases: list[str]) -> None:
    """A rule that nobody has seen fire may never do so; each reason of an alert counts."""
    rules = yaml.safe_load((root / ALERTS).read_text())
    known = {(rule["alert"], rule["labels"].get("reason")) for group in rules["groups"] for rule in group["rules"]}
    fired = {
        (check["alertname"], alert["exp_labels"].get("reason"))
        for name in cases
        for case in yaml.safe_load((root / "observability/prometheus" / name).read_text())["tests"]
        for check in case["alert_rule_test"]
        for alert in check["exp_alerts"]
    }
    assert known == fired


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        pytest.param(
            ") >= 0.9\n        for: 2m\n        labels: {severity: critical",
            ") >= 0.95\n        for: 2m\n        labels: {severity: critical",
            id="slots-threshold",
        ),
        pytest.param(
            '- max by (instance) (pg_settings_superuser_reserved_connections{job="postgres"})\n',
            "\n",
            id="reserved-slots-count-as-free",
        ),
        pytest.param(
            'or 0 * max by (instance) (pg_settings_max_connections{job="postgres"})',
            "",
            id="silent-before-postgresql-16",
        ),
        pytest.param(', backend_type!="walsender"', "", id="walsenders-count"),
        pytest.param(
            '{job="postgres", backend_type!="walsender"}',
            '{job="postgres", state!="idle"}',
            id="idle-sessions-do-not-count",
        ),
        pytest.param('max by (instance) (pg_up{job="postgres"}) == 0\n          or (', "(", id="a-refusal-is-not-seen"),
        pytest.param(
            'max by (instance) (up{job="postgres"}) == 1',
            'max by (instance) (up{job="postgres"}) > 1',
            id="a-blind-exporter-is-not-seen",
        ),
        pytest.param(
            'max by (instance) (up{job="postgres"}) == 1',
            'max by (instance) (up{job="postgres"}) >= 0',
            id="a-lost-exporter-is-taken-for-a-refusal",
        ),
        pytest.param(
            "sum by (instance, engine) (sqlalchemy_pool_ch",
            "sum by (instance) (sqlalchemy_pool_ch",
            id="engines-are-summed",
        ),
        pytest.param(
            '(sqlalchemy_pool_capacity{job="backend"}) > 0)',
            '(sqlalchemy_pool_capacity{job="backend"}))',
            id="no-limit-is-exhausted",
        ),
        pytest.param(
            'unless max_over_time(sqlalchemy_pool_timeouts_total{job="backend"}[1h] offset 5m)',
            "",
            id="an-old-count-fires-for-ever",
        ),
        pytest.param("[1h] offset 5m)", "[5m] offset 5m)", id="a-gap-looks-like-a-birth"),
        pytest.param("for: 2m", "for: 1m", id="too-early"),
        pytest.param("for: 2m", "for: 3m", id="too-late"),
        pytest.param(
            'absent_over_time(up{job="prometheus"}[5m])',
            'absent_over_time(up{job="prometheus"}[1m])',
            id="a-short-gap-is-blindness",
        ),
        pytest.param("expr: vector(1)", "expr: vector(1) > 1", id="watchdog-is-silent"),
    ],
)
def test_the_cases_notice_a_wrong_rule(workshop: Path, cases: list[str], right: str, wrong: str) -> None:
    """Each of these mistakes, some of them published elsewhere, breaks a case."""
    rules = (workshop / "alerts.yml").read_text()
    assert right in rules
    (workshop / "alerts.yml").write_text(rules.replace(right, wrong))
    tested = promtool(workshop, "test", "rules", *cases)
    assert tested.returncode == 1, tested.stdout
    assert "FAILED" in tested.stdout + tested.stderr


def test_every_alert_leads_to_its_runbook(root: Path) -> None:
    """Labels say severity, service and runbook; annotations say what happens and where the runbook is."""
    rules: dict[str, Any] = yaml.safe_load((root / ALERTS).read_text())
    for group in rules["groups"]:
        for rule in group["rules"]:
            assert rule["labels"].keys() - {"reason"} == {"severity", "service", "runbook"}, rule["alert"]
            assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}, rule["alert"]
            assert rule["labels"]["runbook"] == group["name"]
            name = f"/blob/main/runbooks/{rule['labels']['runbook']}.md"
            assert rule["annotations"]["runbook_url"] == f"https://github.com/ops-runbooks/ops.runbooks{name}"


def test_the_labs_rules_are_valid_too(workshop: Path) -> None:
    """What is derived is what Prometheus accepts."""
    derived = derive_rules(yaml.safe_load((workshop / "alerts.yml").read_text()))
    (workshop / "derived.yml").write_text(yaml.safe_dump(derived))
    checked = promtool(workshop, "check", "rules", "--lint-fatal", "derived.yml")
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("which", ["production", "lab"])
def test_alertmanagers_configuration_is_valid(root: Path, tmp_path: Path, which: str) -> None:
    """Alertmanager accepts both, and sends alerts, the heartbeat and the test alert to where they belong."""
    tmp_path.chmod(0o755)
    document = yaml.safe_load((root / "observability/alertmanager/alertmanager.yml").read_text())
    if which == "lab":
        document = derive_alertmanager(document, "http://receiver:9095", "http://host.docker.internal:19098")
    (tmp_path / "alertmanager.yml").write_text(yaml.safe_dump(document))
    checked = amtool(tmp_path, "check-config", "alertmanager.yml")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    routing = ["config", "routes", "test", "--config.file=alertmanager.yml"]
    assert amtool(tmp_path, *routing, "alertname=Watchdog").stdout.strip() == "heartbeat"
    probe = amtool(tmp_path, *routing, "alertname=AlertingPathProbe", "probe=1").stdout.strip()
    assert probe == "alerting-path-probe,responder"
    assert amtool(tmp_path, *routing, "alertname=DatabaseConnectionPoolExhausted").stdout.strip() == "responder"
