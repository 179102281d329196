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
READS_PER_SECOND = 16
# Writes come in bursts, as customers do: more at once than the backends' pools keep open, so that a database which
# gives no new session is felt.
BURST, BURST_SECONDS = 16, 4
AT_ONCE = 40
TIMEOUT_SECONDS = 10
PAGES, CUSTOMERS = 20, 500
ITEMS = ("bolt", "gear", "hinge", "nut", "spring", "washer")

requests = Counter("loadgen_requests_total", "Requests sent, by what came back.", ["method", "path", "result"])
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
            time.sleep(max(0, start + number / READS_PER_SECOND - time.monotonic()))
            burst = BURST if number % (READS_PER_SECOND * BURST_SECONDS) == 0 else 0
            for chosen in [read(), *(write() for _ in range(burst))]:
                if free.acquire(blocking=False):
                    pool.submit(send, free, *chosen)
                else:
                    skipped.inc()


main()
