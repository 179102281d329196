"""The dead man's switch: Prometheus falls silent, and the responder heals it without hearing a word from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lab.drill import run_drill

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
