"""A PostgreSQL server in memory, and the contract that it shares with the real one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.ops.runbooks.plugins.module_utils._errors import ConnectionFailed
from ansible_collections.ops.runbooks.plugins.module_utils._postgresql_pool import SessionSource
from ansible_collections.ops.runbooks.plugins.module_utils._postgresql_sessions import (
    STATES,
    Criteria,
    Session,
    Slots,
    Snapshot,
    root_blockers,
)
from ansible_collections.ops.runbooks.plugins.module_utils._waiting import Clock
from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

OWN = Session(1, "start-1", "runbooks", "ops.runbooks", "app", "local", "active", 0, own=True, reserved=True)


def session(pid: int, state: str = "idle", seconds: float = 600, **more: Any) -> Session:
    """Return a session of an ordinary application."""
    given: dict[str, Any] = {
        "started": f"start-{pid}",
        "user": "app",
        "application": "shop",
        "database": "app",
        "client": "192.0.2.7",
        "state": state,
        "state_seconds": seconds,
        "transaction_seconds": None if state == "idle" else seconds,
        "statement_seconds": seconds if state == "active" else None,
        **more,
    }
    return Session(pid, **given)


@dataclass
class FakeServer(SessionSource):
    """A server that keeps sessions, and a log of what was asked of it.

    ``deaf`` sessions ignore a cancel, ``immortal`` ones a termination too; ``lost_after`` requests, it goes away.
    """

    sessions: list[Session] = field(default_factory=list)
    maximum: int = 100
    deaf: set[int] = field(default_factory=set)
    immortal: set[int] = field(default_factory=set)
    lost_after: int | None = None
    log: list[tuple[str, list[int]]] = field(default_factory=list)
    between: Callable[[FakeServer], None] = lambda _server: None  # what happens after the first snapshot
    seconds: float = 0.0

    def clock(self) -> Clock:
        return Clock(now=lambda: self.seconds, sleep=self._sleep)

    def _sleep(self, seconds: float) -> None:
        self.seconds += seconds

    @override
    def server(self) -> dict[str, Any]:
        return {"version": "17.6"}

    @override
    def snapshot(self) -> Snapshot:
        self._ask("snapshot", [])
        sessions = (OWN, *self.sessions)
        if len(self.log) == 1:
            self.between(self)
        return Snapshot(Slots(self.maximum, 3, 2, len(sessions)), sessions)

    @override
    def cancel(self, sessions: Sequence[Session], criteria: Criteria) -> set[int]:
        hit = self._matching("cancel", sessions, criteria)
        for one in [one for one in self.sessions if one.pid in hit - self.deaf]:
            self._put(replace(one, state="idle", state_seconds=0, transaction_seconds=None, statement_seconds=None))
        return hit

    @override
    def terminate(self, sessions: Sequence[Session], criteria: Criteria) -> set[int]:
        hit = self._matching("terminate", sessions, criteria)
        self.sessions = [one for one in self.sessions if one.pid not in hit - self.immortal]
        return hit

    @override
    def alive(self, sessions: Sequence[Session]) -> set[int]:
        known = {(one.pid, one.started) for one in self.sessions}
        return {one.pid for one in sessions if (one.pid, one.started) in known}

    @override
    def unreadable(self) -> list[dict[str, str]]:
        return []

    def signalled(self) -> list[tuple[str, list[int]]]:
        return [entry for entry in self.log if entry[0] != "snapshot"]

    def _put(self, changed: Session) -> None:
        self.sessions = [changed if one.pid == changed.pid else one for one in self.sessions]

    def _matching(self, what: str, sessions: Sequence[Session], criteria: Criteria) -> set[int]:
        self._ask(what, [one.pid for one in sessions])
        meant = {(one.pid, one.started) for one in sessions}
        blockers = root_blockers(self.sessions)
        return {
            one.pid
            for one in self.sessions
            if (one.pid, one.started) in meant and not one.own and criteria.matches(one, blockers)
        }

    def _ask(self, what: str, pids: list[int]) -> None:
        self.log.append((what, pids))
        if self.lost_after is not None and len(self.log) > self.lost_after:
            raise ConnectionFailed("Lost the connection: server closed the connection unexpectedly.")


class World(ABC):
    """A server and its clients, real or not; every client is of the application that is named."""

    source: SessionSource

    @abstractmethod
    def idle(self, application: str) -> int:
        """Connect, and return the pid."""

    @abstractmethod
    def in_transaction(self, application: str) -> int:
        """Connect and leave a transaction open."""

    @abstractmethod
    def busy(self, application: str) -> int:
        """Connect and run a statement that lasts."""

    @abstractmethod
    def waiting_for(self, application: str) -> tuple[int, int, int]:
        """Return a session that holds a lock, one that waits for it, and one that queues behind that."""

    @abstractmethod
    def begin(self, pid: int) -> None:
        """Have an idle session open a transaction."""

    def find(self, pid: int) -> Session:
        (found,) = [one for one in self.source.snapshot().sessions if one.pid == pid]
        return found

    def state(self, pid: int) -> str | None:
        found = [one.state for one in self.source.snapshot().sessions if one.pid == pid]
        return found[0] if found else None


def criteria(*states: str, **more: Any) -> Criteria:
    """Return criteria; without states every state is meant."""
    return Criteria(states=states or tuple(STATES), **more)


class SessionSourceContract:
    """What the modules rely on; a subclass gives the fixture ``world``."""

    def test_a_snapshot_shows_state_application_and_slots(self, world: World) -> None:
        """Every client backend counts against the slots, this one's own included."""
        pids = {"idle": world.idle("c1"), "idle_in_transaction": world.in_transaction("c1"), "active": world.busy("c1")}
        taken = world.source.snapshot()
        found = {one.pid: one for one in taken.sessions}
        assert {state: found[pid].state for state, pid in pids.items()} == {state: state for state in pids}
        assert {found[pid].application for pid in pids.values()} == {"c1"}
        assert taken.slots.used == len(taken.sessions)
        assert sum(one.own for one in taken.sessions) == 1
        assert found[pids["idle"]].transaction_seconds is None
        assert found[pids["active"]].statement_seconds is not None

    def test_terminate_ends_what_was_named_and_only_that(self, world: World) -> None:
        """Two sessions of the same kind: one goes."""
        gone, stays = world.idle("c2"), world.idle("c2")
        victim = world.find(gone)
        assert world.source.terminate([victim], criteria("idle")) == {gone}
        wait_until_gone(world, victim)
        assert world.state(stays) == "idle"

    def test_terminate_spares_what_no_longer_matches(self, world: World) -> None:
        """A session that began to work after the snapshot is not the one that was chosen."""
        pid = world.idle("c3")
        chosen = world.find(pid)
        world.begin(pid)
        assert world.source.terminate([chosen], criteria("idle")) == set()
        assert world.state(pid) == "idle_in_transaction"

    def test_terminate_spares_a_pid_that_was_reused(self, world: World) -> None:
        """Another start is another session."""
        pid = world.idle("c4")
        stranger = replace(world.find(pid), started="2001-01-01 00:00:00+00")
        assert world.source.terminate([stranger], criteria("idle")) == set()
        assert world.source.alive([stranger]) == set()
        assert world.state(pid) == "idle"

    def test_ages_are_checked_again(self, world: World) -> None:
        """A session younger than any of the criteria asks is spared."""
        idle, transaction, busy = world.idle("c5"), world.in_transaction("c5"), world.busy("c5")
        for pid, limits in (
            (idle, {"minimum_idle_seconds": 1e6}),
            (transaction, {"minimum_idle_in_transaction_seconds": 1e6}),
            (transaction, {"minimum_transaction_seconds": 1e6}),
            (busy, {"minimum_statement_seconds": 1e6}),
        ):
            assert world.source.terminate([world.find(pid)], criteria(**limits)) == set()
        assert None not in (world.state(idle), world.state(transaction), world.state(busy))

    def test_cancel_stops_the_statement_and_keeps_the_session(self, world: World) -> None:
        """A cancelled session lives on."""
        pid = world.busy("c6")
        assert world.source.cancel([world.find(pid)], criteria("active")) == {pid}
        for _attempt in range(100):
            if world.state(pid) != "active":
                break
            pause(world)
        assert world.state(pid) == "idle"

    def test_only_the_root_of_a_queue_is_a_blocker(self, world: World) -> None:
        """The first waiter stands in the way of the second, and goes on by itself once the holder has ended."""
        holder, waiter, second = world.waiting_for("c7")
        assert world.find(waiter).blocked_by == (holder,)
        assert set(world.find(second).blocked_by) == {holder, waiter}
        victims = [world.find(pid) for pid in (waiter, second, holder)]
        assert root_blockers(world.source.snapshot().sessions) == {holder}
        assert world.source.terminate(victims, criteria(blockers_only=True)) == {holder}
        wait_until_gone(world, victims[-1])
        assert None not in (world.state(waiter), world.state(second))


def wait_until_gone(world: World, victim: Session) -> None:
    for _attempt in range(100):
        if not world.source.alive([victim]):
            return
        pause(world)
    pytest.fail(f"{victim} still exists.")


def pause(world: World) -> None:
    if isinstance(world.source, FakeServer):
        world.source.seconds += 0.1
    else:
        Clock().sleep(0.05)
