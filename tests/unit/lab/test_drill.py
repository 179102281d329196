"""Expectations of the drills that need no lab: which fault is meant, what counts as healed, and what the table says."""

from __future__ import annotations

import pytest

from lab.drill import Drill, choose_fault
from lab.faults import FAULTS, HEALABLE
from lab.report import cells, markdown
from lab.shell import LabError


@pytest.mark.parametrize("fault", HEALABLE, ids=lambda fault: fault.name)
def test_a_fault_is_found_by_its_option(fault: object) -> None:
    """As `make drill RUNBOOK=... OPTION=...` asks for it."""
    chosen = FAULTS[choose_fault(runbook=fault.runbook, option=fault.option)]  # type: ignore[attr-defined]
    assert (chosen.runbook, chosen.option) == (fault.runbook, fault.option)  # type: ignore[attr-defined]


def test_an_alert_means_the_fault_of_its_least_invasive_option() -> None:
    """As `make drill ALERT=...` asks for it."""
    assert choose_fault(alert="DatabaseConnectionPoolExhausted") == "leaked_transactions"
    assert choose_fault(alert="SQLAlchemyPoolExhausted") == "held_connections"


def test_what_no_fault_is_for_is_refused() -> None:
    """The message lists what there is."""
    with pytest.raises(LabError, match=r"No fault fits.*DatabaseConnectionPoolExhausted: db-connections A"):
        choose_fault(alert="NoSuchAlert")


def drill(status: str, *tried: str, fault: str = "leaked_transactions") -> Drill:
    return Drill(
        fault, "DatabaseConnectionPoolExhausted", status=status, tried=list(tried), why="It leaks.",
        firing_after=6.04, changed_after=9.0, recovered_after=16.7 if status == "recovered" else None,
        diagnosis_took=1.6, option_took=7.2,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("done", "passed", "verdict"),
    [
        pytest.param(drill("recovered", "A"), True, "recovered", id="its own option"),
        pytest.param(drill("recovered", "A", "C"), False, "not as it must: recovered", id="another after it"),
        pytest.param(drill("recovered"), False, "not as it must: recovered", id="by itself"),
        pytest.param(drill("escalated", "A"), False, "not as it must: escalated", id="escalated"),
        pytest.param(drill("No incident."), False, "not as it must: No incident.", id="never began"),
        pytest.param(drill("escalated", fault="full_disk"), True, "escalated", id="as no option heals it"),
        pytest.param(
            drill("escalated", "D", fault="full_disk"), False, "not as it must: escalated", id="tried in vain"
        ),
        pytest.param(drill("recovered", fault="full_disk"), False, "not as it must: recovered", id="healed by nobody"),
    ],
)
def test_only_the_option_that_a_fault_is_for_passes(done: Drill, passed: bool, verdict: str) -> None:
    """Recovered by anything else shows that the evidence is wrong."""
    assert done.passed is passed
    assert cells(done)[-1] == verdict


def test_the_page_says_what_was_measured() -> None:
    """One line for each drill, with its seconds."""
    page = markdown([drill("recovered", "A"), drill("escalated", "A"), drill("escalated", fault="full_disk")])
    assert "1 of 2 healed by the option that they are for, 1 of 1 that no option heals ended escalated" in page
    line = "| DatabaseConnectionPoolExhausted | leaked_transactions | db-connections A | It leaks. | 6 s | 9 s | 17 s |"
    assert f"{line} 2 s | 7 s | recovered |" in page
