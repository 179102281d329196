"""Expectations of glob patterns."""

from __future__ import annotations

import pytest
from ansible_collections.ops.runbooks.plugins.module_utils._redis_glob import Glob
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.plugins.module_utils.redis_nodes import PATTERNS


@pytest.mark.parametrize(("pattern", "there", "not_there"), PATTERNS)
def test_a_pattern_matches_as_in_redis(pattern: str, there: list[bytes], not_there: list[bytes]) -> None:
    """The same table as against the real server."""
    expression = Glob.parse(pattern).expression()
    assert [key for key in there + not_there if expression.fullmatch(key)] == there


@given(st.text(min_size=1, max_size=6).filter(lambda text: text.count("*") <= 5))
def test_every_pattern_can_be_written_for_both(pattern: str) -> None:
    """Whatever a person types, Python compiles it and Lua gets an anchored pattern."""
    glob = Glob.parse(pattern)
    glob.expression()
    assert glob.lua().startswith(b"^")


@pytest.mark.parametrize(
    ("pattern", "narrows"), [("*", False), ("**", False), ("*?", False), ("a*", True), ("[a]", True)]
)
def test_stars_alone_do_not_narrow(pattern: str, narrows: bool) -> None:
    """A pattern narrows if it asks for at least one byte."""
    assert Glob.parse(pattern).narrows is narrows


@pytest.mark.parametrize(("pattern", "message"), [("", "A pattern is empty"), ("*a*a*a*a*a*", "more than 5 stars")])
def test_some_patterns_are_refused(pattern: str, message: str) -> None:
    """Empty ones, and those whose matching could take for ever."""
    with pytest.raises(ValueError, match=message):
        Glob.parse(pattern)
