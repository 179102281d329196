# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to the ops.runbooks collection: may change without notice.
"""Read the log lines of services without their secrets."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

LINE_LENGTH = 500

_SECRET = re.compile(
    r"""(?ix)
    ( (?: password|passwd|pwd|secret|token|credential s?|api [_-]? key|access [_-]? key|private [_-]? key )
      ["']? \s* [:=] \s* ["']? ) [^\s"',;&)}\]]+
    | ( \b authorization ["']? \s* [:=] \s* ["']? (?: \w+ \s+ )? ) [^\s"',]+
    | ( \b bearer \s+ ) [\w.~+/=-]{8,}
    | ( \b \w+ :// [^\s:/@]* : ) [^\s/@]+ (?= @ )
    """
)


def tidy(lines: Iterable[str]) -> list[str]:
    """Return the lines cut to a readable length, with what looks like a secret replaced by stars."""
    return [redact(line.rstrip()[:LINE_LENGTH]) for line in lines]


def redact(text: str) -> str:
    """Replace the values of passwords, tokens and keys, and the passwords in addresses."""
    return _SECRET.sub(lambda match: next(group for group in match.groups() if group is not None) + "***", text)
