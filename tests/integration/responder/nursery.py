"""Starts `serve` as often as it is asked: ``python -m tests.integration.responder.nursery CONFIG LOG``.

It has imported everything once and forks, so that two hundred lives do not import everything two hundred times. Each
life is a process of its own that runs the real `serve`. Only the inventory's dependencies are not read anew in each,
since another program needs a second for that.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from alert_responder import serve as service
from alert_responder.settings import load_settings


def main(config: Path, log: Path) -> None:
    """Fork for each line, and print the number of the process."""
    vars(service)["read_dependencies"] = lambda _settings: {}
    # Nobody waits for the dead.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for _ in sys.stdin:
        settings = load_settings(config, os.environ)
        pid = os.fork()
        if not pid:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            nothing, lines = os.open(os.devnull, os.O_RDONLY), os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            for number, place in ((nothing, 0), (lines, 1), (lines, 2)):
                os.dup2(number, place)
            try:
                asyncio.run(service.serve(settings))
            finally:
                os._exit(0)
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
