# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to the ops.runbooks collection: may change without notice.
"""Ask Prometheus instant queries."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from ansible_collections.ops.runbooks.plugins.module_utils._arguments import ArgumentSpec
from ansible_collections.ops.runbooks.plugins.module_utils._errors import ActionFailed, ConnectionFailed, OpsError
from ansible_collections.ops.runbooks.plugins.module_utils._http import Http, cause, http_options

if TYPE_CHECKING:
    from collections.abc import Mapping

# More at once would only queue: Prometheus runs twenty queries at a time by default.
QUERIES_AT_ONCE = 8
SERIES_LIMIT = 1000


@dataclass(frozen=True)
class Series:
    """One element of an instant vector; a scalar is one without labels."""

    labels: Mapping[str, str]
    value: str

    def as_return(self) -> dict[str, Any]:
        """Return the labels and the number; NaN and infinities stay text, which JSON cannot carry as numbers."""
        number = float(self.value)
        finite = number - number == 0
        return {"labels": dict(self.labels), "value": number if finite else self.value}


@dataclass(frozen=True)
class Answer:
    """What Prometheus said to one query."""

    series: tuple[Series, ...]
    warnings: tuple[str, ...] = ()


def query(http: Http, expression: str, *, time: str | None = None) -> Answer:
    """Evaluate one expression.

    Raises:
        ConnectionFailed: Prometheus does not answer.
        ActionFailed: It refuses the query; says why in its words.
    """
    parameters = {"query": expression, **({"time": time} if time else {})}
    try:
        status, body = http.send(f"/api/v1/query?{urlencode(parameters)}")
    except (OSError, ValueError) as error:
        raise ConnectionFailed(f"no answer from Prometheus {http.url}: {cause(error)}") from error
    try:
        answer = json.loads(body)
        if status != 200 or answer["status"] != "success":  # noqa: PLR2004 -- HTTP's own number
            raise ActionFailed(f"Prometheus answered {status}: {answer.get('error', 'no message')}")
        kind, result = answer["data"]["resultType"], answer["data"]["result"]
        found = [{"metric": {}, "value": result}] if kind in ("scalar", "string") else result
        series = tuple(Series(one["metric"], str(one["value"][1])) for one in found)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ActionFailed(f"what answers at {http.url} is not Prometheus (HTTP {status})") from error
    return Answer(series, tuple(answer.get("warnings", ())))


def query_spec() -> ArgumentSpec:
    """Return the options of prometheus_query_info."""
    one = {"name": {"type": "str", "required": True}, "query": {"type": "str", "required": True}}
    own = ArgumentSpec(
        options={
            "queries": {"type": "list", "elements": "dict", "required": True, "options": one},
            "time": {"type": "str"},
            "require_all": {"type": "bool", "default": False},
        }
    )
    return http_options(10.0) + own


def read_queries(params: Mapping[str, Any]) -> dict[str, Any]:
    """Ask every query at the same time; what cannot be read is listed with its reason.

    Raises ActionFailed if nothing could be read, or with ``require_all`` if anything could not.
    """
    http = Http.from_params(params)
    queries = params["queries"]
    names = [one["name"] for one in queries]
    if not names or len(set(names)) < len(names):
        raise ValueError("queries must not be empty, and each needs a name of its own.")

    def ask(one: Mapping[str, str]) -> Answer | OpsError:
        try:
            return query(http, one["query"], time=params["time"])
        except OpsError as error:
            return error

    with ThreadPoolExecutor(max_workers=QUERIES_AT_ONCE) as threads:
        answers = dict(zip(names, threads.map(ask, queries)))
    read = {name: answer for name, answer in answers.items() if isinstance(answer, Answer)}
    unreadable = [{"what": name, "why": str(why)} for name, why in answers.items() if isinstance(why, OpsError)]
    result: dict[str, Any] = {
        "changed": False,
        "results": {name: [one.as_return() for one in answer.series[:SERIES_LIMIT]] for name, answer in read.items()},
        "unreadable": unreadable,
        "truncated": sorted(name for name, answer in read.items() if len(answer.series) > SERIES_LIMIT),
        "warnings_of_prometheus": sorted({text for answer in read.values() for text in answer.warnings}),
    }
    if unreadable and (params["require_all"] or not read):
        first = unreadable[0]
        raise ActionFailed(
            f"Cannot read {len(unreadable)} of {len(queries)} queries at {http.url}; {first['what']}: {first['why']}. "
            "Check url, token and the query.",
            **result,
        )
    return result
