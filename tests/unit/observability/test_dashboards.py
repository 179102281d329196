"""Expectations of the dashboards as files; tests/integration asks their queries."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
import yaml

from tests.dashboards import BUILT_IN, FILES, FOLDER, load, panels, queries

if TYPE_CHECKING:
    from pathlib import Path

each_dashboard = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)


def test_there_are_dashboards() -> None:
    """Where they are looked for."""
    assert "postgres" in [path.stem for path in FILES]


@each_dashboard
def test_a_dashboard_is_found_by_the_name_of_its_file(path: Path) -> None:
    """The runbooks link to /d/UID; an id would belong to one installation."""
    document = load(path)
    assert document["uid"] == path.stem
    assert document["title"]
    assert "id" not in document


@each_dashboard
def test_a_panel_says_what_it_shows(path: Path) -> None:
    """Title, description, unit and queries; no two panels of one name or one identity."""
    found = list(panels(load(path)))
    for panel in found:
        assert panel["title"]
        assert panel["description"], panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert all(target["expr"] for target in panel["targets"]), panel["title"]
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"]) > 0
    assert len({panel["title"] for panel in found}) == len(found)
    assert len({panel["id"] for panel in found}) == len(found)


@each_dashboard
def test_no_data_source_is_fixed(path: Path) -> None:
    """Every panel and every query of a variable uses the one that the reader chose."""
    document = load(path)
    sources = [panel["datasource"]["uid"] for panel in panels(document)]
    sources += [one["datasource"]["uid"] for one in document["templating"]["list"] if one["type"] == "query"]
    assert set(sources) == {"${datasource}"}
    assert [one["query"] for one in document["templating"]["list"] if one["name"] == "datasource"] == ["prometheus"]


@each_dashboard
def test_panels_do_not_overlap(path: Path) -> None:
    """Each has its place on a grid of 24 columns."""
    taken: set[tuple[int, int]] = set()
    for panel in load(path)["panels"]:
        place = panel["gridPos"]
        columns, rows = range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])
        cells = {(column, row) for column in columns for row in rows}
        assert max(columns) < 24, panel["title"]
        assert not cells & taken, panel["title"]
        taken |= cells


@each_dashboard
def test_a_query_uses_variables_that_exist(path: Path) -> None:
    """A variable that nothing fills would ask for its own name."""
    document = load(path)
    known = {one["name"] for one in document["templating"]["list"]} | BUILT_IN.keys()
    for query in queries():
        if query.dashboard == document["uid"]:
            used = {first or second for first, second in re.findall(r"\$(?:\{(\w+)\}|(\w+))", query.expression)}
            assert used <= known, query


def test_grafana_is_told_where_they_are() -> None:
    """The provisioning files are what Grafana reads."""
    provisioning = FOLDER / "provisioning"
    sources = yaml.safe_load((provisioning / "datasources" / "prometheus.yml").read_text())
    providers = yaml.safe_load((provisioning / "dashboards" / "runbooks.yml").read_text())
    assert [one["type"] for one in sources["datasources"]] == ["prometheus"]
    assert [one["type"] for one in providers["providers"]] == ["file"]
