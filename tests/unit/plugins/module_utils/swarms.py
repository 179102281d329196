"""A Swarm in memory, and the contract that it shares with a real one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ansible_collections.ops.runbooks.plugins.module_utils._service_observed import Image, Limits
from ansible_collections.ops.runbooks.plugins.module_utils._service_options import Gate
from ansible_collections.ops.runbooks.plugins.module_utils._service_ports import (
    Change,
    Data,
    OrchestratedEngine,
    Progress,
    Told,
)
from ansible_collections.ops.runbooks.plugins.module_utils._service_replacing import see_through
from ansible_collections.ops.runbooks.plugins.module_utils._service_replicas import Definition, Replica
from ansible_collections.ops.runbooks.plugins.module_utils._waiting import Clock, wait_until
from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ansible_collections.ops.runbooks.plugins.module_utils._errors import OpsError

GATE = Gate(stable_seconds=1, timeout_seconds=60)


class FakeSwarm(OrchestratedEngine):
    """The service ``web``; an image of ``ill`` never serves. A change takes ``takes`` seconds of the clock."""

    picks_leaving = False

    def __init__(
        self,
        replicas: int = 2,
        *,
        image: str = "web:2",
        former: str | None = "web:1",
        ill: Sequence[str] = (),
        takes: float = 2,
        data: Data | None = None,
        nodes: int = 1,
        **definition: Any,
    ) -> None:
        self.state = Told(image, former, None, everywhere_here=nodes == 1)
        self.on_host = {"web:0", "web:1", "web:2"}
        self.ill = ill
        self.takes = takes
        self.kept = data or Data()
        self.fixed = Definition("web", "the stack", **definition)
        self.limits = Limits()
        self.changes: list[Change] = []
        self.totals: list[int] = []
        self.seconds = 0.0
        self.begun: float | None = None
        self.outcome = Progress("done")
        self.failure: OpsError | None = None
        self.there = [self._task(number) for number in range(1, replicas + 1)]

    def clock(self) -> Clock:
        return Clock(now=lambda: self.seconds, sleep=self._sleep)

    def _sleep(self, seconds: float) -> None:
        self.seconds += seconds
        if self.begun is not None and self.seconds - self.begun >= self.takes:
            self.begun = None
            self._end()

    def _end(self) -> None:
        change, before = self.changes[-1], self.state
        told = change.image or before.image
        if told not in self.ill:
            self.state = replace(before, image=told, former=before.image, note=change.note or before.note)
            self.limits = change.limits or self.limits
            self.there = [one if one.image == change.image else self._task(one.number) for one in self.there]
            self.outcome = Progress("done")
        else:
            self.outcome = Progress("undone" if change.undo else "stopped", "task x failed")

    def _task(self, number: int) -> Replica:
        started = f"at {self.seconds} of {len(self.changes)}"
        return Replica(
            f"web/{number}",
            "web",
            f"shop_web.{number}",
            number,
            "running",
            "healthy",
            started,
            60,
            image=self.state.image,
        )

    @override
    def definition(self, service: str) -> Definition:
        return self.fixed

    @override
    def replicas(self, service: str) -> list[Replica]:
        if self.failure:
            raise self.failure
        return list(self.there)

    @override
    def add(self, service: str, total: int) -> None:
        self.totals.append(total)
        self.there += [self._task(number) for number in range(len(self.there) + 1, total + 1)]

    @override
    def remove(self, leaving: Sequence[Replica], *, new: bool) -> None:
        del self.there[len(self.there) - len(leaving) :]

    @override
    def log_tail(self, replica: Replica, lines: int) -> list[str]:
        return ["password=hunter2 last words"][:lines]

    @override
    def change(self, service: str, change: Change) -> list[str]:
        self.changes.append(change)
        self.begun = self.seconds
        return [f"The update configuration of {service} is now another one."]

    @override
    def progress(self, service: str) -> Progress:
        return Progress("going") if self.begun is not None else self.outcome

    @override
    def failed(self, service: str) -> Replica | None:
        if self.outcome.state == "done":
            return None
        return Replica("task", "web", "shop_web.1", 0, "exited", exit_code=3, error="task: non-zero exit (3)")

    @override
    def data(self, service: str) -> Data:
        return self.kept

    @override
    def image(self, name: str) -> Image | None:
        return Image(f"sha256:{name}", (name,), 1) if name in self.on_host or name in self.ill else None

    @override
    def told(self, service: str) -> Told:
        return self.state


class OrchestratedContract:
    """What every such engine does; a subclass has ``engine``, ``clock``, ``served`` and ``other_image``.

    ``served`` is a service with two replicas.
    """

    def test_a_change_of_nothing_replaces_every_replica(
        self, engine: OrchestratedEngine, clock: Clock, served: str
    ) -> None:
        """Places, names and numbers stay; every run is another one."""
        before = engine.replicas(served)
        new, _beside = see_through(engine, served, Change(monitor_seconds=1), GATE, clock)
        assert [(r.id, r.name, r.number) for r in new] == [(r.id, r.name, r.number) for r in before]
        assert not {r.started for r in new} & {r.started for r in before}
        assert engine.progress(served).state == "done"

    def test_a_new_image_is_told_and_the_former_remembered(
        self, engine: OrchestratedEngine, clock: Clock, served: str, other_image: str
    ) -> None:
        """With the note that came with it."""
        was = engine.told(served)
        see_through(engine, served, Change(image=other_image, note="{}", monitor_seconds=1), GATE, clock)
        told = engine.told(served)
        assert (told.image, told.former, told.note) == (other_image, was.image, "{}")

    def test_more_and_then_fewer_replicas(self, engine: OrchestratedEngine, clock: Clock, served: str) -> None:
        """Existing ones stay."""
        before = engine.replicas(served)
        engine.add(served, 3)
        waited = wait_until(
            lambda: engine.replicas(served),
            lambda found: len(found) == 3 and all(r.ready(0) for r in found),
            timeout_seconds=60,
            clock=clock,
        )
        assert waited.reached, waited.state
        assert {r.started for r in before} < {r.started for r in waited.state} or len(before) == 2
        engine.remove(waited.state[2:], new=True)
        left = wait_until(
            lambda: engine.replicas(served), lambda found: len(found) == 2, timeout_seconds=60, clock=clock
        )
        assert left.reached, left.state

    def test_the_log_has_at_most_as_many_lines_as_asked_for(self, engine: OrchestratedEngine, served: str) -> None:
        """One line is one line."""
        assert len(engine.log_tail(engine.replicas(served)[0], 1)) <= 1
