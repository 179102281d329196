"""Expectations of several acts that are told as one."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.ops.runbooks.plugins.plugin_utils._acts import join_acts

ENDED = {"changed": True, "actions": ["Ended 20."], "before": {"used": 30}, "after": {"used": 10}}
LEFT = {"changed": False, "actions": ["Left app alone."], "before": {"app": 1}, "after": {"app": 1}}
SKIPPED = {"changed": False, "skipped": True}
REFUSED = {"changed": False, "failed": True, "refused": True, "msg": "No room."}
BROKEN = {"changed": False, "failed": True, "msg": "No answer."}


def test_acts_are_told_in_their_order() -> None:
    """What was skipped or not reached says nothing."""
    joined = join_acts({"sessions": ENDED, "pooler": SKIPPED, "pools": LEFT, "later": {}})
    assert joined == {
        "changed": True,
        "actions": ["Ended 20.", "Left app alone."],
        "before": {"sessions": {"used": 30}, "pools": {"app": 1}},
        "after": {"sessions": {"used": 10}, "pools": {"app": 1}},
    }


@pytest.mark.parametrize(
    ("results", "changed", "refused", "message"),
    [
        pytest.param({"pools": REFUSED}, False, True, "No room.", id="refused at once"),
        pytest.param({"sessions": ENDED, "pools": REFUSED}, True, False, "No room.", id="refused half-way"),
        pytest.param({"sessions": BROKEN, "pools": REFUSED}, False, False, "No answer.", id="the first failure tells"),
        pytest.param({"a": {"failed": True}}, False, False, "A task failed without a message.", id="silent"),
    ],
)
def test_a_failure_is_told(results: dict[str, Any], changed: bool, refused: bool, message: str) -> None:
    """A refusal after something was changed is a failure."""
    joined = join_acts(results)
    assert (joined["changed"], joined["failed"], joined["refused"], joined["msg"]) == (changed, True, refused, message)


def test_nothing_reached_is_nothing_done() -> None:
    """No act, no change."""
    assert join_acts({"a": {}, "b": {}}) == {"changed": False, "actions": [], "before": {}, "after": {}}
