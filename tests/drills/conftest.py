"""What the drills share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lab import responder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.running_lab import Lab


@pytest.fixture
def responding(lab: Lab) -> Iterator[None]:
    """Run the responder as ``make serve`` does."""
    responder.start()
    yield
    responder.stop()
