"""Silences in a real Alertmanager."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from alert_responder.metrics import Metrics
from alert_responder.silences import AlertmanagerSilences
from tests.integration.containers import Container, Containers, wait_for
from tests.unit.alert_responder.silences_contract import SilencesContract, listed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.integration

CONFIGURATION = "route: {receiver: nobody}\nreceivers: [{name: nobody}]\n"


@pytest.fixture(scope="module")
def address(containers: Containers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the address of an Alertmanager that nobody sends alerts to."""
    folder: Path = tmp_path_factory.mktemp("alertmanager")
    folder.chmod(0o755)
    (folder / "alertmanager.yml").write_text(CONFIGURATION)
    container: Container = containers.start(
        "runbooks-lab/alertmanager:0.28", ports=[9093], volumes={str(folder): "/etc/prometheus"}
    )
    found = f"http://127.0.0.1:{container.port(9093)}"
    wait_for(lambda: httpx.get(f"{found}/-/ready").is_success, "Alertmanager")
    yield found
    containers.forget(container)
    container.handle.remove(force=True, v=True)


class TestAlertmanager(SilencesContract):
    """The real one keeps the contract."""

    @pytest.fixture
    def silences(self, address: str) -> AlertmanagerSilences:
        """Return silences in it."""
        return AlertmanagerSilences(address, "responder", Metrics(), lambda: datetime.now(UTC))

    @pytest.fixture
    def asked(self, address: str) -> Callable[[], list[dict[str, Any]]]:
        """Return a function that asks it for what has not ended."""
        return lambda: listed(httpx.get(f"{address}/api/v2/silences").json())
