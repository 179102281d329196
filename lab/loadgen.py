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

from prometheus_client import Counter, Histogram, start_http_server

HOST, PORT = os.environ.get("TARGET", "lb:8080").split(":")
PER_SECOND = float(os.environ.get("REQUESTS_PER_SECOND", "20"))
AT_ONCE = 40
TIMEOUT_SECONDS = 10
ITEMS = ("bolt", "gear", "hinge", "nut", "spring", "washer")

requests = Counter("loadgen_requests_total", "Requests sent, by what came back.", ["method", "path", "result"])
skipped = Counter("loadgen_skipped_total", "Requests not sent because too many were waiting for an answer.")
seconds = Histogram(
    "loadgen_request_duration_seconds", "Time to an answer.", buckets=(0.01, 0.05, 0.1, 0.5, 1, 2, 5, 10)
)


def choose() -> tuple[str, str, str | None]:
    """Choose method, path and body: mostly reads, some writes, some reports."""
    dice = random.random()  # noqa: S311 - not a secret
    if dice < 0.2:  # noqa: PLR2004 - shares of the mix
        order = {"customer": f"c{random.randrange(500)}", "item": random.choice(ITEMS), "quantity": 1}  # noqa: S311
        return "POST", "/orders", json.dumps(order)
    if dice < 0.35:  # noqa: PLR2004 - shares of the mix
        return "GET", "/reports", None
    return "GET", f"/orders?page={random.randrange(20)}", None  # noqa: S311 - not a secret


def send(free: BoundedSemaphore) -> None:
    """Send one request and record its result: a status class, or the error that stands for no answer."""
    method, path, body = choose()
    start = time.perf_counter()
    connection = http.client.HTTPConnection(HOST, int(PORT), timeout=TIMEOUT_SECONDS)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
        response = connection.getresponse()
        response.read()
        result = str(response.status)
    except (OSError, http.client.HTTPException) as error:
        result = type(error).__name__
    finally:
        connection.close()
        free.release()
    seconds.observe(time.perf_counter() - start)
    requests.labels(method, path.partition("?")[0], result).inc()


def main() -> None:
    """Keep the pace, whatever the answers take."""
    start_http_server(9200)
    free = BoundedSemaphore(AT_ONCE)
    start = time.monotonic()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for number in itertools.count():
            time.sleep(max(0, start + number / PER_SECOND - time.monotonic()))
            if free.acquire(blocking=False):
                pool.submit(send, free)
            else:
                skipped.inc()


main()
