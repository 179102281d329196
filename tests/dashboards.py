"""The Grafana dashboards, as the tests of their files and those of their queries read them."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = Path(__file__).resolve().parents[1] / "observability" / "grafana"
FILES = sorted((FOLDER / "dashboards").glob("*.json"))
# What Grafana puts in by itself; a rate needs four scrapes.
BUILT_IN = {"__rate_interval": "1m", "__interval": "15s", "__range": "1h"}
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
_LABEL_VALUES = re.compile(r"label_values\((.+),\s*(\w+)\)")


@dataclass(frozen=True)
class Query:
    """One query of a panel, as it is written."""

    dashboard: str
    panel: str
    expression: str

    def __str__(self) -> str:
        return f"{self.dashboard}-{self.panel}"


def load(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document


def panels(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Return every panel, those inside rows too."""
    for panel in document["panels"]:
        yield from panel.get("panels", [])
        if panel["type"] != "row":
            yield panel


def queries() -> list[Query]:
    """Return every query of every dashboard, and what fills its variables."""
    found = []
    for path in FILES:
        document = load(path)
        for panel in panels(document):
            found += [Query(document["uid"], panel["title"], target["expr"]) for target in panel["targets"]]
        for variable in document["templating"]["list"]:
            if variable["type"] == "query":
                values = _LABEL_VALUES.fullmatch(variable["query"])
                assert values is not None, variable["query"]
                expression = f"count by ({values[2]}) ({values[1]})"
                found.append(Query(document["uid"], f"variable {variable['name']}", expression))
    return found


def fill_in(expression: str) -> str:
    """Return the expression as Grafana sends it with everything chosen: a variable of the dashboard is any value."""
    return _VARIABLE.sub(lambda found: BUILT_IN.get(found[1] or found[2], ".+"), expression)
