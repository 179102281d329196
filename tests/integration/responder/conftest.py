"""What the tests of the responder's process share."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from tests.integration.responder.databases import Server, start_server
from tests.integration.responder.service import Service

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.integration.containers import Containers


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """Return a responder that is not started yet, and leave nothing of it behind."""
    made = Service(tmp_path)
    yield made
    if made.process is not None:
        made.stop(signal.SIGKILL)
    made.client.close()


@pytest.fixture(scope="module")
def server(containers: Containers) -> Server:
    """Start a PostgreSQL server for the tests of one file, which may stop it."""
    return start_server(containers)


@pytest.fixture
def database(server: Server) -> str:
    """Return the address of an empty database."""
    return server.make_database()
