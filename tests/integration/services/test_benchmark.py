"""The benchmark runs and measures what it says; its numbers are for people."""

from __future__ import annotations

import pytest

from benchmarks.service_restart import measure

pytestmark = [pytest.mark.integration, pytest.mark.slow]


def test_the_benchmark_restarts_on_both_sides() -> None:
    """A small round: both sides did the work under requests, and the module lost none."""
    measured = measure(replicas=2, per_second=40, rounds=1)
    assert min(measured.compose.seconds, measured.module.seconds, measured.start) > 0
    assert min(measured.compose.requests, measured.module.requests) > 100
    assert measured.module.failed == 0
    assert "| service_restart, 2 replicas one after the other |" in measured.table()
