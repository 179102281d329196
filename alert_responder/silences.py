# SPDX-License-Identifier: GPL-3.0-or-later
"""Silence the alert of an incident in Alertmanager while an option of it runs, and leave no silence behind.

A silence is a courtesy: none is worth a remediation, so a failure here is counted and told in the log, no more. Each
ends by itself at the limit of the run that it was made for, whatever happens to the responder.
"""

from __future__ import annotations

import logging
import re
from abc import ABC, abstractmethod
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx
from typing_extensions import override

from alert_responder.routing import identity_labels

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from pydantic import SecretStr

    from alert_responder.alerts import Alert
    from alert_responder.metrics import Metrics
    from alert_responder.runbooks import Runbook

log = logging.getLogger(__name__)

_SECONDS = 5.0
_COMMENT = re.compile(r"Incident (\d+): ")


class Silences(ABC):
    """Mutes what an incident is about."""

    @abstractmethod
    async def put(self, incident: int, labels: Mapping[str, str], *, seconds: float, reason: str) -> None:
        """Mute alerts with exactly these labels for at most so long, in place of any silence of this incident."""

    @abstractmethod
    async def lift(self, incident: int) -> None:
        """End every silence of one incident."""

    @abstractmethod
    async def sweep(self, keep: Collection[int]) -> None:
        """End every silence of ours whose incident is not among ``keep``: what a dead responder left."""


class NoSilences(Silences):
    """Mutes nothing."""

    @override
    async def put(self, incident: int, labels: Mapping[str, str], *, seconds: float, reason: str) -> None:
        return

    @override
    async def lift(self, incident: int) -> None:
        return

    @override
    async def sweep(self, keep: Collection[int]) -> None:
        return


class AlertmanagerSilences(Silences):
    """Silences through Alertmanager's API, version 2, known again by their author and comment."""

    def __init__(
        self,
        url: str,
        author: str,
        metrics: Metrics,
        clock: Callable[[], datetime],
        token: SecretStr | None = None,
    ) -> None:
        headers = {"Authorization": f"Bearer {token.get_secret_value()}"} if token else {}
        self._url = f"{url.rstrip('/')}/api/v2"
        # Nothing of the environment may send it elsewhere.
        self._client = httpx.AsyncClient(headers=headers, timeout=_SECONDS, trust_env=False)
        self._author = author
        self._metrics = metrics
        self._clock = clock

    @override
    async def put(self, incident: int, labels: Mapping[str, str], *, seconds: float, reason: str) -> None:
        if not labels.get("alertname") or len(labels) < 2:  # noqa: PLR2004 -- a name and what tells it from others
            log.info("Incident %d: its alert has too few labels for a silence.", incident, extra=_about(incident))
            return
        now = self._clock()
        silence = {
            "matchers": [
                {"name": name, "value": value, "isRegex": False, "isEqual": True} for name, value in labels.items()
            ],
            "startsAt": now.isoformat(),
            "endsAt": (now + timedelta(seconds=seconds)).isoformat(),
            "createdBy": self._author,
            "comment": f"Incident {incident}: {reason}",
        }
        try:
            earlier = await self._ours()
            made = await self._ask("POST", "/silences", json=silence)
            await self._end([one for one, number in earlier.items() if number == incident])
            log.info("Incident %d: silence %s.", incident, made.json()["silenceID"], extra=_about(incident))
        except (httpx.HTTPError, ValueError, KeyError) as error:
            self._failed(f"Incident {incident} goes on without a silence", error)

    @override
    async def lift(self, incident: int) -> None:
        await self._end_where("A silence may stay until it ends by itself", lambda number: number == incident)

    @override
    async def sweep(self, keep: Collection[int]) -> None:
        await self._end_where("Silences were not swept", lambda number: number not in keep)

    async def close(self) -> None:
        """Let go of the connections."""
        await self._client.aclose()

    async def _end_where(self, failure: str, chosen: Callable[[int], bool]) -> None:
        try:
            await self._end([one for one, number in (await self._ours()).items() if chosen(number)])
        except (httpx.HTTPError, ValueError, KeyError) as error:
            self._failed(failure, error)

    async def _ours(self) -> dict[str, int]:
        """Return the silences of this responder that have not ended, with their incidents."""
        listed: list[dict[str, Any]] = (await self._ask("GET", "/silences")).json()
        found = {}
        for one in listed:
            known = _COMMENT.match(one["comment"])
            if one["createdBy"] == self._author and known and one["status"]["state"] != "expired":
                found[one["id"]] = int(known[1])
        return found

    async def _end(self, identities: list[str]) -> None:
        for identity in identities:
            try:
                await self._ask("DELETE", f"/silence/{identity}")
            except httpx.HTTPStatusError as error:
                # It has ended meanwhile: that is what was wanted.
                if error.response.status_code != httpx.codes.NOT_FOUND:
                    raise

    async def _ask(self, method: str, path: str, **request: Any) -> httpx.Response:
        answer = await self._client.request(method, f"{self._url}{path}", **request)
        return answer.raise_for_status()

    def _failed(self, what: str, error: Exception) -> None:
        self._metrics.errors.labels("silence").inc()
        log.warning("%s: Alertmanager: %s", what, error or type(error).__name__, extra={"action": "silence.failed"})


def labels_to_silence(alert: Alert, runbook: Runbook) -> dict[str, str]:
    """Return the labels that make the incident what it is, and no alert of another one."""
    return {"alertname": alert.name, **(identity_labels(alert, runbook) or alert.labels)}


def _about(incident: int) -> dict[str, object]:
    return {"action": "silence", "incident": incident}
