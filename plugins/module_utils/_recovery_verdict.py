# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to the ops.runbooks collection: may change without notice.
"""From readings to a verdict. Nothing here probes, sleeps or knows the time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence


class Verdict(Enum):
    """What is known about recovery."""

    RECOVERED = "recovered"  # every probe good, often enough in a row
    NOT_RECOVERED = "not_recovered"  # a direct probe answered and is bad
    DECAYING = "decaying"  # the direct probes are good; a windowed one has yet to empty
    UNKNOWN = "unknown"  # something could not be checked: never success


@dataclass(frozen=True)
class Reading:
    """What one probe found once: good, bad, or (None) not to be told."""

    good: bool | None
    value: Any = None
    error: str = ""


@dataclass(frozen=True)
class Expectation:
    """What a value is held against."""

    relation: str
    wanted: Any

    def judge(self, value: Any) -> Reading:
        """Compare; a value that is no number where one is needed cannot be told."""
        if self.relation == "equals":
            return Reading(good=str(value) == str(self.wanted), value=value)
        try:
            number = float(value)
        except (TypeError, ValueError):
            return Reading(good=None, value=None, error=f"{value!r} is not a number")
        if math.isnan(number):
            return Reading(good=None, value=None, error="the value is NaN: there was nothing to divide by")
        relations = {
            "at_least": number >= self.wanted,
            "at_most": number <= self.wanted,
            "above": number > self.wanted,
            "below": number < self.wanted,
        }
        return Reading(good=relations[self.relation], value=number)

    def __str__(self) -> str:
        return f"{self.relation.replace('_', ' ')} {self.wanted}"


@dataclass(frozen=True)
class Probe:
    """What is asked, and how the answer is judged."""

    name: str
    kind: str
    settings: dict[str, Any]
    expectation: Expectation | None = None
    windowed: bool = False

    @property
    def expected(self) -> str:
        """Say in words what is expected."""
        return str(self.expectation) if self.expectation else str(self.settings.get("expected", "good"))


@dataclass(frozen=True)
class Judgement:
    """A verdict with its one-sentence reason."""

    verdict: Verdict
    reason: str


class Tally:
    """Count good samples in a row and say when the verdict is certain."""

    def __init__(self, probes: Sequence[Probe], consecutive: int) -> None:
        self._probes = probes
        self._needed = consecutive
        self.samples = 0
        self.all_good = 0
        self.direct_good = 0
        self.last: tuple[Reading, ...] = ()

    def add(self, readings: Sequence[Reading]) -> None:
        """Take the readings of one sample, in the order of the probes."""
        self.samples += 1
        self.last = tuple(readings)
        direct = all(r.good is True for p, r in zip(self._probes, readings) if not p.windowed)
        every = all(r.good is True for r in readings)
        self.direct_good = self.direct_good + 1 if direct else 0
        self.all_good = self.all_good + 1 if every else 0

    @property
    def recovered(self) -> bool:
        """Whether every probe was good often enough in a row."""
        return self.all_good >= self._needed

    @property
    def direct_recovered(self) -> bool:
        """Whether every direct probe was good often enough in a row."""
        return self.direct_good >= self._needed

    def judge(self) -> Judgement:  # noqa: PLR0911 -- one return for each rule, in their order
        """Return the verdict if no further sample is taken."""
        if self.recovered:
            return Judgement(Verdict.RECOVERED, f"Every probe was good {self.all_good} times in a row.")
        bad_direct = self._first(windowed=False, good=False)
        if bad_direct:
            return Judgement(Verdict.NOT_RECOVERED, bad_direct)
        unknown = self._first(windowed=False, good=None)
        if unknown:
            return Judgement(Verdict.UNKNOWN, unknown)
        if not self.direct_recovered:
            reason = f"The direct probes were good only {self.direct_good} times in a row, {self._needed} are needed."
            return Judgement(Verdict.NOT_RECOVERED, reason)
        bad_windowed = self._first(windowed=True, good=False)
        if bad_windowed:
            return Judgement(Verdict.DECAYING, f"The direct probes are good. {bad_windowed}")
        unknown = self._first(windowed=True, good=None)
        if unknown:
            return Judgement(Verdict.UNKNOWN, unknown)
        reason = f"The direct probes are good; every probe was good only {self.all_good} times in a row."
        return Judgement(Verdict.DECAYING, reason)

    def _first(self, *, windowed: bool, good: bool | None) -> str:
        """Say what the first probe of this kind with this result found, or nothing."""
        for probe, reading in zip(self._probes, self.last):
            if probe.windowed is windowed and reading.good is good:
                if good is None:
                    return f"{probe.name} could not be checked: {reading.error}."
                found = reading.error or f"is {reading.value}"
                return f"{probe.name}: {found}, expected {probe.expected}."
        return ""
