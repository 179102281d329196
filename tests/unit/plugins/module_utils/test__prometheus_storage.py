"""Expectations of the repair of a storage; what Prometheus says was recorded from 2.53 with each part damaged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.ops.runbooks.plugins.module_utils._errors import ActionFailed, PreconditionFailed, TimedOut
from ansible_collections.ops.runbooks.plugins.module_utils._prometheus_storage import (
    Repairer,
    damaged_parts,
    parse_listing,
    storage_spec,
)
from ansible_collections.ops.runbooks.plugins.module_utils._waiting import Clock

from tests.unit.plugins.module_utils.alerting import FakeSite

if TYPE_CHECKING:
    from pathlib import Path

BLOCK = "01M89PBBPDP4CRFNTPPPMX3RQM"
WHOLE = f"""\
d 4096 - {BLOCK}
f 266 - {BLOCK}/meta.json
f 543 baaad700 {BLOCK}/index
f 9 0130ba30 {BLOCK}/tombstones
d 4096 - {BLOCK}/chunks
f 100 85bd40dd {BLOCK}/chunks/000001
d 4096 - chunks_head
f 128 0130bc91 chunks_head/000001
d 4096 - wal
f 2401041 - wal/00000000
f 20001 - queries.active
"""


def without(path: str) -> str:
    return "".join(line for line in WHOLE.splitlines(keepends=True) if not line.rstrip().endswith(path))


@pytest.mark.parametrize(
    ("error", "listing", "parts"),
    [
        pytest.param("invalid magic number 4bdee877", WHOLE.replace("baaad700", "4bdee877"), [BLOCK], id="index"),
        pytest.param("mmap, size 0: invalid argument", WHOLE.replace("543 baaad700", "0 -"), [BLOCK], id="index-empty"),
        pytest.param(f"try lock file: open /data/{BLOCK}/index: no such file or directory",
                     without(f"{BLOCK}/index"), [BLOCK], id="index-missing"),
        pytest.param(f"open /data/{BLOCK}/chunks: no such file or directory",
                     without("/chunks").replace(f"f 100 85bd40dd {BLOCK}/chunks/000001\n", ""), [BLOCK], id="chunks"),
        pytest.param("mmap files: mmap, size 0: invalid argument", WHOLE.replace("100 85bd40dd", "0 -"), [BLOCK],
                     id="chunk-empty"),
        pytest.param("tombstones header: invalid size", WHOLE.replace("0130ba30", "78780a"), [BLOCK], id="tombstones"),
        pytest.param("repair corrupted WAL: cannot handle error: open WAL segment: 0: open /data/wal/00000000: "
                     "permission denied", WHOLE, ["wal"], id="wal-unreadable"),
        pytest.param("remove tmp dirs: open /data/wal: not a directory", WHOLE, ["wal"], id="wal-a-file"),
        pytest.param("get segment range: segments are not sequential", WHOLE, ["wal"], id="wal-gap"),
        pytest.param("/data/chunks_head/000001: invalid magic number 67617262", WHOLE, ["chunks_head"], id="head"),
        pytest.param("invalid magic number 67617262", WHOLE.replace("0130bc91", "67617262"), ["chunks_head"],
                     id="head-not-named"),
        pytest.param("no space left on device", WHOLE, [], id="nothing-damaged"),
        pytest.param("open /data/../etc/passwd: denied", WHOLE, [], id="a-path-that-is-no-part"),
    ],
)  # fmt: skip
def test_the_damaged_part_is_found(error: str, listing: str, parts: list[str]) -> None:
    """By what Prometheus says, or by the files where it names none."""
    assert damaged_parts(error, parse_listing(listing), "/data") == parts


def log_of(error: str) -> str:
    return f'level=error err="opening storage failed: {error}"'


class Broken(FakeSite):
    """A Prometheus that does not start while one of these parts is in its way."""

    def __init__(self, folder: Path, errors: dict[str, str]) -> None:
        super().__init__(folder)
        self.errors = errors
        self.listing = WHOLE
        self.on_docker = self.engine
        self.end()

    def end(self) -> None:
        self.silent = {"prometheus"} if self.errors else set()
        self.states["prometheus"] = "restarting" if self.errors else "running"
        self.log = [log_of(error) for error in list(self.errors.values())[:1]] or ["Server is ready to receive web"]

    def engine(self, command: list[str]) -> tuple[int, str, str] | None:
        if command[1] == "run" and command[-1] == "/data":
            return 0, self.listing, ""
        if command[1] == "run":
            self.errors.pop(command[-1], None)
        if command[1] == "start":
            self.end()
        return None


def repair(site: FakeSite, *, dry_run: bool = False) -> dict[str, Any]:
    now = iter(range(10_000))
    clock = Clock(now=lambda: float(next(now)), sleep=lambda _seconds: None)
    params = site.params(path="/data", ready_seconds=30.0)
    return Repairer(site, params, clock=clock, stamp=lambda: "T1").run(dry_run=dry_run)


def changes(site: FakeSite) -> list[list[str]]:
    return [command for command in site.commands if command[1] in ("stop", "start") or "--user" in command]


def test_one_part_is_moved_and_prometheus_started(tmp_path: Path) -> None:
    """Stopped first, moved as root, never deleted; check mode says so before."""
    site = Broken(tmp_path, {"wal": "get segment range: segments are not sequential"})
    planned = repair(site, dry_run=True)
    assert planned["actions"] == ["Would move wal to /data/set-aside/T1 and start Prometheus."]
    assert changes(site) == []
    done = repair(site)
    assert (done["changed"], done["moved"]) == (True, ["/data/set-aside/T1/wal"])
    assert (done["before"]["ready"], done["after"]) == (False, {"ready": True, "error": ""})
    stop, move, start = changes(site)
    assert (stop, start) == (["docker", "stop", "c-prometheus"], ["docker", "start", "c-prometheus"])
    assert move[-6:] == ["-c", 'mkdir -p "$1" && mv "$2/$3" "$1/"', "sh", "/data/set-aside/T1", "/data", "wal"]
    assert move[move.index("--user") + 1] == "0"
    assert not any("rm" in part.split() for command in site.commands for part in command)
    with pytest.raises(PreconditionFailed, match="nothing says"):
        repair(site)


def test_nothing_is_moved_on_a_disk_that_is_full(tmp_path: Path) -> None:
    """To move the log aside would cost three hours of samples, and make no room."""
    site = Broken(tmp_path, {"wal": "repair corrupted WAL: write /data/wal/00000000: no space left on device"})
    with pytest.raises(PreconditionFailed, match=r"/data cannot be written .* Make room"):
        repair(site)
    assert changes(site) == []


def test_a_second_part_shows_once_the_first_is_away(tmp_path: Path) -> None:
    """Both are moved in one run."""
    site = Broken(tmp_path, {"wal": "segments are not sequential", "chunks_head": "/data/chunks_head/000001: invalid"})
    assert repair(site)["moved"] == ["/data/set-aside/T1/wal", "/data/set-aside/T1/chunks_head"]


def test_what_is_not_found_is_not_moved(tmp_path: Path) -> None:
    """What nothing points to stays where it is."""
    site = Broken(tmp_path, {"disk": "unexpected EOF"})
    with pytest.raises(ActionFailed, match="Cannot tell which part of /data is damaged: unexpected EOF") as error:
        repair(site)
    assert changes(site) == []
    assert "changed" not in error.value.details


def test_what_moving_does_not_mend_ends_after_some_rounds(tmp_path: Path) -> None:
    """The result is true: what was moved, and what it says now."""
    site = Broken(tmp_path, {"elsewhere": "segments are not sequential"})
    with pytest.raises(ActionFailed, match="still does not start after 5 rounds") as error:
        repair(site)
    assert error.value.details["changed"] is True
    assert error.value.details["after"] == {"ready": False, "error": "segments are not sequential"}


def test_a_start_that_takes_too_long_says_so(tmp_path: Path) -> None:
    """It neither ends nor gets ready."""
    site = Broken(tmp_path, {"wal": "segments are not sequential"})

    def hangs(command: list[str]) -> tuple[int, str, str] | None:
        said = site.engine(command)
        if command[1] == "start":
            site.silent, site.states["prometheus"] = {"prometheus"}, "running"
        return said

    site.on_docker = hangs
    with pytest.raises(TimedOut, match="not ready 30 s after its start") as error:
        repair(site)
    assert error.value.details["moved"] == ["/data/set-aside/T1/wal"]


def test_a_prometheus_that_is_killed_while_it_starts_is_not_ready(tmp_path: Path) -> None:
    """What it said before the part was moved is no reason to move more; and a second run is refused."""
    site = Broken(tmp_path, {"wal": "segments are not sequential"})

    def killed(command: list[str]) -> tuple[int, str, str] | None:
        if command[1] == "logs" and site.states["prometheus"] == "exited":
            return 0, "", "\n".join([] if "--since" in command else site.log)
        log = site.log
        said = site.engine(command)
        if command[1] == "start":
            site.silent, site.states["prometheus"], site.log = {"prometheus"}, "exited", log
        return said

    site.on_docker = killed
    with pytest.raises(ActionFailed, match="ended with exit code 0 while it started, and does not blame") as error:
        repair(site)
    assert error.value.details["moved"] == ["/data/set-aside/T1/wal"]
    assert error.value.details["after"] == {"ready": False, "error": ""}
    with pytest.raises(PreconditionFailed, match="nothing says"):
        repair(site)


def test_a_prometheus_that_is_well_is_refused(tmp_path: Path) -> None:
    """And nothing is touched."""
    site = Broken(tmp_path, {})
    with pytest.raises(PreconditionFailed, match="Refused: nothing says that Prometheus does not start"):
        repair(site)
    assert changes(site) == []


def test_the_options_are_those_of_the_module() -> None:
    """The storage is where the packages put it, unless told."""
    assert storage_spec().options["path"]["default"] == "/data"
