"""A day by a simulated clock: services break and heal, and nothing is left of it but the record."""

from __future__ import annotations

import asyncio
import gc
import random
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from alert_responder.incidents import Status
from tests.integration.responder.inside import Inside, alert, webhook
from tests.integration.responder.resources import Held, held_by

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(900)]

HOURS, SERVICES, KEEP_RUNS = 24, 40, 100
# What the memory is compared with; by then every cache has been used.
FIRST_HOURS = 6


def test_a_day_leaves_nothing_but_the_record(tmp_path: Path) -> None:
    """Every incident ends; memory, files, threads and the write-ahead log are those of the first hours."""
    inside, held, sent = Inside(tmp_path, keep_runs=KEEP_RUNS), list[Held](), 0
    objects: list[tuple[int, int]] = []

    async def day() -> None:
        nonlocal sent
        town = Town(inside)
        for _ in range(HOURS):
            for _ in range(60):
                sent += await town.minute()
            inside.worker.runner.clean_up()
            gc.collect()
            held.append(held_by())
            objects.append((_rows(inside, "incidents"), len(gc.get_objects())))
        await town.recover()

    asyncio.run(day())

    lines = inside.store.summaries(limit=100_000)
    assert sent > 10_000
    assert len(lines) > 1000
    assert [line for line in lines if line.open] == []
    assert inside.store.oldest_due() is None
    assert {Status.RECOVERED, Status.RESOLVED, Status.ESCALATED} <= {line.status for line in lines}
    # One alert for each, told again and again.
    assert _rows(inside, "alerts") == len(lines)
    assert _rows(inside, "events") < 15 * len(lines)
    assert len(list(inside.runner.folder.iterdir())) <= KEEP_RUNS + SERVICES
    assert (tmp_path / "incidents.sqlite3-wal").stat().st_size < 8 * 1024 * 1024
    (first, few), (last, many) = objects[FIRST_HOURS], objects[-1]
    # The store remembers the runs of some thousand incidents: four small objects for each.
    assert (many - few) / (last - first) < 10
    assert held[-1].megabytes - held[FIRST_HOURS].megabytes < 20
    assert held[-1].files - held[FIRST_HOURS].files < 20
    assert held[-1].threads - held[FIRST_HOURS].threads < 33  # the most that asyncio.to_thread uses
    inside.close()


class Town:
    """Services of which one breaks each minute or so, and two Alertmanagers that tell of it again and again."""

    def __init__(self, inside: Inside) -> None:
        self._inside = inside
        self._chance = random.Random(24)
        self._broken: dict[int, dict[str, Any]] = {}

    async def minute(self) -> int:
        """Let one minute pass; return how many alerts were sent."""
        self._inside.now += timedelta(minutes=1)
        number = self._chance.randrange(SERVICES)
        if number not in self._broken:
            self._broken[number] = alert(f"db{number}", f"service{number}", startsAt=self._inside.now.isoformat())
        alerts = list(self._broken.values())
        healed = [number for number in self._broken if self._chance.random() < 0.15]
        alerts += [self._end(number) for number in healed]
        for _ in range(2):
            assert (await self._inside.post(webhook(alerts)))[0] == 200
        await self._inside.settle()
        return 2 * len(alerts)

    async def recover(self) -> None:
        """End every alert, and give what still waits the time that it may take."""
        self._inside.now += timedelta(hours=2)
        assert (await self._inside.post(webhook([self._end(number) for number in list(self._broken)])))[0] == 200
        for _ in range(12):
            await self._inside.settle()
            self._inside.now += timedelta(minutes=10)

    def _end(self, number: int) -> dict[str, Any]:
        return {**self._broken.pop(number), "status": "resolved", "endsAt": self._inside.now.isoformat()}


def _rows(inside: Inside, table: str) -> int:
    with inside.store._reading() as connection:
        count: int = connection.execute(sa.text(f"SELECT count(*) FROM {table}")).scalar_one()
        return count
