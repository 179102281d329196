"""Expectations of the probes that need no service but a socket; the others meet the real ones in integration."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlparse

import pytest
from ansible_collections.ops.runbooks.plugins.module_utils._recovery_probes import read
from ansible_collections.ops.runbooks.plugins.module_utils._recovery_verdict import Expectation, Probe, Reading

if TYPE_CHECKING:
    from collections.abc import Iterator

HTTP = {
    "method": "GET",
    "status": [200],
    "form": None,
    "login_user": None,
    "login_password": None,
    "body_contains": None,
    "token": None,
    "timeout_seconds": 2.0,
    "validate_certs": True,
    "ca_path": None,
    "unreachable_is": "bad",
}
PROMQL = {**HTTP, "no_data": "unknown", "unreachable_is": "unknown"}
VECTOR = '{"status": "success", "data": {"resultType": "vector", "result": [%s]}}'

ANSWERS = {
    "/ok": (200, "all well"),
    "/broken": (503, "no database"),
    "/moved": (302, ""),
    "one": (200, VECTOR % '{"metric": {}, "value": [1, "0.5"]}'),
    "nan": (200, VECTOR % '{"metric": {}, "value": [1, "NaN"]}'),
    "none": (200, VECTOR % ""),
    "two": (200, VECTOR % '{"metric": {}, "value": [1, "1"]}, {"metric": {}, "value": [1, "2"]}'),
    "scalar": (200, '{"status": "success", "data": {"resultType": "scalar", "result": [1, "0.7"]}}'),
    "wrong": (400, '{"status": "error", "error": "parse error"}'),
    "html": (200, "<html>"),
}


class Handler(BaseHTTPRequestHandler):
    """Answer by path, or for the query API by query; with a token header, tell it."""

    def do_GET(self) -> None:
        address = urlparse(self.path)
        key = parse_qs(address.query)["query"][0] if address.query else address.path
        status, body = ANSWERS[key] if key != "/token" else (200, self.headers.get("Authorization", "none"))
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/ok")
        self.end_headers()
        self.wfile.write(body.encode())

    def do_POST(self) -> None:
        """Tell what was sent, and by whom."""
        form = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(f"{self.headers['Content-Type']} {form} {self.headers['Authorization']}".encode())

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Return the address of an HTTP server."""
    with HTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join()


@contextmanager
def closed_port() -> Iterator[int]:
    """Return a port on which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.mark.parametrize(
    ("path", "settings", "good", "value"),
    [
        pytest.param("/ok", {}, True, 200, id="good status"),
        pytest.param("/broken", {}, False, 503, id="bad status"),
        pytest.param("/broken", {"status": [200, 503]}, True, 503, id="accepted status"),
        pytest.param("/moved", {}, False, 302, id="a redirect is not followed"),
        pytest.param("/ok", {"body_contains": "well"}, True, 200, id="body"),
        pytest.param("/ok", {"body_contains": "ill"}, False, 200, id="body differs"),
        pytest.param("/token", {"token": "secret", "body_contains": "Bearer secret"}, True, 200, id="token"),
    ],
)
def test_http_is_judged_by_status_and_body(
    server: str, path: str, settings: dict[str, Any], good: bool, value: int
) -> None:
    """The status is the value; a wrong body makes a good status bad."""
    reading = read(Probe("p", "http", {**HTTP, "url": server + path, **settings}))
    assert (reading.good, reading.value) == (good, value)


def test_http_sends_a_form_as_a_client_does(server: str) -> None:
    """Encoded as a form, with basic authentication."""
    sent = {"method": "POST", "form": {"grant_type": "client_credentials", "a b": "1&2"}}
    told = "application/x-www-form-urlencoded grant_type=client_credentials&a+b=1%262 Basic cHJvYmU6c2VjcmV0"
    settings = {**sent, "login_user": "probe", "login_password": "secret", "body_contains": told}
    reading = read(Probe("p", "http", {**HTTP, "url": f"{server}/ok", **settings}))
    assert reading.good is True, reading


@pytest.mark.parametrize(("unreachable_is", "good"), [("bad", False), ("unknown", None)])
def test_what_no_answer_means_is_the_callers_choice(unreachable_is: str, good: bool | None) -> None:
    """A refused connection is bad or unknown, and the error says where."""
    with closed_port() as port:
        url = f"http://127.0.0.1:{port}/"
        reading = read(Probe("p", "http", {**HTTP, "url": url, "unreachable_is": unreachable_is}))
        tcp = {"host": "127.0.0.1", "port": port, "timeout_seconds": 1.0, "unreachable_is": unreachable_is}
        other = read(Probe("p", "tcp", tcp))
    assert reading.good is good
    assert reading.error == f"no answer from {url}: [Errno 111] Connection refused"
    assert other == Reading(good=good, error=f"no connection to 127.0.0.1:{port}: [Errno 111] Connection refused")


def test_an_open_port_is_good(server: str) -> None:
    """A connection is enough."""
    port = int(server.rpartition(":")[2])
    settings = {"host": "127.0.0.1", "port": port, "timeout_seconds": 1.0, "unreachable_is": "bad"}
    assert read(Probe("p", "tcp", settings)) == Reading(good=True, value="open")


@pytest.mark.parametrize(
    ("query", "settings", "reading"),
    [
        pytest.param("one", {}, Reading(good=True, value=0.5), id="one series"),
        pytest.param("scalar", {}, Reading(good=False, value=0.7), id="scalar"),
        pytest.param(
            "nan", {}, Reading(good=None, error="the value is NaN: there was nothing to divide by"), id="zero by zero"
        ),
        pytest.param("none", {}, Reading(good=None, error="the query gives no data"), id="no data is unknown"),
        pytest.param(
            "none", {"no_data": "good"}, Reading(good=True, error="the query gives no data"), id="no data is good"
        ),
        pytest.param(
            "none", {"no_data": "bad"}, Reading(good=False, error="the query gives no data"), id="no data is bad"
        ),
        pytest.param(
            "two", {}, Reading(good=None, error="the query gives 2 series, aggregate it to one"), id="two series"
        ),
        pytest.param(
            "wrong", {}, Reading(good=None, error="Prometheus answered 400: parse error"), id="a query that is wrong"
        ),
    ],
)
def test_promql_needs_exactly_one_value(server: str, query: str, settings: dict[str, Any], reading: Reading) -> None:
    """What Prometheus cannot tell is unknown, never good."""
    probe = Probe("p", "promql", {**PROMQL, "url": server, "query": query, **settings}, Expectation("below", 0.6))
    assert read(probe) == reading


def test_an_answer_that_is_not_prometheus_is_unknown(server: str) -> None:
    """A login page on the right port proves nothing."""
    reading = read(Probe("p", "promql", {**PROMQL, "url": server, "query": "html"}, Expectation("below", 0.6)))
    assert reading.good is None
    assert reading.error == f"what answers at {server} is not Prometheus (HTTP 200)"


def test_redis_that_hangs_is_asked_once() -> None:
    """A port that takes the connection and says nothing; the client's own retries would multiply the time."""
    with socket.create_server(("127.0.0.1", 0)) as hung:
        hung.settimeout(0.1)
        settings = {
            "login_host": "127.0.0.1", "login_port": hung.getsockname()[1], "login_user": None, "login_password": None,
            "tls": False, "ca_certs": None, "client_cert": None, "client_key": None, "timeout_seconds": 0.2,
            "command": "PING", "arguments": [], "field": None, "share_of": None, "unreachable_is": "bad",
        }  # fmt: skip
        reading = read(Probe("p", "redis", settings, Expectation("equals", "PONG")))
        hung.accept()[0].close()
        with pytest.raises(TimeoutError):
            hung.accept()
    assert reading.good is False
    assert "Timeout" in reading.error
