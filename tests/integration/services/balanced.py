"""Replicas behind the lab's load balancer, and steady requests to them."""

from __future__ import annotations

import threading
import time
import urllib.request
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from lab.shell import ROOT
from tests.integration.services.conftest import BASE, HEALTH

if TYPE_CHECKING:
    from types import TracebackType

# On its stop signal it fails its health check, serves on until the load balancer knows, and finishes what it has.
DRAINING = """
import http.server, signal, socket, threading
draining = threading.Event()

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(503 if draining.is_set() and self.path == "/health" else 200)
        self.end_headers()
        self.wfile.write(socket.gethostname().encode())
    def log_message(self, *_): pass

class Server(http.server.ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 128

def stop(*_):
    draining.set()
    threading.Timer(2, server.shutdown).start()

server = Server(("", 8000), Handler)
signal.signal(signal.SIGTERM, stop)
server.serve_forever()
server.server_close()
"""


def balanced(replicas: int) -> dict[str, Any]:
    """Return a load balancer with the lab's configuration, and the replicas that it finds."""
    return {
        "lb": {
            "image": "runbooks-lab/haproxy:3.0",
            "labels": BASE["labels"],
            "ports": ["127.0.0.1:0:8080"],
            "volumes": [f"{ROOT}/lab/config/haproxy.cfg:/etc/haproxy/haproxy.cfg:ro"],
            "healthcheck": {**HEALTH, "test": ["CMD", "http-ok", "8404", "/health"]},
        },
        "backend": {
            **BASE,
            "command": ["python3", "-c", DRAINING.replace("$", "$$")],
            "stop_grace_period": "15s",
            "healthcheck": {**HEALTH, "test": ["CMD", "http-ok", "8000", "/health"]},
            "scale": replicas,
        },
    }


@dataclass
class Load:
    """Steady requests, each on a connection of its own, for as long as the block runs."""

    url: str
    per_second: int
    workers: int = 16
    served: set[str] = field(default_factory=set)
    failures: list[str] = field(default_factory=list)
    requests: int = 0
    slowest: float = 0.0

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._work, args=(n,)) for n in range(self.workers)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _work(self, number: int) -> None:
        interval = self.workers / self.per_second
        due = time.monotonic() + interval * number / self.workers
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            self._ask()
            due += interval

    def _ask(self) -> None:
        begin = time.monotonic()
        failure, who = "", ""
        try:
            with urllib.request.urlopen(self.url, timeout=20) as answer:
                who = answer.read().decode()
        except OSError as error:  # HTTPError is one too
            failure = str(error)
        with self._lock:
            self.requests += 1
            self.slowest = max(self.slowest, time.monotonic() - begin)
            if failure:
                self.failures.append(failure)
            else:
                self.served.add(who)
