# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to the ops.runbooks collection: may change without notice.
"""Glob patterns with the meaning that Redis gives them, for Python and for a script inside the server.

A script has no way to call the server's own matcher, so a pattern becomes one of Lua's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_STARS = 5
EVERY_BYTE = frozenset(range(256))


@dataclass(frozen=True)
class Glob:
    """A parsed pattern: None stands for any run of bytes, a set for one byte out of it."""

    text: str
    tokens: tuple[frozenset[int] | None, ...]

    @classmethod
    def parse(cls, text: str) -> Glob:
        """Parse as ``stringmatchlen`` of Redis reads it; raises ValueError for what would take too long."""
        if not text:
            raise ValueError("A pattern is empty. Name a prefix, as in session:*.")
        tokens = tuple(_tokens(text.encode()))
        if sum(token is None for token in tokens) > MAX_STARS:
            raise ValueError(f'Pattern "{text}" has more than {MAX_STARS} stars, which would hold the server up.')
        return cls(text, tokens)

    @property
    def narrows(self) -> bool:
        """Whether any byte of a key is asked for."""
        return any(token is not None and token != EVERY_BYTE for token in self.tokens)

    def expression(self) -> re.Pattern[bytes]:
        """Return the pattern for Python."""
        parts = [b".*" if token is None else _python_class(token) for token in self.tokens]
        return re.compile(b"".join(parts), re.DOTALL)

    def lua(self) -> bytes:
        """Return the pattern for Lua 5.1."""
        tokens = list(self.tokens)
        open_end = tokens[-1] is None
        if open_end:
            tokens.pop()
        parts = [b".-" if token is None else _lua_class(token) for token in tokens]
        return b"^" + b"".join(parts) + (b"" if open_end else b"$")


def _tokens(pattern: bytes) -> list[frozenset[int] | None]:
    tokens: list[frozenset[int] | None] = []
    position = 0
    while position < len(pattern):
        byte = pattern[position : position + 1]
        if byte == b"*":
            if not tokens or tokens[-1] is not None:
                tokens.append(None)
        elif byte == b"?":
            tokens.append(EVERY_BYTE)
        elif byte == b"[":
            chosen, position = _class(pattern, position + 1)
            tokens.append(chosen)
            continue
        else:
            if byte == b"\\" and position + 1 < len(pattern):
                position += 1
            tokens.append(frozenset([pattern[position]]))
        position += 1
    return tokens


def _class(pattern: bytes, position: int) -> tuple[frozenset[int], int]:
    """Read what stands between brackets; an end of the pattern closes them, and a range may end in a bracket."""
    negated = pattern[position : position + 1] == b"^"
    position += negated
    chosen: set[int] = set()
    while position < len(pattern) and pattern[position : position + 1] != b"]":
        left = len(pattern) - position
        first = pattern[position]
        if left >= 2 and first == ord("\\"):  # noqa: PLR2004 - the escaped byte
            position += 1
            chosen.add(pattern[position])
        elif left >= 3 and pattern[position + 1] == ord("-"):  # noqa: PLR2004 - start, dash, end
            low, high = sorted((first, pattern[position + 2]))
            chosen.update(range(low, high + 1))
            position += 2
        else:
            chosen.add(first)
        position += 1
    return (EVERY_BYTE - chosen if negated else frozenset(chosen)), position + 1


def _python_class(chosen: frozenset[int]) -> bytes:
    if not chosen:
        return b"(?!)"
    return b"[" + b"".join(b"\\x%02x" % byte for byte in sorted(chosen)) + b"]"


def _lua_class(chosen: frozenset[int]) -> bytes:
    if chosen == EVERY_BYTE:
        return b"."
    if not chosen:
        return b"[^%z\x01-\xff]"
    if len(chosen) == 1:
        return _lua_byte(next(iter(chosen)))
    return b"[" + b"".join(_lua_byte(byte) for byte in sorted(chosen)) + b"]"


def _lua_byte(byte: int) -> bytes:
    """Escape what Lua reads as more than itself; it reads patterns as C strings, so a zero has a name."""
    if byte == 0:
        return b"%z"
    one = bytes([byte])
    return b"%" + one if byte < 128 and chr(byte).isprintable() and not one.isalnum() else one  # noqa: PLR2004 - ASCII
