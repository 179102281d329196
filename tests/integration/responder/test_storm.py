"""A storm over real sockets: two Alertmanagers send ten thousand alerts of 500 identities, as fast as they are let."""

from __future__ import annotations

import asyncio
import random
import signal
import sqlite3
from collections import Counter
from contextlib import closing
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.integration.responder.resources import held_by, most_megabytes
from tests.integration.responder.service import TOKEN

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.responder.service import Service

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(900)]

IDENTITIES, WITH_A_RUNBOOK, REPEATS, REPLICAS = 500, 6, 10, 2
IN_A_GROUP, SENDERS, MOST_A_SECOND, MOST_RUNS = 20, 16, 20, 3


def test_a_storm_of_ten_thousand_alerts(service: Service, tmp_path: Path) -> None:
    """None is lost, each identity has one incident, every limit is kept, and the memory is that of a quiet hour."""
    service.settings["most_requests_per_second"] = MOST_A_SECOND
    service.settings["policy"]["runs_per_window"] = MOST_RUNS
    # What heals does not last, so that only the limit ends it.
    mend = service.project / "playbooks" / "a_mend.yml"
    mend.write_text(
        mend.read_text() + "    - {name: Break, ansible.builtin.copy: {dest: '{{ patient }}', content: x}}\n"
    )
    service.start()
    idle = held_by(service.pid)

    answers, receipts = asyncio.run(_storm(f"http://{service.addresses[0]}"))

    assert answers.keys() == {200, 503}
    assert answers[200] == IDENTITIES * REPEATS * REPLICAS / IN_A_GROUP
    assert Counter(receipt["outcome"] for receipt in receipts) == {
        "opened": IDENTITIES,
        "repeated": IDENTITIES * (REPEATS * REPLICAS - 1),
    }
    assert len({receipt["incident"] for receipt in receipts}) == IDENTITIES
    service.until(lambda: _incidents(service, "open") == [], seconds=500)
    assert len(_incidents(service, "unmatched")) == IDENTITIES - WITH_A_RUNBOOK
    assert Counter(line["status"] for line in _incidents(service) if line["runbook"]) == {
        "recovered": MOST_RUNS,
        "escalated": WITH_A_RUNBOOK - MOST_RUNS,
    }
    assert len((service.project / "patient.log").read_text().splitlines()) == MOST_RUNS
    assert most_megabytes(service.pid) - idle.megabytes < 40
    service.until(lambda: held_by(service.pid).files <= idle.files + 8, seconds=60)
    service.stop(signal.SIGKILL)
    with closing(sqlite3.connect(tmp_path / "state" / "incidents.sqlite3")) as store:
        assert store.execute("SELECT count(*), count(DISTINCT identity) FROM incidents").fetchone() == (500, 500)
        assert store.execute("SELECT count(*), sum(repeats) FROM alerts").fetchone() == (500, 9500)


async def _storm(url: str) -> tuple[Counter[int], list[dict[str, Any]]]:
    """Send every group from every replica, in any order; what is refused is sent again, as Alertmanager does."""
    answers, receipts = Counter[int](), list[dict[str, Any]]()
    groups = [
        [_alert(number) for number in range(start, start + IN_A_GROUP)] for start in range(0, IDENTITIES, IN_A_GROUP)
    ]
    waiting = groups * REPEATS * REPLICAS
    random.Random(7).shuffle(waiting)

    async def sender(client: httpx.AsyncClient) -> None:
        while waiting:
            alerts = waiting.pop()
            while True:
                body = {"version": "4", "receiver": "responder", "truncatedAlerts": 0, "alerts": alerts}
                answer = await client.post("/api/v1/alerts", json=body)
                answers[answer.status_code] += 1
                if answer.is_success:
                    receipts.extend(answer.json()["alerts"])
                    break
                await asyncio.sleep(float(answer.headers["retry-after"]))

    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with (
        httpx.AsyncClient(base_url=url, headers=headers, timeout=120) as client,
        asyncio.TaskGroup() as senders,
    ):
        for _ in range(SENDERS):
            senders.create_task(sender(client))
    return answers, receipts


def _alert(number: int) -> dict[str, Any]:
    known = number < WITH_A_RUNBOOK
    labels = {
        "alertname": "ThingBroken" if known else "OtherBroken",
        "service": "thing" if known else f"service{number % 20}",
        "instance": f"db{number}:5432",
        "severity": "critical",
    }
    return {
        "status": "firing",
        "labels": labels,
        "annotations": {"summary": f"{labels['instance']} is broken.", "description": "It has been for five minutes."},
        "startsAt": "2026-11-23T12:00:00.123Z",
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "http://prometheus.example.com:9090/graph",
        "fingerprint": f"f{number}",
    }


def _incidents(service: Service, status: str | None = None) -> list[dict[str, Any]]:
    asked = {"limit": "1000", **({"status": status} if status else {})}
    answer = service.client.get("/api/v1/incidents", params=asked)
    # Who asks is counted as well as who sends.
    lines: list[dict[str, Any]] = answer.json().get("incidents", [{}])
    return lines
