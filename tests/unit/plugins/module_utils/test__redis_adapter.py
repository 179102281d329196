"""Expectations of what a failed connection or command is called, and of what a login may be."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.ops.runbooks.plugins.module_utils import _redis_adapter as adapter
from ansible_collections.ops.runbooks.plugins.module_utils._errors import MissingLibrary
from ansible_collections.ops.runbooks.plugins.module_utils._redis_options import Login, login_options

LOGIN = Login("cache1", user="ops", password="hunter2")
DEFAULTS = {name: option.get("default") for name, option in login_options().options.items()}

# As redis-py 8 and Redis 8 word them.
SAID = [
    ("invalid username-password pair or user is disabled.", "Check login_user and login_password."),
    ("Authentication required.", "Set login_password"),
    ("Error 111 connecting to cache1:6379. Connection refused.", "and that the server runs."),
    ("Error -2 connecting to cache1:6379. Name or service not known.", "Check login_host."),
    ("max number of clients reached", "raise its maxclients."),
    ("Redis is loading the dataset in memory", "try again when it has finished."),
    ("Timeout reading from socket", "raise connect_timeout_seconds."),
    ("No master found for 'cache'", "Check sentinels and sentinel_service"),
    ("something new", "Check that the server runs and answers."),
    ("", "no message. Check that the server runs and answers."),
]


@pytest.mark.parametrize(("said", "remedy"), SAID)
def test_the_message_says_where_why_and_what_to_do(said: str, remedy: str) -> None:
    """One sentence for the cause, one for the remedy."""
    error = str(adapter.connection_failed(LOGIN, "cache1:6379", OSError(said)))
    assert error.startswith('Cannot connect to Redis cache1:6379 as "ops": ')
    assert remedy in error


@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        ("User ops has no permissions to run the 'unlink' command", "give login_user the commands and keys"),
        ("ACL failure in script: No permissions to access a key", "give login_user the commands and keys"),
        ("MISCONF Redis is configured to save RDB snapshots", "free its disk"),
        ("You can't write against a read only replica.", "connect to the master"),
        ("something new", "Look at the server's log."),
    ],
)
def test_a_refusal_says_what_to_do(said: str, remedy: str) -> None:
    """What the server answered, and the remedy."""
    error = str(adapter.refused(LOGIN, "cache1:6379", said))
    assert error.startswith('Redis cache1:6379 refused a command of "ops": ')
    assert remedy in error


def test_the_password_is_never_repeated() -> None:
    """Neither in a message nor in a representation."""
    assert "hunter2" not in str(adapter.connection_failed(LOGIN, "cache1:6379", OSError("AUTH ops hunter2")))
    assert "hunter2" not in repr(LOGIN)


def test_the_sentinels_have_a_login_of_their_own() -> None:
    """Its options are named when they refuse it, and its password is repeated nowhere either."""
    given = {"sentinels": ["sentinel1"], "sentinel_service": "cache", "login_user": "ops", "login_password": "hunter2"}
    asking = Login.from_params({**DEFAULTS, **given, "sentinel_user": "guard", "sentinel_password": "t0psecret"})
    error = str(adapter.connection_failed(asking.of_sentinels, asking.instance, "WRONGPASS for guard t0psecret"))
    assert 'as "guard"' in error
    assert error.endswith("Check sentinel_user and sentinel_password.")
    assert "t0psecret" not in error + repr(asking)
    nobody = Login.from_params({**DEFAULTS, **given}).of_sentinels
    assert (nobody.user, nobody.password) == (None, None)


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is tried."""
    monkeypatch.setattr(adapter, "IMPORT_FAILURE", "Traceback: No module named 'redis'")
    with pytest.raises(MissingLibrary, match="redis"):
        adapter.connect(LOGIN)


def test_sentinels_are_addresses() -> None:
    """The port is optional, and an IPv6 address stands in brackets."""
    given = ["192.0.2.1:5000", "sentinel1", "[2001:db8::1]:26379"]
    login = Login.from_params({**DEFAULTS, "sentinels": given, "sentinel_service": "cache"})
    assert login.sentinels == (("192.0.2.1", 5000), ("sentinel1", 26379), ("2001:db8::1", 26379))
    assert login.instance == "cache (sentinel)"
    assert Login.from_params(DEFAULTS).instance == "localhost:6379"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"cluster": True, "sentinels": ["a:1"], "sentinel_service": "b"}, "exclude each other"),
        ({"cluster": True, "login_db": 2}, "login_db is 2, and a cluster has only database 0"),
        ({"connect_timeout_seconds": 0}, "connect_timeout_seconds is 0"),
        ({"sentinels": ["a:b"], "sentinel_service": "b"}, 'sentinels has "a:b", expected host:port'),
    ],
)
def test_a_login_that_cannot_be_meant_is_refused(given: dict[str, Any], message: str) -> None:
    """With the value and what is expected."""
    with pytest.raises(ValueError, match=message):
        Login.from_params({**DEFAULTS, **given})
