"""Each message of the log is one line that a terminal only shows."""

from __future__ import annotations

import io
import logging
from typing import TYPE_CHECKING

import pytest

from alert_responder import logs

if TYPE_CHECKING:
    from collections.abc import Iterator

FORGED = "x\n2026-11-23 12:00:00,000 CRITICAL forged \x1b[2J\x9b31m \N{RIGHT-TO-LEFT OVERRIDE}\r\0"
SHOWN = r"x\n2026-11-23 12:00:00,000 CRITICAL forged \x1b[2J\x9b31m \u202e\r\x00"


class Refused(Exception):
    """An error that repeats what it was given."""

    @classmethod
    def because(cls, text: str) -> None:
        raise cls(text)


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """Set up logging anew and return what it writes."""
    stream = io.StringIO()
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    root.handlers[:] = []
    monkeypatch.setattr("sys.stderr", stream)
    logs.set_up("INFO")
    yield stream
    root.handlers[:] = before
    root.setLevel(level)


def test_a_message_is_one_line(written: io.StringIO) -> None:
    """Line ends, colours and text that turns its direction are escapes."""
    log = logging.getLogger("alert_responder.test")
    log.warning("Incident %d: %s", 1, FORGED)
    log.debug("Not asked for.")

    [line] = written.getvalue().splitlines()
    assert line.endswith(f"WARNING alert_responder.test Incident 1: {SHOWN}")


def test_a_traceback_forges_no_line(written: io.StringIO) -> None:
    """Its lines are indented, and what the error says is escaped."""
    try:
        Refused.because(FORGED)
    except Refused:
        logging.getLogger("alert_responder.test").exception("Failed.")

    first, *traceback = written.getvalue().split("\n")[:-1]
    assert first.endswith("ERROR alert_responder.test Failed.")
    assert traceback[-1].startswith("  2026-11-23 12:00:00,000 CRITICAL forged \\x1b[2J")
    assert all(line.startswith("  ") and line.isprintable() for line in traceback)
