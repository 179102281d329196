# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to the ops.runbooks collection: may change without notice.
"""Read what the tools of Redis say about its files, and decide where a damaged one ends. Nothing here opens a file."""

from __future__ import annotations

import re
import shlex
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

AOF_SIZES = re.compile(r"size=(\d+), ok_up_to=(\d+), ok_up_to_line=\d+, diff=(\d+)")
AOF_PROBLEM = re.compile(r"^0x\s*[0-9a-f]+: (.+)$", re.MULTILINE)
RDB_PROBLEM = re.compile(r"RDB ERROR DETECTED ---\s*\[offset (\d+)\] (.+)")
RDB_DOING = re.compile(r"While doing: (.+)")
RDB_KEY = re.compile(r"Reading key '(.*)'")
RDB_KEYS = re.compile(r"^\[info\] (\d+) keys read", re.MULTILINE)
RDB_DATABASE = re.compile(r"^\[offset (\d+)\] Selecting DB ID (\d+)", re.MULTILINE)
# What redis-check-aof says of a file that only ends too early, as after a crash or on a full disk.
CUT_SHORT = re.compile(r"got 0 bytes|Expected to read \d+ bytes, got \d+ bytes|[Rr]eached EOF")
# A type, an expiry with its time, an eviction hint: no more than this stands between two keys.
BETWEEN_KEYS = 24
RESIZE = 0xFB


class State(Enum):
    """What a tool says of a file."""

    SOUND = "sound"  # accepted from start to end
    CUT_SHORT = "cut_short"  # good, but the last command or key is not complete
    DAMAGED = "damaged"  # something in it cannot be read
    CHECKSUM = "checksum"  # everything can be read, and something is not what was saved
    MISSING = "missing"  # the manifest names it


@dataclass(frozen=True)
class Part:
    """One file that Redis reads at its start, in the order of reading."""

    path: str
    kind: str  # rdb, single, base or incr
    line: str = ""  # of the manifest

    @property
    def name(self) -> str:
        """Return the file's own name."""
        return self.path.rpartition("/")[2]


@dataclass(frozen=True)
class Finding:
    """What a tool found in a part."""

    part: Part
    size: int
    state: State
    problem: str = ""
    good_bytes: int = 0  # of an RDB: how far it was read
    keys: int | None = None  # keys that could be read, of an RDB
    key: str | None = None  # the key whose value cannot be read

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong with it."""
        return self.state is State.SOUND

    @property
    def snapshot(self) -> bool:
        """Whether the trouble is in an RDB, alone or at the start of an AOF."""
        return self.keys is not None


def read_manifest(text: str, folder: str) -> list[Part]:
    """Return the parts that a manifest names, base first; raises ValueError for what Redis would not read either."""
    parts: list[Part] = []
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        words = shlex.split(line)
        fields = dict(zip(words[::2], words[1::2]))
        name, kind = fields.get("file", ""), {"b": "base", "i": "incr", "h": ""}.get(fields.get("type", ""))
        if kind is None or not name or "/" in name or "seq" not in fields:
            raise ValueError(f"it has the line {line[:80]!r}")
        if kind:  # history is not read again
            parts.append(Part(f"{folder}/{name}", kind, line))
    if not parts:
        raise ValueError("it names no file")
    return sorted(parts, key=lambda part: part.kind != "base")


def write_manifest(parts: Sequence[Part]) -> str:
    """Return a manifest of these parts; where the last one ends is no longer known."""
    lines = [part.line for part in parts]
    lines[-1] = re.sub(r" endoffset -?\d+", "", lines[-1])
    return "".join(f"{line}\n" for line in lines)


def judge_aof(part: Part, size: int, said: str) -> Finding:
    """Read what redis-check-aof printed about a file that it does not accept.

    Raises ValueError where that does not say how far the file is good.
    """
    sizes = AOF_SIZES.search(said)
    if not sizes:
        last = (said.strip().splitlines() or ["nothing"])[-1]
        raise ValueError(f"redis-check-aof said of {part.name}: {last}")
    problems = AOF_PROBLEM.findall(said)
    # Where no command begins the tool names neither place nor character.
    problem = problems[-1] if problems else f"no command begins at byte {sizes[2]}"
    state = State.CUT_SHORT if CUT_SHORT.search(said) else State.DAMAGED
    return Finding(part, size, state, problem, good_bytes=int(sizes[2]))


def judge_rdb(part: Part, size: int, said: str) -> Finding:
    """Read what redis-check-rdb printed about a file that it does not accept.

    Raises ValueError where that does not say what is wrong.
    """
    problem = RDB_PROBLEM.search(said)
    keys = RDB_KEYS.search(said)
    if not problem or not keys:
        last = (said.strip().splitlines() or ["nothing"])[-1]
        raise ValueError(f"redis-check-rdb said of {part.name}: {last}")
    doing, key = RDB_DOING.search(said), RDB_KEY.search(said)
    state = State.CUT_SHORT if "Unexpected EOF" in problem[2] else State.DAMAGED
    if doing and doing[1] == "check-sum":
        state = State.CHECKSUM
    # A key counts as read before its value is.
    complete = int(keys[1]) - (1 if key else 0)
    return Finding(part, size, state, problem[2], int(problem[1]), complete, key[1] if key else None)


def key_beginnings(key: str, window: bytes, start: int) -> list[int]:
    """Return where, before a key, an RDB may be cut, the last place first; ``window`` begins at ``start``.

    Before the key stand its length and the type of its value.
    """
    found: list[int] = []
    for stored in _stored(key):
        position = window.rfind(stored)
        while position > 0:
            found.append(start + position - 1)
            position = window.rfind(stored, 0, position)
    return sorted(set(found), reverse=True)


def _stored(key: str) -> list[bytes]:
    """Return how an RDB may store a key: its length and itself, or a small number."""
    name = key.encode(errors="surrogateescape")
    if len(name) < 1 << 6:
        length = bytes([len(name)])
    elif len(name) < 1 << 14:
        length = bytes([0x40 | len(name) >> 8, len(name) & 0xFF])
    else:
        length = b"\x80" + len(name).to_bytes(4, "big")
    forms = [length + name]
    if re.fullmatch(r"0|-?[1-9]\d{0,9}", key):
        for mark, width in ((b"\xc0", 1), (b"\xc1", 2), (b"\xc2", 4)):
            with suppress(OverflowError):
                forms.append(mark + int(key).to_bytes(width, "little", signed=True))
    return forms


def gap_places(finding: Finding) -> list[int]:
    """Return where an RDB may be cut whose next key could not be read: close before the place of the error."""
    return [place for place in range(finding.good_bytes, finding.good_bytes - BETWEEN_KEYS, -1) if place > 0]


def databases(said: str) -> list[int]:
    """Return where the databases begin that redis-check-rdb came to."""
    return [int(offset) for offset, _number in RDB_DATABASE.findall(said)]


def declared_keys(head: bytes) -> int | None:
    """Return how many keys a database says that it has, from the bytes that follow its number; None if it does not."""
    if not head or head[0] != RESIZE:
        return None
    first = head[1]
    sizes = {0: (1, 0x3F), 1: (2, 0x3FFF)}
    if first >> 6 in sizes:
        width, mask = sizes[first >> 6]
        return int.from_bytes(head[1 : 1 + width], "big") & mask
    return int.from_bytes(head[2:6], "big") if first == 0x80 else None  # noqa: PLR2004 - four bytes follow


@dataclass(frozen=True)
class Plan:
    """What becomes of the parts of an AOF."""

    kept: tuple[Finding, ...]  # in the order of reading; the last one may be cut
    mended: tuple[Finding, ...]
    dropped: tuple[Finding, ...]


def plan_aof(found: Sequence[Finding]) -> Plan:
    """Keep what comes before the damage, mend where it is, and drop what comes after: it builds on what is gone.

    A wrong checksum alone ends nothing, since everything can be read.
    """
    bad = next((n for n, one in enumerate(found) if not one.sound and one.state is not State.CHECKSUM), len(found))
    read = [*found[:bad], *(one for one in found[bad : bad + 1] if one.state is not State.MISSING)]
    return Plan(tuple(read), tuple(one for one in read if not one.sound), tuple(found[len(read) :]))
