"""The benchmark runs and measures what it says; its numbers are for people."""

from __future__ import annotations

import pytest

from benchmarks.webhooks import measure

pytestmark = [pytest.mark.integration, pytest.mark.slow]


def test_the_benchmark_finds_every_alert_again() -> None:
    """A small round: every request was answered 200, and each of its alerts is in the store after SIGKILL."""
    measured = measure(requests=300, incidents=50)
    assert (measured.requests, measured.missing) == (300, 0)
    assert measured.rate > 0
    assert 0 < measured.p50 <= measured.p99
    assert 0 < measured.idle_megabytes <= measured.storm_megabytes < 1000
    assert measured.store_megabytes > 0
    assert "| answered and not found after SIGKILL, of 300 | 0 |" in measured.table()
