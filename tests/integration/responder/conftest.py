"""What the tests of the responder's process share."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from tests.integration.responder.service import Service

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """Return a responder that is not started yet, and leave nothing of it behind."""
    made = Service(tmp_path)
    yield made
    if made.process is not None:
        made.stop(signal.SIGKILL)
    made.client.close()
