"""The real process when its disk is full, or its database locked: refused is not lost, and it goes on by itself."""

from __future__ import annotations

import functools
import os
import sqlite3
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from alert_responder.processes import processes_of
from tests.integration.responder.service import HEALED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.integration.responder.service import Service

pytestmark = pytest.mark.integration

DISK = "8m"
# A disk of its own, which only the process sees.
MOUNT = f'mount -t tmpfs -o size={DISK} none "$0" && exec "$@"'
MOST_POSTS = 5000


@dataclass
class Disk:
    """The state folder as the process sees it."""

    folder: Path

    @property
    def _filler(self) -> Path:
        return self.folder / "filler"

    def fill(self) -> None:
        """Leave no byte."""
        with suppress(OSError), self._filler.open("ab", buffering=0) as file:
            while file.write(bytes(4096)):
                pass
        assert os.statvfs(self.folder).f_bavail == 0

    def make_room(self) -> None:
        self._filler.unlink()


@pytest.fixture
def disk(service: Service) -> Disk:
    """Start the service on a small disk."""
    state = service.config.parent / "state"
    state.mkdir(mode=0o700)
    service.settings["lease_seconds"] = 3.0
    service.start(within=["unshare", "--mount", "--map-root-user", "sh", "-c", MOUNT, str(state)])
    return Disk(Path(f"/proc/{service.pid}/root{state}"))


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Hold the one lock for writing, as a backup or a shell that somebody forgot does."""
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


def slow_option(service: Service) -> Callable[[], bool]:
    """Have option A take some seconds; return what tells that it has begun to act."""
    mend = service.project / "playbooks" / "a_mend.yml"
    mend.write_text(mend.read_text().replace("default(0)", "default(4)"))
    return lambda: service.story()[-1] == "started option A"


def post(service: Service, number: int) -> int | None:
    """Post a new alert; return its incident, or None if it was refused as it should be."""
    answer = service.post(labels={"instance": f"db{number}:1"}, fingerprint=f"g{number}")
    if answer.status_code == 200:
        incident: int = answer.json()["alerts"][0]["incident"]
        return incident
    assert (answer.status_code, answer.json()["error"]["status"]) == (503, 503)
    return None


def test_a_full_disk_refuses_alerts_and_loses_none(service: Service, disk: Disk) -> None:
    """503 as long as there is no room; then all that was answered 200 is worked on, and what is sent again is taken."""
    answered = [post(service, number) for number in range(3)]
    disk.fill()
    # What the log still has room for is taken.
    while (last := post(service, len(answered))) is not None:
        answered.append(last)
        assert len(answered) < MOST_POSTS
    assert service.client.get("/healthz").status_code == 200
    disk.make_room()
    again = post(service, len(answered))
    assert again == len(answered) + 1
    for incident in (*answered, again):
        assert incident is not None
        service.until(functools.partial(service.over, incident))
    assert service.story(again)[-1] == "closed recovered"


def test_a_disk_that_fills_up_while_an_option_runs(service: Service, disk: Disk) -> None:
    """The option is not started a second time, whatever of its end could be written; what it did is verified."""
    begun = slow_option(service)
    service.post()
    service.until(begun)
    run = service.events()[-1]["run"]
    disk.fill()
    service.until(lambda: processes_of(run) == set())
    disk.make_room()
    service.until(service.over)

    story = service.story()
    assert story.count("started option A") == 1
    assert story == HEALED or "started verify" in story


def test_a_locked_database_refuses_alerts_and_loses_none(service: Service) -> None:
    """A run that ends meanwhile is on record as soon as that is possible; it is not repeated."""
    service.settings["lease_seconds"] = 3.0
    service.client.timeout = 60  # the store waits for the lock some seconds before it gives up
    begun = slow_option(service)
    service.start()
    service.post()
    service.until(begun)
    with locked(service.config.parent / "state" / "incidents.sqlite3"):
        assert post(service, 1) is None
        service.until(lambda: (service.project / "patient").read_text() == "well")
        assert service.client.get("/healthz").status_code == 200
    service.until(service.over)

    assert service.story() == HEALED
    assert (service.project / "patient.log").read_text().count("A ") == 1
