"""The answer leaves only after the write has reached the disk: seen in the system calls of the real process."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.integration.responder.service import TOKEN, Service

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.integration, pytest.mark.slow]

_CALLS = "trace=fsync,fdatasync,pwrite64,recvfrom,recvmsg,read,sendto,sendmsg,write,writev"
# 1234 fdatasync(9</state/incidents.sqlite3-wal> <unfinished ...>
_LINE = re.compile(r"(?P<pid>\d+) +(?:<\.\.\. (?P<resumed>\w+) resumed>|(?P<call>\w+)\()(?P<rest>.*)")


@dataclass(frozen=True)
class Call:
    """One system call: where in the record it began and ended, and what it said."""

    name: str
    text: str
    began: int
    ended: int


def read_calls(record: Path) -> list[Call]:
    """Put the two halves of the calls together that strace wrote apart."""
    open_calls: dict[str, tuple[str, int]] = {}
    calls = []
    for number, line in enumerate(record.read_text(errors="replace").splitlines()):
        found = _LINE.match(line)
        if found is None:
            continue
        if found["resumed"]:
            text, began = open_calls.pop(found["pid"], ("", number))
            calls.append(Call(found["resumed"], text + found["rest"], began, number))
        elif found["rest"].endswith("<unfinished ...>"):
            open_calls[found["pid"]] = (found["rest"], number)
        else:
            calls.append(Call(found["call"], found["rest"], number, number))
    return calls


@pytest.fixture(scope="session")
def strace() -> str:
    """Have strace, as the lab has Docker: installed where that is allowed, else said in one sentence."""
    if shutil.which("strace") is None and os.geteuid() == 0 and shutil.which("apt-get"):
        subprocess.run(["apt-get", "update", "--quiet"], check=False, capture_output=True)
        subprocess.run(["apt-get", "install", "--yes", "--quiet", "strace"], check=False, capture_output=True)
    found = shutil.which("strace")
    assert found, "strace is missing. On Debian and Ubuntu: apt-get install strace"
    return found


def test_the_log_of_the_store_is_synced_before_each_answer(service: Service, strace: str, tmp_path: Path) -> None:
    """Between the arrival of each alert and its 200, a sync of the write-ahead log begins and ends well."""
    record = tmp_path / "calls"
    service.write_settings()
    command = [strace, "-f", "-yy", "-s", "8192", "-o", str(record), "-e", _CALLS, "-e", "signal=none"]
    command += [sys.executable, "-m", "alert_responder", "--config", str(service.config), "serve"]
    service.process = subprocess.Popen(
        command, env={**os.environ, "ALERT_RESPONDER_TOKENS": TOKEN}, start_new_session=True
    )
    service.until(service._answers, seconds=120)

    def post(number: int) -> int:
        name = f"mark-{number}-"
        labels = {"alertname": "Unknown", "instance": name}
        return service.post(labels=labels, fingerprint=name).status_code

    assert [post(number) for number in range(5)] == [200] * 5
    # Sixteen at once share transactions: each answer still comes after a sync that began after its alert arrived.
    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(post, range(5, 37))) == {200}
    os.killpg(service.process.pid, signal.SIGTERM)
    service.process.wait(60)
    service.process = None

    calls = read_calls(record)
    syncs = [
        call
        for call in calls
        if call.name in ("fsync", "fdatasync") and "incidents.sqlite3-wal>" in call.text and call.text.endswith("= 0")
    ]
    assert len(syncs) >= 6
    for number in range(37):
        arrived = _first(calls, ("recvfrom", "recvmsg", "read"), f"mark-{number}-", after=-1)
        written = _first(calls, ("pwrite64", "write"), f"mark-{number}-", after=arrived.ended)
        connection = re.search(r"<(TCP[^>]*->[^>]*)>", arrived.text)
        assert connection
        answered = next(
            call
            for call in calls
            if call.name in ("sendto", "sendmsg", "write", "writev")
            and call.began > arrived.ended
            and connection[1] in call.text
            and "HTTP/1.1 200" in call.text
        )
        assert written.ended < answered.began
        assert any(written.ended < sync.began and sync.ended < answered.began for sync in syncs), number


def _first(calls: list[Call], names: tuple[str, ...], mark: str, *, after: int) -> Call:
    return next(call for call in calls if call.name in names and mark in call.text and call.began > after)
