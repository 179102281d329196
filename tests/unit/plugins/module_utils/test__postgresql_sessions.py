"""Expectations of the choice of sessions."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import fields
from typing import Any

import pytest
from ansible_collections.ops.runbooks.plugins.module_utils._postgresql_pool import reset_spec
from ansible_collections.ops.runbooks.plugins.module_utils._postgresql_sessions import (
    BACKUP_APPLICATIONS,
    STATES,
    Criteria,
    Session,
    Slots,
    Snapshot,
    blocking_tree,
    grouped,
    holders,
    make_plan,
    mask_literals,
)
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.plugins.module_utils.postgresql import OWN, criteria, session

DEFAULTS = {name: option.get("default") for name, option in reset_spec().options.items()}

SESSIONS = st.lists(
    st.builds(
        session,
        st.integers(2, 10_000),
        st.sampled_from(STATES),
        st.floats(0, 2000),
        user=st.sampled_from(["app", "postgres", "monitor"]),
        application=st.sampled_from(["shop", "worker", "", *sorted(BACKUP_APPLICATIONS)]),
        superuser=st.booleans(),
        reserved=st.booleans(),
    ),
    max_size=30,
    unique_by=lambda one: one.pid,
)
CRITERIA = st.builds(
    Criteria,
    states=st.lists(st.sampled_from(STATES), unique=True).map(tuple),
    minimum_idle_seconds=st.none() | st.floats(0, 1000),
    minimum_idle_in_transaction_seconds=st.none() | st.floats(0, 1000),
    minimum_transaction_seconds=st.none() | st.floats(0, 1000),
    minimum_statement_seconds=st.none() | st.floats(0, 1000),
    applications=st.sampled_from([(), ("shop",), ("pg_dump",)]),
    users=st.sampled_from([(), ("app",), ("postgres", "monitor")]),
    exclude_users=st.sampled_from([(), ("monitor",)]),
    allow_superusers=st.booleans(),
    keep_per_application=st.integers(0, 4),
)


def snapshot(*sessions: Session) -> Snapshot:
    return Snapshot(Slots(100, 3, 2, len(sessions)), sessions)


def ended(found: list[Session], **asked: Any) -> list[int]:
    return [one.pid for one in make_plan(snapshot(*found), criteria(**asked)).end]


@given(SESSIONS, CRITERIA)
def test_nobody_innocent_is_chosen(found: list[Session], asked: Criteria) -> None:
    """Own session, superusers, monitors, backups: only by name."""
    for one in make_plan(snapshot(OWN, *found), asked).end:
        assert one.state in asked.states
        assert not one.own
        assert not one.superuser or (asked.allow_superusers and one.user in asked.users)
        assert not one.reserved or one.user in asked.users
        assert one.application not in BACKUP_APPLICATIONS or one.application in asked.applications
        assert one.user not in asked.exclude_users


@given(SESSIONS, CRITERIA)
def test_every_application_keeps_its_floor(found: list[Session], asked: Criteria) -> None:
    """Of the usable sessions that there were, so many stay; those that stay were used last."""
    plan = make_plan(snapshot(*found), asked)
    gone = {one.pid for one in plan.end}
    had = Counter(one.application for one in found if one.usable)
    left = Counter(one.application for one in found if one.usable and one.pid not in gone)
    for application, number in had.items():
        assert left[application] >= min(number, asked.keep_per_application)


@given(SESSIONS, CRITERIA)
def test_everything_that_matches_is_accounted_for(found: list[Session], asked: Criteria) -> None:
    """What matches is ended or listed as left alone, never both, never neither."""
    plan = make_plan(snapshot(*found), asked)
    listed = sorted([one.pid for one in plan.end] + [one.pid for _reason, left in plan.left for one in left])
    assert listed == sorted(one.pid for one in found if asked.matches(one, frozenset()))
    assert set(plan.cancel_first) | set(plan.terminate) == set(plan.end)


def test_a_leak_is_ended_sooner_than_a_pool_in_reserve() -> None:
    """Idle in a transaction and idle have limits of their own."""
    found = [session(2, "idle_in_transaction", 70), session(3, "idle", 70), session(4, "idle", 1000)]
    assert ended(found, minimum_idle_seconds=900, minimum_idle_in_transaction_seconds=60) == [2, 4]


def test_the_floor_keeps_the_most_recently_used() -> None:
    """Sessions that idle in a transaction neither count nor are kept."""
    found = [session(2, seconds=900), session(3, seconds=100), session(4, "idle_in_transaction", 50)]
    plan = make_plan(snapshot(*found), criteria(keep_per_application=1))
    assert [one.pid for one in plan.end] == [2, 4]
    assert plan.left_alone() == ["Left 1 session alone: the 1 most recently used of each application stay."]


def test_the_limit_of_a_statement_does_not_spare_idle_sessions() -> None:
    """An age that a state cannot have is not asked of it."""
    found = [session(2, "active", 5), session(3, "active", 500), session(4, "idle", 5)]
    assert ended(found, minimum_statement_seconds=100) == [3, 4]


def test_only_blockers_are_meant() -> None:
    """A session that nobody waits for stays, and so does a waiter that others queue behind."""
    queue = [session(3, "active", blocked_by=(2,)), session(4, "active", blocked_by=(2, 3))]
    assert ended([session(2, "idle_in_transaction"), *queue, session(5)], blockers_only=True) == [2]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "these criteria mean every session"),
        ({"states": []}, "these criteria mean every session"),
        ({"states": [], "minimum_idle_seconds": 5.0}, "these criteria mean every session"),
        ({"exclude_users": ["app"]}, "these criteria mean every session"),
        ({"minimum_idle_seconds": -1.0}, "must not be negative"),
        ({"users": ["app"], "keep_per_application": -1}, "must not be negative"),
    ],
)
def test_criteria_without_a_limit_are_refused(given: dict[str, Any], message: str) -> None:
    """Nobody ends every session by leaving something out."""
    with pytest.raises(ValueError, match=message):
        Criteria.from_params({**DEFAULTS, **given})


@pytest.mark.parametrize(
    "given",
    [{"minimum_idle_seconds": 0.0}, {"clients": ["192.0.2.7"]}, {"databases": ["a"]}, {"blockers_only": True}],
)
def test_one_limit_is_enough(given: dict[str, Any]) -> None:
    """Each way of narrowing counts."""
    built = Criteria.from_params({**DEFAULTS, **given})
    assert {one.name for one in fields(built)} >= given.keys()


def test_an_idle_limit_holds_in_transactions_too_unless_another_is_given() -> None:
    """One number is enough for the simple case."""
    built = Criteria.from_params({**DEFAULTS, "minimum_idle_seconds": 30.0})
    assert built.minimum_idle_in_transaction_seconds == 30.0


def test_the_share_counts_what_an_application_can_get() -> None:
    """Reserved slots are no use to an application; without application slots everything is in use."""
    assert Slots(100, 3, 2, 95).used_ratio == 1.0
    assert Slots(100, 3, 2, 97).as_return()["free"] == 0
    assert Slots(3, 3, 0, 1).used_ratio == 1.0


def test_groups_are_counted_by_state_largest_first() -> None:
    """A reader sees who holds the slots, and how."""
    found = [session(2), session(3, "idle_in_transaction", 700), session(4, application="worker")]
    rows = grouped(found, lambda one: one.application)
    assert [(row["name"], row["sessions"], row["idle"], row["idle_in_transaction"]) for row in rows] == [
        ("shop", 2, 1, 1),
        ("worker", 1, 1, 0),
    ]
    assert rows[0]["oldest_seconds"] == 700
    assert [(row["application"], row["sessions"]) for row in holders(found, 1)] == [("shop", 1)]


def test_waiters_stand_under_their_blocker() -> None:
    """The root of a chain comes first, with everything below it."""
    found = [session(2, blocked_by=(3,)), session(3, blocked_by=(4,)), session(4), session(5)]
    (root,) = blocking_tree(found)
    assert (root["pid"], root["blocks"][0]["pid"], root["blocks"][0]["blocks"][0]["pid"]) == (4, 3, 2)


def test_a_deadlock_and_a_prepared_transaction_have_a_place() -> None:
    """A circle is cut at its lowest pid; a blocker that is no session is named by its number."""
    circle = blocking_tree([session(2, blocked_by=(3,)), session(3, blocked_by=(2,))])
    assert [(root["pid"], root["blocks"][0]["pid"]) for root in circle] == [(2, 3)]
    (prepared,) = blocking_tree([session(2, blocked_by=(0,))])
    assert (prepared["pid"], "user" in prepared, prepared["blocks"][0]["pid"]) == (0, False, 2)


@given(st.dictionaries(st.integers(2, 12), st.lists(st.integers(0, 14), max_size=3, unique=True), max_size=8))
def test_every_waiter_is_shown_once(edges: dict[int, list[int]]) -> None:
    """Whatever waits on whatever, the tree ends and loses nobody."""
    found = [session(pid, blocked_by=tuple(edges[pid])) for pid in edges]
    shown = re.findall(r"'pid': (\d+)", str(blocking_tree(found)))
    assert len(shown) == len(set(shown))
    assert {pid for pid, blockers in edges.items() if blockers} <= set(map(int, shown))


@pytest.mark.parametrize(
    ("query", "masked"),
    [
        ("ALTER ROLE app PASSWORD 'hunter2'", "ALTER ROLE app PASSWORD '?'"),
        ("SELECT 'it''s', 5", "SELECT '?', 5"),
        ("INSERT INTO cards VALUES ('4111 11", "INSERT INTO cards VALUES ('?'"),
        ("DO $body$ secret $$ 'x' $body$ language sql", "DO '?' language sql"),
        ("SELECT 1", "SELECT 1"),
    ],
)
def test_statements_are_shown_without_their_literals(query: str, masked: str) -> None:
    """Passwords and personal data stand in literals; a literal that was cut off is one too."""
    assert mask_literals(query) == masked
