# SPDX-License-Identifier: GPL-3.0-or-later
"""Tell people of escalations and of questions, through whatever Apprise speaks, until it has been delivered.

What is to be told is on record with the event itself, and what has been told in the store: a restart neither loses a
notice nor repeats one that was delivered. Only a responder that dies between delivery and record tells twice.
"""

from __future__ import annotations

import asyncio
import logging
import re
import warnings
from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from typing_extensions import override

from alert_responder.errors import ResponderError, SettingsError
from alert_responder.incidents import Asked, Escalated, Finished, Policy, State, fold
from alert_responder.timeline import evidence_lines, plain, timeline

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import apprise
    from pydantic import SecretStr

    from alert_responder.incidents import Event
    from alert_responder.metrics import Metrics
    from alert_responder.store import Notice, Store

log = logging.getLogger(__name__)

_AT_ONCE = 20
_DELIVERY_SECONDS = 60.0
_LEASE_SECONDS = 2 * _DELIVERY_SECONDS
_LONGEST_WAIT_SECONDS = 900.0
_MOST_LINES = 30
_LONGEST_BODY = 6000
# What makes a chat call everybody: a label must not.
_CALL = re.compile(r"<(?=[!@#])|@(?=everyone|here|channel)")


@dataclass(frozen=True)
class Message:
    """What a person reads."""

    kind: str
    title: str
    body: str


class Teller(ABC):
    """Delivers messages."""

    @abstractmethod
    async def tell(self, target: str, message: Message) -> bool:
        """Deliver one message to one target; False if it was not accepted there."""


class AppriseTeller(Teller):
    """Delivers through Apprise; its addresses hold secrets and are never shown."""

    def __init__(self, addresses: Mapping[str, SecretStr]) -> None:
        with warnings.catch_warnings():
            # On Python 3.11 and 3.12 it uses a module that 3.13 has no more.
            warnings.simplefilter("ignore", DeprecationWarning)
            self._load(addresses)

    def _load(self, addresses: Mapping[str, SecretStr]) -> None:
        # It loads more than a hundred services: only who tells pays for it.
        import apprise  # noqa: PLC0415 -- see above

        # Below this level it writes addresses and bodies.
        logging.getLogger("apprise").setLevel(logging.WARNING)
        self._failure, self._text = apprise.NotifyType.FAILURE, apprise.NotifyFormat.TEXT
        asset = apprise.AppriseAsset(app_id="alert-responder", app_desc="alert-responder", async_mode=False)
        self._targets: dict[str, apprise.Apprise] = {}
        for name, address in addresses.items():
            target = apprise.Apprise(asset=asset)
            if not target.add(address.get_secret_value()):
                raise SettingsError(f"Cannot start: notify.{name} is not an address that Apprise knows.")
            self._targets[name] = target

    @override
    async def tell(self, target: str, message: Message) -> bool:
        delivered = await asyncio.to_thread(
            self._targets[target].notify,
            body=message.body,
            title=message.title,
            notify_type=self._failure,
            body_format=self._text,
        )
        return bool(delivered)


@dataclass
class Notifier:
    """Takes what is due out of the store and tells it; several responders on one store share the work."""

    store: Store
    teller: Teller
    targets: Sequence[str]
    metrics: Metrics
    clock: Callable[[], datetime]
    policy: Policy

    async def serve(self, stop: asyncio.Event, poll_seconds: float) -> None:
        """Tell until told to stop."""
        while not stop.is_set():
            try:
                await self.tell_what_is_due()
            except ResponderError as error:
                self.metrics.errors.labels("store").inc()
                log.error("Nobody can be told now: %s", error, extra={"action": "store.unavailable"})
            except Exception:
                self.metrics.errors.labels("notifier").inc()
                log.exception("Notices could not be told.", extra={"action": "notice.error"})
            await _pause(stop, poll_seconds)

    async def tell_what_is_due(self) -> None:
        """Tell each notice that is due, once."""
        now = self.clock()
        due = await asyncio.to_thread(
            self.store.claim_notices,
            self.targets,
            now=now,
            since=now - timedelta(seconds=self.policy.notice_seconds),
            lease=timedelta(seconds=_LEASE_SECONDS),
            limit=_AT_ONCE,
        )
        await asyncio.gather(*(self._tell(notice) for notice in due))
        failing = await asyncio.to_thread(self.store.failing_notices, self.targets)
        for target in self.targets:
            self.metrics.notices_failing.labels(target).set(sum(1 for notice in failing if notice.target == target))

    async def _tell(self, notice: Notice) -> None:
        events = await asyncio.to_thread(self.store.events, notice.incident)
        message = compose(notice.incident, events, notice.sequence, now=self.clock())
        if message is None:
            await asyncio.to_thread(self.store.settle_notice, notice, due_at=None, error="")
            self.metrics.notices.labels(notice.target, "asked", "moot").inc()
            return
        error = ""
        try:
            async with asyncio.timeout(_DELIVERY_SECONDS):
                if not await self.teller.tell(notice.target, message):
                    error = "it was not accepted; the log says more"
        except TimeoutError:
            error = f"no answer within {_DELIVERY_SECONDS:.0f} s"
        await self._settle(notice, message, events[notice.sequence - 1].at, error)

    async def _settle(self, notice: Notice, message: Message, at: datetime, error: str) -> None:
        now, due_at, result = self.clock(), None, "delivered"
        if error:
            wait = min(self.policy.notice_retry_seconds * 2 ** min(notice.attempts - 1, 30), _LONGEST_WAIT_SECONDS)
            due_at, result = now + timedelta(seconds=wait), "failed"
            if due_at - at > timedelta(seconds=self.policy.notice_seconds):
                due_at, result = None, "given_up"
            log.error(
                "Incident %d: %s was not told (attempt %d, %s): %s. Tell a person by other means.",
                notice.incident,
                notice.target,
                notice.attempts,
                result.replace("_", " "),
                error,
                extra={"action": f"notice.{result}", "incident": notice.incident},
            )
        await asyncio.to_thread(self.store.settle_notice, notice, due_at=due_at, error=error)
        self.metrics.notices.labels(notice.target, message.kind, result).inc()


def compose(incident: int, events: Sequence[Event], sequence: int, *, now: datetime) -> Message | None:
    """Return what to tell of one event; None for a question that is answered, or too old to be."""
    event, then = events[sequence - 1], fold(events[:sequence])
    alert = f"{plain(then.alert.name)} of {plain(then.service or 'no service')}"
    if isinstance(event, Asked):
        if fold(events).asked != event or now >= event.expires_at:
            return None
        kind, title = "asked", f"Approval needed: option {event.option} for {alert} (incident {incident})"
        lines = [
            f"Option {event.option} waits for a yes or a no until {event.expires_at:%Y-%m-%d %H:%M:%S}Z.",
            f"Next step: alert-responder incidents approve {incident} --option {event.option} --reason WHY (or: deny)",
        ]
    elif isinstance(event, Escalated):
        kind, title = "escalated", f"A person is needed: {alert} (incident {incident})"
        lines = [plain(event.reason), f"Next step: {plain(event.next_step)}"]
    else:
        return None
    lines += [*_evidence(then), *_attempts(events[:sequence], rehearsal=event.run if isinstance(event, Asked) else "")]
    tail = f"The whole record: alert-responder incidents show {incident}"
    body = "\n".join(lines)
    if len(body) > _LONGEST_BODY:
        body = f"{body[:_LONGEST_BODY]}\n… (cut)"
    return Message(kind, _harmless(title), _harmless(f"{body}\n\n{tail}"))


def _evidence(state: State) -> list[str]:
    if state.first_evidence is None:
        return ["", "No evidence was read."]
    return ["", "Evidence before the first change:", *_bounded(evidence_lines(state.first_evidence))]


def _attempts(events: Sequence[Event], *, rehearsal: str) -> list[str]:
    """Return what was tried and what it changed, and the dry run that a question is about."""
    lines = []
    told = timeline(events)
    actions = {event.run: event.action for event in events if event.kind == "started"}
    for event, (_, headline, details) in zip(events, told, strict=True):
        if not isinstance(event, Finished):
            continue
        if actions[event.run] in ("option", "undo", "verify") or event.run == rehearsal:
            lines += [headline, *_bounded(details)]
    return ["", "What was tried:", *lines] if lines else ["", "Nothing was tried."]


def _bounded(lines: Sequence[str]) -> list[str]:
    shown = [f"  {line}" for line in lines[:_MOST_LINES]]
    return [*shown, f"  … and {len(lines) - _MOST_LINES} lines more"] if len(lines) > _MOST_LINES else shown


def _harmless(text: str) -> str:
    return _CALL.sub(lambda found: f"{found[0]}\N{ZERO WIDTH SPACE}", text)


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return
