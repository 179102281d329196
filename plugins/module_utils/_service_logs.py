# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to the ops.runbooks collection: may change without notice.
"""Read the log lines of services without their secrets."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

LINE_LENGTH = 500
# Lines are redacted before they are cut: half an address no longer looks like one. This bounds the work.
LONGEST_LINE = 20_000

_SECRET = re.compile(
    r"""(?ix)
    ( (?: password|passwd|pwd|secret|token|credential s?|api [_-]? key|access [_-]? key|private [_-]? key )
      (?: \\? ["'] )? \s* [:=] \s* (?: \\? ["'] )? ) (?: (?<=") [^"]* | (?<=') [^']* | [^\s"',;&)}\]]+ )
    | ( \b authorization ["']? \s* [:=] \s* ["']? (?: \w+ \s+ )? ) [^\s"',]+
    | ( \b bearer \s+ ) [\w.~+/=-]{8,}
    | ( \b \w+ :// [^\s:/@]* : ) [^\s/@]+ (?= @ )
    """
)
_ERROR = re.compile(
    r"""(?ix)
    \b ( errors? | err | fatal | critical | crit | severe | emerg | panic | traceback | oom | out \s of \s memory
         | failed | failure | cannot | could \s not | refused | timed \s out | segfault | killed ) \b
    | (?-i: [a-z] (?: Error | Exception ) ) \b
    """
)
# Said with an error's words, and none: "0 errors", "error_count=0", "errors: none".
_NO_ERROR = re.compile(
    r"(?i)\b(no|0|without)\s+(errors?|failures?)\b|\b(errors?|failed|failures?)\W{0,3}(0|none|false|null)\b"
)
_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_VARIABLE = (
    (re.compile(r"""(?<!\w)(?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')"""), '"*"'),
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?"), "<time>"),
    (re.compile(r"(?i)\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"), "<id>"),
    (re.compile(r"(?i)\b(?=[0-9a-f]*\d)(?=[0-9a-f]*[a-f])[0-9a-f]{7,}\b"), "<id>"),
    (re.compile(r"(?i)\b0x[0-9a-f]+\b"), "<id>"),
    (re.compile(r"\d+"), "#"),
)


def tidy(lines: Iterable[str]) -> list[str]:
    """Return the lines cut to a readable length, with what looks like a secret replaced by stars."""
    return [redact(_ESCAPE.sub("", line[:LONGEST_LINE]).rstrip())[:LINE_LENGTH] for line in lines]


def redact(text: str) -> str:
    """Replace the values of passwords, tokens and keys, and the passwords in addresses."""
    return _SECRET.sub(lambda match: next(group for group in match.groups() if group is not None) + "***", text)


def shape(line: str) -> str:
    """Return what a tidied line has in common with others of its kind: no number, identity or quoted text."""
    for pattern, stands_for in _VARIABLE:
        line = pattern.sub(stands_for, line)
    return " ".join(line.split())


def is_error(line: str) -> bool:
    """Tell whether a line looks like it reports an error."""
    return bool(_ERROR.search(_NO_ERROR.sub("", line)))


@dataclass
class ErrorGroup:
    """Error lines of one shape."""

    shape: str
    count: int
    replicas: list[str]
    last: str  # the newest of them, redacted

    def as_return(self) -> dict[str, Any]:
        """Return what a reader needs."""
        return {"shape": self.shape, "count": self.count, "replicas": self.replicas, "last": self.last}


def group_errors(logs: Mapping[str, Sequence[str]]) -> list[ErrorGroup]:
    """Group the error lines of replicas, by name, in the order in which they were written; most frequent first."""
    groups: dict[str, ErrorGroup] = {}
    for replica, lines in logs.items():
        for line in tidy(lines):
            if not is_error(line):
                continue
            key = shape(line)
            group = groups.setdefault(key, ErrorGroup(key, 0, [], line))
            group.count += 1
            group.last = line
            if replica not in group.replicas:
                group.replicas.append(replica)
    return sorted(groups.values(), key=lambda group: (-group.count, group.shape))
