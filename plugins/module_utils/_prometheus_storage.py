# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to the ops.runbooks collection: may change without notice.
"""The time-series storage of a Prometheus that does not start because of it: find the damaged part, move it aside.

Prometheus repairs the end of its write-ahead log by itself, and skips a block whose meta.json it cannot read. What
keeps it from starting (measured with 2.53): a block whose index, chunks or tombstones are damaged or missing; a log
with a missing segment, or one it may not read; damaged head chunks. Its message names the part in some of these cases
only, so the files are looked at as well.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ansible_collections.ops.runbooks.plugins.module_utils._alerting_path import (
    is_unwritable,
    storage_error,
    why_not_started,
)
from ansible_collections.ops.runbooks.plugins.module_utils._alerting_site import OK, alerting_options, servers_of
from ansible_collections.ops.runbooks.plugins.module_utils._errors import (
    ActionFailed,
    ConnectionFailed,
    OpsError,
    PreconditionFailed,
    TimedOut,
)
from ansible_collections.ops.runbooks.plugins.module_utils._waiting import Clock, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ansible_collections.ops.runbooks.plugins.module_utils._alerting_site import Container, Server, Site
    from ansible_collections.ops.runbooks.plugins.module_utils._arguments import ArgumentSpec

SET_ASIDE = "set-aside"
# A second part can only be seen to be damaged once the first is out of the way.
ROUNDS = 5
_BLOCK = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}")
_LOG = re.compile(r"(?i)\bwal\b|segments are not sequential|segment range")
MAGIC = {"index": "baaad700", "tombstones": "0130ba30", "chunks": "85bd40dd", "chunks_head": "0130bc91"}

# Lists the storage as the server's own user sees it: kind, size, the first four bytes, the path. Reads only.
LISTING = r"""
cd "$1" || exit 2
find . -mindepth 1 -maxdepth 3 -not -path './set-aside*' -printf '%y %s %P\n' | while read -r kind size path; do
  magic=-
  case $path in
    */index|*/tombstones|*/chunks/*|chunks_head/*)
      [ "$kind" = f ] && magic=$(od -An -N4 -tx1 "$path" 2>/dev/null | tr -d ' ');;
  esac
  echo "$kind $size ${magic:--} $path"
done
"""


@dataclass(frozen=True)
class Entry:
    """One file or directory of the storage."""

    kind: str
    size: int
    magic: str
    path: str


def parse_listing(text: str) -> list[Entry]:
    """Read what LISTING prints."""
    rows = [line.split(" ", 3) for line in text.splitlines() if line]
    return [Entry(kind, int(size), magic, path) for kind, size, magic, path in rows]


def damaged_blocks(entries: Sequence[Entry]) -> list[str]:
    """Return the blocks that Prometheus cannot open: a part is missing, empty, or does not begin as it must.

    A block without a readable meta.json is skipped by Prometheus itself, and left alone.
    """
    by_path = {entry.path: entry for entry in entries}
    found = []
    for block in sorted(entry.path for entry in entries if entry.kind == "d" and _BLOCK.fullmatch(entry.path)):
        index, tombstones = by_path.get(f"{block}/index"), by_path.get(f"{block}/tombstones")
        chunks = [entry for entry in entries if entry.path.startswith(f"{block}/chunks/")]
        whole = (
            index is not None
            and index.magic == MAGIC["index"]
            and f"{block}/chunks" in by_path
            and all(chunk.magic == MAGIC["chunks"] for chunk in chunks)
            and (tombstones is None or tombstones.magic == MAGIC["tombstones"])
        )
        if not whole:
            found.append(block)
    return found


def damaged_parts(error: str, entries: Sequence[Entry], path: str) -> list[str]:
    """Return what must be out of the way, by the message of Prometheus and by the files; empty if nothing is found."""
    present = {entry.path.split("/")[0] for entry in entries}
    named = re.findall(rf"{re.escape(path)}/([\w-]+)", error)
    parts = [name for name in named if name in present and (name in ("wal", "chunks_head") or _BLOCK.fullmatch(name))]
    if not parts and _LOG.search(error) and "wal" in present:
        parts = ["wal"]
    heads = [entry for entry in entries if entry.path.startswith("chunks_head/")]
    if not parts and any(entry.magic != MAGIC["chunks_head"] for entry in heads):
        parts = ["chunks_head"]
    return sorted({*parts, *damaged_blocks(entries)})


def storage_spec() -> ArgumentSpec:
    """Return the options of prometheus_storage_repair."""
    own = alerting_options()
    own.options.update(
        path={"type": "str", "default": "/data"},
        ready_seconds={"type": "float", "default": 300.0},
    )
    return own


class Repairer:
    """Stops Prometheus, moves what is damaged aside and starts it, until it is ready or nothing more is found."""

    def __init__(
        self,
        site: Site,
        params: Mapping[str, Any],
        *,
        clock: Clock | None = None,
        stamp: Callable[[], str] = lambda: time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()),
    ) -> None:
        self._site = site
        self._server: Server = servers_of(params)[0]
        self._path: str = params["path"]
        self._ready_seconds: float = params["ready_seconds"]
        self._clock = clock
        self._aside = f"{self._path}/{SET_ASIDE}/{stamp()}"
        self._moved: list[str] = []
        self._actions: list[str] = []

    def run(self, *, dry_run: bool) -> dict[str, Any]:
        """Return what was moved; raises PreconditionFailed unless the storage keeps Prometheus from starting."""
        error = self._why()
        before = {"ready": False, "error": error}
        parts = self._find(error)
        if dry_run:
            actions = [f"Would move {', '.join(parts)} to {self._aside} and start Prometheus."]
            return {"changed": True, "actions": actions, "moved": [], "before": before, "after": before}
        try:
            for _round in range(ROUNDS):
                self._move(parts)
                error = ""  # what it said before says nothing about the start that follows
                error = self._start()
                if not error:
                    after = {"ready": True, "error": ""}
                    return self._result(before, after)
                parts = self._find(error)
        except OpsError as failure:
            failure.details.update(self._result(before, {"ready": False, "error": error}))
            raise
        raise ActionFailed(
            f"Prometheus still does not start after {ROUNDS} rounds: {error}. Start it on a copy without its storage.",
            **self._result(before, {"ready": False, "error": error}),
        )

    def _result(self, before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "changed": bool(self._moved),
            "actions": self._actions,
            "moved": self._moved,
            "before": dict(before),
            "after": dict(after),
        }

    def _is_ready(self) -> bool:
        try:
            return self._site.send(self._server, "/-/ready")[0] == OK
        except ConnectionFailed:
            return False

    def _why(self) -> str:
        error = "" if self._is_ready() else why_not_started(self._site, self._server, self._container().as_return())
        if not error:
            raise PreconditionFailed(
                "Refused: nothing says that Prometheus does not start because of its storage. Run diagnose.yml."
            )
        if is_unwritable(error):
            raise PreconditionFailed(
                f"Refused: {self._path} cannot be written ({error}). Make room, or have its disk mended, and start "
                "Prometheus; nothing else is damaged."
            )
        return error

    def _find(self, error: str) -> list[str]:
        parts = damaged_parts(error, parse_listing(self._site.beside(self._server, LISTING, self._path)), self._path)
        if not parts:
            raise ActionFailed(
                f"Cannot tell which part of {self._path} is damaged: {error}. Nothing more was moved; copy the storage "
                "and look by hand (promtool tsdb list)."
            )
        return parts

    def _move(self, parts: Sequence[str]) -> None:
        self._site.docker("stop", self._server.container)
        # As root: what the server may not read, it may not move either.
        script = 'mkdir -p "$1" && mv "$2/$3" "$1/"'
        for part in parts:
            self._site.beside(self._server, script, self._aside, self._path, part, as_root=True)
            self._moved.append(f"{self._aside}/{part}")
            self._actions.append(f"Moved {part} to {self._aside}.")

    def _start(self) -> str:
        """Start Prometheus; return what its storage has done to it, or nothing once it is ready.

        Raises ActionFailed if it ends for another reason, TimedOut if it does neither.
        """
        self._site.docker("start", self._server.container)
        started = self._container().started

        def look() -> str | None:
            if self._is_ready():
                return ""
            container = self._container()
            if container.state != "restarting" and not container.has_ended:
                return None
            error = storage_error(self._site.log_tail(self._server, since=started))
            if not error and container.has_ended:
                raise ActionFailed(
                    f"Prometheus ended with exit code {container.exit_code} while it started, and does not blame its "
                    "storage. Look at its log, and start it again."
                )
            return error or None

        waited = wait_until(
            look, lambda state: state is not None, timeout_seconds=self._ready_seconds, clock=self._clock
        )
        if waited.state is None:
            raise TimedOut(f"Prometheus is not ready {self._ready_seconds:.0f} s after its start; its log says why.")
        if not waited.state:
            self._actions.append(f"Prometheus is ready after {waited.seconds:.0f} s.")
        return waited.state

    def _container(self) -> Container:
        return self._site.container(self._server)
