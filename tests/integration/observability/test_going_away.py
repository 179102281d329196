"""The server goes away in the middle: what the modules report is true."""

from __future__ import annotations

import importlib
import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    RunModule = Callable[..., dict[str, Any]]

pytestmark = pytest.mark.integration

MODULES = "ansible_collections.ops.runbooks.plugins.modules."
query_info = importlib.import_module(f"{MODULES}prometheus_query_info").main
silence = importlib.import_module(f"{MODULES}alertmanager_silence").main
SILENCES = "/api/v2/silences"


class Dying:
    """An API that answers so many requests, and cuts each later one off in the middle of its answer."""

    def __init__(self, answers: int) -> None:
        self.left = answers
        self.bodies: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.answer(b"[]" if SILENCES in self.path else QUERY)

            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                outer.bodies.append(self.rfile.read(length).decode())
                self.answer(b'{"silenceID": "id-1"}')

            def answer(self, body: bytes) -> None:
                outer.left -= 1
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if outer.left < 0:
                    self.wfile.write(body[: len(body) // 2])
                    self.wfile.flush()
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


QUERY = b'{"status": "success", "data": {"resultType": "vector", "result": []}}'


@pytest.fixture
def dying(request: pytest.FixtureRequest) -> Iterator[Dying]:
    """Serve until the test is over; the parameter is the number of requests that are answered."""
    made = Dying(request.param)
    thread = threading.Thread(target=made.server.serve_forever)
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


@pytest.mark.parametrize("dying", [1], indirect=True)
def test_queries_that_were_cut_off_are_listed(run_module: RunModule, dying: Dying) -> None:
    """What was read before is there; what was not has its reason, and nothing is taken for an empty answer."""
    queries = [{"name": name, "query": name} for name in ("a", "b", "c")]
    result = run_module(query_info, {"url": dying.url, "queries": queries})
    assert result["_exit_code"] == 0, result
    assert len(result["results"]) == 1
    assert len(result["unreadable"]) == 2
    assert run_module(query_info, {"url": dying.url, "queries": queries})["_exit_code"] == 1


ASKED = {"owner": "test", "comment": "a test", "matchers": [{"name": "alertname", "value": "NoSuchAlert"}]}


@pytest.mark.parametrize("dying", [0, 1, 2], indirect=True)
def test_a_silence_whose_answer_was_cut_off_is_a_failure(run_module: RunModule, dying: Dying) -> None:
    """Never a success; the next run, or the time that it was given, ends what may have been made."""
    result = run_module(silence, {**ASKED, "url": dying.url})
    assert result["_exit_code"] == 1, result
    assert dying.url in result["msg"]
    for body in dying.bodies:
        assert json.loads(body)["endsAt"] > json.loads(body)["startsAt"]
