"""What every store promises: run on the one in memory, on SQLite, and on a real PostgreSQL (integration tests)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from alert_responder import store as rules
from alert_responder.errors import Conflict, UnknownIncident
from alert_responder.incidents import Closed, Escalated, Event, Finished, Hold, IllegalEvent, PastRun, Started, Status
from alert_responder.routing import Route
from alert_responder.store import Delivery, Receipt, Store
from tests.unit.alert_responder.makers import NOON, make_alert, make_outcome

LEASE = timedelta(seconds=60)
SECOND = timedelta(seconds=1)


def deliver(identity: str = "one", service: str = "thing", runbook: str | None = "tiny", **alert: Any) -> Delivery:
    return Delivery(make_alert(**alert), Route(identity, service, runbook, "" if runbook else "no runbook"))


def resolved(**changes: Any) -> Delivery:
    return deliver(status="resolved", ends_at=NOON + SECOND, **changes)


def start(run: str = "r1", **changes: Any) -> Started:
    return Started.model_validate({"at": NOON, "run": run, "action": "diagnose", "reason": "x", **changes})


def finish(run: str = "r1", **changes: Any) -> Finished:
    return Finished.model_validate({"at": NOON, "run": run, "result": "done", "began": True, **changes})


class StoreContract:
    """Held by every store; the fixture ``store`` gives an empty one."""

    def test_an_alert_opens_one_incident(self, store: Store) -> None:
        """The first alert opens an incident; its copies, and a pair's, belong to it."""
        receipts = store.receive([deliver(), deliver(), deliver(starts_at=NOON + SECOND)], now=NOON)

        assert receipts == [Receipt(1, "opened"), Receipt(1, "repeated"), Receipt(1, "repeated")]
        [line] = store.summaries()
        assert (line.id, line.alert, line.service, line.runbook, line.status, line.open) == (
            1,
            "ThingFull",
            "thing",
            "tiny",
            Status.OPEN,
            True,
        )
        assert (line.opened_at, line.due_at) == (NOON, NOON)
        assert [event.kind for event in store.events(1)] == ["opened"]

    def test_two_alerts_of_one_identity_end_separately(self, store: Store) -> None:
        """The incident knows each alert by its fingerprint and stays as long as one of them fires."""
        store.receive([deliver(), deliver(fingerprint="f2")], now=NOON)
        store.append(1, [Escalated(at=NOON, reason="x", next_step="y")], owner=None)

        assert store.receive([resolved()], now=NOON) == [Receipt(1, "ended")]
        assert store.receive([resolved()], now=NOON) == [Receipt(1, "repeated")]
        assert store.summaries()[0].open
        assert store.receive([resolved(fingerprint="f2")], now=NOON) == [Receipt(1, "ended")]
        assert not store.summaries()[0].open
        assert store.summaries()[0].status is Status.ESCALATED

    def test_an_escalated_incident_does_not_swallow_the_next_episode(self, store: Store) -> None:
        """The end of the first was never heard: the alert that began after the escalation is another incident."""
        store.receive([deliver()], now=NOON)
        store.append(1, [Escalated(at=NOON + 30 * SECOND, reason="x", next_step="y")], owner=None)
        # A copy, or the other of a pair, is the same episode.
        copies = [deliver(), deliver(starts_at=NOON + 20 * SECOND)]
        assert store.receive(copies, now=NOON + 40 * SECOND) == [Receipt(1, "repeated"), Receipt(1, "repeated")]

        later = NOON + timedelta(hours=1)
        again = deliver(starts_at=later)
        assert store.receive([again, again], now=later) == [Receipt(2, "opened"), Receipt(2, "repeated")]
        new, old = store.summaries()
        assert (old.open, old.status, new.open, new.status) == (False, Status.RESOLVED, True, Status.OPEN)
        assert "was not heard" in old.reason

    def test_an_escalated_incident_does_not_grow_for_ever(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        """One alert of two keeps coming and going: at some length the record ends, and the alert opens the next."""
        monkeypatch.setattr(rules, "MOST_EVENTS", 5)
        store.receive([deliver(), deliver(fingerprint="f2")], now=NOON)
        store.append(1, [Escalated(at=NOON, reason="x", next_step="y")], owner=None)
        flapping = [resolved(), deliver()]

        assert store.receive(flapping, now=NOON) == [Receipt(1, "ended"), Receipt(1, "fired")]
        assert store.receive(flapping, now=NOON) == [Receipt(1, "ended"), Receipt(2, "opened")]
        assert store.receive([deliver(), deliver(fingerprint="f2")], now=NOON) == [
            Receipt(2, "repeated"),
            Receipt(2, "fired"),
        ]
        new, old = store.summaries()
        assert (old.open, old.status, new.open, new.status) == (False, Status.RESOLVED, True, Status.OPEN)
        assert "until 6 events were on record" in old.reason

    def test_the_incidents_of_other_services_are_found(self, store: Store) -> None:
        """Those the responder is at work on, the oldest first; one that is with a person is not."""
        for identity, service in (("one", "a"), ("two", "b"), ("three", "a"), ("four", "c"), ("five", "b")):
            store.receive([deliver(identity, service)], now=NOON)
        store.append(5, [Escalated(at=NOON, reason="x", next_step="y")], owner=None)

        assert store.at_work(["a", "b"]) == [(1, "a"), (2, "b"), (3, "a")]
        assert store.at_work(["nothing"]) == []

    def test_an_open_incident_keeps_its_alert_whenever_it_began(self, store: Store) -> None:
        """While the responder works, another start of the same alert is no second incident."""
        store.receive([deliver()], now=NOON)
        later = NOON + timedelta(hours=1)
        assert store.receive([deliver(starts_at=later)], now=later) == [Receipt(1, "repeated")]

    def test_an_end_that_is_older_than_the_alert_is_ignored(self, store: Store) -> None:
        """A late copy of an earlier episode's end does not end this one."""
        store.receive([deliver(starts_at=NOON + timedelta(minutes=1))], now=NOON)

        assert store.receive([resolved()], now=NOON) == [Receipt(1, "repeated")]

    def test_resolved_alone_opens_nothing(self, store: Store) -> None:
        """The end of an alert that nobody knows is not an incident."""
        assert store.receive([resolved()], now=NOON) == [Receipt(None, "ignored")]
        assert store.summaries() == []

    def test_an_ended_alert_may_fire_again(self, store: Store) -> None:
        """Ended and fired again while the incident is open are two events of one incident."""
        store.receive([deliver(), resolved()], now=NOON)

        assert store.receive([deliver(starts_at=NOON + timedelta(minutes=1))], now=NOON) == [Receipt(1, "fired")]
        assert [event.kind for event in store.events(1)] == ["opened", "ended", "fired"]

    def test_copies_after_the_closing_belong_to_the_closed_incident_for_a_while(self, store: Store) -> None:
        """A verified recovery is ahead of its alert: the same episode opens nothing until it has settled."""
        store.receive([deliver()], now=NOON)
        store.append(1, [Closed(at=NOON, status="recovered", reason="x")], owner=None)

        assert store.receive([deliver()], now=NOON + timedelta(minutes=14)) == [Receipt(1, "repeated")]
        later = deliver(starts_at=NOON + timedelta(minutes=1))
        assert store.receive([later], now=NOON + timedelta(minutes=2)) == [Receipt(2, "opened")]
        store.append(2, [Closed(at=NOON, status="recovered", reason="x")], owner=None)
        assert store.receive([deliver()], now=NOON + timedelta(minutes=16)) == [Receipt(3, "opened")]

    def test_the_copies_of_a_pair_that_disagrees_belong_to_one_incident(self, store: Store) -> None:
        """One of two Prometheus saw the alert a little later: what it sent while the incident was open is known."""
        theirs = deliver(starts_at=NOON + 7 * SECOND)
        store.receive([deliver(), theirs, deliver()], now=NOON + 8 * SECOND)
        store.append(1, [Closed(at=NOON + 30 * SECOND, status="recovered", reason="x")], owner=None)

        assert store.receive([deliver(), theirs], now=NOON + 40 * SECOND) == [Receipt(1, "repeated")] * 2
        assert store.receive([deliver(starts_at=NOON + 8 * SECOND)], now=NOON + LEASE) == [Receipt(2, "opened")]

    def test_after_an_ended_alert_only_late_copies_are_dropped(self, store: Store) -> None:
        """An alert that fires again with its old start, after a restart of Prometheus, is not lost."""
        store.receive([deliver(), resolved()], now=NOON)
        store.append(1, [Closed(at=NOON, status="resolved", reason="x")], owner=None)

        assert store.receive([deliver()], now=NOON + timedelta(seconds=59)) == [Receipt(1, "repeated")]
        assert store.receive([deliver()], now=NOON + timedelta(seconds=61)) == [Receipt(2, "opened")]

    def test_an_unmatched_alert_is_on_record_and_never_due(self, store: Store) -> None:
        """What no runbook answers is kept, open, and not worked on."""
        store.receive([deliver(runbook=None)], now=NOON)

        assert store.summaries(status=Status.UNMATCHED)[0].reason == "no runbook"
        assert store.claim("me", now=NOON, lease=LEASE, limit=9) == []
        assert store.counts() == {"unmatched": 1}

    def test_a_claim_is_a_lease(self, store: Store) -> None:
        """A leased incident is not claimed again until the lease is over or given back."""
        store.receive([deliver()], now=NOON)

        assert store.claim("me", now=NOON - SECOND, lease=LEASE, limit=9) == []
        assert store.oldest_due() == NOON
        assert store.claim("me", now=NOON, lease=LEASE, limit=9) == [1]
        assert store.oldest_due() is None
        assert store.claim("you", now=NOON, lease=LEASE, limit=9) == []
        store.receive([deliver("two", runbook=None)], now=NOON)
        assert store.renew("me", [1, 2], now=NOON + LEASE, lease=LEASE) == [1]
        assert store.claim("you", now=NOON + LEASE + SECOND, lease=LEASE, limit=9) == []
        assert store.claim("you", now=NOON + 2 * LEASE + SECOND, lease=LEASE, limit=9) == [1]
        assert store.renew("me", [1], now=NOON + 2 * LEASE, lease=LEASE) == []
        with pytest.raises(Conflict, match="Incident 1 is not leased to me any more"):
            store.append(1, [start()], owner="me")

    def test_only_the_oldest_open_incident_of_a_service_is_worked_on(self, store: Store) -> None:
        """One remediation per service: the next begins when the one before it is not open any more."""
        store.receive([deliver("one"), deliver("two"), deliver("three", service="other")], now=NOON)

        assert store.claim("me", now=NOON, lease=LEASE, limit=9) == [1, 3]
        store.release(1, "me", due_at=NOON + timedelta(hours=1), expected=1)
        assert store.claim("me", now=NOON, lease=LEASE, limit=9) == []
        store.append(1, [Escalated(at=NOON, reason="x", next_step="y")], owner=None)
        assert store.claim("me", now=NOON, lease=LEASE, limit=9) == [2]

    def test_a_claim_is_limited(self, store: Store) -> None:
        """No more incidents are leased than asked for, the oldest first."""
        store.receive([deliver(name, service=name) for name in ("a", "b", "c")], now=NOON)

        assert store.claim("me", now=NOON, lease=LEASE, limit=2) == [1, 2]

    def test_release_sets_the_time_unless_something_happened(self, store: Store) -> None:
        """An alert that arrives while an incident is worked on wakes it at once."""
        store.receive([deliver()], now=NOON)
        store.claim("me", now=NOON, lease=LEASE, limit=1)
        store.release(1, "me", due_at=NOON + LEASE, expected=1)
        assert store.summaries()[0].due_at == NOON + LEASE

        store.claim("me", now=NOON + LEASE, lease=LEASE, limit=1)
        store.receive([resolved()], now=NOON + LEASE)
        store.release(1, "me", due_at=NOON + 9 * LEASE, expected=1)
        assert store.summaries()[0].due_at == NOON + LEASE

    def test_a_lease_of_somebody_else_is_not_released(self, store: Store) -> None:
        """Only the owner gives a lease back."""
        store.receive([deliver()], now=NOON)
        store.claim("me", now=NOON, lease=LEASE, limit=1)
        store.release(1, "you", due_at=None, expected=1)

        assert store.claim("you", now=NOON, lease=LEASE, limit=1) == []

    def test_after_a_restart_every_lease_ends_and_its_incident_is_due(self, store: Store) -> None:
        """The one process that runs takes over what the dead one held."""
        store.receive([deliver("one"), deliver("two", service="other")], now=NOON)
        store.claim("dead", now=NOON, lease=timedelta(days=1), limit=1)

        assert store.take_over(now=NOON + SECOND) == [1]
        assert store.claim("me", now=NOON + SECOND, lease=LEASE, limit=9) == [1, 2]

    def test_events_come_back_as_they_were_written(self, store: Store) -> None:
        """Documents, hostile text and times survive the store."""
        hostile = "'; DROP TABLE incidents; -- {{ 7*7 }} \n\x00 ☃"
        store.receive([deliver(labels={"note": hostile})], now=NOON)
        store.claim("me", now=NOON, lease=LEASE, limit=1)
        written: list[Event] = [start(), finish(outcome=make_outcome("unknown"), reason=hostile)]
        state = store.append(1, written, owner="me", expected=1)

        opened, *rest = store.events(1)
        assert opened.kind == "opened"
        assert opened.alert.labels["note"] == hostile
        assert rest == written
        assert state.sequence == 3

    def test_a_decision_on_an_old_state_is_refused(self, store: Store) -> None:
        """What happened since the incident was read must be read before anything starts."""
        store.receive([deliver()], now=NOON)
        store.claim("me", now=NOON, lease=LEASE, limit=1)
        store.receive([resolved()], now=NOON)

        with pytest.raises(Conflict, match="The incident has 2 events, expected 1"):
            store.append(1, [start()], owner="me", expected=1)
        assert len(store.events(1)) == 2

    def test_an_event_that_must_not_follow_is_not_written(self, store: Store) -> None:
        """The store refuses an illegal transition and keeps the record as it was."""
        store.receive([deliver()], now=NOON)

        with pytest.raises(IllegalEvent):
            store.append(1, [start(), start("r2")], owner=None)
        assert len(store.events(1)) == 1

    def test_an_unknown_incident_is_named(self, store: Store) -> None:
        """There is one error for a number that does not exist."""
        with pytest.raises(UnknownIncident, match="There is no incident 7"):
            store.events(7)

    def test_the_newest_incidents_come_first_and_are_limited(self, store: Store) -> None:
        """The list is short and begins with what is new."""
        store.receive([deliver(name, service=name) for name in "abcd"], now=NOON)

        assert [line.id for line in store.summaries(limit=2)] == [4, 3]

    def test_past_runs_are_the_options_that_ran_lately(self, store: Store) -> None:
        """Options that ran to their end or were cut short count; refusals, diagnoses and what never began do not."""
        store.receive([deliver("one"), deliver("two", service="other")], now=NOON)
        option = {"action": "option", "option": "A"}
        late = NOON + timedelta(hours=1)
        refused = make_outcome("unchecked", status="refused", changed=False)
        store.append(1, [start(), finish(evidence=None)], owner=None)
        store.append(1, [start("r2", **option), finish("r2", outcome=refused)], owner=None)
        store.append(1, [start("r3", **option), finish("r3", result="failed_launch", began=False)], owner=None)
        store.append(
            1, [start("r4", **option), finish("r4", outcome=make_outcome("not_recovered"), at=late)], owner=None
        )
        store.append(2, [start("r5", **option), finish("r5", result="timed_out", at=NOON - SECOND)], owner=None)

        assert store.past_runs(since=NOON - timedelta(hours=1)) == [
            PastRun(1, "tiny", "thing", "A", late, "not_recovered"),
            PastRun(2, "tiny", "other", "A", NOON - SECOND, "unknown"),
        ]
        assert [run.incident for run in store.past_runs(since=NOON)] == [1]

    def test_the_runs_of_one_runbook_come_from_its_newest_incidents(self, store: Store) -> None:
        """Old runs count as long as the runbook was not used since; another runbook's never do."""
        healed = finish(outcome=make_outcome("recovered"))
        for number, runbook in enumerate(("tiny", "tiny", "big", "tiny"), start=1):
            store.receive([deliver(f"i{number}", service=f"s{number}", runbook=runbook)], now=NOON)
        for number in (1, 2, 3):
            store.append(number, [start(action="option", option="A"), healed], owner=None)

        assert [run.incident for run in store.runs_of("tiny", incidents=9)] == [1, 2]
        assert store.runs_of("tiny", incidents=2) == [PastRun(2, "tiny", "s2", "A", NOON, "recovered")]
        assert store.runs_of("none", incidents=9) == []
        assert store.uses("tiny", since=NOON) == 3
        assert store.uses("tiny", since=NOON + SECOND) == 0

    def test_records_are_whole_incidents_from_a_time_on(self, store: Store) -> None:
        """Incidents with all their events, the oldest first."""
        store.receive([deliver("old", service="a")], now=NOON - SECOND)
        store.receive([deliver("one", service="b"), deliver("two", service="c")], now=NOON)
        store.append(2, [Closed(at=NOON + SECOND, status="recovered", reason="x")], owner=None)

        found = store.records(since=NOON)
        assert [(record.id, record.identity, len(record.events)) for record in found] == [(2, "one", 2), (3, "two", 1)]
        assert list(found[0].events) == store.events(2)

    def test_holds_are_in_force_between_their_times_until_lifted(self, store: Store) -> None:
        """A pause holds until it is lifted, a window from its start to its end."""
        pause = Hold(starts_at=NOON, who="kim", reason="release")
        window = Hold(service="thing", starts_at=NOON + LEASE, ends_at=NOON + 2 * LEASE, who="kim", reason="upgrade")
        assert (store.hold(pause), store.hold(window)) == (1, 2)

        assert [hold.id for hold in store.holds(now=NOON - SECOND)] == []
        assert store.holds(now=NOON + LEASE) == [
            pause.model_copy(update={"id": 1}),
            window.model_copy(update={"id": 2}),
        ]
        assert store.lift(1, who="lee", now=NOON + LEASE)
        assert not store.lift(1, who="lee", now=NOON + 2 * LEASE)
        assert not store.lift(9, who="lee", now=NOON)
        assert store.holds(now=NOON + 2 * LEASE) == []
