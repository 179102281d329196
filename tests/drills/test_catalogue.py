"""The runbooks against what they must offer: every option, every alert, a fault and commands for each."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from alert_responder.runbooks import load_catalog
from lab.faults import FAULTS, HEALABLE
from tests.drills.blocks import read_blocks

CATALOG = load_catalog(Path(__file__).resolve().parents[2] / "runbooks")

# Runbook: option, title, automation; in the order of how invasive they are.
REQUIRED: dict[str, list[tuple[str, str, str]]] = {
    "db-connections": [
        ("A", "End idle sessions", "auto"),
        ("B", "Reset the application pools", "auto"),
        ("C", "End blocking and long-running queries", "auto"),
        ("D", "Restart the backend", "auto"),
        ("E", "Raise the connection limits", "approve"),
        ("F", "Restart PostgreSQL", "approve"),
    ],
    "keycloak-down": [
        ("A", "Restart Keycloak", "auto"),
        ("B", "Restart the database, then Keycloak", "approve"),
        ("C", "Recreate the container", "auto"),
        ("D", "Clear realm, user and key caches", "auto"),
        ("E", "Raise the memory limit", "approve"),
        ("F", "Repair the database connection", "approve"),
    ],
    "prometheus-alerting": [
        ("A", "Reload a valid configuration", "auto"),
        ("B", "Restart Alertmanager", "auto"),
        ("C", "Restart Prometheus", "auto"),
        ("D", "Restore the last good configuration", "auto"),
        ("E", "Repair the time-series storage", "approve"),
    ],
    "redis-down": [
        ("A", "Restart Redis", "auto"),
        ("B", "Evict keys", "auto"),
        ("C", "Raise maxmemory or change its policy", "approve"),
        ("D", "Disconnect idle clients", "auto"),
        ("E", "Repair persistence", "approve"),
        ("F", "Return fragmented memory", "auto"),
    ],
}
# Runbook: alert, severity, service.
ALERTS: dict[str, list[tuple[str, str, str]]] = {
    "db-connections": [
        ("DatabaseConnectionPoolExhausted", "critical", "postgres"),
        ("SQLAlchemyPoolExhausted", "warning", "backend"),
    ],
    "keycloak-down": [("KeycloakDown", "critical", "keycloak")],
    "prometheus-alerting": [("PrometheusAlertingFailure", "critical", "prometheus")],
    "redis-down": [("RedisConnectionFailure", "critical", "redis"), ("RedisHighMemory", "warning", "redis")],
}
# Options that the catalogue wants taken back by a playbook.
UNDONE = {("db-connections", "E"), ("keycloak-down", "E"), ("redis-down", "C")}

each_runbook = pytest.mark.parametrize("name", CATALOG.runbooks)


@each_runbook
def test_a_runbook_offers_what_it_must(name: str) -> None:
    """Every option with its title and its automation, every alert with its severity and its service."""
    runbook = CATALOG.get(name)
    assert [(option.letter, option.title, option.automation) for option in runbook.options] == REQUIRED[name]
    assert [(alert.name, alert.severity, alert.service) for alert in runbook.alerts] == ALERTS[name]
    assert {option.letter for option in runbook.options if option.undo} == {
        letter for of, letter in UNDONE if of == name
    }


@each_runbook
def test_every_option_has_a_fault_that_it_heals(name: str) -> None:
    """No option without a fault, no fault without its option, and each alert is raised by one."""
    runbook = CATALOG.get(name)
    faults = [fault for fault in HEALABLE if fault.runbook == name]
    letters = {option.letter for option in runbook.options}
    assert {fault.option for fault in faults} == letters
    assert {fault.wrong for fault in faults} <= letters
    assert [fault.name for fault in faults if fault.wrong == fault.option] == []
    assert {fault.alert for fault in faults} == {alert.name for alert in runbook.alerts}


def test_no_fault_is_without_a_runbook() -> None:
    """A fault names a runbook that exists."""
    assert {fault.runbook for fault in FAULTS.values()} <= set(CATALOG.runbooks)


@each_runbook
def test_every_option_prints_its_commands(name: str) -> None:
    """A rehearsal, the play, the same by hand, and the proof; an undo where there is one; and steps that only look."""
    blocks = read_blocks(name)
    for option in CATALOG.get(name).options:
        kinds = Counter(block.kind for block in blocks if block.option == option.letter)
        assert {"check", "play", "hand", "verify", *(["undo"] if option.undo else [])} == set(kinds), option.letter
    assert sum(block.kind == "look" for block in blocks) >= 5


@each_runbook
def test_every_command_can_be_run_by_a_machine(name: str) -> None:
    """No block is exempt from the tests."""
    assert [(str(block), block.why_not) for block in read_blocks(name) if block.why_not] == []
