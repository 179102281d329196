# SPDX-License-Identifier: GPL-3.0-or-later
"""The port to whatever runs playbooks, and the adapter that runs them here through ansible-runner."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
import sys
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from alert_responder.children import Child, Program, Warm, run_environment
from alert_responder.processes import BEGAN, JOB, LONGEST_ERROR, MARK, RESULT, end_run

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from alert_responder.incidents import Result

log = logging.getLogger(__name__)

# What a run may see of the responder's environment; everything else, secrets first of all, stays here.
PASSED_ON = ("HOME", "USER", "LOGNAME", "PATH", "LANG", "LC_ALL", "TZ", "SSH_AUTH_SOCK", "DOCKER_HOST")


@dataclass(frozen=True)
class Request:
    """One playbook to run, and the limit after which it is ended."""

    run: str
    playbook: str
    timeout_seconds: float
    variables: Mapping[str, Any] = field(default_factory=dict)
    check: bool = False


@dataclass(frozen=True)
class Report:
    """How a run ended, and what it published."""

    result: Result
    began: bool
    reason: str
    seconds: float
    published: Mapping[str, Any] = field(default_factory=dict)


class Runner(ABC):
    """Runs playbooks; ``place`` names where what a run leaves can be read."""

    place: str = ""

    @abstractmethod
    async def run(self, request: Request) -> Report:
        """Run one playbook to its end or its limit; cancelling the task leaves nothing that `recover` cannot settle."""

    @abstractmethod
    async def recover(self, run: str) -> Report:
        """Say how a run ended that another, dead responder began; what can only be left behind is ended first."""

    @abstractmethod
    def clean_up(self) -> None:
        """Remove what is kept of runs beyond the retention."""

    def get_ready(self) -> None:  # noqa: B027 -- not abstract: most runners have nothing to prepare
        """Do ahead what the first run would have to wait for."""

    def close(self) -> None:  # noqa: B027 -- not abstract: most runners hold nothing between runs
        """Give up what is held between runs."""


class AnsibleRunner(Runner):
    """Runs each playbook in a child process with a folder of its own."""

    def __init__(
        self,
        *,
        folder: Path,
        project: Path,
        inventory: Path | None,
        collections: Sequence[Path],
        pass_environment: Sequence[str] = (),
        keep_runs: int = 500,
        keep_days: float = 30,
        place: str = "",
        warm: bool = False,
    ) -> None:
        self.place = place
        self._folder = folder
        self._project = project
        self._inventory = inventory
        self._collections = collections
        self._pass_environment = pass_environment
        self._keep_runs = keep_runs
        self._keep_days = keep_days
        self._warm = Warm(folder.parent / "warm", project, self._environment) if warm else None

    @override
    def get_ready(self) -> None:
        if self._warm is not None:
            self._warm.get_ready()

    @override
    def close(self) -> None:
        if self._warm is not None:
            self._warm.close()

    @override
    async def run(self, request: Request) -> Report:
        started = time.monotonic()
        folder = self._prepare(request)
        try:
            child = await self._spawn(request.run, folder)
        except OSError as error:
            return Report("failed_launch", began=False, reason=f"cannot start a process: {error}", seconds=0.0)
        timed_out, code = False, None
        try:
            code = await asyncio.wait_for(child.wait(), request.timeout_seconds)
        except TimeoutError:
            timed_out = True
        finally:
            # The limit, or a responder that is stopping: nothing of the run may stay behind.
            if not child.ended:
                await asyncio.shield(asyncio.to_thread(self._end, request.run))
                await child.wait()
            child.close()
            shutil.rmtree(folder / "env", ignore_errors=True)
            shutil.rmtree(folder / "tmp", ignore_errors=True)
        seconds = round(time.monotonic() - started, 3)
        if timed_out:
            reason = f"it was ended after its limit of {request.timeout_seconds:.0f} s"
            return Report("timed_out", began=True, reason=reason, seconds=seconds)
        return _read_result(folder, seconds) or Report(
            "failed_launch",
            # Killed by a signal: it may have come further than its last mark says.
            began=(folder / BEGAN).exists() or code is None or code < 0,
            reason=f"the run ended{'' if code is None else f' with code {code}'} and left no result; "
            f"{_tail(folder / 'stderr')}",
            seconds=seconds,
        )

    @override
    async def recover(self, run: str) -> Report:
        return await asyncio.to_thread(self._recover, run)

    def _recover(self, run: str) -> Report:
        folder = self._folder / run
        self._end(run)
        if not (folder / JOB).exists():
            return Report("failed_launch", began=False, reason="the responder stopped before it began", seconds=0.0)
        return _read_result(folder, 0.0) or Report(
            "interrupted",
            began=True,
            reason="nobody saw its end: the responder stopped, or could not write",
            seconds=0.0,
        )

    @override
    def clean_up(self) -> None:
        remove_old_runs(self._folder, keep_runs=self._keep_runs, keep_days=self._keep_days)

    def _prepare(self, request: Request) -> Path:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder = self._folder / request.run
        for part in (folder, folder / "env", folder / "tmp"):
            part.mkdir(mode=0o700)
        # JSON in a file: a value on the command line would be seen by everybody (ansible-runner reads env/extravars).
        _write(folder / "env" / "extravars", request.variables)
        _write(
            folder / JOB,
            {
                "playbook": request.playbook,
                "project": str(self._project),
                "inventory": str(self._inventory) if self._inventory else None,
                "check": request.check,
            },
        )
        return folder

    async def _spawn(self, run: str, folder: Path) -> Child:
        if self._warm is not None:
            fork = await self._warm.fork(run, folder)
            if fork is not None:
                return fork
        return await Program.start(folder, {**run_environment(self._environment(), folder / "tmp"), MARK: run})

    def _environment(self) -> dict[str, str]:
        return environment(self._project, self._collections, self._pass_environment)

    @staticmethod
    def _end(run: str) -> None:
        survivors = end_run(run)
        if survivors:
            log.error(
                "Processes of run %s cannot be ended: %s. End them by hand.",
                run,
                ", ".join(map(str, sorted(survivors))),
                extra={"action": "run.not_ended"},
            )


def remove_old_runs(folder: Path, *, keep_runs: int, keep_days: float) -> None:
    """Remove the folders of runs beyond the newest ``keep_runs``, and those older than ``keep_days``."""
    if not folder.is_dir():
        return
    runs = sorted(folder.iterdir(), key=lambda one: one.stat().st_mtime, reverse=True)
    oldest = time.time() - keep_days * 86400
    for position, one in enumerate(runs):
        if position >= keep_runs or one.stat().st_mtime < oldest:
            shutil.rmtree(one, ignore_errors=True)


def environment(project: Path, collections: Sequence[Path], pass_environment: Sequence[str]) -> dict[str, str]:
    """Return what a program of Ansible may see of the responder's environment, and where it finds what it needs."""
    variables = {name: os.environ[name] for name in (*PASSED_ON, *pass_environment) if name in os.environ}
    variables.setdefault("LANG", "C.UTF-8")
    # The programs of the same virtual environment, whoever started the responder from where.
    variables["PATH"] = os.pathsep.join((str(Path(sys.executable).parent), variables.get("PATH", os.defpath)))
    variables["ANSIBLE_COLLECTIONS_PATH"] = os.pathsep.join(str(path) for path in collections)
    variables["ANSIBLE_NOCOLOR"] = "1"
    if (project / "ansible.cfg").is_file():
        variables["ANSIBLE_CONFIG"] = str(project / "ansible.cfg")
    return variables


def _read_result(folder: Path, seconds: float) -> Report | None:
    """Return what a run left, if it came to its end."""
    try:
        left = json.loads((folder / RESULT).read_text())
    except (OSError, ValueError):
        return None
    published = left["published"]
    if published:
        return Report("done", left["began"], "; ".join(left["errors"]), left["seconds"], published)
    reason = "; ".join(left["errors"]) or f"ansible-runner says {left['status']}, code {left['code']}"
    return Report("failed_launch", left["began"], reason, seconds or left["seconds"])


def _write(path: Path, document: Mapping[str, Any]) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:  # noqa: PTH123 -- with a mode
        json.dump(document, file)


def _tail(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()[-LONGEST_ERROR:]
    except OSError:
        return ""
