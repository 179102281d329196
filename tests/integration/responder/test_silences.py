"""Silences in a real Alertmanager."""

from __future__ import annotations

import signal
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from alert_responder.metrics import Metrics
from alert_responder.silences import AlertmanagerSilences
from tests.integration.alertmanager import silences_of, start_alertmanager, states_of
from tests.unit.alert_responder.silences_contract import SilencesContract, listed

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integration.containers import Containers
    from tests.integration.responder.service import Service

pytestmark = pytest.mark.integration

AUTHOR = "alert-responder"


@pytest.fixture(scope="module")
def address(containers: Containers, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the address of an Alertmanager that nobody sends alerts to."""
    return start_alertmanager(containers, tmp_path_factory.mktemp("alertmanager"))


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


@pytest.mark.slow
@pytest.mark.parametrize("way_out", ["success", "failure", "cancelled", "killed"])
def test_no_silence_outlives_the_work(service: Service, address: str, way_out: str) -> None:
    """While an option runs its alert is silent, for no longer than the run may take; afterwards it is not."""
    author = f"{AUTHOR} {way_out}"
    service.settings |= {"alertmanager_url": address, "alertmanager_author": author}
    word = "worse" if way_out == "failure" else "well"
    mend = service.project / "playbooks" / "a_mend.yml"
    quick = mend.read_text()
    slow = quick.replace("default(0)", "default(86399)").replace("float) > 0", "float) > 1")
    mend.write_text(
        slow if way_out in ("cancelled", "killed") else quick.replace("default('well')", f"default('{word}')")
    )
    service.start()
    service.post()
    if way_out in ("cancelled", "killed"):
        service.until(lambda: states_of(address, author) == ["active"])
        (made,) = silences_of(address, author)
        life = datetime.fromisoformat(made["endsAt"]) - datetime.fromisoformat(made["startsAt"])
        assert 0 < life.total_seconds() <= 61
        service.stop(signal.SIGKILL if way_out == "killed" else signal.SIGTERM)
        mend.write_text(quick)
        service.start()
    service.until(service.over)
    service.until(lambda: set(states_of(address, author)) == {"expired"})
