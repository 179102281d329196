"""Expectations of the verdict."""

from __future__ import annotations

import pytest
from ansible_collections.ops.runbooks.plugins.module_utils._recovery_verdict import (
    Expectation,
    Probe,
    Reading,
    Tally,
    Verdict,
)
from hypothesis import given
from hypothesis import strategies as st

DIRECT = Probe("slots", "sql", {}, Expectation("below", 0.8))
OTHER = Probe("application", "http", {"expected": "status 200"})
WINDOWED = Probe("condition", "promql", {}, Expectation("below", 0.9), windowed=True)

GOOD = Reading(good=True, value=0.1)
BAD = Reading(good=False, value=0.95)
UNKNOWN = Reading(good=None, error="no answer")

READINGS = st.sampled_from([GOOD, BAD, UNKNOWN])


def tally(probes: list[Probe], samples: list[list[Reading]], consecutive: int = 2) -> Tally:
    result = Tally(probes, consecutive)
    for sample in samples:
        result.add(sample)
    return result


@pytest.mark.parametrize(
    ("samples", "verdict", "reason"),
    [
        pytest.param(
            [[GOOD, GOOD], [GOOD, GOOD]],
            Verdict.RECOVERED,
            "Every probe was good 2 times in a row.",
            id="good often enough",
        ),
        pytest.param(
            [[GOOD, GOOD], [BAD, GOOD]],
            Verdict.NOT_RECOVERED,
            "slots: is 0.95, expected below 0.8.",
            id="the direct probe is bad",
        ),
        pytest.param(
            [[BAD, GOOD], [GOOD, GOOD]],
            Verdict.NOT_RECOVERED,
            "The direct probes were good only 1 times in a row, 2 are needed.",
            id="good only once",
        ),
        pytest.param(
            [[GOOD, BAD], [GOOD, BAD]],
            Verdict.DECAYING,
            "The direct probes are good. condition: is 0.95, expected below 0.9.",
            id="the window has yet to empty",
        ),
        pytest.param(
            [[GOOD, BAD], [GOOD, GOOD]],
            Verdict.DECAYING,
            "The direct probes are good; every probe was good only 1 times in a row.",
            id="the window has just emptied",
        ),
        pytest.param(
            [[GOOD, GOOD], [UNKNOWN, GOOD]],
            Verdict.UNKNOWN,
            "slots could not be checked: no answer.",
            id="the direct probe cannot be told",
        ),
        pytest.param(
            [[GOOD, UNKNOWN], [GOOD, UNKNOWN]],
            Verdict.UNKNOWN,
            "condition could not be checked: no answer.",
            id="the condition cannot be told",
        ),
    ],
)
def test_the_last_sample_and_the_row_decide(samples: list[list[Reading]], verdict: Verdict, reason: str) -> None:
    """Each verdict has one rule and a reason that names the probe."""
    judgement = tally([DIRECT, WINDOWED], samples).judge()
    assert (judgement.verdict, judgement.reason) == (verdict, reason)


def test_what_answered_badly_counts_more_than_what_did_not_answer() -> None:
    """A bad direct probe is evidence; a silent one beside it takes nothing away."""
    judgement = tally([DIRECT, OTHER], [[UNKNOWN, Reading(good=False, value=503)]]).judge()
    assert (judgement.verdict, judgement.reason) == (
        Verdict.NOT_RECOVERED,
        "application: is 503, expected status 200.",
    )


@given(st.lists(st.lists(READINGS, min_size=2, max_size=2), min_size=1, max_size=8), st.integers(1, 4))
def test_recovered_needs_every_probe_good_in_the_last_samples(samples: list[list[Reading]], consecutive: int) -> None:
    """Nothing unknown, bad or too rare is ever called recovered."""
    judgement = tally([DIRECT, WINDOWED], samples, consecutive).judge()
    last = samples[-consecutive:]
    proved = len(samples) >= consecutive and all(reading.good is True for sample in last for reading in sample)
    assert (judgement.verdict is Verdict.RECOVERED) == proved


@given(st.lists(st.lists(READINGS, min_size=2, max_size=2), min_size=1, max_size=8))
def test_decaying_needs_good_direct_probes(samples: list[list[Reading]]) -> None:
    """A service whose direct probe is bad or unknown is never waited for as if it were well."""
    judgement = tally([DIRECT, WINDOWED], samples).judge()
    if judgement.verdict is Verdict.DECAYING:
        assert all(sample[0].good is True for sample in samples[-2:])


@pytest.mark.parametrize(
    ("relation", "wanted", "value", "good"),
    [
        pytest.param("below", 0.8, 0.79, True, id="below"),
        pytest.param("below", 0.8, 0.8, False, id="below excludes"),
        pytest.param("at_most", 0.8, 0.8, True, id="at most includes"),
        pytest.param("above", 1, "1.5", True, id="above, as text"),
        pytest.param("above", 1, 1, False, id="above excludes"),
        pytest.param("at_least", 2, 2, True, id="at least includes"),
        pytest.param("equals", "PONG", "PONG", True, id="equals"),
        pytest.param("equals", 1, "1", True, id="equals as text"),
        pytest.param("equals", "PONG", "NOAUTH", False, id="differs"),
        pytest.param("below", 0.8, "NaN", None, id="nothing to divide by"),
        pytest.param("below", 0.8, None, None, id="no value"),
        pytest.param("below", 0.8, "many", None, id="no number"),
    ],
)
def test_a_value_is_held_against_its_expectation(relation: str, wanted: object, value: object, good: bool) -> None:
    """What is no number where one is needed is unknown, not bad."""
    assert Expectation(relation, wanted).judge(value).good is good
