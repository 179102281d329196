# SPDX-License-Identifier: GPL-3.0-or-later
"""Take incidents that are due, do what `decide` says, and put every step on record before and after it."""

from __future__ import annotations

import asyncio
import logging
import uuid
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from alert_responder.alerts import run_variables
from alert_responder.documents import Evidence, Outcome, read_document
from alert_responder.errors import CatalogError, Conflict, ResponderError, StoreUnavailable
from alert_responder.incidents import (
    Ask,
    Asked,
    Close,
    Closed,
    Escalate,
    Escalated,
    Event,
    Finished,
    Healing,
    Held,
    HoldBack,
    Policy,
    Release,
    Released,
    Run,
    Started,
    State,
    Status,
    Surroundings,
    Wait,
    decide,
    fold,
    open_breakers,
)
from alert_responder.routing import declared_labels
from alert_responder.runner import Report, Request, Runner
from alert_responder.silences import NoSilences, Silences, labels_to_silence

if TYPE_CHECKING:
    from collections.abc import Callable

    from alert_responder.dependencies import Dependencies
    from alert_responder.metrics import Metrics
    from alert_responder.runbooks import Catalog, Runbook
    from alert_responder.store import Store

log = logging.getLogger(__name__)

_CLEAN_UP_SECONDS = 3600.0
_BREAKER_SECONDS = 10.0
# So many of a runbook's newest incidents tell how far its options may be trusted.
_JUDGED_INCIDENTS = 100
_SWEEP_SECONDS = 60.0
_MOST_SWEPT = 10_000
# A lease is renewed so often; when that fails for half of it, the work is ended, which leaves the rest of the lease for
# ending it and for clocks that differ.
_RENEWALS = 6


@dataclass
class Worker:
    """Works on several incidents at once; the store sees to it that they are of different services."""

    store: Store
    runner: Runner
    catalog: Catalog
    metrics: Metrics
    clock: Callable[[], datetime]
    policy: Policy = field(default_factory=Policy)
    dependencies: Dependencies = field(default_factory=dict)
    silences: Silences = field(default_factory=NoSilences)
    owner: str = field(default_factory=lambda: uuid.uuid4().hex)
    concurrency: int = 4
    poll_seconds: float = 1.0
    lease_seconds: float = 60.0
    stop_seconds: float = 30.0
    _observed_at: datetime | None = None
    _breakers_at: datetime | None = None
    shared: bool = False  # whether other responders work on the same store
    _renewed_at: float = 0.0
    _at_work: dict[int, asyncio.Task[None]] = field(default_factory=dict)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def wake(self) -> None:
        """Look for work now instead of at the next poll."""
        self._news.set()

    async def serve(self, stop: asyncio.Event) -> None:
        """Work until told to stop; then give running steps some time to end, and end what does not."""
        self._renewed_at = asyncio.get_running_loop().time()
        cleaning = asyncio.create_task(self._clean_up_regularly())
        sweeping = asyncio.create_task(self._sweep_regularly())
        renewing = asyncio.create_task(self._renew_regularly())
        try:
            while not stop.is_set():
                await self.look_for_work()
                await self._pause(stop)
        finally:
            cleaning.cancel()
            sweeping.cancel()
            if self._at_work:
                await asyncio.wait(self._at_work.values(), timeout=self.stop_seconds)
            for task in self._at_work.values():
                task.cancel()
            renewing.cancel()
            await asyncio.gather(*self._at_work.values(), cleaning, sweeping, renewing, return_exceptions=True)

    async def look_for_work(self) -> None:
        """Claim what is due and begin to work on it."""
        self._news.clear()
        try:
            await self._observe()
            free = self.concurrency - len(self._at_work)
            if free > 0:
                lease = timedelta(seconds=self.lease_seconds)
                claimed = await asyncio.to_thread(
                    self.store.claim, self.owner, now=self.clock(), lease=lease, limit=free
                )
                # A lease that ended while the store was away is only taken again; the work goes on.
                for incident in set(claimed) - self._at_work.keys():
                    self._at_work[incident] = asyncio.create_task(self._attend(incident))
        except StoreUnavailable as error:
            self.metrics.errors.labels("store").inc()
            log.error("%s The next attempt follows.", error, extra={"action": "store.unavailable"})

    async def idle(self) -> None:
        """Wait until nothing is being worked on."""
        while self._at_work:
            await asyncio.gather(*self._at_work.values(), return_exceptions=True)

    async def _attend(self, incident: int) -> None:
        try:
            await self.work(incident)
        except Conflict as error:
            log.warning("Incident %d is left alone: %s", incident, error, extra=_about("incident.lost", incident))
        except StoreUnavailable as error:
            self.metrics.errors.labels("store").inc()
            # The lease ends by itself; what a finished run has left in its folder is read then.
            log.error("Incident %d has to wait: %s", incident, error, extra=_about("store.unavailable", incident))
        except Exception:
            self.metrics.errors.labels("worker").inc()
            log.exception("Incident %d could not be worked on.", incident, extra=_about("worker.error", incident))
        finally:
            del self._at_work[incident]
            self.wake()

    async def work(self, incident: int) -> None:
        """Go on with one leased incident until it has to wait or is over; no silence outlives that."""
        try:
            await self._go_on(incident)
        finally:
            await self.silences.lift(incident)

    async def _go_on(self, incident: int) -> None:
        state = await self._load(incident)
        if state.running is not None:
            state = await self._reconcile(incident, state, state.running)
        while True:
            runbook = self._runbook(state)
            surroundings = await asyncio.to_thread(self._surroundings, incident, state)
            step = decide(state, runbook, self.clock(), self.policy, surroundings)
            if isinstance(step, Wait):
                await asyncio.to_thread(
                    self.store.release, incident, self.owner, due_at=step.until, expected=state.sequence
                )
                return
            try:
                if isinstance(step, Run):
                    assert runbook is not None
                    state = await self._run(incident, state, runbook, step)
                elif isinstance(step, Ask):
                    asked = Asked(at=self.clock(), option=step.option, run=step.run, expires_at=step.expires_at)
                    state = await self._append(incident, asked, expected=state.sequence)
                    log.warning(
                        "Incident %d asks whether option %s may run: %s",
                        incident,
                        step.option,
                        step.reason,
                        extra=_about("incident.asked", incident),
                    )
                elif isinstance(step, HoldBack | Release):
                    word = self._word(step)
                    state = await self._append(incident, word, expected=state.sequence)
                    log.info("Incident %d: %s", incident, step.reason, extra=_about(f"incident.{word.kind}", incident))
                else:
                    state = await self._append(incident, self._word(step), expected=state.sequence)
                    self.metrics.ended.labels(state.runbook or "", state.status.value).inc()
                    log.info(
                        "Incident %d: %s. %s",
                        incident,
                        state.status.value,
                        step.reason,
                        extra=_about("incident.ended", incident),
                    )
            except Conflict:
                # Something happened since the decision. If only an alert: decide again; if the lease is lost: stop.
                before, state = state, await self._load(incident)
                if state.sequence == before.sequence:
                    raise

    async def _run(self, incident: int, state: State, runbook: Runbook, step: Run) -> State:
        run = f"{incident}-{state.sequence + 1}-{uuid.uuid4().hex[:8]}"
        playbook, timeout_seconds = _play(runbook, step)
        labels = declared_labels(state.alert, runbook)
        request = Request(
            run=run,
            playbook=playbook,
            timeout_seconds=timeout_seconds,
            variables=run_variables(state.alert, labels, run=run, incident=incident, undo=_undo(state, step)),
            check=step.action == "rehearse",
        )
        started = Started(
            at=self.clock(),
            run=run,
            action=step.action,
            option=step.option,
            idempotent=step.idempotent,
            approval=step.approval,
            place=self.runner.place,
            reason=step.reason,
            considered=step.considered,
        )
        await self._append(incident, started, expected=state.sequence)
        log.info(
            "Incident %d: %s %s (%s)",
            incident,
            step.action,
            step.option,
            step.reason,
            extra=_about("run.started", incident),
        )
        if step.action in ("option", "undo"):
            labels_of = labels_to_silence(state.alert, runbook)
            reason = f"{step.action} {step.option} of {runbook.runbook} runs."
            await self.silences.put(incident, labels_of, seconds=timeout_seconds, reason=reason)
        report = await self.runner.run(request)
        return await self._finish(incident, state.runbook or "", started, report)

    async def _reconcile(self, incident: int, state: State, running: Started) -> State:
        """Find out how a step ended that another owner had begun."""
        if running.place in ("", self.runner.place):
            report = await self.runner.recover(running.run)
        else:
            reason = f"the responder of {running.place} was not heard of any more while it ran"
            report = Report("interrupted", began=True, reason=reason, seconds=0.0)
        log.warning(
            "Incident %d: run %s was found unfinished: %s",
            incident,
            running.run,
            report.result,
            extra=_about("run.recovered", incident),
        )
        return await self._finish(incident, state.runbook or "", running, report)

    async def _finish(self, incident: int, runbook: str, started: Started, report: Report) -> State:
        finished = read_report(report, started, runbook=runbook, at=self.clock())
        verdict = finished.outcome.verdict if finished.outcome else ""
        self.metrics.runs.labels(runbook, started.action, started.option, finished.result, verdict).inc()
        self.metrics.run_seconds.labels(runbook, started.action, started.option).observe(finished.seconds)
        return await self._append(incident, finished)

    async def _append(self, incident: int, event: Event, *, expected: int | None = None) -> State:
        return await asyncio.to_thread(self.store.append, incident, [event], owner=self.owner, expected=expected)

    async def _load(self, incident: int) -> State:
        return fold(await asyncio.to_thread(self.store.events, incident))

    def _runbook(self, state: State) -> Runbook | None:
        try:
            return self.catalog.get(state.runbook or "")
        except CatalogError:
            return None

    def _surroundings(self, incident: int, state: State) -> Surroundings:
        now = self.clock()
        past = self.store.past_runs(since=now - timedelta(seconds=self.policy.window_seconds))
        return Surroundings(
            incident,
            tuple(past),
            tuple(self.store.holds(now=now)),
            tuple(self._healing(state)),
            tuple(self.store.runs_of(state.runbook or "", incidents=_JUDGED_INCIDENTS)),
        )

    def _healing(self, state: State) -> list[Healing]:
        """Return who heals what this incident's service depends on, and what has become of the one it waits for."""
        needs = self.dependencies.get(state.service)
        healing = [Healing(*found, Status.OPEN) for found in self.store.at_work(sorted(needs))] if needs else []
        held = state.held
        if held is not None and held.incident not in {one.incident for one in healing}:
            status = fold(self.store.events(held.incident)).status
            healing.append(Healing(held.incident, held.service, status))
        return healing

    def _word(self, step: Escalate | Close | HoldBack | Release) -> Event:
        if isinstance(step, HoldBack):
            return Held(at=self.clock(), incident=step.incident, service=step.service, reason=step.reason)
        if isinstance(step, Release):
            return Released(at=self.clock(), incident=step.incident, reason=step.reason)
        if isinstance(step, Escalate):
            return Escalated(at=self.clock(), reason=step.reason, next_step=step.next_step, considered=step.considered)
        return Closed(at=self.clock(), status=step.status, reason=step.reason)

    async def _observe(self) -> None:
        now = self.clock()
        self.metrics.heartbeat.set(now.timestamp())
        # News may arrive a hundred times a second; the numbers are for whoever scrapes them.
        if self._observed_at and abs((now - self._observed_at).total_seconds()) < self.poll_seconds:
            return
        counts, oldest = await asyncio.to_thread(lambda: (self.store.counts(), self.store.oldest_due()))
        self._observed_at = now
        self.metrics.store_contact.set(now.timestamp())
        for status in ("open", "unmatched", "escalated"):
            self.metrics.open.labels(status).set(counts.get(status, 0))
        self.metrics.queue_age.set(max(0.0, (now - oldest).total_seconds()) if oldest else 0.0)
        if self._breakers_at is None or abs((now - self._breakers_at).total_seconds()) >= _BREAKER_SECONDS:
            self._breakers_at = now
            past = await asyncio.to_thread(
                self.store.past_runs, since=now - timedelta(seconds=self.policy.window_seconds)
            )
            broken = open_breakers(past, self.policy)
            for runbook in ("all", *self.catalog.runbooks):
                self.metrics.breaker.labels(runbook).set(runbook in broken)

    async def _pause(self, stop: asyncio.Event) -> None:
        waits = [asyncio.create_task(event.wait()) for event in (stop, self._news)]
        await asyncio.wait(waits, timeout=self.poll_seconds, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()

    async def _renew_regularly(self) -> None:
        while True:
            await asyncio.sleep(self.lease_seconds / _RENEWALS)
            await self.renew()

    async def renew(self) -> None:
        """Extend the leases, and end every run whose lease is lost before another responder can take it up."""
        loop, at_work = asyncio.get_running_loop(), list(self._at_work)
        if not at_work:
            self._renewed_at = loop.time()
            return
        try:
            lease = timedelta(seconds=self.lease_seconds)
            held = await asyncio.wait_for(
                asyncio.to_thread(self.store.renew, self.owner, at_work, now=self.clock(), lease=lease),
                self.lease_seconds / _RENEWALS,
            )
            self._renewed_at = loop.time()
            lost = set(at_work) - set(held)
        except (ResponderError, TimeoutError) as error:
            log.error("Leases were not renewed: %s", error, extra={"action": "store.unavailable"})
            # On a store of its own nobody else can take the work: it goes on.
            late = self.shared and loop.time() - self._renewed_at >= self.lease_seconds / 2
            lost = set(at_work) if late else set()
        for incident in lost & self._at_work.keys():
            self.metrics.leases_lost.inc()
            log.error(
                "Incident %d: the lease is lost; its run is ended.", incident, extra=_about("lease.lost", incident)
            )
            self._at_work[incident].cancel()

    async def _sweep_regularly(self) -> None:
        """End what a dead responder, or an Alertmanager that was away, left silent; the first time at the start."""
        while True:
            try:
                open_ones = await asyncio.to_thread(self.store.summaries, status=Status.OPEN, limit=_MOST_SWEPT)
                await self.silences.sweep({line.id for line in open_ones})
            except ResponderError as error:
                log.error("Silences were not swept: %s", error, extra={"action": "store.unavailable"})
            await asyncio.sleep(_SWEEP_SECONDS)

    async def _clean_up_regularly(self) -> None:
        while True:
            try:
                await asyncio.to_thread(self.runner.clean_up)
            except OSError as error:
                log.warning("Old runs were not removed: %s", error, extra={"action": "runs.not_removed"})
            await asyncio.sleep(_CLEAN_UP_SECONDS)


def read_report(report: Report, started: Started, *, runbook: str, at: datetime) -> Finished:
    """Turn what a run published into an event; a run that did not publish its document has failed to launch."""
    fields: dict[str, Any] = {
        "at": at,
        "run": started.run,
        "result": report.result,
        "began": report.began,
        "reason": report.reason,
        "seconds": report.seconds,
    }
    if report.result == "done":
        try:
            if started.action == "diagnose":
                fields["evidence"] = read_document(report.published, Evidence, runbook=runbook)
            else:
                fields["outcome"] = read_document(report.published, Outcome, runbook=runbook)
        except ValueError as error:
            reason = f"{error}; {report.reason}" if report.reason else str(error)
            fields.update(result="failed_launch", reason=reason)
    return Finished(**fields)


def _play(runbook: Runbook, step: Run) -> tuple[str, float]:
    """Return the playbook of a step and its limit; an undo has that of its option."""
    if step.option:
        option = runbook.option(step.option)
        playbook = option.undo if step.action == "undo" and option.undo else option.playbook
        return playbook, option.timeout_seconds
    play = runbook.diagnose if step.action == "diagnose" else runbook.verify
    return play.playbook, play.timeout_seconds


def _undo(state: State, step: Run) -> dict[str, Any] | None:
    """Return what an undo receives: the values before and after its option, as that published them."""
    if step.action != "undo":
        return None
    outcome = state.attempts(step.option)[-1].outcome
    return {
        "option": step.option,
        "before": outcome.before if outcome else {},
        "after": outcome.after if outcome else {},
    }


def _about(action: str, incident: int) -> dict[str, object]:
    return {"action": action, "incident": incident}
