"""The benchmark runs and measures what it says; its numbers are for people."""

from __future__ import annotations

import pytest

from benchmarks.postgresql_pool_reset import measure

pytestmark = [pytest.mark.integration, pytest.mark.slow]


def test_the_benchmark_ends_its_sessions_on_both_sides() -> None:
    """A small round: both sides did the work, and the table has the ratio."""
    measured = measure(sessions=20, rounds=1)
    assert min(measured.psql, measured.start, measured.module) > 0
    assert f"| the module ends 20 sessions | {measured.module:.3f} s |" in measured.table()
