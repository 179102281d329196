"""Send a bounded mix of requests to the load balancer and keep count of what a user would have seen."""

from __future__ import annotations

import http.client
import itertools
import json
import os
import random
import time
from concurrent.futures import ThreadPoolExecutor
from threading import BoundedSemaphore
from urllib.parse import urlencode

from prometheus_client import Counter, Histogram, start_http_server

HOST, PORT = os.environ.get("TARGET", "lb:8080").split(":")
SECRET = os.environ["KEYCLOAK_CLIENT_SECRET"]
READS_PER_SECOND = 16
# Writes come in bursts, as customers do: more at once than the backends' pools keep open, so that a database which
# gives no new session is felt.
BURST, BURST_SECONDS = 16, 4
AT_ONCE = 40
TIMEOUT_SECONDS = 10
PAGES, CUSTOMERS = 20, 500
# Callers of an account log in anew each time, seldom: a token is made, and the backend checks it.
ACCOUNT_SECONDS = 4
KEYCLOAK, CLIENT = "keycloak:8080", "loadgen"
TOKEN_PATH = "/realms/lab/protocol/openid-connect/token"  # noqa: S105 - a path
ITEMS = ("bolt", "gear", "hinge", "nut", "spring", "washer")

requests = Counter("loadgen_requests_total", "Requests sent, by what came back.", ["method", "path", "result"])
tokens = Counter("loadgen_tokens_total", "Tokens asked for, by what came back.", ["result"])
skipped = Counter("loadgen_skipped_total", "Requests not sent because too many were waiting for an answer.")
seconds = Histogram(
    "loadgen_request_duration_seconds", "Time to an answer.", buckets=(0.01, 0.05, 0.1, 0.5, 1, 2, 5, 10)
)


def read() -> tuple[str, str, None]:
    """Choose a read: mostly orders, sometimes a report."""
    path = "/reports" if random.random() < 0.2 else f"/orders?page={random.randrange(PAGES)}"  # noqa: PLR2004, S311 - a share of the mix
    return "GET", path, None


def write() -> tuple[str, str, str]:
    """Make up an order."""
    order = {"customer": f"c{random.randrange(CUSTOMERS)}", "item": random.choice(ITEMS), "quantity": 1}  # noqa: S311 - not a secret
    return "POST", "/orders", json.dumps(order)


def send(free: BoundedSemaphore, method: str, path: str, body: str | None) -> None:
    """Send one request and record its result: the status, or the error that stands for no answer."""
    try:
        ask_backend(method, path, body, {"Content-Type": "application/json"} if body else {})
    finally:
        free.release()


def ask_backend(method: str, path: str, body: str | None, headers: dict[str, str]) -> None:
    """Send one request and count what came back."""
    start = time.perf_counter()
    result, _ = ask(f"{HOST}:{PORT}", method, path, body, headers)
    seconds.observe(time.perf_counter() - start)
    requests.labels(method, path.partition("?")[0], result).inc()


def ask(server: str, method: str, path: str, body: str | None, headers: dict[str, str]) -> tuple[str, bytes]:
    """Return the status and the answer, or the name of the error that stands for none."""
    connection = http.client.HTTPConnection(server, timeout=TIMEOUT_SECONDS)
    try:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return str(response.status), response.read()
    except (OSError, http.client.HTTPException) as error:
        return type(error).__name__, b""
    finally:
        connection.close()


def visit_account(free: BoundedSemaphore) -> None:
    """Get a token and use it; without one there is nothing to ask the backend."""
    form = urlencode({"grant_type": "client_credentials", "client_id": CLIENT, "client_secret": SECRET})
    try:
        result, answer = ask(KEYCLOAK, "POST", TOKEN_PATH, form, {"Content-Type": "application/x-www-form-urlencoded"})
        tokens.labels(result).inc()
        if result == "200":
            bearer = {"Authorization": f"Bearer {json.loads(answer)['access_token']}"}
            ask_backend("GET", "/account", None, bearer)
    finally:
        free.release()


def main() -> None:
    """Keep the pace, whatever the answers take."""
    start_http_server(9200)
    free = BoundedSemaphore(AT_ONCE)
    start = time.monotonic()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for number in itertools.count():
            time.sleep(max(0, start + number / READS_PER_SECOND - time.monotonic()))
            burst = BURST if number % (READS_PER_SECOND * BURST_SECONDS) == 0 else 0
            for chosen in [read(), *(write() for _ in range(burst))]:
                if free.acquire(blocking=False):
                    pool.submit(send, free, *chosen)
                else:
                    skipped.inc()
            if number % (READS_PER_SECOND * ACCOUNT_SECONDS) == 0 and free.acquire(blocking=False):
                pool.submit(visit_account, free)


main()
