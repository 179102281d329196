"""The real process is killed with SIGKILL, at every named transition and at two hundred random moments under load."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from alert_responder.incidents import EVENT, Event, Finished, Started
from alert_responder.processes import processes_of
from tests.integration.responder.service import TOKEN, Service

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(900)]

MOMENTS = 200
SENDERS = 4
APPROVER = "kims-0123456789abcdef"
SERVICES = 3


class Nursery:
    """Responders that follow each other on one state, and what each of them has answered."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.folder = service.config.parent
        # Option A notes its incident at its very start, so that a second start of it shows.
        mend = service.project / "playbooks" / "a_mend.yml"
        mend.write_text(mend.read_text().replace("A {{ now() }}", "{{ runbook_run.incident }} {{ runbook_run.id }}"))
        runbook = service.project / "runbooks" / "tiny.md"
        text = runbook.read_text().replace("service: thing\nowner", "service: any\nowner")
        runbook.write_text(text.replace("service: thing, identity", "service: any, identity"))
        service.settings["poll_seconds"] = 0.05
        service.settings["policy"].update(launch_retries=5, launch_retry_seconds=0.05, runs_per_window=1000)
        # Options that never heal must go on, without a person to ask.
        service.settings["policy"].update(breaker_failures=1000, fleet_breaker_failures=1000, fallback_ratio=0.0)
        service.settings.update(concurrency=2, approvers={"kim": APPROVER})
        service.write_settings()
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tests.integration.responder.nursery",
                str(service.config),
                str(self.folder / "log"),
            ],
            env={**os.environ, "ALERT_RESPONDER_TOKENS": TOKEN},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.pid = 0

    def begin(self) -> None:
        """Start a responder and wait until it answers."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()
        self.pid = int(self.process.stdout.readline())
        self.service.until(self._answers)

    def _answers(self) -> bool:
        try:
            return self.service.client.get("/healthz").status_code == 200
        except httpx.TransportError:
            assert self._lives(), (self.folder / "log").read_text()[-2000:]
            return False

    def kill(self) -> None:
        """End it at this very moment."""
        os.kill(self.pid, signal.SIGKILL)
        self.service.until(lambda: not self._lives())

    def _lives(self) -> bool:
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        return True

    def close(self) -> None:
        if self.pid and self._lives():
            self.kill()
        self.process.kill()
        self.process.communicate()

    def read(self, query: str) -> list[Any]:
        """Ask the store beside the responder."""
        connection = sqlite3.connect(f"file:{self.folder / 'state' / 'incidents.sqlite3'}?mode=ro", uri=True)
        try:
            return connection.execute(query).fetchall()
        finally:
            connection.close()

    def events(self) -> dict[int, list[Event]]:
        found: dict[int, list[Event]] = {}
        for incident, data in self.read("SELECT incident_id, data FROM events ORDER BY incident_id, sequence"):
            found.setdefault(incident, []).append(EVENT.validate_json(data))
        return found

    def check(self, acknowledged: set[str]) -> None:
        """Nothing that was acknowledged is missing, and no option that is not idempotent was started twice."""
        events = self.events()
        firsts = [opened for opened, *_ in events.values()]
        missing = acknowledged - {first.alert.fingerprint for first in firsts if first.kind == "opened"}
        assert missing == set()
        noted = self.folder / "project" / "patient.log"
        starts = Counter(line.split()[0] for line in noted.read_text().splitlines()) if noted.exists() else Counter()
        assert all(count == 1 for count in starts.values()), starts
        for story in events.values():
            begun = {event.run for event in story if isinstance(event, Started) and event.action == "option"}
            failed = {event.run for event in story if isinstance(event, Finished) and not event.began}
            letters = [event.option for event in story if isinstance(event, Started) and event.run in begun - failed]
            assert letters.count("A") <= 1

    def settled(self) -> bool:
        """Whether every incident that has a runbook has come to its end, and every lease was given back."""
        [[left]] = self.read("SELECT count(*) FROM incidents WHERE status = 'open' OR owner IS NOT NULL")
        return bool(left == 0)


@pytest.fixture
def nursery(service: Service) -> Iterator[Nursery]:
    """Return a nursery without a child."""
    made = Nursery(service)
    yield made
    made.close()


TRANSITIONS = {
    "auto": ["opened", "started diagnose", "finished diagnose", "started option", "finished option"],
    "approve": ["started rehearse", "finished rehearse", "asked", "approved", "started option"],
}


@pytest.mark.parametrize(
    ("automation", "transition", "executor"),
    [
        *((automation, name, "local") for automation, names in TRANSITIONS.items() for name in names),
        *(("auto", name, "warm") for name in ("started diagnose", "started option", "finished option")),
    ],
)
def test_killed_at_a_transition_it_goes_on_by_the_rules(
    nursery: Nursery, automation: str, transition: str, executor: str
) -> None:
    """Killed as soon as the transition is on disk, the next responder brings the incident to its end."""
    nursery.service.settings["executor"] = executor
    nursery.service.write_settings()
    runbook = nursery.service.project / "runbooks" / "tiny.md"
    runbook.write_text(runbook.read_text().replace("automation: auto", f"automation: {automation}", 1))
    nursery.begin()
    assert nursery.service.post().status_code == 200
    _go_on(nursery, until=transition)
    nursery.kill()
    [running] = [*_running(nursery), None][:1]
    if running:
        nursery.service.until(lambda: processes_of(running) == set(), seconds=30)
    nursery.begin()
    _go_on(nursery, until="over")

    nursery.check({"f1"})
    [story] = nursery.events().values()
    assert story[-1].kind in ("closed", "escalated")
    cut = [event for event in story if isinstance(event, Finished) and event.result == "interrupted"]
    if cut and _name(cut[-1], story) == "finished option":
        after = [event for event in story[story.index(cut[-1]) :] if isinstance(event, Started)]
        assert after[0].action == "verify"
    nursery.service.until(nursery.settled)


def _name(event: Event, story: list[Event]) -> str:
    if isinstance(event, Started):
        return f"started {event.action}"
    if isinstance(event, Finished):
        [start] = [one for one in story if isinstance(one, Started) and one.run == event.run]
        return f"finished {start.action}"
    return event.kind


def _running(nursery: Nursery) -> list[str]:
    [story] = nursery.events().values()
    ended = {event.run for event in story if isinstance(event, Finished)}
    return [event.run for event in story if isinstance(event, Started) and event.run not in ended]


def _go_on(nursery: Nursery, *, until: str) -> None:
    """Wait for a transition; on the way, a person allows what is asked."""
    answered: set[str] = set()

    def reached() -> bool:
        stories = list(nursery.events().values())
        if not stories:
            return False
        [story] = stories
        names = [_name(event, story) for event in story]
        if until in names or (until == "over" and names[-1] in ("closed", "escalated")):
            return True
        last = story[-1]
        if last.kind == "asked" and last.run not in answered:
            answered.add(last.run)
            _approve(nursery)
        return False

    nursery.service.until(reached, seconds=120)


def _approve(nursery: Nursery) -> None:
    answer = nursery.service.client.post(
        "/api/v1/incidents/1/approve",
        json={"option": "A", "reason": "seen"},
        headers={"Authorization": f"Bearer {APPROVER}"},
    )
    assert answer.status_code == 200


def test_killed_at_random_moments_under_load(nursery: Nursery) -> None:
    """Two hundred lives, each cut off while alerts arrive and playbooks run; the last one finds everything."""
    chance = random.Random(200)
    acknowledged: set[str] = set()
    for life in range(MOMENTS):
        nursery.begin()
        stop = threading.Event()
        senders = [
            threading.Thread(target=_send, args=(nursery.service.addresses[0], life * SENDERS + n, stop, acknowledged))
            for n in range(SENDERS)
        ]
        before = len(acknowledged)
        for sender in senders:
            sender.start()
        if life % 5:
            # However slow the machine is: alerts are on their way when it dies.
            nursery.service.until(lambda before=before: len(acknowledged) > before)  # type: ignore[misc]
        # Most lives are short, so that there are many; some are long enough for an option to begin.
        time.sleep(chance.uniform(1, 4) if life % 10 == 0 else chance.uniform(0, 0.3))
        nursery.kill()
        stop.set()
        for sender in senders:
            sender.join()
    nursery.begin()
    nursery.service.until(nursery.settled, seconds=240)

    assert len(acknowledged) > MOMENTS
    nursery.check(acknowledged)


def _send(address: str, number: int, stop: threading.Event, acknowledged: set[str]) -> None:
    """Post alerts one after the other until told to stop; the first of few senders is answered by a runbook."""
    with httpx.Client(base_url=f"http://{address}", headers={"Authorization": f"Bearer {TOKEN}"}) as client:
        for count in range(10_000):
            if stop.is_set():
                return
            matched = count == 0 and number % (SENDERS * 10) == 0
            fingerprint = f"f{number}-{count}"
            labels = {
                "alertname": "ThingBroken" if matched else "Unknown",
                "service": f"thing{number % SERVICES}",
                "instance": fingerprint,
            }
            alert = {"status": "firing", "labels": labels, "startsAt": "2026-11-23T12:00:00Z"}
            body = json.dumps({"version": "4", "alerts": [{**alert, "fingerprint": fingerprint}]})
            try:
                if client.post("/", content=body).status_code == 200:
                    acknowledged.add(fingerprint)
            except httpx.TransportError:
                return
