"""Serve the backend, and leave without losing a request."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

import uvicorn

from . import leak
from .app import app

if TYPE_CHECKING:
    from types import FrameType

# Longer than the load balancer needs to see two failed health checks.
DRAIN_SECONDS = 2
STOP_SECONDS = 10


class Server(uvicorn.Server):
    """On a signal, fail the health check and go on serving for a while; then stop and finish what runs."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to drain; a second signal does not wait."""
        if app.state.draining:
            super().handle_exit(sig, frame)
            return
        app.state.draining = True
        loop = asyncio.get_running_loop()
        # The signal may have come while the loop sleeps: only this call wakes it.
        loop.call_soon_threadsafe(loop.call_later, DRAIN_SECONDS, partial(super().handle_exit, sig, frame))


leak.listen()
Server(
    uvicorn.Config(app, host="0.0.0.0", port=8000, access_log=False, timeout_graceful_shutdown=STOP_SECONDS)  # noqa: S104 - inside a container
).run()
