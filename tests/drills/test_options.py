"""Each option of each runbook: it heals its own fault, harms nothing that is well, and does not heal another's."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

import pytest

from alert_responder.alerts import Alert
from alert_responder.documents import Evidence
from alert_responder.incidents import Event, Finished, Opened, Policy, Run, Started, Step, decide, fold
from alert_responder.runbooks import load_catalog
from lab.drill import settle
from lab.faults import HEALABLE
from tests.drills.blocks import ROOT, Block, paste, read_blocks, run_option, run_step

if TYPE_CHECKING:
    from lab.faults import Fault
    from tests.running_lab import Lab

# How long it takes says something about the machine.
pytestmark = [pytest.mark.drill, pytest.mark.slow, pytest.mark.timeout(900)]

CATALOG = load_catalog(ROOT / "runbooks")
OPTIONS = [(runbook.runbook, option.letter) for runbook in CATALOG.runbooks.values() for option in runbook.options]
LOOKS = [block for name in CATALOG.runbooks for block in read_blocks(name) if block.kind == "look"]
# The lab's alerts fire within seconds (lab/rules.py).
FIRING_SECONDS = 60
# A reader comes later than any threshold of the lab's inventory, which an alert may not.
READER_SECONDS = 8

each_fault = pytest.mark.parametrize("fault", HEALABLE, ids=lambda fault: f"{fault.option}-{fault.name}")
each_option = pytest.mark.parametrize(("runbook", "letter"), OPTIONS, ids=map("-".join, OPTIONS))


def choose(fault: Fault, evidence: Evidence) -> Step:
    """Return what the responder does next when an alert came and this is the first evidence."""
    now = datetime.now(UTC)
    alert = Alert(
        name=fault.alert, service="any", status="firing", labels={}, annotations={}, starts_at=now, ends_at=None,
        fingerprint="a drill", generator="",
    )  # fmt: skip
    history: list[Event] = [
        Opened(at=now, alert=alert, service="any", runbook=fault.runbook, problem=""),
        Started(at=now, run="1", action="diagnose", reason="first"),
        Finished(at=now, run="1", result="done", began=False, evidence=evidence),
    ]
    return decide(fold(history), CATALOG.get(fault.runbook), now, Policy())


def break_it(lab: Lab, fault: Fault) -> None:
    """Inject a fault and wait until its alert fires: the state that a reader of the runbook is in."""
    lab.inject(fault.name)
    reader = time.monotonic() + READER_SECONDS
    # Where Prometheus is the patient nobody can be told more.
    lab.wait(lambda: not lab.is_heard("prometheus") or lab.firing(fault.alert), bool, FIRING_SECONDS)
    time.sleep(max(0.0, reader - time.monotonic()))


@each_fault
def test_an_option_heals_its_own_fault_as_printed(lab: Lab, fault: Fault) -> None:
    """The evidence chooses it, another option does not heal, and what the runbook prints does, by play and by hand."""
    blocks = [block for block in read_blocks(fault.runbook) if block.option == fault.option and not block.why_not]
    show = partial(of_kind, blocks)
    break_it(lab, fault)
    step = choose(fault, Evidence.model_validate(run_step(fault.runbook, "--diagnose")))
    assert isinstance(step, Run), step
    assert step.option == fault.option, step.considered
    chosen = step.considered[-1]
    assert (chosen.option, chosen.chosen, chosen.holds) == (fault.option, True, True)

    wrong = run_option(fault.runbook, fault.wrong)
    assert wrong.verdict != "recovered", wrong

    for block in show("check"):
        told = paste(block)
        assert "verdict: unchecked" in told, told
    for block in show("play"):
        told = paste(block)
        assert "verdict: recovered" in told, told
    settle()

    break_it(lab, fault)
    for block in (*show("hand"), *show("verify")):
        paste(block)
    if fault.ends is not None:
        fault.ends()
    for block in show("undo"):
        paste(block)


def of_kind(blocks: list[Block], kind: str) -> list[Block]:
    """Return the blocks of one kind; only an undo may be missing."""
    found = [block for block in blocks if block.kind == kind]
    assert found or kind == "undo", f"no block of kind {kind} in {[str(block) for block in blocks]}"
    return found


@pytest.mark.parametrize("block", LOOKS, ids=str)
def test_a_command_that_looks_runs_as_printed(running_lab: Lab, block: Block) -> None:
    """Diagnosis succeeds on the healthy lab."""
    paste(block)


@each_option
def test_an_option_does_no_harm(lab: Lab, runbook: str, letter: str) -> None:
    """On the healthy lab it refuses or changes nothing, no container is touched, and no request fails."""
    before, failed = lab.containers(), lab.failed_requests()
    outcome = run_option(runbook, letter)
    assert outcome.changed is False, outcome
    assert outcome.status in ("refused", "unchanged"), outcome
    assert outcome.verdict in ("recovered", "unchecked"), outcome
    assert lab.containers() == before
    assert lab.failed_requests() == failed
    assert [one["labels"] for one in lab.alerts()] == []
