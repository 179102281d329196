"""Expectations of the modules for Keycloak as Ansible runs them, against a small HTTP server that plays its part."""

from __future__ import annotations

import json
import socket
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import pytest
from ansible_collections.ops.runbooks.plugins.modules import keycloak_cache_clear, keycloak_info

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    RunModule = Callable[..., dict[str, Any]]

SECRET = "kc-secret-77"
TOKEN = "/realms/master/protocol/openid-connect/token"
LOGIN = {"login_client_id": "runbooks", "login_client_secret": SECRET}
SIGNED_IN = {"access_token": "a-token"}


@dataclass
class Site:
    """What answers, by method and path, and what it was asked."""

    url: str = ""
    answers: dict[str, tuple[int, Any]] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)


@pytest.fixture
def site() -> Iterator[Site]:
    """Serve the answers of a Keycloak with one realm."""
    served = Site()
    served.answers = {
        f"POST {TOKEN}": (200, SIGNED_IN),
        "GET /admin/realms/shop": (200, {"realm": "shop", "enabled": True}),
        **{f"POST /admin/realms/shop/clear-{cache}-cache": (204, None) for cache in ("realm", "user", "keys")},
    }

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            served.asked.append((f"{self.command} {self.path}", self.headers.get("Authorization") or body))
            status, document = served.answers.get(f"{self.command} {self.path}", (404, {"error": "not found"}))
            text = document if isinstance(document, str) else "" if document is None else json.dumps(document)
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        do_GET = do_POST = _answer  # noqa: N815 - the names are the library's

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        served.url = f"http://127.0.0.1:{server.server_port}"
        yield served
        server.shutdown()


def clear(run_module: RunModule, site: Site, *, check: bool = False, **more: Any) -> dict[str, Any]:
    options = {"url": site.url, "realm": "shop", **LOGIN, **more}
    result = run_module(keycloak_cache_clear.main, {key: value for key, value in options.items() if value}, check=check)
    assert SECRET not in json.dumps(result)
    return result


def test_caches_are_cleared_with_the_token_of_the_client(run_module: RunModule, site: Site) -> None:
    """It signs in once, looks for the realm, and posts three times."""
    result = clear(run_module, site)
    assert (result["_exit_code"], result["changed"], result["cleared"]) == (0, True, ["realm", "user", "keys"])
    (signed_in, *rest) = site.asked
    assert parse_qs(signed_in[1]) == {
        "grant_type": ["client_credentials"],
        "client_id": ["runbooks"],
        "client_secret": [SECRET],
    }
    assert [told for _, told in rest] == ["Bearer a-token"] * 4


def test_check_mode_posts_nothing_but_the_login(run_module: RunModule, site: Site) -> None:
    """It reads the realm and says what would be cleared."""
    result = clear(run_module, site, check=True)
    assert (result["changed"], result["cleared"]) == (True, [])
    assert [what for what, _ in site.asked] == [f"POST {TOKEN}", "GET /admin/realms/shop"]


def test_a_user_signs_in_with_a_password(run_module: RunModule, site: Site) -> None:
    """Through the client admin-cli, unless another is named."""
    given: dict[str, Any] = {"login_client_id": None, "login_client_secret": None, "login_user": "admin"}
    assert clear(run_module, site, login_password=SECRET, **given)["_exit_code"] == 0
    form = parse_qs(site.asked[0][1])
    assert (form["grant_type"], form["client_id"], form["username"]) == (["password"], ["admin-cli"], ["admin"])


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        pytest.param(
            (f"POST {TOKEN}", 401, {"error": "invalid_client", "error_description": "Invalid credentials"}),
            'as client "runbooks": Invalid credentials. '
            "Check login_client_id and login_client_secret.",
            id="wrong-secret",
        ),
        pytest.param(
            (f"POST {TOKEN}", 404, {"error": "Realm does not exist"}),
            "Realm does not exist. Check url and login_realm.", id="no-login-realm",
        ),
        pytest.param(
            (f"POST {TOKEN}", 503, "<html>"), "it answered 503 (no reason). Check url, and that Keycloak is ready.",
            id="not-ready",
        ),
        pytest.param(
            (f"POST {TOKEN}", 200, "[]"), "it answered 200 (no reason). Check url, and that Keycloak is ready.",
            id="no-keycloak",
        ),
        pytest.param(
            ("GET /admin/realms/shop", 403, {"error": "HTTP 403 Forbidden"}),
            'The client "runbooks" may not administer realm "shop"', id="without-a-role",
        ),
        pytest.param(("GET /admin/realms/shop", 404, {}), "it knows no such realm. Check realm.", id="no-realm"),
        pytest.param(("GET /admin/realms/shop", 500, "broken\n here"), "answered 500: broken here", id="error"),
        pytest.param(("GET /admin/realms/shop", 200, "<html>"), "is not Keycloak. Check url.", id="a-page"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("check", [False, True])
def test_what_goes_wrong_is_told_before_anything_is_cleared(
    run_module: RunModule, site: Site, wrong: tuple[str, int, Any], said: str, check: bool
) -> None:
    """What, where, as whom, and what to do next; in check mode as well."""
    path, *answer = wrong
    site.answers[path] = (answer[0], answer[1])
    result = clear(run_module, site, check=check)
    assert (result["_exit_code"], result["changed"], result["cleared"]) == (1, False, [])
    assert said in result["msg"]
    assert site.url in result["msg"]


def test_a_refusal_in_the_middle_is_told_with_what_is_done(run_module: RunModule, site: Site) -> None:
    """The second of three fails."""
    site.answers["POST /admin/realms/shop/clear-user-cache"] = (500, "unknown_error")
    result = clear(run_module, site)
    assert (result["changed"], result["cleared"]) == (True, ["realm"])
    assert "answered 500: unknown_error Those are cleared already: run it again for the rest." in result["msg"]


def test_a_server_that_is_down_is_told(run_module: RunModule) -> None:
    """As what cannot be reached."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    result = clear(run_module, Site(url=f"http://127.0.0.1:{port}"))
    assert result["msg"].startswith(f"No answer from Keycloak http://127.0.0.1:{port}: ")
    assert result["msg"].endswith("Check url, and that it runs and is not frozen.")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"login_client_secret": None}, "login_user"),
        ({"login_user": "admin"}, "login_password"),
        ({"caches": ["groups"]}, "caches"),
    ],
)
def test_options_that_cannot_be_are_refused(
    run_module: RunModule, site: Site, given: dict[str, Any], said: str
) -> None:
    """Before anybody is asked."""
    result = clear(run_module, site, **given)
    assert result["_exit_code"] == 1
    assert said in result["msg"]
    assert site.asked == []


def look(run_module: RunModule, site: Site, **more: Any) -> dict[str, Any]:
    options = {"url": site.url, "management_url": site.url, "realm": "shop", **more}
    result = run_module(keycloak_info.main, options)
    assert result["_exit_code"] == 0, result
    assert SECRET not in json.dumps(result)
    return result


def test_a_look_tells_what_each_address_answers(run_module: RunModule, site: Site) -> None:
    """The checks that are down by name, and why a client gets no token."""
    realm = "/realms/shop"
    checks = [{"name": "database", "status": "DOWN"}, {"name": "server", "status": "UP"}]
    site.answers |= {
        "GET /health/ready": (503, {"status": "DOWN", "checks": checks}),
        f"GET {realm}/.well-known/openid-configuration": (200, {}),
        f"GET {realm}/protocol/openid-connect/certs": (500, "x"),
        f"POST {realm}/protocol/openid-connect/token": (403, {"error_description": "Realm not enabled"}),
    }
    found = look(run_module, site, client_id="probe", client_secret=SECRET)
    assert found["ready"] == {"status": 503, "down": ["database"], "error": ""}
    assert found["endpoints"] == {
        "discovery": {"status": 200, "error": ""},
        "certs": {"status": 500, "error": ""},
        "token": {"status": 403, "error": "Realm not enabled"},
    }
    assert found["database"]["login"] == "unchecked"
    assert [one["why"] for one in found["unreadable"]] == ["there is no administrator"]


def test_a_look_at_what_is_down_is_complete(run_module: RunModule) -> None:
    """Nothing answers, and everything is said; a database that is down too."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    database = {"login_host": "127.0.0.1", "login_port": port, "login_user": "keycloak", "login_password": SECRET}
    url = f"http://127.0.0.1:{port}"
    found = look(
        run_module, Site(url=url), client_id="probe", client_secret=SECRET, database=database,
        login_client_secret=SECRET,
    )  # fmt: skip
    assert found["ready"]["status"] is None
    assert {one["status"] for one in found["endpoints"].values()} == {None}
    assert "refused" in found["endpoints"]["token"]["error"]
    assert found["database"]["login"] == "no_answer"
    assert [one["why"] for one in found["unreadable"]] == ["there is no database"]


def test_without_a_client_or_a_management_address_they_are_not_asked(run_module: RunModule, site: Site) -> None:
    """And that is said."""
    found = run_module(keycloak_info.main, {"url": site.url, "realm": "shop"})
    assert found["ready"]["error"] == "no management_url was given"
    assert found["endpoints"]["token"]["error"] == "no client_id was given"
