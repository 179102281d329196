"""Expectations of reading and resetting a server's sessions, against a server in memory."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.ops.runbooks.plugins.module_utils._errors import (
    ActionFailed,
    ConnectionFailed,
    PreconditionFailed,
    TimedOut,
)
from ansible_collections.ops.runbooks.plugins.module_utils._postgresql_pool import (
    ResetRequest,
    read_info,
    reset,
    reset_spec,
)
from ansible_collections.ops.runbooks.plugins.module_utils._postgresql_sessions import STATES, Session
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import override

from tests.unit.plugins.module_utils.postgresql import FakeServer, SessionSourceContract, World, session

DEFAULTS = {name: option.get("default") for name, option in reset_spec().options.items()}


def run(server: FakeServer, *, dry_run: bool = False, **given: Any) -> dict[str, Any]:
    asked = {**DEFAULTS, "users": ["app"], "keep_per_application": 0, **given}
    request = ResetRequest.from_params(asked)
    return reset(server, request, instance="db1:5432", dry_run=dry_run, clock=server.clock())


class FakeWorld(World):
    """Clients of the server in memory."""

    def __init__(self) -> None:
        self.server = FakeServer()
        self.source = self.server
        self._pid = 100

    def _open(self, application: str, state: str, **more: Any) -> int:
        self._pid += 1
        self.server.sessions.append(session(self._pid, state, 1, application=application, **more))
        return self._pid

    @override
    def idle(self, application: str) -> int:
        return self._open(application, "idle")

    @override
    def in_transaction(self, application: str) -> int:
        return self._open(application, "idle_in_transaction")

    @override
    def busy(self, application: str) -> int:
        return self._open(application, "active")

    @override
    def waiting_for(self, application: str) -> tuple[int, int, int]:
        holder = self.in_transaction(application)
        waiter = self._open(application, "active", blocked_by=(holder,))
        return holder, waiter, self._open(application, "active", blocked_by=(holder, waiter))

    @override
    def begin(self, pid: int) -> None:
        self.server.sessions = [
            replace(one, state="idle_in_transaction", state_seconds=0) if one.pid == pid else one
            for one in self.server.sessions
        ]


class TestFakeServer(SessionSourceContract):
    """The server in memory keeps the contract that the real one keeps in the integration tests."""

    @pytest.fixture
    def world(self) -> World:
        return FakeWorld()


def test_idle_sessions_are_ended_at_once() -> None:
    """One request, and the numbers before and after."""
    server = FakeServer([session(2), session(3, "idle_in_transaction"), session(4, "active")])
    result = run(server)
    assert server.signalled() == [("terminate", [2, 3])]
    assert (result["changed"], result["terminated"], result["cancelled"], result["spared"]) == (True, 2, 0, 0)
    assert (result["before"]["used"], result["after"]["used"]) == (4, 2)
    assert result["actions"] == ["Ended 2 sessions of shop (2)."]


def test_a_statement_that_yields_keeps_its_session() -> None:
    """Cancelled is enough; nothing is terminated."""
    server = FakeServer([session(2, "active")])
    result = run(server, states=["active"])
    assert server.signalled() == [("cancel", [2])]
    assert (result["changed"], result["cancelled"], result["terminated"]) == (True, 1, 0)
    assert result["actions"] == ["Cancelled the statements of 1 session."]


def test_a_statement_that_does_not_yield_is_terminated_after_the_grace_period() -> None:
    """The session that yielded stays, the deaf one goes."""
    server = FakeServer([session(2, "active"), session(3, "active")], deaf={3})
    result = run(server, states=["active"], grace_seconds=4.0)
    assert server.signalled() == [("cancel", [2, 3]), ("terminate", [3])]
    assert server.seconds >= 4
    assert [one.pid for one in server.sessions] == [2]
    assert (result["cancelled"], result["terminated"], result["spared"]) == (2, 1, 0)


def test_a_session_that_will_not_die_is_an_error_with_its_pid() -> None:
    """The message says how many, for how long and what that may mean; the result is true at that moment."""
    server = FakeServer([session(2), session(3)], immortal={3})
    with pytest.raises(
        TimedOut, match=r"2 sessions on db1:5432 to end, and 1 session still exist after 9 s \(pids 3\)"
    ) as error:
        run(server, timeout_seconds=9.0)
    assert error.value.details["survived"] == [3]
    assert error.value.details["changed"] is True


def test_what_changed_meanwhile_is_spared() -> None:
    """The chosen session began to work between the snapshot and the signal."""

    def work(server: FakeServer) -> None:
        server.sessions = [replace(one, state="active") for one in server.sessions]

    result = run(FakeServer([session(2)], between=work))
    assert (result["changed"], result["selected_count"], result["terminated"], result["spared"]) == (False, 1, 0, 1)
    assert result["actions"] == ["Spared 1 session: they changed or ended by themselves meanwhile."]


@pytest.mark.parametrize("lost_after", [1, 2, 3])
def test_a_server_that_goes_away_half_way_leaves_a_true_account(lost_after: int) -> None:
    """What was done before is in the message and in the result."""
    server = FakeServer([session(2), session(3, "active")], deaf={3}, lost_after=lost_after)
    with pytest.raises(ConnectionFailed, match=r"Lost the connection.*A second run finishes the rest") as error:
        run(server, states=STATES, grace_seconds=0.0)
    assert error.value.details["cancelled"] == (lost_after > 1)
    assert error.value.details["terminated"] == (lost_after > 2)
    assert error.value.details["changed"] is (lost_after > 1)


def test_below_the_share_nothing_is_ended_by_default() -> None:
    """The message has the numbers; the caller decides."""
    server = FakeServer([session(2)], maximum=15)
    with pytest.raises(
        PreconditionFailed, match=r"2 of 10 application slots on db1:5432 are in use \(20%\), below the"
    ):
        run(server, only_above=0.8)
    assert server.signalled() == []


def test_below_the_share_a_runbook_can_leave_everything_alone() -> None:
    """A second run on a healed server changes nothing and is no failure."""
    result = run(FakeServer([session(2)]), only_above=0.8, precondition_reaction="skip")
    assert result["changed"] is False
    assert result["actions"][0].startswith("Left everything alone: 2 of 95")


def test_below_the_share_a_caller_can_insist() -> None:
    """Warn goes on."""
    result = run(FakeServer([session(2)]), only_above=0.8, precondition_reaction="warn")
    assert (result["terminated"], len(result["warnings"])) == (1, 1)


def test_more_than_the_limit_ends_none() -> None:
    """Half of a too wide choice is no better than all of it."""
    server = FakeServer([session(2), session(3)])
    with pytest.raises(PreconditionFailed, match="2 match and limit is 1"):
        run(server, limit=1)
    assert server.signalled() == []


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_missing_privilege_stops_the_run_before_the_first_session(dry_run: bool) -> None:
    """Check mode finds it too; the message has the statement that grants it."""
    server = FakeServer([session(2), session(3, user="owner", can_be_signalled=False)])
    with pytest.raises(ActionFailed, match=r"sessions of owner on db1:5432.*GRANT pg_signal_backend"):
        run(server, dry_run=dry_run, users=[], minimum_idle_seconds=1.0)
    assert server.signalled() == []


def test_a_missing_privilege_on_what_stays_is_no_matter() -> None:
    """Only sessions that would be ended are asked about."""
    server = FakeServer([session(2), session(3, superuser=True, can_be_signalled=False)])
    assert run(server)["terminated"] == 1


def test_nothing_to_do_says_so() -> None:
    """An idle run is no failure."""
    result = run(FakeServer([session(2, "active")]))
    assert (result["changed"], result["actions"]) == (False, ["Nothing to end: no session matches."])


@pytest.mark.parametrize(("given", "message"), [({"only_above": 1.5}, "between 0 and 1"), ({"limit": 0}, "at least 1")])
def test_numbers_that_cannot_be_are_refused(given: dict[str, Any], message: str) -> None:
    """The message says what was expected."""
    with pytest.raises(ValueError, match=message):
        run(FakeServer(), **given)


SESSIONS = st.lists(
    st.builds(session, st.integers(2, 999), st.sampled_from(STATES), st.floats(0, 999), superuser=st.booleans()),
    max_size=12,
    unique_by=lambda one: one.pid,
)


@given(SESSIONS, st.lists(st.sampled_from(STATES), min_size=1, unique=True), st.integers(0, 3))
def test_check_mode_makes_the_same_choice(found: list[Session], states: list[str], floor: int) -> None:
    """The prediction is what happens, and predicting changes nothing."""
    server = FakeServer(list(found))
    planned = run(server, dry_run=True, states=states, keep_per_application=floor)
    assert (server.sessions, planned["after"]) == (found, planned["before"])
    done = run(server, states=states, keep_per_application=floor)
    assert (planned["changed"], planned["selected"]) == (done["changed"], done["selected"])


@given(SESSIONS, st.lists(st.sampled_from(STATES[1:]), min_size=1, unique=True), st.integers(0, 3))
def test_a_second_run_ends_nothing(found: list[Session], states: list[str], floor: int) -> None:
    """What idles is gone after one run, and what was kept is kept again."""
    server = FakeServer(list(found))
    run(server, states=states, keep_per_application=floor)
    assert run(server, states=states, keep_per_application=floor)["changed"] is False


def test_the_information_names_the_oldest_and_the_tree() -> None:
    """Everything that the evidence of the runbook is made of."""
    server = FakeServer(
        [
            session(2, "idle_in_transaction", 700, query="SELECT 1"),
            session(3, "active", 50, blocked_by=(2,)),
            session(4, "idle", 5000),
        ]
    )
    info = read_info(server)
    assert info["changed"] is False
    assert info["sessions"]["by_state"] == {
        "active": 2,
        "idle": 1,
        "idle_in_transaction": 1,
        "idle_in_transaction_aborted": 0,
    }
    assert (info["longest_transaction"]["pid"], info["longest_transaction"]["seconds"]) == (2, 700)
    assert (info["longest_statement"]["pid"], info["waiting"]) == (3, 1)
    assert [root["pid"] for root in info["blocking"]] == [2]
    assert info["slots"]["used"] == 4


def test_an_idle_server_has_no_oldest() -> None:
    """Absence is null, not an error."""
    info = read_info(FakeServer())
    assert (info["longest_transaction"], info["longest_statement"], info["blocking"]) == (None, None, [])
