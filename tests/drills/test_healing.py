"""The real chain, nothing in it replaced, for each alert: fault, Prometheus, Alertmanager, responder, recovered."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from alert_responder.runbooks import load_catalog
from lab.drill import run_drill
from lab.faults import FAULTS, HEALABLE
from tests.drills.blocks import ROOT

if TYPE_CHECKING:
    from tests.running_lab import Lab

pytestmark = [pytest.mark.drill, pytest.mark.slow, pytest.mark.timeout(600)]

APPROVED = {
    (runbook.runbook, option.letter)
    for runbook in load_catalog(ROOT / "runbooks").runbooks.values()
    for option in runbook.options
    if option.automation == "approve"
}
# What test_db_connections.py follows more closely.
FOLLOWED = {"leaked_transactions", "blocked_sessions"}


def chosen_faults() -> list[str]:
    """Return for each alert the fault of its least invasive option, and for each runbook one that needs approval."""
    faults = sorted(HEALABLE, key=lambda fault: (fault.runbook, fault.option, fault.name), reverse=True)
    first = {fault.alert: fault.name for fault in faults if (fault.runbook, fault.option) not in APPROVED}
    asking = {fault.runbook: fault.name for fault in faults if (fault.runbook, fault.option) in APPROVED}
    return sorted({*first.values(), *asking.values()} - FOLLOWED)


@pytest.mark.parametrize("name", chosen_faults())
def test_an_alert_heals(lab: Lab, responding: None, name: str) -> None:
    """The alert opens an incident, the option that the fault is for runs and no other, and the service is well."""
    fault = FAULTS[name]
    drill = run_drill(name)
    assert drill.passed, (drill.status, drill.tried, drill.events)
    assert fault.alert in drill.alerts
    approvals = [event["option"] for event in drill.events if event["kind"] == "approved"]
    assert approvals == [fault.option] * ((fault.runbook, fault.option) in APPROVED)
    assert lab.http("/orders").status == 200
