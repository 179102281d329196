"""Expectations of what a failed connection is called."""

from __future__ import annotations

import pytest
from ansible_collections.ops.runbooks.plugins.module_utils import _postgresql_adapter as adapter
from ansible_collections.ops.runbooks.plugins.module_utils._errors import ConnectionFailed, MissingLibrary
from ansible_collections.ops.runbooks.plugins.module_utils._postgresql_options import Login
from ansible_collections.ops.runbooks.plugins.module_utils._waiting import Clock

LOGIN = Login(host="db1", port=5432, user="runbooks", database="app", password="hunter2")

# As libpq 17 words them.
SAID = [
    (
        (
            'connection to server at "db1", port 5432 failed: FATAL:  password authentication failed for user "r"\n'
            'connection to server at "db1", port 5432 failed: FATAL:  no pg_hba.conf entry'
        ),
        "Check login_user and login_password.",
    ),
    ('connection to server at "db1", port 5432 failed: FATAL:  sorry, too many clients already', "may use reserved"),
    (
        "FATAL:  remaining connection slots are reserved for roles with the SUPERUSER attribute",
        "may use reserved slots",
    ),
    (
        'connection to server at "db1", port 5432 failed: Connection refused\n\tIs the server running on that host?',
        "Check login_host and login_port, and that the server runs.",
    ),
    ('could not translate host name "db1" to address: Name or service not known', "Check login_host."),
    ("timeout expired", "raise connect_timeout_seconds."),
    ('FATAL:  database "app" does not exist', "Check login_db and login_user."),
    ("FATAL:  the database system is starting up", "try again when recovery has finished"),
    ("something new", "Check that the server runs and answers."),
    ("", "Check that the server runs and answers."),
]


@pytest.mark.parametrize(("said", "remedy"), SAID)
def test_the_message_says_where_why_and_what_to_do(said: str, remedy: str) -> None:
    """The first line that names a cause is the one that is told."""
    error = adapter.connection_failed(LOGIN, OSError(said))
    assert str(error).startswith('Cannot connect to database "app" on db1:5432 as "runbooks": ')
    assert remedy in str(error)
    assert "\n" not in str(error)


def test_the_password_is_never_repeated() -> None:
    """A library may quote the whole connection string."""
    error = adapter.connection_failed(LOGIN, OSError("bad dsn: host=db1 password=hunter2"))
    assert "hunter2" not in str(error)
    assert "hunter2" not in repr(LOGIN)


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is tried."""
    monkeypatch.setattr(adapter, "IMPORT_FAILURE", "Traceback: No module named 'psycopg2'")
    with pytest.raises(MissingLibrary, match="psycopg2"):
        adapter.Connection(LOGIN)


class Server:
    """Answer logins as scripted, on a clock of its own; the last answer is repeated."""

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)
        self.seconds = 0.0

    def connect(self) -> str:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer != "in":
            raise ConnectionFailed(answer)
        return answer

    def log_in(self) -> str:
        clock = Clock(now=lambda: self.seconds, sleep=lambda seconds: setattr(self, "seconds", self.seconds + seconds))
        answer: str = adapter.log_in(LOGIN, self.connect, clock)
        return answer


def test_a_slot_that_is_taken_for_a_moment_is_waited_for() -> None:
    """At the limit even the reserved slots come and go."""
    server = Server("FATAL: remaining connection slots are reserved", "FATAL: sorry, too many clients already", "in")
    assert server.log_in() == "in"
    assert 0 < server.seconds < 1


def test_slots_that_stay_taken_are_told_after_a_moment() -> None:
    """Whoever asks must not wait long for what will not come."""
    server = Server("FATAL: sorry, too many clients already")
    with pytest.raises(ConnectionFailed, match="too many clients"):
        server.log_in()
    assert server.seconds == adapter.SLOT_SECONDS


def test_any_other_failure_is_told_at_once() -> None:
    """A wrong password stays wrong."""
    server = Server("FATAL: password authentication failed", "in")
    with pytest.raises(ConnectionFailed, match="password"):
        server.log_in()
    assert server.seconds == 0
