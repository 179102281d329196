"""What the faults of Prometheus and Alertmanager share: their files, their processes, and the way back."""

from __future__ import annotations

import shutil
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

from lab.compose import PROJECT, environment, write_configuration
from lab.settings import port_variable
from lab.shell import STATE, CommandFailed, LabError, run

if TYPE_CHECKING:
    from collections.abc import Callable

RULES = STATE / "prometheus" / "alerts.yml"
ROUTES = STATE / "alertmanager" / "alertmanager.yml"
# The segment that makes the gap in the write-ahead log, while there is one.
GAP = STATE / "wal-gap"
READY_SECONDS = 60


def container(service: str) -> str:
    """Return the name of the container of a service."""
    return f"{PROJECT}-{service}-1"


def ask(service: str, path: str, method: str = "GET") -> tuple[int, str]:
    """Return status and body of one request; status 0 means that nobody answered."""
    url = f"http://127.0.0.1:{environment()[port_variable(service)]}{path}"
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=3) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
    except OSError as error:
        return 0, str(error)


def wait(wanted: Callable[[], bool], what: str, seconds: float = READY_SECONDS) -> None:
    """Wait until something is so.

    Raises:
        LabError: It is not in time.
    """
    deadline = time.monotonic() + seconds
    while not wanted():
        if time.monotonic() > deadline:
            raise LabError(f"{what} within {seconds:.0f} s: it did not.")
        time.sleep(0.2)


def storage(script: str, *arguments: str) -> str:
    """Run a script over the storage of Prometheus, whether that runs or not."""
    beside = ["docker", "run", "--rm", "--network", "none", "--user", "0", "--volumes-from", container("prometheus")]
    return run([*beside, "--entrypoint", "sh", "runbooks-lab/prometheus:2.53", "-c", script, "sh", *arguments])


def heal() -> None:
    """Give both servers their process, their storage and their files back; does nothing where nothing is wrong."""
    try:
        for service in ("prometheus", "alertmanager"):
            run(["docker", "inspect", "--type", "container", container(service)])
    except CommandFailed:
        return  # the lab is down, and with it every fault
    if GAP.exists():
        run(["docker", "stop", "--time", "2", container("prometheus")])
        storage('rm -rf "/data/wal/$1" /data/set-aside', GAP.read_text())
        GAP.unlink()
    changed = write_configuration(environment())
    for service in ("prometheus", "alertmanager"):
        _revive(service)
        if service in changed or f"\n{service}_config_last_reload_successful 1\n" not in ask(service, "/metrics")[1]:
            ask(service, "/-/reload", "POST")
    shutil.rmtree(STATE / "alerting" / "set-aside", ignore_errors=True)


def _revive(service: str) -> None:
    if ask(service, "/-/ready")[0] == 200:  # noqa: PLR2004 -- HTTP's own number
        return
    state = run(["docker", "inspect", "--format", "{{.State.Status}}", container(service)]).strip()
    if state == "running":
        run(["docker", "kill", "--signal", "CONT", container(service)])
    else:
        run(["docker", "restart", "--time", "2", container(service)])
    wait(lambda: ask(service, "/-/ready")[0] == 200, f"{service} gets ready")  # noqa: PLR2004
