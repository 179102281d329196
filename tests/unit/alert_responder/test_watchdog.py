"""Silence raises the alarm once, a heartbeat ends it, and neither a restart nor a clock that steps makes two."""

from __future__ import annotations

import asyncio
import math
from datetime import timedelta
from typing import TYPE_CHECKING, Literal

import pytest

from alert_responder.alerts import Webhook
from alert_responder.errors import StoreUnavailable
from alert_responder.incidents import Escalated, Status
from alert_responder.metrics import Metrics
from alert_responder.receiver import Receiver
from alert_responder.runbooks import Catalog
from alert_responder.store_memory import MemoryStore
from alert_responder.watchdog import ALARM, HEARTBEAT, PROBE, Watch, Watchdog, look
from tests.unit.alert_responder.makers import NOON, make_alert, make_runbook

if TYPE_CHECKING:
    from datetime import datetime

    from alert_responder.alerts import Alert

LIMIT = 180.0


@pytest.mark.parametrize(
    ("watch", "moment", "told"),
    [
        pytest.param(Watch(heard=0), 179, None, id="just-started"),
        pytest.param(Watch(heard=0), 180, "firing", id="never-heard"),
        pytest.param(Watch(heard=0, alive=True, alarm=False), 179, None, id="alive"),
        pytest.param(Watch(heard=0, alive=True, alarm=False), 180, "firing", id="silent"),
        pytest.param(Watch(heard=0, alarm=True, told=180), 359, None, id="told"),
        pytest.param(Watch(heard=0, alarm=True, told=180), 360, "firing", id="repeated"),
        pytest.param(Watch(heard=400, alive=True, alarm=True, told=360), 401, "resolved", id="heard-again"),
        pytest.param(Watch(heard=5, alive=True), 6, "resolved", id="first-heartbeat-of-this-life"),
    ],
)
def test_what_is_told(watch: Watch, moment: float, told: str | None) -> None:
    """Nothing twice within the limit."""
    assert look(watch, moment, LIMIT) == told


class World:
    """A responder's receiving half over a store in memory, with two clocks that a test sets."""

    def __init__(self, store: MemoryStore | None = None) -> None:
        self.store = store or MemoryStore()
        self.seconds = 0.0
        self.wall = NOON
        self.metrics = Metrics()
        labels: dict[str, object] = {"name": ALARM, "severity": "critical", "service": "prometheus"}
        runbook = make_runbook(service="prometheus", alerts=[{**labels, "identity": ["service"], "labels": []}])
        self.catalog = Catalog({"tiny": runbook})
        self.start()

    def start(self) -> None:
        """Start the process, again."""
        self.watchdog = Watchdog(LIMIT, self.store, self.catalog, self.metrics, self.time, lambda: self.seconds)
        self.receiver = Receiver(
            self.store, self.catalog, self.metrics, self.time, lambda: None, self.watchdog.take
        )  # fmt: skip

    def time(self) -> datetime:
        return self.wall

    def pass_time(self, seconds: float) -> None:
        """Let time pass, looking every ten seconds as the service does every second."""
        for _ in range(math.ceil(seconds / 10)):
            self.seconds += 10
            self.wall += timedelta(seconds=10)
            asyncio.run(self.watchdog.step(self.receiver.receive, LIMIT))

    def hear(self, name: str = HEARTBEAT, status: Literal["firing", "resolved"] = "firing") -> list[object]:
        return list(asyncio.run(self.receiver.receive(webhook(alert(name, status)))))

    def open(self) -> list[int]:
        return [line.id for line in self.store.summaries() if line.open]


def alert(name: str, status: Literal["firing", "resolved"] = "firing") -> Alert:
    return make_alert(
        labels={"alertname": name, "service": "prometheus", "reason": "rules"},
        status=status,
        ends_at=NOON + timedelta(hours=1) if status == "resolved" else None,
    )


def webhook(*alerts: Alert) -> Webhook:
    return Webhook(alerts=alerts, receiver="responder", truncated=0)


def test_silence_opens_one_incident_and_a_heartbeat_ends_its_alert() -> None:
    """However long it lasts; the record says since when nothing was heard."""
    world = World()
    world.hear()
    world.pass_time(170)
    assert world.open() == []
    world.pass_time(1000)
    assert world.open() == [1]
    opened = world.store.events(1)[0]
    assert opened.kind == "opened"
    assert (opened.alert.name, opened.service, opened.runbook) == (ALARM, "prometheus", "tiny")
    assert opened.alert.starts_at == NOON
    assert len(world.store.events(1)) == 1
    assert world.metrics.registry.get_sample_value("alert_responder_watchdog_silent") == 1
    world.hear()
    world.pass_time(10)
    assert world.store.events(1)[-1].kind == "ended"
    assert world.metrics.registry.get_sample_value("alert_responder_watchdog_silent") == 0
    seen = world.metrics.registry.get_sample_value("alert_responder_watchdog_last_seen_timestamp_seconds")
    assert seen == (NOON + timedelta(seconds=1170)).timestamp()


def test_heartbeats_and_probes_are_no_incidents() -> None:
    """They are answered, and nothing is on record; a resolved heartbeat is not heard."""
    world = World()
    for _ in range(20):
        assert world.hear() == []
        assert world.hear(PROBE) == []
        world.pass_time(100)
    assert world.store.summaries() == []
    for _ in range(2):
        world.hear(HEARTBEAT, "resolved")
        world.pass_time(100)
    assert world.open() == [1]


def test_the_alarm_and_the_alert_of_prometheus_are_one_incident() -> None:
    """Whichever comes first."""
    world = World()
    world.hear(ALARM)
    world.pass_time(200)
    assert world.open() == [1]
    assert [event.kind for event in world.store.events(1)] == ["opened", "fired"]


def test_a_restart_in_the_silence_goes_on_with_the_same_incident() -> None:
    """Also when it is escalated: the episode has not ended, so nothing begins again."""
    world = World()
    world.pass_time(200)
    events = world.store.events(1)
    person = Escalated(at=world.wall, reason="No option is left.", next_step="Look.")
    world.store.append(1, [person], owner=None, expected=len(events))
    world.start()
    world.pass_time(400)
    assert [(line.id, line.status) for line in world.store.summaries()] == [(1, Status.ESCALATED)]


def test_a_restart_after_the_silence_ends_the_alert() -> None:
    """The first heartbeat that the new process hears does."""
    world = World()
    world.pass_time(200)
    world.start()
    world.hear()
    world.pass_time(10)
    assert world.store.events(1)[-1].kind == "ended"


def test_a_step_of_the_time_of_day_is_no_silence() -> None:
    """An hour forward or back."""
    world = World()
    for step in (1, -2):
        world.hear()
        world.wall += timedelta(hours=step)
        world.pass_time(100)
    assert world.store.summaries() == []


def test_what_could_not_be_recorded_is_told_again() -> None:
    """A store that is away delays the alarm and does not lose it."""
    world = World()
    stop = asyncio.Event()
    said: list[Webhook] = []

    async def deliver(told: Webhook) -> None:
        said.append(told)
        if len(said) == 1:
            raise StoreUnavailable("The disk is full.")
        stop.set()

    world.seconds = LIMIT
    asyncio.run(world.watchdog.serve(deliver, stop, 0.001))
    assert [one.alerts[0].status for one in said] == ["firing", "firing"]
    assert world.metrics.registry.get_sample_value("alert_responder_errors_total", {"where": "watchdog"}) == 1


def test_without_a_limit_nothing_is_raised() -> None:
    """It returns at once; heartbeats are still no incidents."""
    world = World()
    world.watchdog.limit_seconds = None
    asyncio.run(world.watchdog.serve(world.receiver.receive, asyncio.Event(), 0.001))
    assert world.hear() == []
