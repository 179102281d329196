# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to the ops.runbooks collection: may change without notice.
"""Check what Redis reads at its start, and repair a copy of it: the work behind redis_persistence_repair."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ansible.module_utils.basic import env_fallback
from ansible_collections.ops.runbooks.plugins.module_utils._arguments import ArgumentSpec
from ansible_collections.ops.runbooks.plugins.module_utils._errors import ActionFailed, OpsError, PreconditionFailed
from ansible_collections.ops.runbooks.plugins.module_utils._redis_persistence_files import (
    Finding,
    Part,
    Plan,
    State,
    databases,
    declared_keys,
    gap_places,
    judge_aof,
    judge_rdb,
    key_beginnings,
    plan_aof,
    read_manifest,
    write_manifest,
)
from ansible_collections.ops.runbooks.plugins.module_utils._service_options import DOCKER_HOST

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ansible_collections.ops.runbooks.plugins.module_utils._redis_persistence_ports import DataFiles

MAGIC = b"REDIS"
HEAD_BYTES = 16
MANIFEST_BYTES = 1 << 20
# How far before the place of an error the beginning of its key is looked for.
WINDOW_BYTES = 8 << 20
ATTEMPTS = 24


def repair_spec() -> ArgumentSpec:
    """Return the options of redis_persistence_repair."""
    return ArgumentSpec(
        options={
            "data_directory": {"type": "str", "default": "/data"},
            "project": {"type": "str"},
            "service": {"type": "str"},
            "docker_host": {"type": "str", "default": DOCKER_HOST, "fallback": (env_fallback, ["DOCKER_HOST"])},
            "aof_folder": {"type": "str", "default": "appendonlydir"},
            "aof_filename": {"type": "str", "default": "appendonly.aof"},
            "rdb_filename": {"type": "str", "default": "dump.rdb"},
            "allow_data_loss": {"type": "bool", "default": False},
        },
        required_together=[["project", "service"]],
    )


@dataclass(frozen=True)
class RepairRequest:
    """What redis_persistence_repair is asked to look at."""

    aof_folder: str
    aof_filename: str
    rdb_filename: str
    allow_data_loss: bool

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> RepairRequest:
        """Build the request from the module's options; raises ValueError for a name that is a path."""
        for option in ("aof_folder", "aof_filename", "rdb_filename"):
            name = params[option]
            if not name or "/" in name or name.startswith(("-", ".")):
                raise ValueError(f"{option} is {name!r}, expected a name without a path, as CONFIG GET gives it.")
        if not params["data_directory"].startswith("/"):
            raise ValueError(f"data_directory is {params['data_directory']!r}, expected a path from the root.")
        return cls(params["aof_folder"], params["aof_filename"], params["rdb_filename"], params["allow_data_loss"])


@dataclass
class Loss:
    """What is no longer there after a repair; None where that cannot be known."""

    bytes: int = 0
    commands: int | None = 0
    exact: bool = True
    keys: int | None = 0


class Repairer:
    """Check the files of one server, and repair what is damaged."""

    def __init__(self, files: DataFiles, request: RepairRequest, *, stamp: str) -> None:
        """``stamp`` names the folder in which the damaged files are kept."""
        self._files = files
        self._request = request
        self._aside = f"damaged-{stamp}"
        self._work = f"{self._aside}/repaired"
        self._loss = Loss()
        self._result: dict[str, Any] = {
            "changed": False,
            "instance": f"{files.name}:{files.directory}",
            "actions": [],
            "aside": None,
            "lost_bytes": 0,
            "lost_commands": 0,
            "lost_commands_exact": True,
            "lost_keys": 0,
        }

    def run(self, *, dry_run: bool) -> dict[str, Any]:
        """Check, and repair if something is damaged; a dry run says what would be cut.

        Raises PreconditionFailed before anything is changed: the server runs, data would be lost and may not be, space
        is short, or a file cannot be repaired. What an error carries is true at its time.
        """
        try:
            return self._run(dry_run=dry_run)
        except OpsError as error:
            error.details = {**self._result, **error.details}
            raise

    def _run(self, *, dry_run: bool) -> dict[str, Any]:
        serving = self._files.serving()
        aof, rdb = self._look_at_aof(), self._look_at_rdb()
        found = [*aof, *rdb]
        self._result["serving"] = bool(serving)
        self._result["before"] = self._result["after"] = _state(found)
        damaged = [one for one in found if not one.sound]
        if serving and all(one is aof[-1] and one.state is State.CUT_SHORT for one in damaged):
            damaged = []  # the server is writing it
        self._result["damaged"] = bool(damaged)
        if not damaged:
            sound = f"{len(found)} files are sound" if found else "there are no files"
            self._say(f"Left everything alone: {sound}.")
            return self._result
        for one in damaged:
            self._say(f"{one.part.name}: {one.problem}.")
        plan = plan_aof(aof) if any(not one.sound for one in aof) else Plan((), (), ())
        bad_rdb = [one for one in rdb if not one.sound]
        self._refuse(serving, aof, damaged)
        self._foresee(plan, bad_rdb)
        if not self._request.allow_data_loss:
            raise PreconditionFailed(
                f"Cannot repair the files in {self._files.name}:{self._files.directory}: {self._words()} would be "
                "lost, for good where no backup has it. Look for a backup first, or set allow_data_loss."
            )
        if dry_run:
            self._result["changed"] = True
            self._say(f"Would keep the damaged files in {self._aside} and lose {self._words()}.")
            return self._result
        self._repair(plan, bad_rdb)
        return self._result

    def _look_at_aof(self) -> list[Finding]:
        """Return what the parts of the AOF are like, in the order in which Redis reads them."""
        request = self._request
        there = self._files.sizes(request.aof_folder)
        manifest = f"{request.aof_filename}.manifest"
        if manifest in there:
            text = self._files.read(f"{request.aof_folder}/{manifest}", 0, MANIFEST_BYTES).decode(errors="replace")
            try:
                parts = read_manifest(text, request.aof_folder)
            except ValueError as error:
                raise PreconditionFailed(
                    f"Cannot repair the AOF in {self._files.name}:{self._files.directory}: nothing tells the order of "
                    f"its files, as {manifest} cannot be read: {error}. Restore it from a backup."
                ) from error
        elif there:
            raise PreconditionFailed(
                f"Cannot repair the AOF in {self._files.name}:{self._files.directory}: {request.aof_folder} has "
                f"{len(there)} files and no {manifest}, so nothing tells their order. Restore it from a backup."
            )
        elif request.aof_filename in (there := self._files.sizes()):
            parts = [Part(request.aof_filename, "single")]
        else:
            parts = []
        return [self._check(part, there.get(part.name)) for part in parts]

    def _look_at_rdb(self) -> list[Finding]:
        name = self._request.rdb_filename
        there = self._files.sizes()
        return [self._check(Part(name, "rdb"), there[name])] if name in there else []

    def _check(self, part: Part, size: int | None) -> Finding:
        """Have the tool of Redis read a file. An RDB at the start of an AOF is read by the tool for RDBs."""
        if size is None:
            return Finding(part, 0, State.MISSING, "the manifest names it, and it is not there")
        if not size and part.kind != "rdb":
            return Finding(part, 0, State.SOUND)  # Redis reads on
        is_rdb = part.kind == "rdb" or part.name.endswith(".rdb")
        if not is_rdb:
            good, said = self._files.check_aof(part.path)
            if good:
                return Finding(part, size, State.SOUND)
            if self._files.read(part.path, 0, len(MAGIC)) != MAGIC or "RDB preamble is OK" in said:
                return self._judged(judge_aof, part, size, said)
        good, said = self._files.check_rdb(part.path)
        return Finding(part, size, State.SOUND) if good else self._judged(judge_rdb, part, size, said)

    def _judged(self, judge: Any, part: Part, size: int, said: str) -> Finding:
        try:
            finding: Finding = judge(part, size, said)
        except ValueError as error:
            raise ActionFailed(
                f"Cannot check {part.path} in {self._files.name}:{self._files.directory}: {error}. Run the tool there."
            ) from error
        return finding

    def _refuse(self, serving: str | None, aof: list[Finding], damaged: list[Finding]) -> None:
        where = f"{self._files.name}:{self._files.directory}"
        if serving:
            raise PreconditionFailed(
                f"Cannot repair the files in {where}: {serving}. What it holds in memory is better than what is on "
                "disk: have it write new files with BGREWRITEAOF or BGSAVE."
            )
        if aof and aof[0].state is State.MISSING:
            raise PreconditionFailed(
                f"Cannot repair the AOF in {where}: {aof[0].part.name}, with which it begins, is not there. Restore it "
                "from a backup."
            )
        needed, free = sum(one.size for one in damaged), self._files.free_bytes()
        if free < needed:
            raise PreconditionFailed(
                f"Cannot repair the files in {where}: a copy needs {needed} bytes and {free} are free. Free disk space."
            )

    def _foresee(self, plan: Plan, rdb: list[Finding]) -> None:
        """Reckon what a repair loses, as far as reading alone can tell."""
        for bad in (*plan.mended, *rdb):
            self._lose(bad)
        for one in plan.dropped:
            self._loss.bytes += one.size
            if one.state is State.MISSING:
                self._loss.commands = None
            elif one.size:
                self._add_commands(self._files.commands(one.part.path, 0), exact=one.sound)
                self._say(f"{one.part.name} comes after the damage: nothing in it can be applied.")
        self._tell()

    def _lose(self, bad: Finding) -> None:
        if bad.state is State.CHECKSUM:
            self._say(f"{bad.part.name}: all {bad.keys} keys can be read, and something in them is not what was saved.")
            return
        self._loss.bytes += max(0, bad.size - bad.good_bytes)
        if not bad.snapshot:
            exact = bad.state is State.CUT_SHORT
            self._add_commands(self._files.commands(bad.part.path, bad.good_bytes), exact=exact)
            return
        if bad.part.kind == "single":
            self._loss.commands = None
        missing = self._missing_keys(bad)
        self._loss.keys = None if missing is None or self._loss.keys is None else self._loss.keys + missing

    def _add_commands(self, number: int, *, exact: bool) -> None:
        if self._loss.commands is not None:
            self._loss.commands += number
            self._loss.exact = self._loss.exact and exact

    def _missing_keys(self, bad: Finding) -> int | None:
        """Return how many keys of an RDB cannot be read, if it says itself how many it has."""
        _good, said = self._files.check_rdb(bad.part.path)
        starts = databases(said)
        declared = [declared_keys(self._files.read(bad.part.path, start, HEAD_BYTES)) for start in starts]
        if not declared or None in declared or bad.keys is None:
            return None
        return max(0, sum(number or 0 for number in declared) - bad.keys)

    def _tell(self) -> None:
        loss = self._loss
        self._result.update(
            lost_bytes=loss.bytes,
            lost_commands=loss.commands,
            lost_commands_exact=loss.exact and loss.commands is not None,
            lost_keys=loss.keys,
        )

    def _words(self) -> str:
        loss = self._loss
        parts = [f"{loss.bytes} bytes"]
        if loss.commands:
            parts.append(f"{'' if loss.exact else 'about '}{loss.commands} commands")
        elif loss.commands is None:
            parts.append("an unknown number of commands")
        if loss.keys:
            parts.append(f"at least {loss.keys} keys")
        elif loss.keys is None:
            parts.append("an unknown number of keys")
        return ", ".join(parts[:-1]) + " and " + parts[-1] if len(parts) > 1 else parts[0]

    def _repair(self, plan: Plan, rdb: list[Finding]) -> None:
        """Keep what is there, mend copies, and put them in the place of the originals, one after the other."""
        files = self._files
        halted = files.halt()
        if halted:
            self._say(halted)
        files.make_folder(self._work)
        try:
            self._swap(plan, rdb)
        except OpsError:
            with suppress(OpsError):  # what went wrong first is what matters
                files.remove(self._work)
            raise
        files.remove(self._work)
        after = [*self._look_at_aof(), *self._look_at_rdb()]
        self._result["after"] = _state(after)
        still = next((one for one in after if not one.sound), None)
        if still:
            raise ActionFailed(
                f"Cannot repair {still.part.path} in {files.name}:{files.directory}: {still.problem}. The damaged "
                f"original is in {self._aside}; restore from a backup."
            )
        self._tell()
        self._say(f"Repaired {len(plan.mended) + len(rdb)} files; {self._words()} are lost.")

    def _swap(self, plan: Plan, rdb: list[Finding]) -> None:
        files = self._files
        ready = self._new_manifest(plan) + [self._mend(one) for one in (*plan.mended, *rdb)]
        multi = any(one.part.kind in ("base", "incr") for one in (*plan.kept, *plan.dropped))
        if multi:
            files.keep(self._request.aof_folder, self._aside)
        for one in (*(() if multi else plan.mended), *rdb):
            files.keep(one.part.path, self._aside)
        self._result["aside"] = f"{files.directory}/{self._aside}"
        self._say(f"Kept the damaged files in {self._result['aside']}.")
        for copy, place in ready:
            files.move(copy, place)
            self._result["changed"] = True
        for one in plan.dropped:
            files.remove(one.part.path)

    def _new_manifest(self, plan: Plan) -> list[tuple[str, str]]:
        """Write the manifest of what is kept, to be put in place first.

        Until the damaged part itself is replaced Redis does not start, so that it never reads half of a repair.
        """
        parts = [one.part for one in plan.kept]
        if not parts or parts[0].kind == "single":
            return []
        name = f"{self._request.aof_filename}.manifest"
        place, copy = f"{self._request.aof_folder}/{name}", f"{self._work}/{name}"
        # A part whose checksum alone is wrong ends where it ended.
        cut = any(one.state is not State.CHECKSUM for one in plan.mended)
        text = write_manifest(parts)
        if not plan.dropped and not (cut and text.splitlines()[-1] != parts[-1].line):
            return []
        self._files.copy(place, copy)
        self._files.write(copy, text)
        return [(copy, place)]

    def _mend(self, bad: Finding) -> tuple[str, str]:
        """Mend a copy; return it and the place where it belongs."""
        if bad.snapshot:
            return self._mend_rdb(bad)
        copy = f"{self._work}/{bad.part.name}"
        self._files.copy(bad.part.path, copy)
        self._files.fix_aof(copy)
        cut = self._files.sizes(self._work)[bad.part.name]
        if cut != bad.good_bytes:
            raise ActionFailed(
                f"Cannot repair {bad.part.path}: redis-check-aof cut a copy to {cut} bytes where it had found "
                f"{bad.good_bytes} good ones. The original is untouched; look at it by hand."
            )
        return copy, bad.part.path

    def _mend_rdb(self, bad: Finding) -> tuple[str, str]:
        """Cut a copy after its last whole key and end it there; Redis' own tool says whether the place is right."""
        copy = f"{self._work}/{bad.part.name}"
        files = self._files
        files.copy(bad.part.path, copy)
        if bad.state is State.CHECKSUM:
            places = [bad.good_bytes - 9]  # the mark of the end, and eight bytes of checksum
        elif bad.key is not None:
            start = max(0, bad.good_bytes - WINDOW_BYTES)
            window = files.read(bad.part.path, start, bad.good_bytes - start)
            places = key_beginnings(bad.key, window, start)
        else:
            places = gap_places(bad)
        for place in places[:ATTEMPTS]:
            # From the last place to the first: each cut only shortens the copy.
            files.cut(copy, place, end_rdb=True)
            good, said = files.check_rdb(copy)
            if good and f"[info] {bad.keys} keys read" in said:
                if bad.state is not State.CHECKSUM:
                    self._loss.bytes += min(bad.size, bad.good_bytes) - place
                return copy, bad.part.path
        raise ActionFailed(
            f"Cannot repair {bad.part.path} in {files.name}:{files.directory}: {bad.keys} keys can be read, but where "
            f"the last of them ends is not to be found. The original is untouched; restore it from a backup."
        )

    def _say(self, sentence: str) -> None:
        self._result["actions"].append(sentence)


def _state(found: list[Finding]) -> dict[str, Any]:
    return {
        "files": [
            {
                "file": one.part.path,
                "kind": one.part.kind,
                "size_bytes": one.size,
                "state": one.state.value,
                "good_bytes": one.size if one.sound else one.good_bytes,
                "problem": one.problem,
            }
            for one in found
        ]
    }
