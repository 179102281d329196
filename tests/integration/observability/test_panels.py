"""Every panel of every dashboard, asked of the lab's Prometheus."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

from tests.dashboards import Query, fill_in, queries

if TYPE_CHECKING:
    from tests.running_lab import Lab

pytestmark = [pytest.mark.integration, pytest.mark.slow]


@pytest.mark.parametrize("query", queries(), ids=str)
def test_a_panel_answers(running_lab: Lab, query: Query) -> None:
    """It returns data: samples, and not only such as are no number."""
    # A rate has data after the second scrape.
    running_lab.wait(
        lambda: running_lab.prometheus(fill_in(query.expression)),
        lambda samples: any(not math.isnan(sample["value"]) for sample in samples),
        30,
    )
