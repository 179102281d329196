"""What the backend tells Prometheus."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from prometheus_client import Counter, Gauge, Histogram

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    Message = MutableMapping[str, Any]

# A threshold of a rule must be a boundary: a quantile is only as fine as the buckets. HighLatency asks for 2 s.
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 3, 5, 10, 30)

requests = Counter("http_requests_total", "Requests answered.", ["handler", "method", "status"])
seconds = Histogram("http_request_duration_seconds", "Time to answer.", ["handler", "method"], buckets=BUCKETS)
# Requests that never end are never in the histogram: this gauge shows them.
in_progress = Gauge("http_requests_in_progress", "Requests being answered.")
cache_requests = Counter("cache_requests_total", "Reads of the cache.", ["result"])


class Measure:
    """Count and time every request by its route, never by its path: paths are endless."""

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self._app = app

    async def __call__(self, scope: Message, receive: Any, send: Callable[[Message], Awaitable[None]]) -> None:
        """Answer a request and measure it; one that raises is a 500."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = "500"

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = str(message["status"])
            await send(message)

        start = time.perf_counter()
        try:
            with in_progress.track_inprogress():
                await self._app(scope, receive, watch)
        finally:
            handler = getattr(scope.get("route"), "path", "unknown")
            requests.labels(handler, scope["method"], status).inc()
            seconds.labels(handler, scope["method"]).observe(time.perf_counter() - start)
