"""Each source has a rate of its own; one second's worth may come at once."""

from __future__ import annotations

import pytest

from alert_responder.limits import MOST_SOURCES, RateLimit


def test_a_source_is_let_through_at_its_rate() -> None:
    """A burst of one second's worth passes, then one for each tenth of a second, however often it asks."""
    now = 100.0
    limit = RateLimit(10, lambda: now)

    assert sum(1 for _ in range(1000) if limit.wait("a") == 0) in (10, 11)
    assert limit.wait("a") == pytest.approx(0.1, abs=0.11)
    passed = 0
    for _ in range(1000):
        now += 0.01
        passed += limit.wait("a") == 0
    assert passed in (99, 100, 101)


def test_sources_do_not_feel_each_other() -> None:
    """A second source finds its whole second's worth."""
    limit = RateLimit(1, lambda: 0.0)
    while limit.wait("loud") == 0:
        pass

    assert limit.wait("quiet") == 0


def test_a_million_sources_are_not_remembered() -> None:
    """The oldest is forgotten, so that forged addresses cost no memory."""
    limit = RateLimit(1, lambda: 0.0)
    for number in range(3 * MOST_SOURCES):
        limit.wait(str(number))

    assert len(limit._free_at) == MOST_SOURCES
