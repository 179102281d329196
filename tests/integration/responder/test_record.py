"""What people read out of the record of a real incident."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from tests.integration.responder.service import command

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.responder.service import Service

pytestmark = pytest.mark.integration


def test_a_healed_incident_is_reported(service: Service, root: Path) -> None:
    """One real alert: its review names what was seen, done and proved."""
    shutil.copy(root / "runbooks" / "post-incident-review.md", service.project / "runbooks")
    service.start()
    service.post()
    service.until(service.over)

    review = command(service, "report", "1")
    assert (review.returncode, review.stderr) == (0, "")
    for line in (
        "# Post-incident review: The file is broken",
        "- state = broken",
        "- option A chosen: The file does not say well. \\[state=broken\\]",
        "- Result: acted, verdict recovered: The file says well.",
        "Closed as recovered: The file says well. | responder |",
    ):
        assert line in review.stdout
    assert "Nothing was changed" not in review.stdout
