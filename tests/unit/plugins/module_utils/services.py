"""A service in memory, and the contract that it shares with a real engine."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ansible_collections.ops.runbooks.plugins.module_utils._service_limits import Host, LimitsEngine, applied
from ansible_collections.ops.runbooks.plugins.module_utils._service_observed import (
    Image,
    Limits,
    Observed,
    Past,
    ServiceObserver,
    Usage,
    repository_of,
)
from ansible_collections.ops.runbooks.plugins.module_utils._service_ports import ReplicaEngine
from ansible_collections.ops.runbooks.plugins.module_utils._service_replicas import Definition, Replica
from ansible_collections.ops.runbooks.plugins.module_utils._waiting import Clock, wait_until
from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ansible_collections.ops.runbooks.plugins.module_utils._errors import OpsError

    Script = list[tuple[str, str]]

WEB = Definition(name="web", source="the Compose file", replicas=2)
WELL: Script = [("running", "healthy")]


def replica(
    number: int, state: str = "running", health: str = "healthy", *, up: float = 60, service: str = "web"
) -> Replica:
    identifier = f"id{number}" if service == "web" else f"{service}{number}"
    return Replica(identifier, service, f"shop-{service}-{number}", number, state, health, "before", up_seconds=up)


class FakeEngine(ReplicaEngine):
    """Services whose replicas, once started here, become what a script says, one step per second of the clock."""

    picks_leaving = True

    def __init__(
        self,
        *replicas: Replica,
        script: Script | None = None,
        scripts: dict[str, Script] | None = None,
        **definition: Any,
    ) -> None:
        """``scripts`` gives a replica, by name, a script of its own."""
        self.found = list(replicas)
        self.script = script or WELL
        self.scripts = scripts or {}
        self.fixed = replace(WEB, **definition)
        self.failure: OpsError | None = None
        self.failures: dict[str, OpsError] = {}  # what a call, as it is recorded, raises after its work
        self.calls: list[str] = []
        self.seconds = 0.0
        self.fewest_serving = self._serving()

    def clock(self) -> Clock:
        return Clock(now=lambda: self.seconds, sleep=self._sleep)

    def _sleep(self, seconds: float) -> None:
        self.seconds += seconds
        self.found = [self._aged(r, seconds) for r in self.found]
        self._count()

    def _aged(self, one: Replica, seconds: float) -> Replica:
        if not one.started.startswith("now"):
            return replace(one, up_seconds=one.up_seconds + seconds)
        script = self.scripts.get(one.name, self.script)
        begun = float(one.started.split()[1])
        state, health = script[min(int(self.seconds - begun), len(script) - 1)]
        if one.exit_code:  # stopped here: no script applies until it is started
            return one
        return replace(one, state=state, health=health, up_seconds=self.seconds - begun)

    def _serving(self) -> int:
        return sum(r.ready(0) for r in self.found)

    def _count(self) -> None:
        self.fewest_serving = min(self.fewest_serving, self._serving())

    def _called(self, call: str) -> None:
        self.calls.append(call)

    def _done(self, call: str) -> None:
        self._count()
        if call in self.failures:
            raise self.failures[call]

    @override
    def definition(self, service: str) -> Definition:
        return self.fixed

    @override
    def replicas(self, service: str) -> list[Replica]:
        return [r for r in self.found if r.service == service]

    @override
    def add(self, service: str, total: int) -> None:
        self._called(f"add {total}")
        for one in [r for r in self.found if not r.counts][: total - sum(r.counts for r in self.found)]:
            self.start(one)
        for number in range(len(self.found) + 1, total + 1 + sum(not r.counts for r in self.found)):
            self.found.append(self._run(Replica(f"new{number}", "web", f"shop-web-{number}", number, "created")))
        if self.failure:
            raise self.failure

    @override
    def remove(self, leaving: Sequence[Replica], *, new: bool) -> None:
        for one in leaving:
            self._called(f"remove {one.name}")
        gone = {r.id for r in leaving}
        self.found = [r for r in self.found if r.id not in gone]

    @override
    def start(self, replica: Replica) -> None:
        self._called(f"start {replica.name}")
        self.found = [self._run(r) if r.id == replica.id and not r.counts else r for r in self.found]
        self._done(f"start {replica.name}")

    @override
    def stop(self, replica: Replica) -> None:
        self._called(f"stop {replica.name}")
        self._halt(replica)
        self._done(f"stop {replica.name}")

    @override
    def stop_all(self, replicas: Sequence[Replica]) -> None:
        for one in replicas:
            self._called(f"stop {one.name}")
            self._halt(one)
        self._done("stop all")

    @override
    def restart(self, replica: Replica) -> None:
        self._called(f"restart {replica.name}")
        self._halt(replica)
        self._count()
        self.found = [self._run(r) if r.id == replica.id else r for r in self.found]
        self._done(f"restart {replica.name}")

    @override
    def log_tail(self, replica: Replica, lines: int) -> list[str]:
        return [f"password=hunter2 last words of {replica.name}"][:lines]

    def _halt(self, replica: Replica) -> None:
        self.found = [
            replace(r, state="exited", health="", exit_code=143) if r.id == replica.id else r for r in self.found
        ]

    def _run(self, one: Replica) -> Replica:
        state, health = self.scripts.get(one.name, self.script)[0]
        return replace(
            one,
            state=state,
            health=health,
            started=f"now {self.seconds} {len(self.calls)}",
            up_seconds=0.0,
            exit_code=0,
        )


class EngineContract:
    """What every engine does; a subclass has ``engine``, ``clock`` and ``served``, a service with two replicas."""

    def test_a_restart_is_another_run_of_the_same_replica(
        self, engine: ReplicaEngine, clock: Clock, served: str
    ) -> None:
        """Identity, name and number stay; the start time does not, and the other replica is not touched."""
        first, second = engine.replicas(served)
        engine.restart(second)
        unchanged, again = engine.replicas(served)
        assert (again.id, again.name, again.number) == (second.id, second.name, second.number)
        assert again.started != second.started
        assert unchanged.started == first.started
        wait_until_ready(engine, clock, served)

    def test_all_are_stopped_and_stay_there(self, engine: ReplicaEngine, clock: Clock, served: str) -> None:
        """Stopped replicas are exited, count no longer, and can be started again; starting twice is once."""
        before = engine.replicas(served)
        engine.stop_all(before)
        stopped = engine.replicas(served)
        assert [(r.id, r.state, r.counts) for r in stopped] == [(r.id, "exited", False) for r in before]
        for one in stopped:
            engine.start(one)
            engine.start(one)
        assert [r.started != old.started for r, old in zip(engine.replicas(served), before, strict=True)] == [True] * 2
        wait_until_ready(engine, clock, served)

    def test_a_stopped_replica_is_started_by_a_restart(self, engine: ReplicaEngine, clock: Clock, served: str) -> None:
        """A restart brings back what has exited."""
        (first, _second) = engine.replicas(served)
        engine.stop(first)
        assert engine.replicas(served)[0].state == "exited"
        engine.restart(first)
        assert engine.replicas(served)[0].state == "running"
        wait_until_ready(engine, clock, served)

    def test_the_log_has_at_most_as_many_lines_as_asked_for(self, engine: ReplicaEngine, served: str) -> None:
        """One line is one line."""
        assert len(engine.log_tail(engine.replicas(served)[0], 1)) <= 1


def wait_until_ready(engine: ReplicaEngine, clock: Clock, service: str) -> None:
    waited = wait_until(
        lambda: engine.replicas(service),
        lambda found: all(r.ready(1) for r in found),
        timeout_seconds=30,
        clock=clock,
    )
    assert waited.reached, waited.state


@dataclass
class FakeObserver(ServiceObserver):
    """A project that stands still; ``failures`` has what a reading, by its kind and replica or repository, raises."""

    seen: list[Observed] = field(default_factory=list)
    usages: dict[str, Usage] = field(default_factory=dict)
    logs: dict[str, list[str]] = field(default_factory=dict)
    happened: dict[str, Past] = field(default_factory=dict)
    on_host: dict[str, list[Image]] = field(default_factory=dict)
    failures: dict[str, OpsError] = field(default_factory=dict)

    def _raise(self, what: str) -> None:
        if what in self.failures:
            raise self.failures[what]

    @override
    def observe(self) -> list[Observed]:
        return sorted(self.seen, key=lambda one: (one.replica.service, one.replica.number))

    @override
    def usage(self, replica: Replica) -> Usage | None:
        self._raise(f"usage {replica.name}")
        return self.usages.get(replica.name) if replica.state == "running" else None

    @override
    def log(self, replica: Replica, *, seconds: float, lines: int, limit_seconds: float) -> list[str]:
        self._raise(f"log {replica.name}")
        return self.logs.get(replica.name, [])[-lines:]

    @override
    def past(self, seconds: float) -> dict[str, Past]:
        self._raise("past")
        return dict(self.happened)

    @override
    def images(self, repository: str) -> list[Image]:
        self._raise(f"images {repository}")
        return self.on_host.get(repository, [])


@dataclass
class FakeLimitsEngine(FakeObserver, LimitsEngine):
    """A project whose limits can be changed, on a small host."""

    calls: list[str] = field(default_factory=list)

    @override
    def host(self) -> Host:
        return Host(memory_bytes=1_000_000_000, cpus=2)

    @override
    def update(self, replica: Replica, limits: Limits) -> None:
        self.calls.append(replica.name)
        self._raise(f"update {replica.name}")
        self.seen = [
            replace(one, limits=applied(one.limits, limits)) if one.replica.id == replica.id else one
            for one in self.seen
        ]


class ObserverContract:
    """What every engine tells; a subclass has ``observer``, of a project in which ``served`` has two replicas.

    Of those the first runs, has a log of more than one line and an image with a name; the second has exited with 3.
    """

    def test_every_replica_is_seen_in_order(self, observer: ServiceObserver, served: str) -> None:
        """By number, what has exited included."""
        first, second = [one.replica for one in observer.observe() if one.replica.service == served]
        assert (first.number, first.state, first.counts) == (1, "running", True)
        assert (second.number, second.state, second.exit_code) == (2, "exited", 3)

    def test_what_runs_uses_something_and_what_has_exited_nothing(self, observer: ServiceObserver, served: str) -> None:
        """Use is of processes that are there."""
        first, second = [one.replica for one in observer.observe() if one.replica.service == served]
        used = observer.usage(first)
        assert used is not None
        assert used.memory_bytes > 0
        assert used.pids > 0
        assert observer.usage(second) is None

    def test_the_newest_lines_of_a_log_come(self, observer: ServiceObserver, served: str) -> None:
        """Of more lines than asked for, the last ones."""
        (first, *_others) = [one.replica for one in observer.observe() if one.replica.service == served]
        every = observer.log(first, seconds=3600, lines=1000, limit_seconds=5)
        assert len(every) > 1
        assert observer.log(first, seconds=3600, lines=1, limit_seconds=5) == every[-1:]

    def test_the_end_of_a_run_is_remembered(self, observer: ServiceObserver, served: str) -> None:
        """By the replica's identity, with exit code and age."""
        (_first, second) = [one.replica for one in observer.observe() if one.replica.service == served]
        past = observer.past(3600)[second.id]
        assert (past.exit_code, past.out_of_memory) == (3, False)
        assert past.ended_seconds_ago is not None
        assert 0 <= past.ended_seconds_ago < 3600

    def test_the_image_that_runs_is_on_the_host(self, observer: ServiceObserver, served: str) -> None:
        """Found by its repository, with its name; another repository has none of it."""
        (first, *_others) = [one for one in observer.observe() if one.replica.service == served]
        images = {image.id: image for image in observer.images(repository_of(first.image))}
        assert first.image in images[first.replica.image].names
        assert observer.images("no-such-repository-here") == []
