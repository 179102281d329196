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

import ansible_runner

from alert_responder.processes import BEGAN, JOB, LONGEST_ERROR, MARK, RESULT, end_run
from alert_responder.run_events import EventReport

MOST_ERRORS = 5
_TAIL_LINES = 15
_POLL_SECONDS = 0.25
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


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
    report = EventReport((folder / BEGAN).touch)
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
