"""Expectations of the repair of persistence, against files that live in memory."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.ops.runbooks.plugins.module_utils._errors import ActionFailed, OpsError, PreconditionFailed
from ansible_collections.ops.runbooks.plugins.module_utils._redis_persistence import (
    Repairer,
    RepairRequest,
    repair_spec,
)
from ansible_collections.ops.runbooks.plugins.module_utils._redis_persistence_files import (
    Finding,
    Part,
    State,
    declared_keys,
    judge_aof,
    judge_rdb,
    key_beginnings,
    plan_aof,
    read_manifest,
    write_manifest,
)
from ansible_collections.ops.runbooks.plugins.module_utils._redis_persistence_places import HostFiles, ToolFiles
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import override

from tests.unit.plugins.module_utils.redis_files import DataFilesContract, FakeFiles, command, rdb

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ansible_collections.ops.runbooks.plugins.module_utils._redis_persistence_ports import DataFiles

DEFAULTS = {name: option.get("default") for name, option in repair_spec().options.items()}
REQUEST = RepairRequest.from_params({**DEFAULTS, "allow_data_loss": True})
FOLDER = "appendonlydir"
BASE, SECOND, THIRD = (f"{FOLDER}/appendonly.aof.{name}" for name in ("2.base.rdb", "2.incr.aof", "3.incr.aof"))
MANIFEST = f"{FOLDER}/appendonly.aof.manifest"
ASIDE = "damaged-20260105T080000Z"
LINES = (
    "file appendonly.aof.2.base.rdb seq 2 type b\n"
    "file appendonly.aof.1.incr.aof seq 1 type h\n"
    "file appendonly.aof.2.incr.aof seq 2 type i startoffset 200 endoffset 300\n"
    "file appendonly.aof.3.incr.aof seq 3 type i\n"
)
TEN = b"".join(command("SET", f"k{n}", "v") for n in range(10))
ONE = len(TEN) // 10


def in_parts(**other: bytes) -> FakeFiles:
    content = {MANIFEST: LINES.encode(), BASE: rdb(20), SECOND: TEN, THIRD: TEN}
    return FakeFiles(
        {**content, **{{"base": BASE, "second": SECOND}.get(name, name): data for name, data in other.items()}}
    )


def spoilt(content: bytes, place: int) -> bytes:
    return content[:place] + b"GARBAGE" + content[place + 7 :]


def run(files: DataFiles, request: RepairRequest = REQUEST, *, dry_run: bool = False) -> dict[str, Any]:
    return Repairer(files, request, stamp="20260105T080000Z").run(dry_run=dry_run)


def losses(result: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(result[f"lost_{name}"] for name in ("bytes", "commands", "commands_exact", "keys"))


def test_sound_files_are_left_alone() -> None:
    """Nothing is moved, nobody is stopped."""
    files = in_parts(**{"dump.rdb": rdb(3)})
    before = dict(files.content)
    result = run(files)
    assert (result["changed"], result["damaged"], result["actions"]) == (
        False,
        False,
        ["Left everything alone: 4 files are sound."],
    )
    assert (files.content, files.halted) == (before, False)


def test_nothing_is_no_damage() -> None:
    """An empty directory and an empty last part are what Redis starts with."""
    assert run(FakeFiles())["actions"] == ["Left everything alone: there are no files."]
    files = in_parts()
    files.content[THIRD] = b""
    assert run(files)["damaged"] is False


@pytest.mark.parametrize(
    ("content", "expected", "lost"),
    [
        pytest.param(TEN[:-3], TEN[: 9 * ONE], (ONE - 3, 1, True, 0), id="cut-short"),
        pytest.param(spoilt(TEN, 4 * ONE), TEN[: 4 * ONE], (6 * ONE, 5, False, 0), id="a-header"),
        pytest.param(spoilt(TEN, 4 * ONE + 4), TEN[: 4 * ONE], (6 * ONE, 6, False, 0), id="a-word"),
        pytest.param(b"nonsense\r\n", b"", (10, 0, False, 0), id="everything"),
    ],
)
def test_the_last_part_is_cut(content: bytes, expected: bytes, lost: tuple[Any, ...]) -> None:
    """After its last good command; check mode says the same and changes nothing."""
    files = in_parts()
    files.content[THIRD] = content
    before = dict(files.content)
    checked = run(files, dry_run=True)
    assert (files.content, files.halted, checked["changed"]) == (before, False, True)
    done = run(files)
    assert losses(checked) == losses(done) == lost
    assert files.content == {
        **before,
        THIRD: expected,
        **{f"{ASIDE}/{path}": data for path, data in before.items()},
    }
    assert done["after"]["files"][2]["state"] == "sound"
    assert run(files)["changed"] is False


def test_parts_after_the_damage_are_dropped() -> None:
    """The manifest names what is left, and no longer where its last part ends."""
    files = in_parts(second=spoilt(TEN, 3 * ONE))
    result = run(files)
    assert files.content[MANIFEST].decode() == (
        "file appendonly.aof.2.base.rdb seq 2 type b\nfile appendonly.aof.2.incr.aof seq 2 type i startoffset 200\n"
    )
    assert files.content[SECOND] == TEN[: 3 * ONE]
    assert THIRD not in files.content
    assert files.content[f"{ASIDE}/{THIRD}"] == TEN
    assert losses(result) == (17 * ONE, 16, False, 0)


def test_a_missing_part_ends_the_rest() -> None:
    """Nobody knows how many commands it had."""
    files = in_parts()
    del files.content[SECOND]
    result = run(files)
    assert losses(result) == (10 * ONE, None, False, 0)
    assert files.content[MANIFEST].decode() == "file appendonly.aof.2.base.rdb seq 2 type b\n"


@pytest.mark.parametrize(
    ("content", "kept", "lost_keys"),
    [
        pytest.param(rdb(20)[: 14 + 9 * 7 + 6], 7, 13, id="in-a-value"),
        pytest.param(rdb(20)[: 14 + 9 * 7 + 3], 7, 13, id="in-a-key"),
        pytest.param(spoilt(rdb(20), 14 + 9 * 7 + 5), 7, 13, id="a-bad-value"),
        pytest.param(rdb(9, declared=20)[:-9] + b"xxxxxxxxxx", 9, 11, id="a-bad-type"),
        pytest.param(rdb(20, end=b"\xff" + b"D" * 8), 20, 0, id="the-checksum"),
    ],
)
def test_an_rdb_is_cut_after_its_last_whole_key(content: bytes, kept: int, lost_keys: int) -> None:
    """What is left is read by the tool, and ends without a checksum."""
    files = FakeFiles({"dump.rdb": content})
    checked = run(files, dry_run=True)
    done = run(files)
    assert files.content["dump.rdb"] == rdb(20)[: 14 + 9 * kept] + b"\xff" + bytes(8)
    assert files.content[f"{ASIDE}/dump.rdb"] == content
    assert done["lost_keys"] == checked["lost_keys"] == lost_keys
    assert done["after"]["files"][0]["state"] == "sound"


def test_a_wrong_checksum_of_the_base_drops_nothing() -> None:
    """Everything can be read, so what follows is read too."""
    files = in_parts(base=rdb(20, end=b"\xff" + b"D" * 8))
    result = run(files)
    assert losses(result) == (0, 0, True, 0)
    assert {path for path in files.content if path.startswith(FOLDER)} == {MANIFEST, BASE, SECOND, THIRD}
    assert "something in them is not what was saved" in " ".join(result["actions"])


def test_a_damaged_base_ends_the_rest() -> None:
    """Its whole keys stay."""
    files = in_parts(base=rdb(20)[:100])
    result = run(files)
    assert {path for path in files.content if path.startswith(FOLDER)} == {MANIFEST, BASE}
    assert (result["lost_commands"], result["lost_keys"]) == (20, 11)


def test_an_rdb_before_commands_in_one_file() -> None:
    """Damage in the commands is cut as in any file; damage in the RDB loses the commands, uncounted."""
    files = FakeFiles({"appendonly.aof": rdb(5) + TEN[:-2]})
    assert losses(run(files))[1:] == (1, True, 0)
    files = FakeFiles({"appendonly.aof": spoilt(rdb(5), 14 + 9 * 2 + 5) + TEN})
    assert losses(run(files))[1:] == (None, False, 3)
    assert files.content["appendonly.aof"] == rdb(5)[: 14 + 9 * 2] + b"\xff" + bytes(8)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        pytest.param(
            replace(in_parts(second=TEN[:-1]), runs="a server answers there (PONG)"), "a server answers there (PONG). "
            "What it holds in memory is better", id="runs",
        ),
        pytest.param(FakeFiles({MANIFEST: b"file a seq\n", SECOND: TEN}), "appendonly.aof.manifest cannot be read: it "
                     "has the line 'file a seq'. Restore it", id="manifest"),
        pytest.param(FakeFiles({MANIFEST: b"# nothing\n", SECOND: TEN}), "it names no file", id="empty-manifest"),
        pytest.param(FakeFiles({SECOND: TEN}), "appendonlydir has 1 files and no appendonly.aof.manifest", id="none"),
        pytest.param(FakeFiles({MANIFEST: LINES.encode(), SECOND: TEN}), "2.base.rdb, with which it begins, is not "
                     "there", id="no-base"),
        pytest.param(replace(in_parts(second=TEN[:-1]), free=5), f"a copy needs {len(TEN) - 1} bytes and 5 are free",
                     id="disk"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(files: FakeFiles, said: str) -> None:
    """Before anything is changed, in check mode too."""
    before = dict(files.content)
    for dry_run in (True, False):
        with pytest.raises(PreconditionFailed) as refused:
            run(files, dry_run=dry_run)
        assert said in str(refused.value)
    assert (files.content, files.halted) == (before, False)


def test_a_running_server_may_be_writing_its_last_part() -> None:
    """That is no damage."""
    files = in_parts()
    files.content[THIRD] = TEN[:-3]
    result = run(replace(files, runs="a server answers there"))
    assert (result["damaged"], result["serving"], result["changed"]) == (False, True, False)


def test_loss_must_be_allowed() -> None:
    """The refusal carries the numbers."""
    files = in_parts(second=spoilt(TEN, 3 * ONE))
    with pytest.raises(PreconditionFailed) as refused:
        run(files, replace(REQUEST, allow_data_loss=False))
    assert f"{17 * ONE} bytes and about 16 commands would be lost" in str(refused.value)
    assert refused.value.details["lost_bytes"] == 17 * ONE


@pytest.mark.parametrize("lost_at", [1, 2])
def test_a_place_that_goes_away_leaves_damage_that_redis_refuses(lost_at: int) -> None:
    """Never half of a repair that Redis would read; a second run finishes with the same result."""
    files = in_parts(second=spoilt(TEN, 3 * ONE))
    original = dict(files.content)
    files.lost_at = lost_at
    with pytest.raises(ActionFailed, match=r"The place is gone") as failed:
        run(files)
    assert failed.value.details["changed"] is (lost_at > 1)
    assert files.content[SECOND] == original[SECOND]
    assert files.content[f"{ASIDE}/{SECOND}"] == original[SECOND]
    run(files)
    assert files.content[SECOND] == TEN[: 3 * ONE]
    assert run(files)["damaged"] is False


def test_a_tool_that_cuts_elsewhere_is_not_believed() -> None:
    """The original stays."""
    files = in_parts()
    files.content[THIRD] = TEN[:-3]
    files.unstable = True
    with pytest.raises(ActionFailed, match=r"The original is untouched"):
        run(files)
    assert files.content[THIRD] == TEN[:-3]


def test_an_rdb_whose_keys_end_nowhere() -> None:
    """The original is left as it is, and a person is told."""

    class Blind(FakeFiles):
        @override
        def check_rdb(self, path: str) -> tuple[bool, str]:
            good, said = super().check_rdb(path)
            return good and "/" not in path, said

    files = Blind({"dump.rdb": rdb(20)[:100]})
    with pytest.raises(ActionFailed, match=r"9 keys can be read, but where the last of them ends is not to be found"):
        run(files)
    assert files.content == {"dump.rdb": rdb(20)[:100]}


def test_what_is_still_bad_is_told() -> None:
    """A repair that does not hold is no success."""

    class Failing(FakeFiles):
        @override
        def fix_aof(self, path: str) -> None:
            super().fix_aof(path)

        @override
        def move(self, path: str, to: str) -> None:
            super().move(path, to)
            self.content[to] += b"x"

    files = Failing({"appendonly.aof": TEN[:-1]})
    with pytest.raises(ActionFailed, match=f"is in {ASIDE}; restore from a backup"):
        run(files)


def test_a_tool_that_says_something_else() -> None:
    """Its last line is passed on."""
    part = Part("appendonly.aof", "single")
    with pytest.raises(ValueError, match=r"redis-check-aof said of appendonly.aof: Cannot open file"):
        judge_aof(part, 3, "Start\nCannot open file")
    with pytest.raises(ValueError, match=r"redis-check-rdb said of appendonly.aof: nothing"):
        judge_rdb(part, 3, "")

    class Odd(FakeFiles):
        @override
        def check_aof(self, path: str) -> tuple[bool, str]:
            return False, "Killed"

    with pytest.raises(ActionFailed, match=r"said of appendonly.aof: Killed. Run the tool there"):
        run(Odd({"appendonly.aof": TEN}))


def test_what_is_no_command_is_told_by_its_place() -> None:
    """The tool itself says only that the format is wrong."""
    said = "AOF a format error\nAOF analyzed: filename=a, size=90, ok_up_to=60, ok_up_to_line=7, diff=30"
    found = judge_aof(Part("a", "single"), 90, said)
    assert (found.state, found.problem, found.good_bytes) == (State.DAMAGED, "no command begins at byte 60", 60)


@pytest.mark.parametrize("option", ["aof_folder", "aof_filename", "rdb_filename"])
@pytest.mark.parametrize("value", ["", "../x", "-rf", ".hidden"])
def test_names_are_no_paths(option: str, value: str) -> None:
    """What could lead out of the directory is refused."""
    with pytest.raises(ValueError, match=f"{option} is "):
        RepairRequest.from_params({**DEFAULTS, option: value})


def test_a_relative_directory_is_refused() -> None:
    """It would depend on where Ansible happens to be."""
    with pytest.raises(ValueError, match=r"expected a path from the root"):
        RepairRequest.from_params({**DEFAULTS, "data_directory": "data"})


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"\xfb\x14\x00", 20),
        (b"\xfb\x41\x2c\x00", 300),
        (b"\xfb\x80\x00\x0f\x42\x40\x00", 1_000_000),
        (b"\xfb\x81\x00", None),
        (b"\x00\x03", None),
        (b"", None),
    ],
)
def test_the_number_of_keys_that_a_database_says(head: bytes, expected: int | None) -> None:
    """In each form that an RDB has for a length."""
    assert declared_keys(head) == expected


@pytest.mark.parametrize(
    ("key", "stored"),
    [
        ("user", b"\x04user"),
        ("k" * 100, b"\x40\x64" + b"k" * 100),
        ("k" * 20000, b"\x80\x00\x00\x4e\x20" + b"k" * 20000),
        ("7", b"\xc0\x07"),
        ("-300", b"\xc1\xd4\xfe"),
        ("70000", b"\xc2\x70\x11\x01\x00"),
        ("b\udcff", b"\x02b\xff"),
    ],
)
def test_where_a_key_begins(key: str, stored: bytes) -> None:
    """One byte, its type, before what the file has for it; the last place first."""
    window = b"??\x00" + stored + b"value\x00" + stored
    second = 2 + 1 + len(stored) + 5
    assert key_beginnings(key, window, 1000)[:2] == [1000 + second, 1002]


part_names = st.lists(st.sampled_from(list(State)), min_size=1, max_size=6)


@given(part_names)
def test_a_plan_keeps_the_beginning(states: Sequence[State]) -> None:
    """Kept and dropped are all there is; only the last that is kept may be cut, and nothing sound is mended."""
    found = [Finding(Part(f"p{n}", "incr", f"file p{n} seq {n} type i"), 1, one) for n, one in enumerate(states)]
    plan = plan_aof(found)
    assert [*plan.kept, *plan.dropped] == found
    assert all(one.sound or one.state is State.CHECKSUM for one in plan.kept[:-1])
    assert [one for one in plan.kept if not one.sound] == list(plan.mended)
    assert all(one.state is not State.MISSING for one in plan.kept)
    if plan.kept:
        assert [one.path for one in read_manifest(write_manifest([o.part for o in plan.kept]), "d")] == [
            f"d/{one.part.path}" for one in plan.kept
        ]


class TestFakeFiles(DataFilesContract):
    """The fake keeps the promises of the port."""

    @override
    @pytest.fixture
    def files(self) -> DataFiles:
        return FakeFiles()

    @override
    def put(self, files: DataFiles, path: str, content: bytes) -> None:
        assert isinstance(files, FakeFiles)
        files.content[path] = content


def test_a_place_without_the_tools_is_told(tmp_path: Path) -> None:
    """Which program is missing, and what to install."""

    class Bare(ToolFiles):
        def serving(self) -> str | None:
            return None

        def halt(self) -> str | None:
            return None

    files = Bare("here", str(tmp_path), lambda _command: (127, b"sh: redis-check-rdb: not found"))
    with pytest.raises(OpsError, match=r"redis-check-rdb does not run there: sh: redis-check-rdb: not found"):
        files.check_rdb("dump.rdb")
    with pytest.raises(
        ActionFailed, match=r"Cannot copy a in here:.*: sh: redis-check-rdb: not found. Check the rights"
    ):
        files.copy("a", "b")


class Module:
    """Runs what a module would run."""

    def run_command(self, command: Sequence[str], **_options: Any) -> tuple[int, bytes, bytes]:
        import subprocess  # noqa: PLC0415 - only here

        done = subprocess.run(command, capture_output=True, check=False)
        return done.returncode, done.stdout, done.stderr


def test_a_server_on_this_host_is_known_by_where_it_stands(tmp_path: Path) -> None:
    """Its working directory is its data directory; others do not count, nor does what cannot be read."""
    data = tmp_path / "data"
    data.mkdir()
    for number, name, place in ((1, "redis-server", "/"), (2, "bash", data), (3, "redis-server", None)):
        process = tmp_path / "proc" / str(number)
        process.mkdir(parents=True)
        (process / "comm").write_text(f"{name}\n")
        if place:
            (process / "cwd").symlink_to(place)
    (tmp_path / "proc" / "self").mkdir()
    files = HostFiles(Module(), str(data), tmp_path / "proc")
    assert files.serving() is None
    (tmp_path / "proc" / "3" / "cwd").symlink_to(data)
    assert files.serving() == "redis-server runs there as process 3"
    assert files.halt() is None
    with pytest.raises(PreconditionFailed, match=r"there is no such directory on this host"):
        HostFiles(Module(), str(tmp_path / "none"), tmp_path / "proc").serving()


def test_files_of_this_host_are_reached_by_programs(tmp_path: Path) -> None:
    """What cannot be run is told as a failure of its own."""
    (tmp_path / "one").write_bytes(b"abc")
    files = HostFiles(Module(), f"{tmp_path}/")
    assert files.sizes() == {"one": 3}
    files.keep("one", "")
    files.make_folder("aside")
    files.keep("one", "aside")
    assert (tmp_path / "aside" / "one").stat().st_nlink == 2
    files.close()

    class Broken(Module):
        @override
        def run_command(self, command: Sequence[str], **_options: Any) -> tuple[int, bytes, bytes]:
            raise FileNotFoundError(f"no {command[0]}")

    with pytest.raises(ActionFailed, match=r"no df"):
        HostFiles(Broken(), str(tmp_path)).free_bytes()
