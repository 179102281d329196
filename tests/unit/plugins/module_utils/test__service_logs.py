"""Expectations of what is shown of a service's log."""

from __future__ import annotations

import pytest
from ansible_collections.ops.runbooks.plugins.module_utils._service_logs import group_errors, is_error, shape, tidy
from hypothesis import given
from hypothesis import strategies as st

SECRET = "hunter2"


@pytest.mark.parametrize(
    "line",
    [
        "password=hunter2",
        "DB_PASSWORD: hunter2,",
        '{"password": "hunter2", "user": "app"}',
        '{"token": "a hunter2 b"}',
        '"{\\"api_key\\": \\"hunter2\\"}"',
        "Authorization: Basic hunter2",
        "authorization=hunter2",
        "sent Bearer hunter2hunter2",
        "postgresql://app:hunter2@db:5432/app",
        "x" * 480 + " postgresql://app:hunter2" + "x" * 30 + "@db",
    ],
)
def test_a_secret_is_not_shown(line: str) -> None:
    """Whatever way it is written, and however long the line."""
    (shown,) = tidy([line])
    assert SECRET not in shown
    assert len(shown) <= 500


@pytest.mark.parametrize("line", ["the password was wrong", "GET /tokens 200", "postgresql://db:5432/app"])
def test_what_is_no_secret_is_shown(line: str) -> None:
    """A word alone, and an address without password, stay as they are."""
    assert tidy([line + "\n"]) == [line]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("ERROR order 17 took 3.5 s", "ERROR order # took #.# s"),
        ("2026-01-05T08:00:00.123Z Error: x", "<time> Error: x"),
        ("2026-01-05 08:00:00,123 Error: x", "<time> Error: x"),
        ("lost 5f0e4c1a-0b1c-4d2e-8f3a-1234567890ab", "lost <id>"),
        ("commit 3f786850e387550fdab836ed7e6dc881de23001b failed", "commit <id> failed"),
        ("cannot open '/srv/a b.txt' as \"app\"", 'cannot open "*" as "*"'),
        ("can't connect to it's host", "can't connect to it's host"),
        ("deadbeef is a word, added too", "deadbeef is a word, added too"),
        ("failed  at 0x7fff", "failed at <id>"),
    ],
)
def test_a_shape_keeps_the_words(line: str, expected: str) -> None:
    """Numbers, identities and quoted text differ between lines of one kind; the rest does not."""
    assert shape(line) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("ERROR: no such table", True),
        ('{"level": "error", "msg": "x"}', True),
        ("psycopg.OperationalError: gone", True),
        ("java.lang.IllegalStateException", True),
        ("connection refused", True),
        ("panic: runtime error", True),
        ("0 errors, 12 requests", False),
        ("errors=0 served=12", False),
        ("finished without errors", False),
        ("INFO: application started", False),
        ("GET /terror 200", False),
    ],
)
def test_an_error_is_told_from_what_only_looks_like_one(line: str, expected: bool) -> None:
    """Levels, names of exceptions and the words of failure count; a count of none does not."""
    assert is_error(line) is expected


def test_lines_of_one_shape_are_one_group() -> None:
    """Counted over the replicas, the most frequent first, with the newest line, redacted."""
    groups = group_errors(
        {
            "web-1": ["error 1 password=hunter2", "fine", "error 2 password=hunter2", "\x1b[31mfatal\x1b[0m"],
            "web-2": ["error 3 password=hunter2"],
        }
    )
    assert [group.as_return() for group in groups] == [
        {
            "shape": "error # password=***",
            "count": 3,
            "replicas": ["web-1", "web-2"],
            "last": "error 3 password=***",
        },
        {"shape": "fatal", "count": 1, "replicas": ["web-1"], "last": "fatal"},
    ]


@given(st.text(), st.integers(0, 10**12))
def test_a_shape_is_stable_and_has_no_number(text: str, number: int) -> None:
    """The shape of a shape is itself, and lines that differ in a number only have one shape."""
    first = shape(f"error {number} {text}")
    assert not any(character in "0123456789" for character in first)
    assert first == shape(f"error {number + 1} {text}")
