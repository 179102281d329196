"""Derive the lab's Prometheus rules and Alertmanager configuration from the production files.

The expressions stay as they are; only time passes faster, so that a fault is an alert within seconds.
"""

from __future__ import annotations

import re
from copy import deepcopy
from typing import Any

# 5 minutes become 10 seconds. A range holds four scrapes at least, or rate() has too little to go by.
FASTER = 30
SCRAPE_SECONDS = 2
SHORTEST_RANGE_SECONDS = 4 * SCRAPE_SECONDS

# One group waits and repeats like this in the lab, whatever production says.
ALERTMANAGER_TIMES = {"group_wait": "1s", "group_interval": "5s", "repeat_interval": "30s"}
# Alertmanager looks once in each group_interval whether it is time to repeat.
HEARTBEAT_TIMES = {"group_interval": "2s", "repeat_interval": "4s"}

SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800, "y": 31536000}
DURATION = r"(?:\d+(?:ms|[smhdwy]))+"
RANGE = re.compile(rf"\[({DURATION})(:(?:{DURATION})?)?\]")
OFFSET = re.compile(rf"\boffset\s+(-?)({DURATION})")

Document = dict[str, Any]


def seconds(duration: str) -> float:
    """Read a duration as Prometheus writes it.

    Raises:
        ValueError: It is not one.
    """
    if duration == "0":
        return 0
    if not re.fullmatch(DURATION, duration):
        raise ValueError(f"not a duration: {duration!r}")
    return sum(int(number) * SECONDS[unit] for number, unit in re.findall(r"(\d+)(ms|[smhdwy])", duration))


def shorten(duration: str, at_least: float = 0) -> str:
    """Return a duration in lab time."""
    value = max(seconds(duration) / FASTER, at_least)
    return f"{value:.0f}s" if value == int(value) else f"{value * 1000:.0f}ms"


def shorten_expression(expression: str) -> str:
    """Return an expression whose ranges and offsets are in lab time."""
    expression = RANGE.sub(
        # A subquery's resolution falls back to the evaluation interval: scaled down it would only cost more.
        lambda found: f"[{shorten(found[1], SHORTEST_RANGE_SECONDS)}{':' if found[2] else ''}]",
        expression,
    )
    return OFFSET.sub(lambda found: f"offset {found[1]}{shorten(found[2], SHORTEST_RANGE_SECONDS)}", expression)


def derive_rules(production: Document) -> Document:
    """Return the lab's rules: the same groups, alerts, labels and annotations in lab time."""
    derived = deepcopy(production)
    for group in derived["groups"]:
        group.pop("interval", None)
        for rule in group["rules"]:
            rule["expr"] = shorten_expression(rule["expr"])
            for key in rule.keys() & {"for", "keep_firing_for"}:
                rule[key] = shorten(rule[key])
    return derived


def derive_alertmanager(production: Document, responder: str, probe: str) -> Document:
    """Return the lab's Alertmanager configuration: it reports to the responder, and test alerts to ``probe``, at once.

    The lab has no machine outside to notice that it fell silent, so only the responder hears the heartbeat. Nobody is
    on call: what the responder's own alerts say is put on record by it.
    """
    derived = deepcopy(production)
    derived["receivers"] = [one for one in derived["receivers"] if one["name"] != "on-call"]
    derived["route"]["routes"] = [one for one in derived["route"]["routes"] if one["receiver"] != "on-call"]
    for receiver in derived["receivers"]:
        webhooks = [hook for hook in receiver["webhook_configs"] if "dead-mans-switch" not in hook["url"]]
        for webhook in webhooks:
            webhook["url"] = probe if receiver["name"] == "alerting-path-probe" else f"{responder}/api/v1/alerts"
        receiver["webhook_configs"] = webhooks
    for route in [derived["route"], *derived["route"].get("routes", [])]:
        times = HEARTBEAT_TIMES if route["receiver"] == "heartbeat" else ALERTMANAGER_TIMES
        # What waits for nothing in production does not wait here either.
        route.update({key: value for key, value in times.items() if key in route and route[key] != "0s"})
    return derived
