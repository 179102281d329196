# SPDX-License-Identifier: GPL-3.0-or-later
"""The HTTP side: webhooks in, the record and the health out. Every error has one shape."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import json
import logging
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from typing_extensions import override

from alert_responder.alerts import parse_webhook
from alert_responder.errors import BadPayload, Conflict, Overloaded, StoreUnavailable, UnknownIncident, explain
from alert_responder.incidents import EVENT, Event, IllegalEvent, Status, answer, fold
from alert_responder.limits import RateLimit
from alert_responder.openapi import document

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from pydantic import SecretStr

    from alert_responder.metrics import Metrics
    from alert_responder.receiver import Receiver
    from alert_responder.settings import Settings
    from alert_responder.store import Notice, Store, Summary

log = logging.getLogger(__name__)

_BODY_SECONDS = 10.0
_MOST_LISTED = 1000
_LARGEST_NUMBER = 2**63 - 1
# Bodies that are being read, all together; and wrong tokens from one address.
_MOST_HELD_BYTES = 64 * 1024 * 1024
_WRONG_TOKENS_PER_SECOND = 5.0
# A worker that has not looked for work for this many polls is not ready.
_LATE_POLLS = 30


@dataclass
class Web:
    """The handlers, with what they need."""

    settings: Settings
    receiver: Receiver
    store: Store
    metrics: Metrics
    clock: Callable[[], datetime]
    _held_bytes: int = 0
    _senders: RateLimit = field(init=False)
    _strangers: RateLimit = field(default_factory=lambda: RateLimit(_WRONG_TOKENS_PER_SECOND))

    def __post_init__(self) -> None:
        self._senders = RateLimit(self.settings.most_requests_per_second)

    def app(self) -> Starlette:
        """Assemble the application."""
        return Starlette(
            routes=[
                Route("/", self.receive, methods=["POST"]),
                Route("/api/v1/alerts", self.receive, methods=["POST"]),
                Route("/api/v1/incidents", self.incidents),
                Route("/api/v1/incidents/{number:int}", self.incident),
                Route("/api/v1/incidents/{number:int}/approve", self.approve, methods=["POST"]),
                Route("/api/v1/incidents/{number:int}/deny", self.deny, methods=["POST"]),
                Route("/healthz", self.health),
                Route("/readyz", self.ready),
                Route("/metrics", self.exposition),
                Route("/openapi.json", self.description),
            ],
            exception_handlers={
                HTTPException: self.refuse,
                BadPayload: self.refuse,
                StoreUnavailable: self.refuse,
                Overloaded: self.refuse,
                UnknownIncident: self.refuse,
                IllegalEvent: self.refuse,
                Conflict: self.refuse,
                Exception: self.refuse,
            },
        )

    async def receive(self, request: Request) -> Response:
        """Answer once every alert of the webhook is on disk."""
        self._authenticate(request)
        webhook = parse_webhook(await self._body(request))
        receipts = await self.receiver.receive(webhook)
        outcomes = [{"incident": receipt.incident, "outcome": receipt.outcome} for receipt in receipts]
        return _Json({"alerts": outcomes})

    async def incidents(self, request: Request) -> Response:
        """List the newest incidents."""
        self._authenticate(request)
        status = request.query_params.get("status")
        known = [one.value for one in Status]
        if status is not None and status not in known:
            raise HTTPException(400, f"status is {status[:40]!r}, expected one of {', '.join(known)}.")
        limit = request.query_params.get("limit", "100")
        if not (limit.isascii() and limit.isdigit() and len(limit) <= 4 and 1 <= int(limit) <= _MOST_LISTED):  # noqa: PLR2004 -- digits of _MOST_LISTED
            raise HTTPException(400, f"limit is {limit[:40]!r}, expected a number from 1 to {_MOST_LISTED}.")
        lines = await asyncio.to_thread(
            self.store.summaries, status=Status(status) if status else None, limit=int(limit)
        )
        return _Json({"incidents": [summary_document(line) for line in lines]})

    async def incident(self, request: Request) -> Response:
        """Show one incident with every event."""
        self._authenticate(request)
        number = _number(request)
        events = await asyncio.to_thread(self.store.events, number)
        return _Json({"id": number, "events": [event_document(event) for event in events]})

    async def approve(self, request: Request) -> Response:
        """Take a person's yes: the option may run."""
        return await self._answer(request, yes=True)

    async def deny(self, request: Request) -> Response:
        """Take a person's no: the incident is escalated."""
        return await self._answer(request, yes=False)

    async def _answer(self, request: Request, *, yes: bool) -> Response:
        who = self._person(request)
        try:
            given = _Answer.model_validate_json(await self._body(request))
        except ValidationError as error:
            raise BadPayload(f"The answer was not accepted: {'; '.join(explain(error))}.") from error
        number = _number(request)
        state = fold(await asyncio.to_thread(self.store.events, number))
        event = answer(state, given.option, yes=yes, who=who, reason=given.reason, at=self.clock())
        await asyncio.to_thread(self.store.append, number, [event], owner=None, expected=state.sequence)
        log.info("Incident %d: %s by %s", number, event.kind, who, extra={"action": f"incident.{event.kind}"})
        self.receiver.on_news()
        return _Json(event_document(event))

    async def health(self, _request: Request) -> Response:
        """Say that the process lives."""
        return _Json({"status": "alive"})

    async def ready(self, _request: Request) -> Response:
        """Say whether the store answers and the worker looks for work."""
        await asyncio.to_thread(self.store.counts)
        seen = self.metrics.registry.get_sample_value("alert_responder_heartbeat_timestamp_seconds") or 0.0
        age = self.clock().timestamp() - seen
        if age > _LATE_POLLS * self.settings.poll_seconds:
            raise HTTPException(503, f"The worker has not looked for work for {age:.0f} s.")
        targets = list(self.settings.notify)
        failing = await asyncio.to_thread(self.store.failing_notices, targets) if targets else []
        return _Json({"status": "ready", "not_told": [_not_told(notice) for notice in failing]})

    async def exposition(self, _request: Request) -> Response:
        """Show the metrics."""
        return Response(self.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def description(self, _request: Request) -> Response:
        """Describe this interface to programs."""
        return _Json(document())

    async def refuse(self, _request: Request, error: Exception) -> Response:
        """Turn an error into an answer; our own fault is a 5xx, so that the sender tries again."""
        headers: dict[str, str] = {}
        match error:
            case HTTPException():
                status, message, headers = error.status_code, error.detail, dict(error.headers or {})
            case BadPayload():
                status, message = 400, str(error)
            case UnknownIncident():
                status, message = 404, str(error)
            case IllegalEvent() | Conflict():
                status, message = 409, str(error)
            case Overloaded():
                status, message, headers = 503, str(error), {"Retry-After": "1"}
            case StoreUnavailable():
                status, message = 503, "The store is not available; nothing was recorded. Try again."
                headers = {"Retry-After": "1"}
                self.metrics.errors.labels("store").inc()
                log.error("%s", error, extra={"action": "store.unavailable"})
            case _:
                status, message = 500, "The responder made a mistake; its log says more."
                self.metrics.errors.labels("web").inc()
        self.metrics.rejected.labels(str(status)).inc()
        # A flood of requests must not become a flood of lines.
        level = logging.DEBUG if isinstance(error, _TooMany) else logging.WARNING
        log.log(level, "Request refused with %d: %r", status, message[:500], extra={"action": "request.refused"})
        return _Json({"error": {"status": status, "message": message}}, status, headers)

    def _authenticate(self, request: Request) -> None:
        source = request.client.host if request.client else ""
        tokens = [*self.settings.tokens, *self.settings.approvers.values()]
        # Every token is compared, so that the time tells nothing about which one was close.
        if any([_same(token, request) for token in tokens]):  # noqa: C419 -- see above
            # Alertmanager drops what is answered with a 4xx and repeats what is answered with a 5xx.
            _turn_away(503, self._senders.wait(source), "Too many requests; nothing was recorded. Try again.")
        else:
            _turn_away(429, self._strangers.wait(source), "Too many requests without a valid token.")
            raise HTTPException(
                401, "A valid token is needed: Authorization: Bearer TOKEN.", {"WWW-Authenticate": "Bearer"}
            )

    def _person(self, request: Request) -> str:
        """Return who asks; a sender of alerts may not approve."""
        self._authenticate(request)
        names = [name for name, token in self.settings.approvers.items() if _same(token, request)]
        if not names:
            raise HTTPException(403, "This token may send and read, not approve; see the setting approvers.")
        return names[0]

    async def _body(self, request: Request) -> bytes:
        limit = self.settings.most_body_bytes
        body = bytearray()
        try:
            async with asyncio.timeout(_BODY_SECONDS):
                async for part in request.stream():
                    body += part
                    self._held_bytes += len(part)
                    if len(body) > limit:
                        raise HTTPException(413, f"The body is larger than {limit} bytes.", {"Connection": "close"})
                    if self._held_bytes > _MOST_HELD_BYTES:
                        raise Overloaded("Too many large requests at once; nothing was recorded. Try again.")
        except TimeoutError:
            raise HTTPException(408, f"The body did not arrive within {_BODY_SECONDS:.0f} s.") from None
        except ClientDisconnect:
            raise HTTPException(400, "The sender went away.") from None
        finally:
            self._held_bytes -= len(body)
        return bytes(body)


class _Json(JSONResponse):
    """JSON in ASCII: what came from outside reaches a terminal (curl) or a log as escapes."""

    @override
    def render(self, content: object) -> bytes:
        text = json.dumps(content, separators=(",", ":"), allow_nan=False)
        return text.replace("\x7f", "\\u007f").encode("ascii")


class _TooMany(HTTPException):
    """A rate limit was reached."""


def _turn_away(status: int, wait: float, message: str) -> None:
    if wait:
        raise _TooMany(status, message, {"Retry-After": str(math.ceil(wait))})


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")

    option: Annotated[str, StringConstraints(pattern=r"^[A-Z]$")]
    reason: Annotated[str, StringConstraints(min_length=1, max_length=1000, strip_whitespace=True)]


def _not_told(notice: Notice) -> dict[str, Any]:
    """Return a notice that could not be delivered: a responder that receives is ready, but somebody must look."""
    return {
        "incident": notice.incident,
        "target": notice.target,
        "attempts": notice.attempts,
        "error": notice.error,
    }


def _number(request: Request) -> int:
    number: int = request.path_params["number"]
    if number > _LARGEST_NUMBER:
        raise UnknownIncident("There is no incident with so large a number.")
    return number


def _same(token: SecretStr, request: Request) -> bool:
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        # Senders that know only basic authentication put the token into the password.
        try:
            given = base64.b64decode(given, validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            given = ""
    elif scheme.lower() != "bearer":
        given = ""
    return hmac.compare_digest(token.get_secret_value().encode(), given.encode())


def summary_document(line: Summary) -> dict[str, Any]:
    """Return one incident of the list as JSON."""
    return {
        "id": line.id,
        "alert": line.alert,
        "service": line.service,
        "runbook": line.runbook,
        "status": line.status.value,
        "open": line.open,
        "reason": line.reason,
        "opened_at": line.opened_at.isoformat(),
        "updated_at": line.updated_at.isoformat(),
        "due_at": line.due_at.isoformat() if line.due_at else None,
    }


def event_document(event: Event) -> dict[str, Any]:
    """Return one event as JSON."""
    document: dict[str, Any] = EVENT.dump_python(event, mode="json", by_alias=True)
    return document
