"""Bodies as Alertmanager and Grafana send them, spoilt in every way; the same for the same seed."""

from __future__ import annotations

import json
import random
from typing import Any

from tests.integration.responder.test_hostile import CORPUS

LONGEST_NAME = 256
_TEXTS = (*CORPUS, "", " ", "x" * 5000, "\N{GRINNING FACE}" * 40, "\N{COMBINING ACUTE ACCENT}" * 300, "null", "\ufeffx")
# In the place of any value.
_ODD: tuple[Any, ...] = (
    *(None, True, -1, 0, 1e308, 2**63, 10**400, 0.1, 7.0, "", "4", "firing", "2026-13-45", "0000-00-00T00:00:00Z"),
    *([], {}, [[]], [{}], {"a": {"b": []}}, "9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00", "\ud800"),
)
_GARBAGE = (
    *(b"", b"\0", b"null", b"[]", b"4", b'"x"', b"{}", b"{", b"NaN", b'{"version": NaN}', b"\xff\xfe{\0}\0"),
    *(b"[" * 100_000, b'{"a":' * 50_000, b"9" * 100_000, b"{}" * 1000, b"\x1f\x8b\x08\0", b"version=4&alerts="),
    b'{"version": "4", "version": "4", "alerts": []',
    b"--x\r\nContent-Disposition: form-data\r\n",
    b"<?xml version='1.0'?><!DOCTYPE x [<!ENTITY y SYSTEM 'file:///etc/passwd'>]><x>&y;</x>",
)


class Fuzzer:
    """Makes one body after the other."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)

    def body(self) -> tuple[bytes, int | None]:
        """Return a body, and how many alerts must be taken from it: none if it need not be accepted."""
        kind = self._chance.random()
        if kind < 0.02:
            return self._chance.choice((*_GARBAGE, self._chance.randbytes(self._chance.randrange(200)))), None
        document = self._document()
        if kind < 0.45:
            self._spoil(document)
            return json.dumps(document, ensure_ascii=self._chance.random() < 0.5).encode("utf-8", "surrogatepass"), None
        body = json.dumps(document, ensure_ascii=self._chance.random() < 0.5).encode()
        if kind > 0.8:
            return self._damage(body), None
        return body, len(document["alerts"]) + bool(document["truncatedAlerts"])

    def _document(self) -> dict[str, Any]:
        chance = self._chance
        alerts = [self._alert() for _ in range(chance.randrange(4))]
        document: dict[str, Any] = {
            "version": "4",
            "receiver": self._text(),
            "status": "firing",
            "alerts": alerts,
            "truncatedAlerts": chance.randrange(5) if chance.random() < 0.02 else 0,
            "groupKey": self._text(),
            "externalURL": self._text(),
            "groupLabels": {self._name(): self._text()},
            "commonLabels": {self._name(): self._text()},
            "commonAnnotations": {},
        }
        if chance.random() < 0.2:
            document.update(version="1", orgId=1, title=self._text(), state="alerting", message=self._text())
            for alert in alerts:
                alert.update(values={"B": 5}, valueString=self._text(), silenceURL=self._text(), imageURL=self._text())
        return document

    def _alert(self) -> dict[str, Any]:
        chance = self._chance
        # Of one runbook's alerts there are few: an open incident of one gathers every end and start, and nobody works
        # on it here.
        name = "Unknown" if chance.random() < 0.95 else "ThingFull"
        made: dict[str, Any] = {
            "status": chance.choice(["firing", "resolved"]),
            "labels": {"alertname": name, "service": f"s{chance.randrange(5)}", "instance": f"i{chance.randrange(20)}"},
            "annotations": {"summary": self._text()},
            "startsAt": f"2026-11-23T12:{chance.randrange(60):02}:00.{chance.randrange(10**9):09}Z",
            "endsAt": chance.choice(["0001-01-01T00:00:00Z", "2026-11-23T12:30:00+05:30", "9999-12-31T23:59:59Z"]),
            "generatorURL": self._text(),
            "fingerprint": f"f{chance.randrange(3000)}",
        }
        for _ in range(chance.randrange(3)):
            made[chance.choice(["labels", "annotations"])][self._name()] = self._text()
        if chance.random() < 0.3:
            made["labels"][chance.choice(["alertname", "service", "instance"])] = self._text()
        return made

    def _text(self) -> str:
        return self._chance.choice(_TEXTS)

    def _name(self) -> str:
        return self._text()[:LONGEST_NAME] or "x"

    def _spoil(self, document: dict[str, Any]) -> None:
        """Take a value away, or put another in its place."""
        place: Any = document
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                return
            key = self._chance.choice(keys)
            if isinstance(place[key], dict | list) and self._chance.random() < 0.7:
                place = place[key]
                continue
            if isinstance(place, dict) and self._chance.random() < 0.2:
                del place[key]
            else:
                place[key] = self._chance.choice(_ODD)
            return

    def _damage(self, body: bytes) -> bytes:
        damaged = bytearray(body)
        for _ in range(self._chance.randrange(1, 4)):
            where = self._chance.randrange(len(damaged) or 1)
            what = self._chance.random()
            if what < 0.4 and damaged:
                damaged[where] = self._chance.randrange(256)
            elif what < 0.7:
                del damaged[where:]
            else:
                damaged[where:where] = self._chance.randbytes(3)
        return bytes(damaged)
