# SPDX-License-Identifier: GPL-3.0-or-later
"""One playbook run, in a process of its own: ``python -m alert_responder.run_one FOLDER``.

The responder keeps the other end of standard input open. When that end closes the responder is gone, nobody would
enforce the limit any more, and the run is ended.
"""

from __future__ import annotations

import json
import os
import re
import select
import sys
import time
from pathlib import Path
from typing import Any

import ansible_runner

from alert_responder.processes import BEGAN, JOB, LONGEST_ERROR, MARK, RESULT, end_run

MOST_ERRORS = 5
_TAIL_LINES = 15
_POLL_SECONDS = 0.25
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
# Tasks that can change nothing on a target; every other one may have.
_HARMLESS = frozenset(
    {"assert", "debug", "fail", "set_fact", "set_stats", "include_role", "import_role", "include_tasks", "meta"}
)


def changes_nothing(action: str) -> bool:
    """Tell whether a task of this kind leaves every target as it was."""
    name = action.rpartition(".")[2]
    return name in _HARMLESS or name.endswith("_info") or name == "runbook_inputs"


class Report:
    """Collects from the events of a run what the responder needs to know."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.began = False
        self.published: dict[str, Any] = {}
        self.errors: list[str] = []

    def on_event(self, event: dict[str, Any]) -> bool:
        """Take one event in; the answer tells ansible-runner to keep it among the artefacts."""
        kind, data = event.get("event", ""), event.get("event_data", {})
        if kind == "runner_on_start" and not self.began:
            if not changes_nothing(str(data.get("resolved_action") or data.get("task_action") or "")):
                self.began = True
                (self._folder / BEGAN).touch()
        elif kind == "playbook_on_stats":
            self.published = data.get("artifact_data") or {}
        elif kind in ("runner_on_failed", "runner_on_unreachable") and not data.get("ignore_errors"):
            message = str((data.get("res") or {}).get("msg") or "no message")
            self.errors.append(f"{data.get('task', 'a task')}: {message}"[:LONGEST_ERROR])
        return True


def _stop_with_the_responder(run: str) -> bool:
    """Asked a few times a second; ends everything when the responder is gone."""
    if select.select([sys.stdin], [], [], 0)[0] and not os.read(sys.stdin.fileno(), 1):
        end_run(run)
        os._exit(1)
    return False


def _tail(path: Path) -> str:
    try:
        lines = _COLOURS.sub("", path.read_text(errors="replace")).strip().splitlines()
    except OSError:
        return ""
    return "\n".join(lines[-_TAIL_LINES:])[-LONGEST_ERROR:]


def main(folder: Path) -> None:
    """Run the job in ``folder`` and leave its result there; the last file to appear is the result, complete."""
    job = json.loads((folder / JOB).read_text())
    run = os.environ[MARK]
    report = Report(folder)
    started = time.monotonic()
    runner = ansible_runner.run(
        private_data_dir=str(folder),
        ident="run",
        project_dir=job["project"],
        playbook=job["playbook"],
        inventory=job["inventory"],
        cmdline="--check --diff" if job["check"] else None,
        settings={"pexpect_timeout": _POLL_SECONDS},
        rotate_artifacts=0,
        quiet=True,
        event_handler=report.on_event,
        # Without a callback of our own, ansible-runner takes over the signal handlers of the process.
        cancel_callback=lambda: _stop_with_the_responder(run),
    )
    if not report.published and not report.errors:
        report.errors.append(_tail(folder / "artifacts" / "run" / "stdout") or _tail(folder / "stderr"))
    result = {
        "status": runner.status,
        "code": runner.rc,
        "began": report.began,
        "published": report.published,
        "errors": report.errors[:MOST_ERRORS],
        "seconds": round(time.monotonic() - started, 3),
    }
    unfinished = folder / f"{RESULT}.unfinished"
    with unfinished.open("w") as file:
        json.dump(result, file)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(folder / RESULT)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
