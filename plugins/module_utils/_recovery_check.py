# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to the ops.runbooks collection: may change without notice.
"""Sample several probes until the verdict is certain or the time is over."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ansible_collections.ops.runbooks.plugins.module_utils._arguments import ArgumentSpec
from ansible_collections.ops.runbooks.plugins.module_utils._errors import ActionFailed
from ansible_collections.ops.runbooks.plugins.module_utils._http import http_options
from ansible_collections.ops.runbooks.plugins.module_utils._postgresql_options import login_options
from ansible_collections.ops.runbooks.plugins.module_utils._recovery_verdict import (
    Expectation,
    Probe,
    Reading,
    Tally,
    Verdict,
)
from ansible_collections.ops.runbooks.plugins.module_utils._waiting import Clock

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

RELATIONS = ["equals", "at_least", "at_most", "above", "below"]
KINDS = ["http", "tcp", "sql", "redis", "container", "promql"]
JUDGED_BY_THEMSELVES = frozenset({"http", "tcp", "container"})
REDIS_READS = ["PING", "INFO", "DBSIZE", "EXISTS", "STRLEN", "LLEN", "HLEN", "SCARD", "ZCARD", "TTL"]


def recovery_spec() -> ArgumentSpec:
    """Return the options of recovery_check."""
    timeout = {"type": "float", "default": 3.0}
    promql = http_options(3.0).options
    http = {
        **promql,
        "method": {"type": "str", "choices": ["GET", "HEAD", "POST"], "default": "GET"},
        "status": {"type": "list", "elements": "int", "default": [200]},
        "body_contains": {"type": "str"},
        "form": {"type": "dict"},
        "login_user": {"type": "str"},
        "login_password": {"type": "str", "no_log": True},
    }
    redis = {
        "login_host": {"type": "str", "default": "localhost"},
        "login_port": {"type": "int", "default": 6379},
        "login_user": {"type": "str"},
        "login_password": {"type": "str", "no_log": True},
        "tls": {"type": "bool", "default": False},
        "ca_certs": {"type": "path"},
        "client_cert": {"type": "path"},
        "client_key": {"type": "path", "no_log": False},  # a file's name
        "command": {"type": "str", "choices": REDIS_READS, "default": "PING"},
        "arguments": {"type": "list", "elements": "str", "default": []},
        "field": {"type": "str"},
        "share_of": {"type": "str"},
        "timeout_seconds": dict(timeout),
    }
    kinds = {
        "http": http,
        "tcp": {
            "host": {"type": "str", "required": True},
            "port": {"type": "int", "required": True},
            "timeout_seconds": dict(timeout),
        },
        "sql": {
            **login_options().options,
            "query": {"type": "str", "required": True},
            "parameters": {"type": "list", "elements": "raw", "default": []},
            "timeout_seconds": dict(timeout),
        },
        "redis": redis,
        "container": {
            "project": {"type": "str", "required": True},
            "service": {"type": "str", "required": True},
            "minimum": {"type": "int", "default": 1},
        },
        "promql": {
            **promql,
            "query": {"type": "str", "required": True},
            "no_data": {"type": "str", "choices": ["good", "bad", "unknown"], "default": "unknown"},
        },
    }
    probe = {
        "name": {"type": "str", "required": True},
        "windowed": {"type": "bool", "default": False},
        "unreachable_is": {"type": "str", "choices": ["bad", "unknown"]},
        **{kind: {"type": "dict", "options": options} for kind, options in kinds.items()},
        "equals": {"type": "raw"},
        **{relation: {"type": "float"} for relation in RELATIONS if relation != "equals"},
    }
    return ArgumentSpec(
        options={
            "probes": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": probe,
                "mutually_exclusive": [KINDS, RELATIONS],
                "required_one_of": [KINDS],
            },
            "consecutive": {"type": "int", "default": 3},
            "interval_seconds": {"type": "float", "default": 1.0},
            "timeout_seconds": {"type": "float", "default": 60.0},
            "decay_timeout_seconds": {"type": "float", "default": 0.0},
            "require_recovered": {"type": "bool", "default": False},
        }
    )


@dataclass(frozen=True)
class RecoveryRequest:
    """What recovery_check is asked to find out."""

    probes: tuple[Probe, ...]
    consecutive: int
    interval_seconds: float
    timeout_seconds: float
    decay_timeout_seconds: float
    require_recovered: bool

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> RecoveryRequest:
        """Build the request; raises ValueError for probes that could prove nothing."""
        probes = tuple(_probe(given) for given in params["probes"])
        if not any(not probe.windowed for probe in probes):
            raise ValueError("Refused: recovery needs at least one direct probe (one that is not windowed).")
        names = [probe.name for probe in probes]
        if len(set(names)) != len(names):
            raise ValueError("Each probe needs a name of its own.")
        if params["consecutive"] < 1 or params["interval_seconds"] <= 0 or params["timeout_seconds"] <= 0:
            raise ValueError("consecutive must be at least 1; interval_seconds and timeout_seconds above 0.")
        return cls(
            probes=probes,
            consecutive=params["consecutive"],
            interval_seconds=params["interval_seconds"],
            timeout_seconds=params["timeout_seconds"],
            decay_timeout_seconds=params["decay_timeout_seconds"],
            require_recovered=params["require_recovered"],
        )


def _probe(given: Mapping[str, Any]) -> Probe:
    kind = next(kind for kind in KINDS if given[kind] is not None)
    relation = next((relation for relation in RELATIONS if given[relation] is not None), None)
    if relation is None and kind not in JUDGED_BY_THEMSELVES:
        raise ValueError(f"Probe {given['name']!r} needs an expectation: one of {', '.join(RELATIONS)}.")
    if relation is not None and kind in JUDGED_BY_THEMSELVES:
        raise ValueError(f"Probe {given['name']!r}: {kind} is good or bad by itself and takes no {relation}.")
    if kind == "http" and given[kind]["form"] and given[kind]["method"] != "POST":
        raise ValueError(f"Probe {given['name']!r}: a form is sent with method POST.")
    settings = dict(given[kind])
    # A service that does not answer is bad. What only reports on it (Prometheus, the engine) leaves it unknown.
    settings["unreachable_is"] = given["unreachable_is"] or ("unknown" if kind in ("promql", "container") else "bad")
    if kind == "http":
        settings["expected"] = "status " + " or ".join(map(str, settings["status"]))
    elif kind == "tcp":
        settings["expected"] = "an open port"
    elif kind == "container":
        settings["expected"] = f"at least {settings['minimum']} healthy"
    return Probe(
        name=given["name"],
        kind=kind,
        settings=settings,
        expectation=Expectation(relation, given[relation]) if relation else None,
        windowed=given["windowed"],
    )


def check_recovery(
    request: RecoveryRequest, probe: Callable[[Probe], Reading], *, clock: Clock | None = None
) -> dict[str, Any]:
    """Sample until every probe was good often enough in a row, or the time is over; return verdict and values.

    Raises ActionFailed if recovery is required and was not proved.
    """
    clock = clock or Clock()
    start = clock.now()
    deadline = start + request.timeout_seconds
    decay_deadline: float | None = None
    tally = Tally(request.probes, request.consecutive)
    with ThreadPoolExecutor(max_workers=len(request.probes)) as pool:
        while True:
            tally.add(list(pool.map(probe, request.probes)))
            now = clock.now()
            if tally.recovered:
                break
            if tally.direct_recovered and decay_deadline is None:
                decay_deadline = now + request.decay_timeout_seconds
            lagging = tally.direct_recovered and not tally.all_good
            if lagging and decay_deadline is not None and now >= decay_deadline:
                break
            if now >= max(deadline, decay_deadline or 0) or (now >= deadline and not tally.direct_recovered):
                break
            clock.sleep(request.interval_seconds)
    judgement = tally.judge()
    result = {
        "changed": False,
        "verdict": judgement.verdict.value,
        "good": judgement.verdict is Verdict.RECOVERED,
        "reason": judgement.reason,
        "checks": [_check(p, r) for p, r in zip(request.probes, tally.last)],
        "samples": tally.samples,
        "consecutive_good": tally.all_good,
        "duration_seconds": round(clock.now() - start, 3),
    }
    if request.require_recovered and not result["good"]:
        raise ActionFailed(f"Recovery is not proved ({judgement.verdict.value}): {judgement.reason}", **result)
    return result


def _check(probe: Probe, reading: Reading) -> dict[str, Any]:
    return {
        "name": probe.name,
        "kind": probe.kind,
        "windowed": probe.windowed,
        "value": reading.value,
        "expectation": probe.expected,
        "good": reading.good,
        "error": reading.error,
    }
