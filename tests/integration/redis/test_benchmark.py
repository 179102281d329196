"""The benchmark runs and measures what it says; its numbers are for people."""

from __future__ import annotations

import pytest

from benchmarks.redis_evict import measure

pytestmark = [pytest.mark.integration, pytest.mark.slow]


def test_the_benchmark_empties_its_server_in_every_way() -> None:
    """A small round: every way did the work, and the table has the ratio."""
    measured = measure(keys=5000, rounds=1)
    assert (
        min(measured.bare, measured.shell, measured.tuned_shell, measured.module, measured.module_p99, measured.info)
        > 0
    )
    assert min(measured.memory_tenth, measured.memory) > 0
    assert f"| module / bare client, at most 1.3 | {measured.ratio:.2f} |" in measured.table()
