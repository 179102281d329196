"""What other drills do not show: Prometheus is silent, and is healed without a word from it; or no option can help."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lab.drill import run_drill
from lab.faults import FAULTS
from tests.drills.blocks import run_option

if TYPE_CHECKING:
    from tests.running_lab import Lab

pytestmark = [pytest.mark.drill, pytest.mark.slow, pytest.mark.timeout(600)]


def test_a_prometheus_that_hangs_is_restarted_without_it(lab: Lab, responding: None) -> None:
    """The missing heartbeat opens the one incident, option C restarts Prometheus, and a test alert arrives."""
    drill = run_drill("prometheus_hung")
    assert drill.passed, (drill.status, drill.tried, drill.events)
    opened = drill.events[0]
    assert (opened["kind"], opened["alert"]["labels"]["reason"]) == ("opened", "watchdog")
    assert opened["alert"]["generator"] == "alert-responder"
    outcome = next(event["outcome"] for event in reversed(drill.events) if event.get("outcome"))
    arrived = {check["name"]: check["good"] for check in outcome["checks"]}
    assert arrived["test alert arrives"] is True
    assert arrived["condition of the alert"] is True
    # The heartbeat is back, which ends the alarm.
    assert lab.wait(lambda: lab.notified("Watchdog"), bool, 20)


def test_a_full_disk_is_handed_to_a_person_untouched(lab: Lab, responding: None) -> None:
    """Prometheus is ready and sends its heartbeat; the evidence names the disk, and nothing is restored or moved."""
    drill = run_drill("full_disk")
    assert drill.passed, (drill.status, drill.tried, drill.events)
    assert drill.events[0]["alert"]["labels"]["reason"] == "blind"
    evidence = next(event["evidence"] for event in drill.events if event.get("evidence"))
    assert evidence["evidence"]["prometheus"]["ready"] is True
    assert evidence["evidence"]["failing_rules"] == []
    storage = evidence["evidence"]["storage"]
    assert (storage["damaged"], storage["writable"]) == (False, False)
    assert "no space left on device" in storage["error"]
    FAULTS["full_disk"].undo()
    # Of a responder that goes while nobody scrapes it, the last sample would stay in force for five minutes.
    lab.wait(lambda: lab.prometheus('up{job="alert-responder"} == 1'), bool, 30)


@pytest.mark.parametrize("ends", [False, True])
def test_no_option_claims_to_heal_a_full_disk(lab: Lab, ends: bool) -> None:
    """Neither while Prometheus runs nor once it has ended and cannot start; no file is moved or replaced."""
    lab.inject("full_disk")
    if ends:
        lab.compose("restart", "prometheus")
        lab.wait(lambda: lab.is_heard("prometheus"), lambda heard: not heard, 30)
    outcomes = {letter: run_option("prometheus-alerting", letter) for letter in "CDE"}
    assert {letter: one.changed for letter, one in outcomes.items()} == dict.fromkeys("CDE", False)
    assert "recovered" not in {one.verdict for one in outcomes.values()}
