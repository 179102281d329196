"""Expectations of the waiter."""

from __future__ import annotations

from ansible_collections.ops.runbooks.plugins.module_utils._waiting import Clock, wait_until


class FakeClock:
    """Seconds that pass only when somebody sleeps."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.slept: list[float] = []

    def clock(self) -> Clock:
        return Clock(now=lambda: self.seconds, sleep=self.sleep)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.seconds += seconds


def test_a_state_that_is_wanted_at_once_costs_no_sleep() -> None:
    """The first read decides before any time passes."""
    fake = FakeClock()
    waited = wait_until(lambda: 1, lambda n: n == 1, timeout_seconds=5, clock=fake.clock())
    assert (waited.state, waited.reached, waited.seconds, fake.slept) == (1, True, 0.0, [])


def test_a_state_that_comes_later_is_waited_for() -> None:
    """Reads go on at the interval until the state is wanted."""
    fake = FakeClock()
    states = iter([0, 0, 3])
    waited = wait_until(
        lambda: next(states), lambda n: n == 3, timeout_seconds=5, interval_seconds=2, clock=fake.clock()
    )
    assert (waited.state, waited.reached, waited.seconds) == (3, True, 4.0)


def test_the_limit_ends_the_wait_with_the_last_state_seen() -> None:
    """After the limit the last state comes back and the last sleep is cut to fit."""
    fake = FakeClock()
    waited = wait_until(lambda: "bad", lambda s: s == "good", timeout_seconds=5, interval_seconds=2, clock=fake.clock())
    assert (waited.state, waited.reached, waited.seconds) == ("bad", False, 5.0)
    assert fake.slept == [2, 2, 1.0]
