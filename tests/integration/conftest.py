"""What the integration tests share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lab.engine import ensure_engine
from lab.images import ensure_images
from lab.shell import Board
from tests import swarm as swarm_of_the_tests
from tests.integration.containers import Containers, open_containers

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def images() -> None:
    """Have an engine and every image of the lab."""
    with Board() as board:
        ensure_engine(board)
        ensure_images(board)


@pytest.fixture(scope="session")
def swarm(images: None) -> None:
    """Have a Swarm of one node."""
    swarm_of_the_tests.begin()


@pytest.fixture(scope="session")
def containers(images: None) -> Iterator[Containers]:
    """Start containers on a network of their own, and remove them at the end."""
    with open_containers() as opened:
        yield opened
