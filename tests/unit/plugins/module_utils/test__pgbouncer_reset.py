"""Expectations of the reset of PgBouncer's pools, above all: no database stays paused."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.ops.runbooks.plugins.module_utils._errors import ActionFailed, OpsError, PreconditionFailed
from ansible_collections.ops.runbooks.plugins.module_utils._pgbouncer_reset import ResetRequest, Resetter
from ansible_collections.ops.runbooks.plugins.module_utils._postgresql_options import Login
from ansible_collections.ops.runbooks.plugins.module_utils._waiting import Clock
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.plugins.module_utils.pgbouncer import ConsoleContract, FakeDatabase, FakeGuard, FakePgBouncer

if TYPE_CHECKING:
    from collections.abc import Callable

    from ansible_collections.ops.runbooks.plugins.module_utils._pgbouncer_ports import Console


class FakeTime:
    """Seconds that pass only when somebody sleeps."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds


def order(**given: Any) -> ResetRequest:
    defaults = {
        "databases": ["app"],
        "mode": "pause_kill_resume",
        "pause_timeout_seconds": 5,
        "wait_timeout_seconds": 5,
        "only_above": None,
        "precondition_reaction": "fail",
    }
    return ResetRequest.from_params({**defaults, **given})


def busy_app() -> FakeDatabase:
    return FakeDatabase(clients=6, waiting=2, active=4, idle=1)


class Setting:
    """A server, and a reset of it."""

    def __init__(self, server: FakePgBouncer, user: str = "runbooks") -> None:
        self.server = server
        self.guard = FakeGuard()
        self.warnings: list[str] = []
        time = FakeTime()
        clock = Clock(now=lambda: time.seconds, sleep=time.sleep)
        login = Login(host="pgb.example.com", port=6432, user=user, database="pgbouncer")
        self.resetter = Resetter(login, server.connect, self.guard, self.warnings.append, clock)

    def run(self, *, dry_run: bool = False, **given: Any) -> dict[str, Any]:
        try:
            return self.resetter.run(order(**given), dry_run=dry_run)
        finally:
            assert self.server.open_consoles == 0, "a connection to the console was left open"


def test_reconnect_replaces_server_connections_and_disturbs_nobody() -> None:
    """One command; what is in use is closed when it is released, and told."""
    setting = Setting(FakePgBouncer({"app": busy_app()}))
    result = setting.run(mode="reconnect")
    assert setting.server.log == ["RECONNECT app"]
    assert result["changed"]
    assert result["actions"] == [
        "Reconnected app; server connections: 5, to be closed when they are released: 4.",
    ]
    assert (result["before"]["app"]["servers_idle"], result["after"]["app"]["servers_idle"]) == (1, 0)
    assert result["duration_seconds"] == 5


def test_pause_kill_resume_sends_kill_and_resume_one_after_the_other() -> None:
    """Between the two a client that comes would make everybody wait; the setting that says how long is restored."""
    setting = Setting(FakePgBouncer({"app": FakeDatabase(clients=6, idle=3)}))
    result = setting.run()
    assert setting.server.log == ["SET 1", "PAUSE app", "KILL app", "RESUME app", "RESUME app", "SET 15"]
    assert result["actions"] == ["Dropped the connections of app and resumed it; clients: 6, server connections: 3."]
    assert (setting.server.login_retry, setting.guard.watched, setting.guard.undone) == (15, 1, 0)


def test_transactions_that_do_not_end_are_cut() -> None:
    """A PAUSE that does not return in time is followed by KILL all the same, and the result says so."""
    setting = Setting(FakePgBouncer({"app": busy_app()}))
    result = setting.run()
    assert setting.server.log[1:4] == ["PAUSE app", "KILL app", "RESUME app"]
    (told,) = result["actions"]
    assert told == (
        "Dropped the connections of app before all its transactions had ended and resumed it; "
        "clients: 8, server connections: 5."
    )


def test_a_pause_of_no_seconds_is_not_sent() -> None:
    """Who does not want to wait does not pause."""
    setting = Setting(FakePgBouncer({"app": busy_app()}))
    setting.run(pause_timeout_seconds=0)
    assert "PAUSE app" not in setting.server.log


def test_a_login_retry_that_is_short_enough_is_left_alone() -> None:
    """Nothing is changed that need not be, so nothing is restored."""
    setting = Setting(FakePgBouncer({"app": busy_app()}, login_retry=1))
    setting.run()
    assert not [text for text in setting.server.log if text.startswith("SET")]


def test_a_database_that_vanishes_from_the_list_is_resumed_and_reported_empty() -> None:
    """One that stands for * is not listed without connections, and would still be paused for the next client."""
    setting = Setting(FakePgBouncer({"app": FakeDatabase(clients=2, idle=1, wildcard=True)}))
    result = setting.run()
    assert not setting.server.databases["app"].paused
    assert (result["after"]["app"]["clients_active"], result["after"]["app"]["servers_idle"]) == (0, 0)


@pytest.mark.parametrize(
    ("database", "mode", "sentence"),
    [
        pytest.param(
            FakeDatabase(clients=1, idle=1, disabled=True),
            "reconnect",
            "Left app alone: it is disabled.",
            id="disabled",
        ),
        pytest.param(
            FakeDatabase(clients=1, idle=1, paused=True),
            "pause_kill_resume",
            "Left app alone: somebody has paused it, and it must stay so.",
            id="paused by somebody else",
        ),
        pytest.param(
            FakeDatabase(clients=3),
            "reconnect",
            "Left app alone: it has no connection to a server.",
            id="nothing to reconnect",
        ),
        pytest.param(
            FakeDatabase(),
            "pause_kill_resume",
            "Left app alone: it has no connection to a server.",
            id="nothing to kill",
        ),
    ],
)
@pytest.mark.parametrize("dry_run", [False, True])
def test_what_must_not_be_touched_is_left_alone(
    database: FakeDatabase, mode: str, sentence: str, dry_run: bool
) -> None:
    """Nothing is sent, nothing is changed, and the reason is told."""
    setting = Setting(FakePgBouncer({"app": database}))
    result = setting.run(mode=mode, dry_run=dry_run)
    assert (result["changed"], result["actions"], setting.server.log) == (False, [sentence], [])


def test_a_paused_database_can_be_reconnected() -> None:
    """RECONNECT neither resumes nor hurts it."""
    setting = Setting(FakePgBouncer({"app": FakeDatabase(clients=1, idle=1, paused=True)}))
    setting.run(mode="reconnect")
    assert setting.server.log == ["RECONNECT app"]
    assert setting.server.databases["app"].paused


@pytest.mark.parametrize(
    ("server", "given", "message"),
    [
        pytest.param(
            FakePgBouncer({"app": busy_app(), "shop": FakeDatabase()}),
            {"databases": ["app", "typo"]},
            "Cannot reset typo on PgBouncer pgb.example.com:6432: it knows app, shop. Correct databases; one that "
            "stands for * in its configuration is known only while it has connections.",
            id="unknown database",
        ),
        pytest.param(
            FakePgBouncer({"app": busy_app()}, admin_users="root, other"),
            {},
            'Cannot reset app on PgBouncer pgb.example.com:6432: user "runbooks" may not run admin commands. '
            "Add it to admin_users and reload PgBouncer, or set login_user.",
            id="no administrator",
        ),
        pytest.param(
            FakePgBouncer({"app": busy_app()}, state="paused"),
            {},
            "Cannot reset app on PgBouncer pgb.example.com:6432: somebody has paused PgBouncer as a whole. "
            "Run RESUME on its console.",
            id="paused as a whole",
        ),
        pytest.param(
            FakePgBouncer({"app": busy_app()}),
            {"only_above": 0.9},
            "Cannot reset app on PgBouncer pgb.example.com:6432, on request: "
            "The fullest pool is 80% in use, below 90%.",
            id="not full enough",
        ),
    ],
)
@pytest.mark.parametrize("dry_run", [False, True])
def test_a_refusal_says_why_and_changes_nothing(
    server: FakePgBouncer, given: dict[str, Any], message: str, dry_run: bool
) -> None:
    """Check mode refuses for the same reasons as a run."""
    setting = Setting(server)
    with pytest.raises(PreconditionFailed) as refused:
        setting.run(dry_run=dry_run, **given)
    assert str(refused.value) == message
    assert server.log == []


def test_a_precondition_can_skip_or_warn() -> None:
    """Skip succeeds and does nothing; warn warns and acts."""
    skipping = Setting(FakePgBouncer({"app": busy_app()}))
    skipped = skipping.run(only_above=0.9, precondition_reaction="skip")
    assert (skipped["changed"], skipping.server.log, skipping.warnings) == (False, [], [])
    assert skipped["actions"] == ["Left app alone: The fullest pool is 80% in use, below 90%."]
    warning = Setting(FakePgBouncer({"app": busy_app()}))
    assert warning.run(only_above=0.9, precondition_reaction="warn", mode="reconnect")["changed"]
    assert warning.warnings == ["Reset all the same: The fullest pool is 80% in use, below 90%."]


def test_a_precondition_that_holds_says_nothing() -> None:
    """At the limit is above it."""
    setting = Setting(FakePgBouncer({"app": busy_app()}))
    assert setting.run(only_above=0.8, mode="reconnect")["changed"]
    assert setting.warnings == []


def test_check_mode_says_what_a_run_would_do() -> None:
    """In the same numbers, and without a command."""
    setting = Setting(FakePgBouncer({"app": busy_app(), "shop": FakeDatabase(clients=1, idle=1)}))
    told = setting.run(dry_run=True, databases=["app", "shop"])
    assert told["changed"]
    assert told["after"] == told["before"]
    assert told["actions"][0] == (
        "Would wait up to 5 s for the transactions of app, drop its connections and resume it; "
        "clients: 8, server connections: 5."
    )
    assert setting.run(dry_run=True, mode="reconnect")["actions"] == ["Would reconnect app; server connections: 5."]
    assert setting.server.log == []


@pytest.mark.parametrize(
    ("given", "message"),
    [
        pytest.param({"databases": []}, "databases must name at least one database.", id="nothing"),
        pytest.param(
            {"databases": ["app", "pgbouncer"]},
            "databases must not name pgbouncer: that is the console itself.",
            id="the console",
        ),
        pytest.param({"only_above": 1.5}, "only_above must be between 0 and 1, not 1.5.", id="share above one"),
        pytest.param(
            {"pause_timeout_seconds": -1}, "pause_timeout_seconds must not be negative, it is -1.", id="negative pause"
        ),
        pytest.param(
            {"wait_timeout_seconds": -1}, "wait_timeout_seconds must not be negative, it is -1.", id="negative wait"
        ),
    ],
)
def test_values_that_make_no_sense_are_refused(given: dict[str, Any], message: str) -> None:
    """Before anything is connected."""
    with pytest.raises(ValueError, match="must") as refused:
        order(**given)
    assert str(refused.value) == message


# The commands of one undisturbed run: SET, PAUSE, KILL, RESUME; then RESUME and SET on a fresh connection, which are
# tried again until they succeed. A PAUSE without an answer is what a busy database gives anyway.
STEPS = range(6)
FATAL = {"lost": (0, 1, 2, 3), "lost after": (0, 2, 3), "refused": (0, 1, 2, 3), "hangs": (0, 2, 3)}


@pytest.mark.parametrize("breaks", ["lost", "lost after", "refused", "hangs"])
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("wildcard", [False, True])
def test_whatever_breaks_no_database_stays_paused(step: int, breaks: str, wildcard: bool) -> None:
    """Each command fails in each way; afterwards the database serves, the setting is restored, the result is true."""
    app = busy_app()
    app.wildcard = wildcard
    server = FakePgBouncer({"app": app}, breaks={step: breaks})
    setting = Setting(server)
    with pytest.raises(OpsError, match=r"is not paused\.$") if step in FATAL[breaks] else nullcontext() as failed:
        result = setting.run()
    if failed is not None:
        result = failed.value.details
    assert not app.paused
    assert server.login_retry == 15
    assert result["changed"] == ("KILL app" in server.log and (step, breaks) != (2, "refused"))


def test_a_server_that_comes_back_is_resumed() -> None:
    """Thirty refused logins at a second each are waited out."""
    app = busy_app()
    server = FakePgBouncer({"app": app}, breaks={2: "lost after"})
    setting = Setting(server)
    logins = 0

    def connect() -> Console:
        nonlocal logins
        logins += 1
        if logins == 3:  # the console, the one that pauses, and then the first that resumes
            server.unreachable = 30
        return server.connect()

    setting.resetter = replace(setting.resetter, connect=connect)
    with pytest.raises(ActionFailed, match=r"Lost the connection at KILL app\. Database app is not paused\."):
        setting.run()
    assert not app.paused
    assert server.login_retry == 15


def test_a_server_that_stays_away_is_handed_to_a_person() -> None:
    """After a minute the message names the database and what to run, and still tells what was done."""
    app = busy_app()
    server = FakePgBouncer({"app": app}, breaks={3: "lost"})
    setting = Setting(server)
    consoles: list[Console] = []

    def connect() -> Console:
        if len(consoles) == 2:
            server.unreachable = 1
        consoles.append(server.connect())
        return consoles[-1]

    setting.resetter = replace(setting.resetter, connect=connect)
    with pytest.raises(ActionFailed) as stuck:
        setting.run()
    assert str(stuck.value) == (
        "Cannot resume database app on PgBouncer pgb.example.com:6432: Cannot connect: Connection refused. "
        'It may still be paused: run RESUME "app" and SET server_login_retry = 15 on its console.'
    )
    assert stuck.value.details["changed"] is True
    assert stuck.value.details["duration_seconds"] == 60


def test_an_interrupt_leaves_the_work_to_the_guard() -> None:
    """What is no error of ours, such as Ctrl-C, ends the block without a word, which is what the guard waits for."""
    server = FakePgBouncer({"app": busy_app()})
    setting = Setting(server)

    logins = 0

    def connect() -> Console:
        nonlocal logins
        logins += 1
        if logins == 2:  # the one that pauses
            raise KeyboardInterrupt
        return server.connect()

    setting.resetter = replace(setting.resetter, connect=connect)
    with pytest.raises(KeyboardInterrupt):
        setting.run()
    assert setting.guard.undone == 1
    assert server.login_retry == 15
    assert not server.databases["app"].paused


databases = st.dictionaries(
    st.sampled_from(["app", "shop", "billing", "reports"]),
    st.builds(
        FakeDatabase,
        clients=st.integers(0, 5),
        waiting=st.integers(0, 3),
        active=st.integers(0, 5),
        idle=st.integers(0, 5),
        paused=st.booleans(),
        disabled=st.booleans(),
    ),
    min_size=1,
)


@given(databases, st.data())
def test_only_what_is_named_and_free_to_act_on_is_touched(population: dict[str, FakeDatabase], data: Any) -> None:
    """Whatever there is: no other, no disabled and no paused database is touched, and check mode predicts the run."""
    named = data.draw(st.lists(st.sampled_from(sorted(population)), min_size=1, unique=True))
    mode = data.draw(st.sampled_from(["reconnect", "pause_kill_resume"]))
    was_paused = {name for name, database in population.items() if database.paused}
    protected = {name for name, database in population.items() if database.disabled} | (
        was_paused if mode == "pause_kill_resume" else set()
    )
    setting = Setting(FakePgBouncer(population))
    told = setting.run(databases=named, mode=mode, dry_run=True)
    done = setting.run(databases=named, mode=mode)
    touched = {text.split()[1] for text in setting.server.log if not text.startswith("SET")}
    assert touched <= set(named) - protected
    assert {name for name, database in population.items() if database.paused} == was_paused
    assert told["changed"] == done["changed"] == bool(touched)
    assert told["before"] == done["before"]
    told_left, done_left = (
        [action for action in result["actions"] if action.startswith("Left")] for result in (told, done)
    )
    assert told_left == done_left


class TestFakeConsole(ConsoleContract):
    """The fake keeps the contract that the real console keeps in the integration tests."""

    @pytest.fixture
    def server(self) -> FakePgBouncer:
        return FakePgBouncer({"app": FakeDatabase(clients=1, idle=1)})

    @pytest.fixture
    def connect(self, server: FakePgBouncer) -> Callable[[], Console]:
        return server.connect

    @pytest.fixture
    def busy(self, server: FakePgBouncer) -> None:
        server.databases["app"].active = 1
