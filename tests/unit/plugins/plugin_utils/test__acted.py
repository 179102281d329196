"""Expectations of the joined results of the phase that acts."""

from __future__ import annotations

from typing import Any

from ansible_collections.ops.runbooks.plugins.plugin_utils._acted import join_acted

MODULE: dict[str, Any] = {"changed": True, "actions": ["Restarted db-1."], "before": {"a": 1}, "after": {"a": 2}}


def test_sentences_of_modules_are_kept_in_order() -> None:
    """With the state before and after; what was not reached adds nothing."""
    second = {"changed": False, "actions": ["Left kc-1 alone."], "before": {"b": 1}, "after": {"b": 1}}
    assert join_acted([MODULE, {}, second]) == {
        "changed": True,
        "actions": ["Restarted db-1.", "Left kc-1 alone."],
        "before": {"a": 1},
        "after": {"a": 2},
    }


def test_what_tells_nothing_is_told_by_its_sentence() -> None:
    """Only if it changed something, and in check mode as what would be done."""
    results: list[dict[str, Any]] = [
        {"changed": True, "actions": [{"id": "kc", "what": "container"}]},
        {"changed": False},
        {"changed": True},
    ]
    sentences = ["recreate the container", "do nothing"]
    assert join_acted(results, sentences=sentences) == {"changed": True, "actions": ["Did: recreate the container"]}
    assert join_acted(results, sentences=sentences, check_mode=True)["actions"] == ["Would: recreate the container"]


def test_a_failure_is_passed_on_with_what_was_done_before_it() -> None:
    """So that the outcome says both."""
    joined = join_acted([MODULE, {"failed": True, "msg": "It did not come up.", "refused": False}])
    assert (joined["failed"], joined["msg"], joined["refused"]) == (True, "It did not come up.", False)
    assert (joined["changed"], joined["actions"]) == (True, ["Restarted db-1."])


def test_nothing_that_was_reached_changes_nothing() -> None:
    """As when an option was refused."""
    assert join_acted([{}, {}]) == {"changed": False, "actions": []}
