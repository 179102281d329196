# SPDX-License-Identifier: GPL-3.0-or-later
"""How the log is written: one line for each message, whatever it holds."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from typing_extensions import override

from alert_responder.timeline import printable

if TYPE_CHECKING:
    from types import TracebackType

_FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"


class OneLine(logging.Formatter):
    """Shows what is not printable as an escape, so that no text from outside forges a line or steers a terminal.

    Only a traceback has lines of its own; they are indented.
    """

    @override
    def formatMessage(self, record: logging.LogRecord) -> str:
        record.message = printable(record.message)
        return super().formatMessage(record)

    @override
    def formatException(
        self,
        ei: tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None],
    ) -> str:
        return "\n".join(f"  {printable(line)}" for line in super().formatException(ei).split("\n"))


def set_up(level: str) -> None:
    """Log to standard error from this level on."""
    handler = logging.StreamHandler()
    handler.setFormatter(OneLine(_FORMAT))
    logging.basicConfig(level=level, handlers=[handler])
    if logging.getLogger().level > logging.DEBUG:
        # Else a line for each look at a job of AWX.
        logging.getLogger("httpx").setLevel(logging.WARNING)
