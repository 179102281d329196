"""People are told once, for certain, and with what they need; the receiver of these tests is a real one."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr

from alert_responder.errors import SettingsError
from alert_responder.incidents import (
    Approved,
    Asked,
    Closed,
    Escalated,
    Event,
    Finished,
    Opened,
    Policy,
    Started,
)
from alert_responder.metrics import Metrics
from alert_responder.notify import AppriseTeller, Message, Notifier, Teller, compose
from alert_responder.routing import Route
from alert_responder.store import Delivery
from alert_responder.store_memory import MemoryStore
from alert_responder.store_sql import SqlStore, sqlite_engine
from tests.loopback import Receiver
from tests.unit.alert_responder.makers import NOON, make_alert, make_evidence, make_outcome

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

    from alert_responder.store import Store

SECOND = timedelta(seconds=1)
SECRET = "s3cr3t-of-the-channel"


def address(receiver: Receiver) -> str:
    return f"json://127.0.0.1:{receiver.port}/{SECRET}"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Return a receiver that listens."""
    with Receiver().listening() as listening:
        yield listening


class World:
    """A store with one open incident, and a notifier over it."""

    def __init__(self, store: Store, targets: dict[str, str], teller: Teller | None = None) -> None:
        self.now = NOON
        self.store = store
        self.metrics = Metrics()
        teller = teller or AppriseTeller({name: SecretStr(address) for name, address in targets.items()})
        policy = Policy(notice_seconds=3600, notice_retry_seconds=10)
        self.notifier = Notifier(store, teller, list(targets), self.metrics, self.clock, policy)
        self.deliver("one")

    def clock(self) -> datetime:
        return self.now

    def deliver(self, identity: str) -> None:
        self.store.receive([Delivery(make_alert(), Route(identity, "thing", "tiny", ""))], now=self.now)

    def add(self, *events: Event, incident: int = 1) -> None:
        self.store.append(incident, events, owner=None)

    def escalate(self, incident: int = 1) -> None:
        self.add(Escalated(at=self.now, reason="No option is left.", next_step="Call Kim."), incident=incident)

    def tell(self) -> None:
        asyncio.run(self.notifier.tell_what_is_due())

    def count(self, result: str, kind: str = "escalated", target: str = "oncall") -> float:
        labels = {"target": target, "kind": kind, "result": result}
        return self.metrics.registry.get_sample_value("alert_responder_notices_total", labels) or 0.0


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """Return an empty store of each kind."""
    kept: Store = MemoryStore() if request.param == "memory" else SqlStore(sqlite_engine(tmp_path / "x.sqlite3"))
    yield kept
    kept.close()


def test_an_escalation_is_told_once(store: Store, receiver: Receiver) -> None:
    """One message to each target, whoever looks again and whatever restarts."""
    world = World(store, {"oncall": address(receiver)})
    world.escalate()
    world.tell()
    world.tell()
    World(store, {"oncall": address(receiver)}).tell()

    [message] = receiver.received
    assert message["title"] == "A person is needed: ThingFull of thing (incident 1)"
    assert "No option is left.\nNext step: Call Kim." in message["message"]
    assert world.count("delivered") == 1


def test_what_was_not_told_is_told_after_a_restart(store: Store, receiver: Receiver) -> None:
    """The event itself is the order to tell: a responder that died before it could leaves nothing behind."""
    world = World(store, {"oncall": address(receiver)})
    world.escalate()
    # Taken, and then the process died.
    lease = timedelta(seconds=120)
    assert len(store.claim_notices(["oncall"], now=NOON, since=NOON - SECOND, lease=lease, limit=9)) == 1
    again = World(store, {"oncall": address(receiver)})
    again.tell()
    assert receiver.received == []
    again.now += timedelta(seconds=121)
    again.tell()

    assert len(receiver.received) == 1


def test_a_failed_delivery_is_tried_again_to_that_target_alone(
    store: Store, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    """With growing waits, counted, in the log, and without the address in any of them."""
    with Receiver().listening() as other:
        world = World(store, {"oncall": address(receiver), "chat": address(other)})
        world.escalate()
        receiver.answers = [503, 503]
        for seconds, attempts in ((0, 1), (9, 1), (1, 2), (19, 2), (1, 3), (100, 3)):
            world.now += timedelta(seconds=seconds)
            world.tell()
            assert len(receiver.received) == attempts
            failing = world.metrics.registry.get_sample_value("alert_responder_notices_failing", {"target": "oncall"})
            assert failing == (1 if attempts < 3 else 0)
            [*shown] = store.failing_notices(["oncall", "chat"])
            assert len(shown) == failing
            assert SECRET not in repr(shown)
        assert len(other.received) == 1

    assert (world.count("failed"), world.count("delivered")) == (2, 1)
    assert "oncall was not told (attempt 2, failed)" in caplog.text
    assert SECRET not in caplog.text


def test_a_receiver_that_is_away_is_given_up_loudly(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """Nobody listens: an alarm each time, and in the end once more."""
    world = World(store, {"oncall": f"json://127.0.0.1:1/{SECRET}"})
    world.escalate()
    for _ in range(12):
        world.tell()
        world.now += timedelta(seconds=900)

    assert world.count("failed") > 2
    assert world.count("given_up") == 1
    assert "given up" in caplog.text
    assert SECRET not in caplog.text


def test_a_question_is_told_with_its_dry_run_unless_it_is_answered(store: Store, receiver: Receiver) -> None:
    """Who is asked sees what would change; who is no longer asked is not woken."""
    world = World(store, {"oncall": address(receiver)})
    world.deliver("two")
    asked = Asked(at=NOON, option="A", run="r2", expires_at=NOON + timedelta(hours=1))
    for incident in (1, 2):
        world.add(
            Started(at=NOON, run="r2", action="rehearse", option="A", reason="x"),
            Finished(
                at=NOON,
                run="r2",
                result="done",
                began=True,
                outcome=make_outcome("unchecked", actions=["Would end 3 sessions."]),
            ),
            asked,
            incident=incident,
        )
    world.add(Approved(at=NOON, option="A", seen="r2", who="kim", reason="yes"), incident=2)
    world.tell()

    [message] = receiver.received
    assert "did: Would end 3 sessions." in message["message"]
    assert "alert-responder incidents approve 1 --option A" in message["message"]
    assert (world.count("delivered", "asked"), world.count("moot", "asked")) == (1, 1)


def test_what_is_older_than_the_limit_is_not_told(store: Store, receiver: Receiver) -> None:
    """Whoever is named for the first time is not flooded with history."""
    world = World(store, {"oncall": address(receiver)})
    world.escalate()
    world.now += timedelta(seconds=3601)
    world.tell()

    assert receiver.received == []


class SlowTeller(Teller):
    """Never answers."""

    async def tell(self, target: str, message: Message) -> bool:
        await asyncio.Event().wait()
        raise AssertionError


def test_a_receiver_that_hangs_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are told all the same, and the attempt counts."""
    # The limit is a constant of the module: no test waits a minute.
    monkeypatch.setattr("alert_responder.notify._DELIVERY_SECONDS", 0.01)
    world = World(MemoryStore(), {"oncall": ""}, SlowTeller())
    world.escalate()
    world.tell()

    assert world.count("failed") == 1


def test_the_notifier_outlives_a_store_that_is_away_and_its_own_mistakes() -> None:
    """Both are counted, and it goes on until told to stop."""

    class Broken(Teller):
        async def tell(self, target: str, message: Message) -> bool:
            raise RuntimeError("boom")

    store = MemoryStore()
    world = World(store, {"oncall": ""}, Broken())
    world.escalate()

    async def serve() -> None:
        stop = asyncio.Event()
        serving = asyncio.create_task(world.notifier.serve(stop, 0.01))
        for where in ("notifier", "store"):
            store.down = where == "store"
            value = None
            while not value:
                await asyncio.sleep(0.01)
                value = world.metrics.registry.get_sample_value("alert_responder_errors_total", {"where": where})
        stop.set()
        await serving

    asyncio.run(asyncio.wait_for(serve(), 20))


def story(reason: str = "Nothing is left.", label: str = "db1:5432", lines: int = 1) -> list[Event]:
    evidence = make_evidence(**{f"value_{number}": number for number in range(lines)})
    alert = make_alert(labels={"alertname": label})
    return [
        Opened(at=NOON, alert=alert, service="thing", runbook="tiny", problem=""),
        Started(at=NOON, run="r1", action="diagnose", reason="x"),
        Finished(at=NOON, run="r1", result="done", began=True, evidence=evidence),
        Started(at=NOON, run="r2", action="option", option="A", reason="x"),
        Finished(
            at=NOON,
            run="r2",
            result="done",
            began=True,
            seconds=2,
            outcome=make_outcome("not_recovered", actions=["Ended 3 sessions."], before={"n": 9}, after={"n": 6}),
        ),
        Escalated(at=NOON, reason=reason, next_step="Call Kim."),
    ]


def test_a_message_holds_what_a_person_needs() -> None:
    """Reason, next step, the evidence from before the first change, what was tried, and what it changed."""
    message = compose(7, story(), 6, now=NOON)

    assert message is not None
    assert message.body.splitlines() == [
        "Nothing is left.",
        "Next step: Call Kim.",
        "",
        "Evidence before the first change:",
        "  value_0 = 0",
        "",
        "What was tried:",
        "Option A: acted, not_recovered (2.0 s): It is not_recovered.",
        "  did: Ended 3 sessions.",
        "  n: 9 → 6",
        "",
        "The whole record: alert-responder incidents show 7",
    ]


def test_a_message_is_told_of_events_that_concern_people_only() -> None:
    """A diagnosis calls nobody, and an escalation without evidence says so."""
    assert compose(7, story(), 3, now=NOON) is None
    events = [story()[0], Escalated(at=NOON, reason="x", next_step="y"), Closed(at=NOON, status="resolved", reason="z")]
    message = compose(7, events, 2, now=NOON)
    assert message is not None
    assert "No evidence was read." in message.body
    assert "Nothing was tried." in message.body


def test_a_long_or_hostile_message_is_bounded_and_calls_nobody() -> None:
    """Labels and evidence come from outside: they fill no screen and ping no channel."""
    message = compose(7, story("x" * 150 + " <!here> @everyone <@U1>\x1b[2J", "@channel", lines=500), 6, now=NOON)

    assert message is not None
    assert len(message.body) < 6200
    assert "… and 470 lines more" in message.body
    for call in ("<!here>", "@everyone", "<@U1>", "\x1b"):
        assert call not in message.body
    assert "@channel" not in message.title
    long = [make_outcome("not_recovered", actions=["y" * 199] * 30)] * 9
    events = story()[:4]
    for number, outcome in enumerate(long):
        events += [
            Finished(at=NOON, run=f"r{number + 2}", result="done", began=True, outcome=outcome),
            Started(at=NOON, run=f"r{number + 3}", action="verify", reason="x"),
        ]
    events[-1] = Escalated(at=NOON, reason="x", next_step="y")
    message = compose(7, events, len(events), now=NOON)
    assert message is not None
    assert "… (cut)" in message.body
    assert message.body.endswith("alert-responder incidents show 7")


def test_an_address_that_apprise_does_not_know_stops_the_start(caplog: pytest.LogCaptureFixture) -> None:
    """The error names the target and shows nothing of the address."""
    with (
        caplog.at_level(logging.DEBUG),
        pytest.raises(SettingsError, match=r"notify\.oncall is not an address") as caught,
    ):
        AppriseTeller({"oncall": SecretStr(f"nonsense://{SECRET}")})

    assert SECRET not in str(caught.value) + caplog.text
