"""The responder beside the lab: start it as a user would, ask it over HTTP, stop it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from lab.compose import environment
from lab.settings import port_variable
from lab.shell import ROOT, STATE, LabError

if TYPE_CHECKING:
    from collections.abc import Sequence

CONFIG = ROOT / "lab" / "responder.yml"
RECORD = STATE / "responder"
LOG = STATE / "responder.log"
TARGETS = STATE / "prometheus" / "responder.json"
PID = STATE / "responder.pid"
START_SECONDS = 30
STOP_SECONDS = 40
# What this process has started and must wait for when it stops it.
_CHILDREN: dict[int, subprocess.Popen[bytes]] = {}


def command(*arguments: str) -> list[str]:
    """Return the command line of the responder with the lab's configuration."""
    return [sys.executable, "-m", "alert_responder", "--config", str(CONFIG), *arguments]


def variables() -> dict[str, str]:
    """Return the environment of the responder: the token and the addresses of this lab."""
    settings = environment()
    hosts = dict.fromkeys(["127.0.0.1", settings.get("LAB_RESPONDER_HOST", "127.0.0.1")])
    port = settings[port_variable("responder")]
    return {
        **os.environ,
        "ALERT_RESPONDER_TOKENS": settings["RESPONDER_TOKEN"],
        "ALERT_RESPONDER_LISTEN": ",".join(f"{host}:{port}" for host in hosts),
    }


def address() -> str:
    """Return where the responder answers on this machine."""
    return f"http://127.0.0.1:{environment()[port_variable('responder')]}"


def answers() -> bool:
    """Tell whether the responder is ready."""
    try:
        return httpx.get(f"{address()}/readyz", timeout=2).is_success
    except httpx.HTTPError:
        return False


def start() -> None:
    """Start the responder in the background and wait until it is ready; does nothing if it runs.

    Raises:
        LabError: It ended, or was not ready in time; says what it printed last.
    """
    if answers():
        return
    with LOG.open("ab") as log:
        process = subprocess.Popen(  # noqa: S603 - our own program
            command("serve"), env=variables(), cwd=ROOT, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
    _CHILDREN[process.pid] = process
    PID.write_text(str(process.pid))
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        if answers():
            _scrape(f"host.docker.internal:{environment()[port_variable('responder')]}")
            return
        time.sleep(0.2)
    stop()
    lines = LOG.read_text(errors="replace").strip().splitlines() or ["nothing"]
    raise LabError(f"The responder did not start; it said: {lines[-1]}. See {LOG.relative_to(ROOT)}.")


def stop() -> None:
    """Stop the responder that ``start`` started; it ends its running step first."""
    try:
        pid = int(PID.read_text())
        ours = b"alert_responder" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except (OSError, ValueError):
        return
    finally:
        PID.unlink(missing_ok=True)
    if not ours:
        return  # the number belongs to somebody else by now
    _scrape()
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    while _runs(pid):
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)


def _scrape(*targets: str) -> None:
    """Tell the lab's Prometheus where the responder is; none while there is none, or its absence would be an alert."""
    unfinished = TARGETS.with_suffix(".unfinished")
    unfinished.parent.mkdir(parents=True, exist_ok=True)
    unfinished.write_text(json.dumps([{"targets": targets, "labels": {"instance": "responder"}}]))
    unfinished.chmod(0o644)
    unfinished.replace(TARGETS)


def forget() -> None:
    """Remove the record: an incident would wait for the end of an alert that went with its Alertmanager."""
    shutil.rmtree(RECORD, ignore_errors=True)


def _runs(pid: int) -> bool:
    """Tell whether a responder still runs, whoever started it."""
    child = _CHILDREN.get(pid)
    if child is not None:
        return child.poll() is None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def incidents() -> list[dict[str, Any]]:
    """Return the newest incidents, the newest first."""
    found: list[dict[str, Any]] = _get("/api/v1/incidents")["incidents"]
    return found


def events(incident: int) -> list[dict[str, Any]]:
    """Return every event of one incident."""
    found: list[dict[str, Any]] = _get(f"/api/v1/incidents/{incident}")["events"]
    return found


def run(*arguments: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    """Run a command of the responder as a person would, and return what it printed."""
    return _run(command(*arguments), timeout)


def _run(arguments: Sequence[str], timeout: float) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - our own program
        arguments, env=variables(), cwd=ROOT, capture_output=True, text=True, timeout=timeout, check=False
    )


def _get(path: str) -> Any:
    headers = {"Authorization": f"Bearer {environment()['RESPONDER_TOKEN']}"}
    try:
        return httpx.get(f"{address()}{path}", headers=headers, timeout=10).raise_for_status().json()
    except (httpx.HTTPError, ValueError) as error:
        raise LabError(f"The responder does not answer on {address()}: {error}. Start it with `make serve`.") from error
