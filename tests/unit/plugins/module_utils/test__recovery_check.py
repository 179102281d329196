"""Expectations of the sampling, on a clock that does not tick by itself."""

from __future__ import annotations

import re
from typing import Any

import pytest
from ansible_collections.ops.runbooks.plugins.module_utils._errors import ActionFailed
from ansible_collections.ops.runbooks.plugins.module_utils._recovery_check import RecoveryRequest, check_recovery
from ansible_collections.ops.runbooks.plugins.module_utils._recovery_verdict import Probe, Reading
from ansible_collections.ops.runbooks.plugins.module_utils._waiting import Clock

KINDS = ("http", "tcp", "sql", "redis", "container", "promql")
RELATIONS = ("equals", "at_least", "at_most", "above", "below")


class FakeTime:
    """Seconds that pass only when somebody sleeps."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def clock(self) -> Clock:
        return Clock(now=lambda: self.seconds, sleep=self.sleep)

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds


def probe(name: str, kind: str, settings: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return a probe as Ansible hands it over: every option present."""
    empty = dict.fromkeys((*KINDS, *RELATIONS, "unreachable_is"))
    return {**empty, "name": name, "windowed": False, kind: settings, **more}


def params(*probes: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "probes": list(probes) or [probe("port", "tcp", {"host": "h", "port": 1})],
        "consecutive": 3,
        "interval_seconds": 1.0,
        "timeout_seconds": 10.0,
        "decay_timeout_seconds": 0.0,
        "require_recovered": False,
        **more,
    }


DIRECT = probe("port", "tcp", {"host": "h", "port": 1})
WINDOWED = probe("condition", "promql", {"url": "u", "query": "q"}, below=0.9, windowed=True)


def check(given: dict[str, Any], answers: dict[str, list[Any]]) -> tuple[dict[str, Any], float]:
    """Run the check; each probe gives its answers in turn and repeats the last one."""
    time = FakeTime()

    def read(one: Probe) -> Reading:
        left = answers[one.name]
        good = left.pop(0) if len(left) > 1 else left[0]
        return Reading(good=good, value=good, error="" if good is not None else "silent")

    result = check_recovery(RecoveryRequest.from_params(given), read, clock=time.clock())
    return result, time.seconds


@pytest.mark.parametrize(
    ("answers", "verdict", "samples", "seconds"),
    [
        pytest.param({"port": [True]}, "recovered", 3, 2.0, id="good at once"),
        pytest.param({"port": [False, False, True]}, "recovered", 5, 4.0, id="good after a while"),
        pytest.param({"port": [True, True, False, True]}, "recovered", 6, 5.0, id="one bad sample starts again"),
        pytest.param({"port": [False]}, "not_recovered", 11, 10.0, id="bad until the time is over"),
        pytest.param({"port": [None]}, "unknown", 11, 10.0, id="silent until the time is over"),
    ],
)
def test_samples_are_taken_until_the_verdict_is_certain(
    answers: dict[str, list[Any]], verdict: str, samples: int, seconds: float
) -> None:
    """Recovery ends the check early; everything else gets the whole time to become good."""
    result, passed = check(params(DIRECT), answers)
    assert (result["verdict"], result["samples"], passed) == (verdict, samples, seconds)


def test_a_window_that_has_yet_to_empty_is_not_waited_for_by_default() -> None:
    """Once the service is proved good, the lag of its alert costs nothing."""
    result, passed = check(params(DIRECT, WINDOWED), {"port": [True], "condition": [False]})
    assert (result["verdict"], passed) == ("decaying", 2.0)


def test_a_window_may_be_given_time_to_empty() -> None:
    """With decay_timeout_seconds the check goes on until the window is empty."""
    given = params(DIRECT, WINDOWED, decay_timeout_seconds=20.0)
    result, passed = check(given, {"port": [True], "condition": [False] * 15 + [True]})
    assert (result["verdict"], passed) == ("recovered", 17.0)


def test_a_window_that_empties_late_is_still_proved() -> None:
    """A window that turns good just now gets the samples that prove it, though no decay time is given."""
    result, _passed = check(params(DIRECT, WINDOWED), {"port": [True], "condition": [False, False, True]})
    assert result["verdict"] == "recovered"


def test_recovery_can_be_required() -> None:
    """With require_recovered everything but recovered is a failure that carries the values."""
    with pytest.raises(
        ActionFailed, match=r"^Recovery is not proved \(not_recovered\): port: is False, expected "
    ) as e:
        check(params(DIRECT, require_recovered=True), {"port": [False]})
    assert e.value.details["checks"] == [
        {
            "name": "port",
            "kind": "tcp",
            "windowed": False,
            "value": False,
            "expectation": "an open port",
            "good": False,
            "error": "",
        }
    ]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        pytest.param(params(WINDOWED), "Refused: recovery needs at least one direct probe", id="only windowed"),
        pytest.param(params(DIRECT, DIRECT), "Each probe needs a name of its own.", id="same name"),
        pytest.param(params(consecutive=0), "consecutive must be at least 1", id="no samples"),
        pytest.param(
            params(probe("q", "sql", {"query": "SELECT 1"})), "Probe 'q' needs an expectation", id="no expectation"
        ),
        pytest.param(
            params(probe("h", "http", {"status": [200]}, below=1.0)),
            "Probe 'h': http is good or bad by itself and takes no below.",
            id="superfluous expectation",
        ),
        pytest.param(
            params(probe("f", "http", {"method": "GET", "form": {"a": "b"}})),
            "Probe 'f': a form is sent with method POST.",
            id="form without POST",
        ),
    ],
)
def test_probes_that_prove_nothing_are_refused(given: dict[str, Any], message: str) -> None:
    """A check that could not fail, or could not succeed, does not start."""
    with pytest.raises(ValueError, match=re.escape(message)):
        RecoveryRequest.from_params(given)
