"""A whole responder in this process: its application asked without a network, the real store, decisions and worker.

Only the playbooks are not real: they end at once, well or not as the seed says.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from typing_extensions import override

from alert_responder.incidents import Policy
from alert_responder.metrics import Metrics
from alert_responder.receiver import Receiver
from alert_responder.runbooks import ANY_SERVICE, Catalog
from alert_responder.runner import Report, Request, Runner, remove_old_runs
from alert_responder.settings import Settings
from alert_responder.store_sql import SqlStore, sqlite_engine
from alert_responder.web import Web
from alert_responder.worker import Worker
from tests.integration.responder.service import TOKEN
from tests.unit.alert_responder.makers import NOON, make_evidence, make_outcome, make_runbook

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime
    from pathlib import Path

    from alert_responder.store import Store


class InstantRunner(Runner):
    """Ends each run after a moment and leaves its folder, as a real one does."""

    def __init__(self, store: Store, folder: Path, seed: int, keep_runs: int) -> None:
        self.folder = folder
        self.options: Counter[str] = Counter()
        self.most_at_once = 0
        self.services_at_work_twice: list[str] = []
        self._store = store
        self._chance = random.Random(seed)
        self._keep_runs = keep_runs
        self._at_work: Counter[str] = Counter()

    @override
    async def run(self, request: Request) -> Report:
        [opened, *_] = self._store.events(int(request.run.partition("-")[0]))
        assert opened.kind == "opened"
        service, what = opened.service, request.playbook.rpartition(".")[2]
        (self.folder / request.run).mkdir(parents=True)
        self._at_work[service] += 1
        self.most_at_once = max(self.most_at_once, self._at_work.total())
        if self._at_work[service] > 1:
            self.services_at_work_twice.append(service)
        if what.startswith("option"):
            self.options[service] += 1
        await asyncio.sleep(0)
        self._at_work[service] -= 1
        return Report("done", began=True, reason="", seconds=1.0, published=self._publish(what))

    def _publish(self, what: str) -> dict[str, Any]:
        if what == "diagnose":
            return {"runbook_evidence": make_evidence(a=True, b=True, c=True).model_dump(by_alias=True)}
        verdict = self._chance.choices(["recovered", "not_recovered", "decaying", "unknown"], [8, 2, 1, 1])[0]
        return {"runbook_outcome": make_outcome(verdict).model_dump(by_alias=True)}

    @override
    async def recover(self, run: str) -> Report:
        raise NotImplementedError

    @override
    def clean_up(self) -> None:
        remove_old_runs(self.folder, keep_runs=self._keep_runs, keep_days=30)


class Inside:
    """The parts, assembled as `serve` does, with a clock that the test moves."""

    def __init__(self, folder: Path, *, seed: int = 1, policy: Policy | None = None, keep_runs: int = 500) -> None:
        self.now = NOON
        engine = sqlite_engine(folder / "incidents.sqlite3")
        # The power does not fail here, and a busy disk would take most of the time.
        sa.event.listen(engine, "connect", lambda connection, _record: connection.execute("PRAGMA synchronous=OFF"))
        self.store = SqlStore(engine)
        self.metrics = Metrics()
        self.runner = InstantRunner(self.store, folder / "runs", seed, keep_runs)
        entry = {**make_runbook().model_dump(mode="json")["alerts"][0], "service": ANY_SERVICE}
        catalog = Catalog({"tiny": make_runbook(service=ANY_SERVICE, alerts=[entry])})
        self.worker = Worker(
            self.store, self.runner, catalog, self.metrics, self.clock, policy=policy or Policy(), poll_seconds=0.05
        )
        settings = Settings.model_validate({"tokens": [TOKEN], "most_requests_per_second": 1e9})
        receiver = Receiver(self.store, catalog, self.metrics, self.clock, self.worker.wake)
        self.app = Web(settings, receiver, self.store, self.metrics, self.clock).app()

    def clock(self) -> datetime:
        return self.now

    async def post(self, body: bytes, *, path: str = "/") -> tuple[int, bytes]:
        """Send one request to the application, as a server does; return its status and body."""
        sent: list[dict[str, Any]] = []
        parts = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> dict[str, Any]:
            return parts.pop() if parts else {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": b"",
            "headers": [(b"authorization", f"Bearer {TOKEN}".encode()), (b"content-type", b"application/json")],
            "client": ("192.0.2.1", 1),
            "server": ("192.0.2.2", 80),
        }
        await self.app(scope, receive, send)
        return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:])

    async def settle(self) -> None:
        """Let the worker go on until nothing is due."""
        while True:
            await self.worker.look_for_work()
            if not self.worker._at_work:
                return
            await self.worker.idle()

    def close(self) -> None:
        self.store.close()


def alert(instance: str, service: str, **changes: Any) -> dict[str, Any]:
    """Return one alert as Alertmanager sends it."""
    labels = {"alertname": "ThingFull", "service": service, "instance": instance, "severity": "critical"}
    return {
        "status": "firing",
        "labels": labels,
        "annotations": {"summary": f"{instance} is full."},
        "startsAt": NOON.isoformat(),
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "http://prometheus.example.com/graph",
        "fingerprint": f"{service}/{instance}",
        **changes,
    }


def webhook(alerts: Iterable[dict[str, Any]]) -> bytes:
    """Return the body of one webhook."""
    return json.dumps({"version": "4", "receiver": "responder", "truncatedAlerts": 0, "alerts": list(alerts)}).encode()
