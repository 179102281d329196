"""The modules for Keycloak against the real one of the running lab."""

from __future__ import annotations

import importlib
import json
import threading
import urllib.error
import urllib.request
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.ops.runbooks.plugins.module_utils._http import Http
from ansible_collections.ops.runbooks.plugins.module_utils._keycloak_adapter import HttpAdmin, SignIn

from lab.settings import port_variable, read_settings
from tests.unit.plugins.module_utils.keycloak import AdminContract

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ansible_collections.ops.runbooks.plugins.module_utils._keycloak_ports import Admin

    from tests.running_lab import Lab

    RunModule = Callable[..., dict[str, Any]]

pytestmark = [pytest.mark.integration, pytest.mark.slow]

MODULES = "ansible_collections.ops.runbooks.plugins.modules"
clear = importlib.import_module(f"{MODULES}.keycloak_cache_clear").main
info = importlib.import_module(f"{MODULES}.keycloak_info").main
# What the machine takes under load is no concern of these tests.
PATIENCE = 30.0
CLEARS = ("/clear-realm-cache", "/clear-user-cache", "/clear-keys-cache")


@pytest.fixture
def login(running_lab: Lab) -> dict[str, Any]:
    """Return how the client ``runbooks`` signs in."""
    return {
        "url": running_lab.address("keycloak"),
        "login_client_id": "runbooks",
        "login_client_secret": read_settings()["KEYCLOAK_ADMIN_SECRET"],
        "timeout_seconds": PATIENCE,
    }


@pytest.fixture
def look(running_lab: Lab, login: dict[str, Any]) -> dict[str, Any]:
    """Return the options of a complete look."""
    settings = read_settings()
    return {
        **login,
        "management_url": running_lab.address("keycloak-management"),
        "realm": "lab",
        "client_id": "probe",
        "client_secret": settings["KEYCLOAK_PROBE_SECRET"],
        "database": {
            "login_host": "127.0.0.1",
            "login_port": int(settings[port_variable("postgres")]),
            "login_user": "keycloak",
            "login_password": settings["KEYCLOAK_DB_PASSWORD"],
        },
    }


class TestAdmin(AdminContract):
    """The real Keycloak keeps the contract of the one in memory."""

    @pytest.fixture
    def admin(self, login: dict[str, Any]) -> Admin:
        sign_in = SignIn("master", login["login_client_id"], login["login_client_secret"])
        return HttpAdmin(Http(login["url"], timeout_seconds=PATIENCE), sign_in)


def secrets_in(result: dict[str, Any]) -> list[str]:
    settings = read_settings()
    names = ("KEYCLOAK_ADMIN_SECRET", "KEYCLOAK_PROBE_SECRET", "KEYCLOAK_CLIENT_SECRET", "KEYCLOAK_DB_PASSWORD")
    return [name for name in names if settings[name] in json.dumps(result)]


def sql(lab: Lab, statement: str) -> None:
    lab.sql(statement, "keycloak")


@pytest.fixture
def renamed(running_lab: Lab, run_module: RunModule, look: dict[str, Any]) -> Iterator[None]:
    """Change a user that Keycloak has read, behind its back."""
    assert run_module(info, look)["stale"]["count"] == 0
    sql(running_lab, "UPDATE user_entity SET email = 'ada@elsewhere.example.com' WHERE username = 'ada'")
    yield
    sql(running_lab, "UPDATE user_entity SET email = 'ada@example.com' WHERE username = 'ada'")
    run_module(clear, {key: look[key] for key in ("url", "login_client_id", "login_client_secret", "realm")})


def test_a_change_behind_its_back_is_seen_until_its_cache_is_cleared(
    run_module: RunModule, login: dict[str, Any], look: dict[str, Any], renamed: None
) -> None:
    """Check mode leaves it stale, the cache of the realm does not help, that of the users does."""
    stale = {
        "what": "user ada",
        "field": "email",
        "served": "ada@example.com",
        "stored": "ada@elsewhere.example.com",
    }
    asked = {**login, "realm": "lab"}
    assert run_module(info, look)["stale"]["differences"] == [stale]

    checked = run_module(clear, asked, check=True)
    assert (checked["_exit_code"], checked["changed"], checked["cleared"]) == (0, True, [])
    assert run_module(info, look)["stale"]["differences"] == [stale]

    done = run_module(clear, {**asked, "caches": ["user"]})
    assert (done["_exit_code"], done["cleared"]) == (0, ["user"])
    assert run_module(info, look)["stale"]["count"] == 0
    again = run_module(clear, asked)
    assert (again["_exit_code"], again["cleared"]) == (0, ["realm", "user", "keys"])
    assert secrets_in({"all": [checked, done, again]}) == []


def test_a_healthy_keycloak_is_seen_as_such(run_module: RunModule, look: dict[str, Any]) -> None:
    """Ready, with a token, let in by its database, and nothing stale; no secret is in the result."""
    found = run_module(info, look)
    assert found["ready"] == {"status": 200, "down": [], "error": ""}
    assert {name: one["status"] for name, one in found["endpoints"].items()} == {
        "discovery": 200,
        "certs": 200,
        "token": 200,
    }
    assert (found["database"]["login"], found["unreadable"]) == ("ok", [])
    assert found["stale"]["compared"] >= 5
    assert secrets_in(found) == []


def test_a_wrong_secret_of_the_probe_is_an_answer(run_module: RunModule, look: dict[str, Any]) -> None:
    """It is not silence: Keycloak lives and refuses this client."""
    found = run_module(info, {**look, "client_secret": "wrong-77"})
    assert found["endpoints"]["token"]["status"] == 401
    assert found["ready"]["status"] == 200


@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize(
    ("changed", "said"),
    [
        pytest.param(
            {"login_client_secret": "wrong-77"}, "Check login_client_id and login_client_secret.", id="secret"
        ),
        pytest.param(
            {"login_user": "nobody", "login_password": "wrong-77", "login_client_id": "admin-cli"},
            'as user "nobody": Invalid user credentials. Check login_user and login_password.',
            id="user",
        ),
        pytest.param({"login_realm": "nosuch"}, "Check url and login_realm.", id="login-realm"),
        pytest.param({"realm": "nosuch"}, 'realm "nosuch"', id="realm"),
        pytest.param(
            {"login_realm": "lab", "login_client_id": "probe"}, 'may not administer realm "lab"', id="without-a-role"
        ),
    ],
)
def test_what_is_refused_is_told(
    run_module: RunModule, login: dict[str, Any], changed: dict[str, Any], said: str, check: bool
) -> None:
    """Who asked whom for what, and what to do; in check mode as well, and without the secret."""
    if changed.get("login_client_id") == "probe":
        changed = {**changed, "login_client_secret": read_settings()["KEYCLOAK_PROBE_SECRET"]}
    if "login_user" in changed:
        login = {key: value for key, value in login.items() if key != "login_client_secret"}
    result = run_module(clear, {**login, "realm": "lab", **changed}, check=check)
    assert (result["_exit_code"], result["changed"]) == (1, False)
    assert said in result["msg"]
    assert "wrong-77" not in json.dumps(result)
    assert secrets_in(result) == []


@contextmanager
def goes_away(target: str, after: str) -> Iterator[str]:
    """Stand before Keycloak, and answer nothing any more once a path was asked for."""
    gone = threading.Event()

    class Door(BaseHTTPRequestHandler):
        def _pass_on(self) -> None:
            if gone.is_set():
                self.close_connection = True
                return
            data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            given = {key: self.headers[key] for key in ("Authorization", "Content-Type") if key in self.headers}
            request = urllib.request.Request(target + self.path, data or None, given, method=self.command)
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                body = answer.read()
                self.send_response(answer.status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            if self.path.endswith(after):
                gone.set()

        do_GET = do_POST = _pass_on  # noqa: N815 - the names are the library's

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Door) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


@pytest.mark.parametrize("done", [1, 2])
def test_a_keycloak_that_goes_away_in_the_middle_leaves_a_true_report(
    run_module: RunModule, login: dict[str, Any], done: int
) -> None:
    """What is cleared is said; a second run, when it is back, does the rest."""
    with goes_away(login["url"], CLEARS[done - 1]) as url:
        result = run_module(clear, {**login, "url": url, "realm": "lab"})
    assert (result["_exit_code"], result["changed"]) == (1, True)
    assert result["cleared"] == ["realm", "user", "keys"][:done]
    assert result["msg"].startswith(f"No answer from Keycloak {url}: ")
    assert result["msg"].endswith("run it again for the rest.")
    assert secrets_in(result) == []
    again = run_module(clear, {**login, "realm": "lab"})
    assert again["cleared"] == ["realm", "user", "keys"]


def test_what_answers_and_is_no_keycloak_is_told(
    run_module: RunModule, login: dict[str, Any], running_lab: Lab
) -> None:
    """As when the address is that of the load balancer."""
    result = run_module(clear, {**login, "url": running_lab.address("lb"), "realm": "lab"})
    assert result["_exit_code"] == 1
    assert "Check url" in result["msg"]
