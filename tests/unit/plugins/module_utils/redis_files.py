"""The data directory of a Redis in memory, and the contract that it shares with real ones."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import pytest
from ansible_collections.ops.runbooks.plugins.module_utils._errors import ActionFailed
from ansible_collections.ops.runbooks.plugins.module_utils._redis_persistence_ports import DataFiles
from typing_extensions import override


def command(*words: str) -> bytes:
    """Return a command as it stands in an append-only file."""
    body = "".join(f"${len(word)}\r\n{word}\r\n" for word in words)
    return f"*{len(words)}\r\n{body}".encode()


def rdb(keys: int, *, declared: int | None = None, end: bytes = b"\xff" + b"C" * 8) -> bytes:
    """Return an RDB with short keys and values; the checksum of a sound one is Cs here."""
    number = keys if declared is None else declared
    head = b"REDIS0012\xfe\x00\xfb" + bytes([number, 0])
    return head + b"".join(b"\x00\x03k%02d\x03v%02d" % (n, n) for n in range(keys)) + end


def read_commands(content: bytes) -> tuple[int, str]:
    """Return how far commands can be read, and what is wrong there."""
    place = 0
    while place < len(content):
        line, found, _rest = content[place:].partition(b"\r\n")
        if not found:
            return place, "Expected to read 5 bytes, got 3 bytes"
        if not line.startswith(b"*") or not line[1:].isdigit():
            return place, "Expected prefix '*', got: '?'"
        after = place + len(line) + 2
        for _word in range(int(line[1:])):
            size, found, _rest = content[after:].partition(b"\r\n")
            if found and not size.startswith(b"$"):
                return place, "Expected prefix '$', got: '?'"
            after += len(size) + 2 + int(size[1:] or 0) + 2 if found else len(content)
        if after > len(content):
            return place, "Expected to read 5 bytes, got 3 bytes"
        place = after
    return place, ""


@dataclass
class FakeFiles(DataFiles):
    """Files by path. ``runs`` is why the server counts as running; the n-th change of a name fails at ``lost_at``."""

    content: dict[str, bytes] = field(default_factory=dict)
    runs: str | None = None
    free: int = 1 << 30
    lost_at: int | None = None
    unstable: bool = False  # the tool cuts where it has not said so
    halted: bool = False
    moves: int = 0
    name: str = "shop-redis-1"
    directory: str = "/data"

    @override
    def serving(self) -> str | None:
        return self.runs

    @override
    def halt(self) -> str | None:
        self.halted = True
        return "Stopped shop-redis-1."

    @override
    def sizes(self, folder: str = "") -> dict[str, int]:
        prefix = f"{folder}/" if folder else ""
        inside = {path[len(prefix) :]: len(data) for path, data in self.content.items() if path.startswith(prefix)}
        return {name: size for name, size in inside.items() if "/" not in name}

    @override
    def free_bytes(self) -> int:
        return self.free

    @override
    def read(self, path: str, start: int, count: int) -> bytes:
        return self._get(path)[start : start + count]

    @override
    def make_folder(self, path: str) -> None:
        pass

    @override
    def keep(self, path: str, folder: str) -> None:
        for name, data in list(self.content.items()):
            if name == path or name.startswith(f"{path}/"):
                self.content[f"{folder}/{name}"] = data

    @override
    def copy(self, path: str, to: str) -> None:
        self.content[to] = self._get(path)

    @override
    def write(self, path: str, text: str) -> None:
        self.content[path] = text.encode()

    @override
    def cut(self, path: str, size: int, *, end_rdb: bool = False) -> None:
        self.content[path] = self._get(path)[:size] + (b"\xff" + bytes(8) if end_rdb else b"")

    @override
    def move(self, path: str, to: str) -> None:
        self.moves += 1
        if self.lost_at == self.moves:
            raise ActionFailed("The place is gone.")
        self.content[to] = self._get(path)
        del self.content[path]

    @override
    def remove(self, path: str) -> None:
        for name in list(self.content):
            if name == path or name.startswith(f"{path}/"):
                del self.content[name]

    @override
    def check_aof(self, path: str) -> tuple[bool, str]:
        content = self._get(path)
        start, said = 0, ""
        if content.startswith(b"REDIS"):
            good, said = self._read_rdb(content)
            if not good:
                return False, f"{said}\nRDB preamble of AOF file is not sane, aborting."
            start = content.index(b"\xff") + 9
            said += "\nRDB preamble is OK, proceeding with AOF tail...\n"
        good_up_to, problem = read_commands(content[start:])
        good_up_to += start
        sizes = f"AOF analyzed: filename={path}, size={len(content)}, ok_up_to={good_up_to}, ok_up_to_line=1, "
        said += f"0x   1: {problem}\n{sizes}diff={len(content) - good_up_to}"
        return good_up_to == len(content), said

    @override
    def fix_aof(self, path: str) -> None:
        content = self._get(path)
        start = content.index(b"\xff") + 9 if content.startswith(b"REDIS") else 0
        self.content[path] = content[: start + read_commands(content[start:])[0] - (3 if self.unstable else 0)]

    @override
    def check_rdb(self, path: str) -> tuple[bool, str]:
        return self._read_rdb(self._get(path))

    @override
    def commands(self, path: str, start: int) -> int:
        return sum(line[:1] == b"*" and line[1:].strip().isdigit() for line in self._get(path)[start:].split(b"\n"))

    def _get(self, path: str) -> bytes:
        if path not in self.content:
            raise ActionFailed(f"Cannot read {path}: there is no such file.")
        return self.content[path]

    @staticmethod
    def _read_rdb(content: bytes) -> tuple[bool, str]:  # noqa: PLR0911 - one for each thing that can be wrong
        """Read what ``rdb`` writes, and say what redis-check-rdb says."""

        def bad(place: int, what: str, doing: str, keys: int, key: bytes = b"") -> tuple[bool, str]:
            said = f"--- RDB ERROR DETECTED ---\n[offset {place}] {what}\n[additional info] While doing: {doing}\n"
            said += f"[additional info] Reading key '{key.decode(errors='surrogateescape')}'\n" if key else ""
            return False, f"{database}{said}[info] {keys} keys read\n"

        database = "[offset 11] Selecting DB ID 0\n"
        if not content.startswith(b"REDIS"):
            database = ""
            return bad(0, "Wrong signature trying to load DB from file", "start", 0)
        place, keys = 9, 0
        if content[place : place + 1] == b"\xfe":
            place += 5
        while content[place : place + 1] != b"\xff":
            entry = content[place : place + 9]
            if len(entry) >= 5 and entry[:2] == b"\x00\x03":
                keys += 1
                if len(entry) < 9:
                    return bad(len(content), "Unexpected EOF reading RDB file", "read-object-value", keys, entry[2:5])
                if entry[5:6] != b"\x03":
                    return bad(place + 6, "Internal error in RDB", "read-object-value", keys, entry[2:5])
                place += 9
            elif len(entry) < 5:
                return bad(len(content), "Unexpected EOF reading RDB file", "read-key", keys)
            else:
                return bad(place + 1, "Invalid object type: 120", "read-type", keys)
        if content[place + 1 : place + 9] not in (b"C" * 8, bytes(8)):
            return bad(place + 9, "RDB CRC error", "check-sum", keys)
        return True, f"{database}\\o/ RDB looks OK! \\o/\n[info] {keys} keys read\n"


class DataFilesContract(ABC):
    """What every data directory promises."""

    @abstractmethod
    def put(self, files: DataFiles, path: str, content: bytes) -> None:
        """Write a file by another way."""

    @pytest.fixture
    @abstractmethod
    def files(self) -> DataFiles:
        """Return an empty directory."""

    def test_files_are_listed_by_folder(self, files: DataFiles) -> None:
        """Names with sizes; a folder that is not there has none."""
        self.put(files, "one", b"abc")
        self.put(files, "folder/two", b"")
        assert files.sizes() == {"one": 3}
        assert files.sizes("folder") == {"two": 0}
        assert files.sizes("nowhere") == {}

    def test_a_part_of_a_file_is_read(self, files: DataFiles) -> None:
        """Every byte as it is, and no more than there are."""
        self.put(files, "one", bytes(range(256)))
        assert files.read("one", 250, 100) == bytes(range(250, 256))
        assert files.read("one", 0, 12) == bytes(range(12))

    def test_what_is_kept_stays_when_the_original_is_replaced(self, files: DataFiles) -> None:
        """A file and a folder, under their names."""
        self.put(files, "one", b"old")
        self.put(files, "folder/two", b"old")
        files.make_folder("aside/mended")
        files.keep("one", "aside")
        files.keep("folder", "aside")
        files.copy("one", "aside/mended/one")
        files.write("aside/mended/one", "new % \\n")
        files.move("aside/mended/one", "one")
        files.remove("folder/two")
        assert files.read("one", 0, 99) == b"new % \\n"
        assert files.read("aside/one", 0, 99) == b"old"
        assert files.read("aside/folder/two", 0, 99) == b"old"
        assert files.sizes("folder") == {}
        files.remove("aside")
        assert files.sizes("aside") == {}

    def test_a_file_is_cut(self, files: DataFiles) -> None:
        """To a size, and ended as an RDB that has no checksum."""
        self.put(files, "one", b"0123456789")
        files.cut("one", 4)
        assert files.read("one", 0, 99) == b"0123"
        files.cut("one", 2, end_rdb=True)
        assert files.read("one", 0, 99) == b"01\xff" + bytes(8)

    def test_the_tools_of_redis_read_the_files(self, files: DataFiles) -> None:
        """A sound AOF, one that is cut short and repaired, and something that is no RDB."""
        whole = command("SET", "a", "1") + command("SET", "b", "2")
        self.put(files, "whole.aof", whole)
        self.put(files, "short.aof", whole[:-3])
        self.put(files, "no.rdb", b"nonsense at the beginning")
        assert files.check_aof("whole.aof")[0]
        good, said = files.check_aof("short.aof")
        assert not good
        assert f"ok_up_to={len(whole) // 2}, " in said
        assert files.commands("whole.aof", 0) == 2
        assert files.commands("short.aof", len(whole) // 2) == 1
        files.fix_aof("short.aof")
        assert files.sizes()["short.aof"] == len(whole) // 2
        good, said = files.check_rdb("no.rdb")
        assert not good
        assert "Wrong signature" in said

    def test_there_is_room(self, files: DataFiles) -> None:
        """The free space is a number of bytes."""
        assert files.free_bytes() > 1 << 20

    def test_what_is_not_there_is_told(self, files: DataFiles) -> None:
        """A copy of nothing fails with the name."""
        with pytest.raises(ActionFailed, match="nothing"):
            files.copy("nothing", "one")
