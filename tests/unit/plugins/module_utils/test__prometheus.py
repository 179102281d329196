"""Expectations of what Prometheus answers; the real one is asked in the integration tests."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qs, urlparse

import pytest
from ansible_collections.ops.runbooks.plugins.module_utils import _prometheus as prometheus
from ansible_collections.ops.runbooks.plugins.module_utils._errors import ActionFailed
from ansible_collections.ops.runbooks.plugins.module_utils._http import Http

DEFAULTS = {name: option.get("default") for name, option in prometheus.query_spec().options.items()}


def vector(*values: str, **more: Any) -> str:
    series = [{"metric": {"n": str(number)}, "value": [1, value]} for number, value in enumerate(values)]
    return json.dumps({"status": "success", "data": {"resultType": "vector", "result": series}, **more})


ANSWERS: dict[str, tuple[int, str]] = {
    "one": (200, vector("0.5")),
    "many": (200, vector(*["1"] * 1001)),
    "odd": (200, vector("NaN", "+Inf")),
    "warned": (200, vector("1", warnings=["no data in a shard"])),
    "scalar": (200, '{"status": "success", "data": {"resultType": "scalar", "result": [1, "7"]}}'),
    "wrong": (400, '{"status": "error", "error": "parse error"}'),
    "html": (200, "<html>"),
    "list": (200, "[]"),
}


@pytest.fixture(autouse=True)
def server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answer by the query."""

    def send(_http: Http, path: str = "", **_more: Any) -> tuple[int, str]:
        asked = parse_qs(urlparse(path).query)["query"][0]
        if asked == "down":
            raise OSError("Connection refused")
        return ANSWERS[asked]

    monkeypatch.setattr(Http, "send", send)


def read(*queries: str, **more: Any) -> dict[str, Any]:
    asked = [{"name": query, "query": query} for query in queries]
    return prometheus.read_queries({**DEFAULTS, "url": "http://p:9090/", "queries": asked, **more})


def test_every_query_is_answered_under_its_name() -> None:
    """Vectors with their labels, a scalar as a series without."""
    result = read("one", "scalar")
    assert result["results"] == {"one": [{"labels": {"n": "0"}, "value": 0.5}], "scalar": [{"labels": {}, "value": 7}]}
    assert (result["changed"], result["unreadable"]) == (False, [])


def test_what_is_not_finite_stays_text() -> None:
    """JSON has no NaN."""
    assert [one["value"] for one in read("odd")["results"]["odd"]] == ["NaN", "+Inf"]


def test_a_flood_of_series_is_cut_and_told() -> None:
    """The result of a task has a size."""
    result = read("many")
    assert (len(result["results"]["many"]), result["truncated"]) == (1000, ["many"])


def test_warnings_are_passed_on() -> None:
    """A partial answer is not a whole one."""
    assert read("warned")["warnings_of_prometheus"] == ["no data in a shard"]


def test_what_cannot_be_read_is_listed_beside_what_can() -> None:
    """Evidence is complete when it says what is missing."""
    result = read("one", "wrong", "html", "list", "down")
    assert set(result["results"]) == {"one"}
    assert {gap["what"]: gap["why"] for gap in result["unreadable"]} == {
        "wrong": "Prometheus answered 400: parse error",
        "html": "what answers at http://p:9090 is not Prometheus (HTTP 200)",
        "list": "what answers at http://p:9090 is not Prometheus (HTTP 200)",
        "down": "no answer from Prometheus http://p:9090: Connection refused",
    }


@pytest.mark.parametrize(("queries", "more"), [(["down", "wrong"], {}), (["one", "down"], {"require_all": True})])
def test_nothing_read_or_not_all_that_is_required_is_a_failure(queries: list[str], more: dict[str, Any]) -> None:
    """The first reason is in the message."""
    with pytest.raises(ActionFailed, match=r"Cannot read \d of 2 queries at http://p:9090; down: no answer"):
        read(*queries, **more)


@pytest.mark.parametrize("queries", [[], ["one", "one"]])
def test_names_are_needed_and_unique(queries: list[str]) -> None:
    """Two results cannot stand under one name."""
    with pytest.raises(ValueError, match="a name of its own"):
        read(*queries)
