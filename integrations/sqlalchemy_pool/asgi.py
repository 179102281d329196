# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""ASGI middleware: an authenticated address that tells the state of the pools and resets them."""

from __future__ import annotations

import hmac
import json
import os
import secrets
import socket
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping, Sequence

    from .pools import Pools

    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    App = Callable[[Message, Receive, Send], Awaitable[None]]
    Headers = Sequence[tuple[bytes, bytes]]

LONGEST_BODY = 4096


class Refused(Exception):
    """Answer with this status, this document and these headers."""

    def __init__(self, status: int, error: str, *, headers: Headers = (), **document: object) -> None:
        super().__init__(error)
        self.status = status
        self.document = {"error": error, **document}
        self.headers = headers


@dataclass(frozen=True)
class Order:
    """What a caller asks for, checked."""

    mode: str
    engines: list[str]
    server_headroom: int

    @classmethod
    def parse(cls, body: bytes, known: list[str]) -> Order:
        """Read the body of a reset; an empty one means a soft reset of every engine.

        Raises:
            Refused: The body is not what the README describes.
        """
        try:
            given = json.loads(body or b"{}")
        except ValueError as error:
            raise Refused(400, f"The body is not JSON: {error}") from error
        if not isinstance(given, dict) or not given.keys() <= {"mode", "engines", "server_headroom"}:
            raise Refused(400, "The body must be an object with mode, engines and server_headroom, all optional.")
        mode, engines, headroom = given.get("mode", "soft"), given.get("engines", known), given.get("server_headroom")
        if mode not in ("soft", "dispose"):
            raise Refused(400, "mode must be soft or dispose.")
        if not isinstance(engines, list) or not engines or not all(name in known for name in engines):
            raise Refused(400, f"engines must be a list out of: {', '.join(known)}.")
        if mode == "dispose" and (not isinstance(headroom, int) or isinstance(headroom, bool) or headroom < 0):
            raise Refused(400, "mode dispose needs server_headroom: how many sessions the server has free.")
        return cls(mode, engines, headroom or 0)


class PoolAdmin:
    """Answer at one path with the state of the pools (GET) or their reset (POST); pass everything else on."""

    def __init__(self, app: App, *, pools: Pools, token: str, path: str = "/admin/pool/reset") -> None:
        if not token:
            raise ValueError("PoolAdmin needs a token: without one anybody could reset the pools.")
        self._app = app
        self._pools = pools
        self._expected = f"Bearer {token}".encode()
        self._path = path
        self._process = secrets.token_hex(4)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["path"] != self._path:
            await self._app(scope, receive, send)
            return
        try:
            document = await self._handle(scope, receive)
        except Refused as refusal:
            await answer(send, refusal.status, {"instance": self.instance, **refusal.document}, refusal.headers)
        else:
            await answer(send, 200, {"instance": self.instance, **document})

    async def _handle(self, scope: Message, receive: Receive) -> dict[str, Any]:
        self._authenticate(scope)
        if scope["method"] == "GET":
            return {"engines": self._pools.status()}
        if scope["method"] == "POST":
            return await self._reset(Order.parse(await read_body(receive), list(self._pools.engines)))
        allowed = ((b"allow", b"GET, POST"),)
        raise Refused(405, "Use GET for the state of the pools, POST to reset them.", headers=allowed)

    @property
    def instance(self) -> str:
        """Name this process: a caller must be able to tell which of several it has reached."""
        return f"{socket.gethostname()}-{os.getpid()}-{self._process}"

    def _authenticate(self, scope: Message) -> None:
        given = b"".join(value for name, value in scope["headers"] if name == b"authorization")
        if not hmac.compare_digest(given, self._expected):
            raise Refused(401, "Give the token as bearer token.", headers=((b"www-authenticate", b"Bearer"),))

    async def _reset(self, order: Order) -> dict[str, Any]:
        chosen = {name: self._pools.engines[name] for name in order.engines}
        before = {name: watched.status() for name, watched in chosen.items()}
        if order.mode == "dispose":
            # What is checked out stays open on the server, while the pool put in place may open as many again.
            held = sum(status.checked_out or 0 for status in before.values())
            if held > order.server_headroom:
                raise Refused(
                    409,
                    f"{held} connections are in use and stay open, and the server has room for "
                    f"{order.server_headroom} more. Use mode soft, or end the sessions on the server first.",
                    engines={name: asdict(status) for name, status in before.items()},
                )
        done: dict[str, Any] = {}
        for name, watched in chosen.items():
            count = {"marked": watched.mark()} if order.mode == "soft" else {"closed": await watched.dispose()}
            done[name] = {"before": asdict(before[name]), "after": asdict(watched.status()), **count}
        return {"mode": order.mode, "engines": done}


async def read_body(receive: Receive) -> bytes:
    """Read a small body.

    Raises:
        Refused: It is larger than any reset needs, or the caller left before it was complete.
    """
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":  # half an order must not be taken for an empty one
            raise Refused(400, "The body is not complete.")
        body += message.get("body", b"")
        if len(body) > LONGEST_BODY:
            raise Refused(413, f"The body is longer than {LONGEST_BODY} bytes.")
        if not message.get("more_body", False):
            return bytes(body)


async def answer(send: Send, status: int, document: dict[str, Any], headers: Headers = ()) -> None:
    """Send a JSON document."""
    common = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": status, "headers": [*common, *headers]})
    await send({"type": "http.response.body", "body": json.dumps(document).encode()})
