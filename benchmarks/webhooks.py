"""How many alerts a second the responder makes durable, how much memory it holds, and how its store grows.

Run `python -m benchmarks.webhooks`. Sixteen senders, in a process of their own, post one alert per request, each on a
connection that stays open, as Alertmanager's does. Every alert is of an identity of its own, so each opens an incident:
the dearest case. The process is then killed with SIGKILL, and each alert that was answered is looked for in the store.
No runbook answers these alerts, so that no playbook runs beside the measurement.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import sqlalchemy as sa
import typer

from alert_responder.alerts import Alert
from alert_responder.documents import Evidence, Outcome
from alert_responder.incidents import Closed, Finished, Started
from alert_responder.routing import Route
from alert_responder.store import Delivery
from alert_responder.store_sql import SqlStore, sqlite_engine

if TYPE_CHECKING:
    from collections.abc import Iterator

TOKEN = "benchmark-0123456789"  # noqa: S105 -- of a throw-away process
SENDERS = 16
TARGET, TARGET_P99 = 1000.0, 100.0
MEGABYTE = 1024 * 1024


@dataclass(frozen=True)
class Sent:
    """What the senders saw: the alerts that were answered 200, seconds in all, milliseconds of each answer."""

    accepted: list[str]
    seconds: float
    waits: list[float]

    @property
    def rate(self) -> float:
        """Return the accepted requests per second."""
        return len(self.accepted) / self.seconds

    def wait(self, part: float) -> float:
        """Return the milliseconds within which this part of the answers came."""
        return sorted(self.waits)[min(len(self.waits) - 1, int(len(self.waits) * part))]


@dataclass(frozen=True)
class Measured:
    """One round."""

    requests: int
    rate: float
    p50: float
    p99: float
    processor_milliseconds: float
    missing: int
    idle_megabytes: float
    storm_megabytes: float
    incidents: int
    store_megabytes: float
    list_seconds: float
    query_milliseconds: float
    load: float

    def table(self) -> str:
        """Return the numbers as a table in Markdown."""
        rows = [
            (f"single-alert requests made durable, {SENDERS} senders, at least {TARGET:.0f}", f"{self.rate:.0f} /s"),
            ("answer, p50", f"{self.p50:.1f} ms"),
            (f"answer, p99, at most {TARGET_P99:.0f}", f"{self.p99:.1f} ms"),
            ("processor time of the responder for each request", f"{self.processor_milliseconds:.2f} ms"),
            (f"answered and not found after SIGKILL, of {self.requests}", f"{self.missing}"),
            ("resident memory, idle", f"{self.idle_megabytes:.0f} MB"),
            ("resident memory, highest under these requests", f"{self.storm_megabytes:.0f} MB"),
            (f"store after {self.incidents} incidents, each healed by one option", f"{self.store_megabytes:.0f} MB"),
            ("`alert-responder incidents` on it, the start of Python included", f"{self.list_seconds:.2f} s"),
            ("the query of its 100 lines alone", f"{self.query_milliseconds:.1f} ms"),
            ("load of the machine at the end", f"{self.load:.1f}"),
        ]
        return "\n".join(["| | |", "|---|---|", *(f"| {what} | {value} |" for what, value in rows)])


def body(name: str) -> bytes:
    """Return a webhook of Alertmanager with one alert."""
    labels = {
        "alertname": "DatabaseConnectionPoolExhausted",
        "service": "benchmark",
        "severity": "critical",
        "instance": f"{name}:5432",
        "job": "postgres",
    }
    alert = {
        "status": "firing",
        "labels": labels,
        "annotations": {
            "summary": "The connection pool is exhausted.",
            "description": "95 of 100 connections have been in use for five minutes; requests are waiting.",
            "runbook_url": "https://example.com/runbooks/db-connections.md",
        },
        "startsAt": "2026-11-23T12:00:00.123Z",
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "http://prometheus.example.com:9090/graph?g0.expr=pool_in_use+%3E+0.9&g0.tab=1",
        "fingerprint": name,
    }
    return json.dumps(
        {
            "version": "4",
            "groupKey": f"{{}}:{{alertname={name!r}}}",
            "truncatedAlerts": 0,
            "status": "firing",
            "receiver": "responder",
            "groupLabels": {"alertname": labels["alertname"]},
            "commonLabels": labels,
            "commonAnnotations": alert["annotations"],
            "externalURL": "http://alertmanager.example.com:9093",
            "alerts": [alert],
        }
    ).encode()


async def _sender(address: tuple[str, int], names: list[str], sent: Sent) -> None:
    reader, writer = await asyncio.open_connection(*address)
    for name in names:
        content = body(name)
        head = (
            f"POST /api/v1/alerts HTTP/1.1\r\nHost: responder\r\nAuthorization: Bearer {TOKEN}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        )
        begin = time.perf_counter()
        writer.write(head.encode() + content)
        answer = await reader.readuntil(b"\r\n\r\n")
        length = int(answer.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        await reader.readexactly(length)
        sent.waits.append((time.perf_counter() - begin) * 1000)
        if answer.startswith(b"HTTP/1.1 200"):
            sent.accepted.append(name)
    writer.close()


async def _send(address: tuple[str, int], count: int) -> Sent:
    sent = Sent([], 0.0, [])
    names = [f"db{number}" for number in range(count)]
    begin = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number in range(SENDERS):
            group.create_task(_sender(address, names[number::SENDERS], sent))
    return Sent(sent.accepted, time.perf_counter() - begin, sent.waits)


def send(address: str, count: int) -> Sent:
    """Post the alerts from a process of its own, so that the senders' work is not the responder's."""
    script = "import sys; from benchmarks.webhooks import report; report(sys.argv[1], int(sys.argv[2]))"
    done = subprocess.run([sys.executable, "-c", script, address, str(count)], check=True, capture_output=True)
    return Sent(**json.loads(done.stdout))


def report(address: str, count: int) -> None:
    """Send, and print what was seen: the other half of `send`."""
    host, _, port = address.rpartition(":")
    sent = asyncio.run(_send((host, int(port)), count))
    json.dump({"accepted": sent.accepted, "seconds": sent.seconds, "waits": sent.waits}, sys.stdout)


@contextmanager
def responder(folder: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Run the real process over an empty catalogue; it is killed at the end."""
    (folder / "runbooks").mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    environment = {
        **os.environ,
        "ALERT_RESPONDER_PROJECT": str(folder),
        "ALERT_RESPONDER_STATE": str(folder / "state"),
        "ALERT_RESPONDER_LISTEN": address,
        "ALERT_RESPONDER_TOKENS": TOKEN,
        # The limit is not what is measured.
        "ALERT_RESPONDER_MOST_REQUESTS_PER_SECOND": "1000000",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "alert_responder", "serve"], env=environment, cwd=folder, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 120
        while not _ready(address):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("The responder does not start.")
            time.sleep(0.05)
        yield address, process
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def _ready(address: str) -> bool:
    try:
        return httpx.get(f"http://{address}/readyz").status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def resident(process: subprocess.Popen[bytes], kind: str = "VmRSS") -> float:
    """Return the megabytes of memory that a process holds, or has held at most (VmHWM)."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.partition(f"{kind}:")[2].split()[0]) / 1024


def processor_seconds(process: subprocess.Popen[bytes]) -> float:
    """Return what a process has used of the processors: other work on the machine hardly changes it."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def found(database: Path) -> set[str]:
    """Return the fingerprints on record."""
    store = SqlStore(sqlite_engine(database))
    try:
        lines = store.summaries(limit=10**9)
        opened = (store.events(line.id)[0] for line in lines)
        return {event.alert.fingerprint for event in opened if event.kind == "opened"}
    finally:
        store.close()


def fill(database: Path, count: int) -> None:
    """Record incidents as one option heals them: evidence, a start, an outcome, an end."""
    engine = sqlite_engine(database)
    # How large and how fast the full store is does not depend on how it was filled.
    sa.event.listen(engine, "connect", lambda connection, _record: connection.execute("PRAGMA synchronous=OFF"))
    store = SqlStore(engine)
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    for start in range(0, count, 500):
        deliveries = [_delivery(f"db{number}", moment) for number in range(start, min(start + 500, count))]
        for receipt in store.receive(deliveries, now=moment):
            assert receipt.incident is not None
            store.append(receipt.incident, _healed(moment), owner=None)
        moment += timedelta(minutes=10)
    store.close()


def _delivery(name: str, moment: datetime) -> Delivery:
    document: dict[str, Any] = json.loads(body(name))["alerts"][0]
    alert = Alert(
        name=document["labels"]["alertname"],
        service="benchmark",
        status="firing",
        labels=document["labels"],
        annotations=document["annotations"],
        starts_at=moment,
        ends_at=None,
        fingerprint=name,
        generator=document["generatorURL"],
    )
    return Delivery(alert, Route(name, "benchmark", "db-connections", ""))


def _healed(moment: datetime) -> list[Started | Finished | Closed]:
    values = {"total": 100, "active": 12, "idle": 3, "idle_in_transaction": 80, "maximum": 100, "oldest_seconds": 412.5}
    evidence = Evidence.model_validate(
        {"schema": 1, "runbook": "db-connections", "collected_at": moment.isoformat(), "evidence": values}
    )
    check = {"name": "in use", "value": 0.2, "expectation": "< 0.8", "good": True}
    outcome = Outcome.model_validate(
        {
            "schema": 1,
            "runbook": "db-connections",
            "option": "A",
            "status": "acted",
            "verdict": "recovered",
            "reason": "The pool has room.",
            "changed": True,
            "check_mode": False,
            "actions": ["Ended 80 sessions that were idle in a transaction."],
            "before": values,
            "after": {**values, "idle_in_transaction": 0},
            "checks": [check, {**check, "name": "waiting"}],
        }
    )
    done: dict[str, Any] = {"at": moment, "result": "done", "began": True, "seconds": 2.5}
    return [
        Started(at=moment, run="run-1", action="diagnose", reason="Evidence is read before anything is changed."),
        Finished(run="run-1", evidence=evidence, **done),
        Started(at=moment, run="run-2", action="option", option="A", reason="Sessions hold connections idly."),
        Finished(run="run-2", outcome=outcome, **done),
        Closed(at=moment, status="recovered", reason="The pool has room."),
    ]


def _listed(folder: Path) -> tuple[float, float]:
    """Return the seconds of the command and the milliseconds of its query."""
    environment = {**os.environ, "ALERT_RESPONDER_STATE": str(folder / "state")}
    command = [sys.executable, "-m", "alert_responder", "incidents"]
    begin = time.perf_counter()
    subprocess.run(command, env=environment, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - begin
    store = SqlStore(sqlite_engine(folder / "state" / "incidents.sqlite3"))
    waits = []
    for _ in range(5):
        begin = time.perf_counter()
        store.summaries()
        waits.append((time.perf_counter() - begin) * 1000)
    store.close()
    return seconds, statistics.median(waits)


def measure(*, requests: int = 20_000, incidents: int = 100_000) -> Measured:
    """Measure everything once."""
    with tempfile.TemporaryDirectory() as name, responder(folder := Path(name)) as (address, process):
        idle = resident(process)
        used = processor_seconds(process)
        sent = send(address, requests)
        used = processor_seconds(process) - used
        storm = resident(process, "VmHWM")
        process.send_signal(signal.SIGKILL)
        process.wait()
        missing = set(sent.accepted) - found(folder / "state" / "incidents.sqlite3")
    if len(sent.accepted) != requests:
        raise RuntimeError(f"{requests - len(sent.accepted)} requests were refused.")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "state").mkdir()
        fill(folder / "state" / "incidents.sqlite3", incidents)
        size = sum(file.stat().st_size for file in (folder / "state").iterdir()) / MEGABYTE
        seconds, milliseconds = _listed(folder)
    return Measured(
        requests=requests,
        rate=sent.rate,
        p50=sent.wait(0.5),
        p99=sent.wait(0.99),
        processor_milliseconds=used / requests * 1000,
        missing=len(missing),
        idle_megabytes=idle,
        storm_megabytes=storm,
        incidents=incidents,
        store_megabytes=size,
        list_seconds=seconds,
        query_milliseconds=milliseconds,
        load=os.getloadavg()[0],
    )


def main(requests: int = 20_000, incidents: int = 100_000) -> None:
    """Measure and print; fail if an answered alert is not found again."""
    measured = measure(requests=requests, incidents=incidents)
    print(measured.table())  # noqa: T201 -- the point of the script
    if measured.missing:
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
