# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to the ops.runbooks collection: may change without notice.
"""What fills a Redis server: the work behind redis_memory_info."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ansible_collections.ops.runbooks.plugins.module_utils._arguments import ArgumentSpec
from ansible_collections.ops.runbooks.plugins.module_utils._errors import ActionFailed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ansible_collections.ops.runbooks.plugins.module_utils._redis_ports import Facts, Node

STEP = 200


def info_spec() -> ArgumentSpec:
    """Return the options of redis_memory_info."""
    return ArgumentSpec(
        options={
            "sample_keys": {"type": "int", "default": 5000, "no_log": False},
            "prefix_separator": {"type": "str", "default": ":"},
            "prefix_depth": {"type": "int", "default": 1},
            "top": {"type": "int", "default": 10},
        }
    )


@dataclass(frozen=True)
class InfoRequest:
    """What redis_memory_info is asked to read."""

    sample_keys: int
    separator: bytes
    depth: int
    top: int

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> InfoRequest:
        """Build the request from the module's options; raises ValueError for what cannot be meant."""
        if not 0 <= params["sample_keys"] <= 100_000:  # noqa: PLR2004 - keeps time and memory bounded
            raise ValueError(f"sample_keys is {params['sample_keys']}, expected 0 to 100000.")
        for name in ("prefix_depth", "top"):
            if params[name] < 1:
                raise ValueError(f"{name} is {params[name]}, expected at least 1.")
        if not params["prefix_separator"]:
            raise ValueError('prefix_separator is empty, expected what stands between the parts of a key, as in ":".')
        return cls(params["sample_keys"], params["prefix_separator"].encode(), params["prefix_depth"], params["top"])


@dataclass
class _Share:
    """What a group of sampled keys stands for."""

    keys: float = 0
    bytes: float = 0
    without_expiry: float = 0
    without_expiry_bytes: float = 0
    largest_bytes: int = 0

    def add(self, facts: Facts, weight: float) -> None:
        self.keys += weight
        self.bytes += weight * facts.bytes
        self.largest_bytes = max(self.largest_bytes, facts.bytes)
        if facts.ttl_ms < 0:
            self.without_expiry += weight
            self.without_expiry_bytes += weight * facts.bytes


def read_info(nodes: Sequence[Node], request: InfoRequest, *, instance: str) -> dict[str, Any]:
    """Return everything that redis_memory_info reports."""
    rows = [node_row(node.name, node.info(), node.keys()) for node in nodes]
    result: dict[str, Any] = {"changed": False, "instance": instance, "nodes": rows, "notes": [], "unreadable": []}
    for row in rows:
        result["notes"] += _notes(row)
    total = sum(row["keys"] for row in rows)
    everything = _Share()
    groups: dict[str, _Share] = defaultdict(_Share)
    largest: dict[bytes, int] = {}
    sampled = 0
    try:
        for node, row in zip(nodes, rows):
            number = round(request.sample_keys * row["keys"] / total) if total else 0
            facts = list(look(node, row["keys"], number))
            sampled += len(facts)
            for one in facts:
                weight = row["keys"] / len(facts)
                everything.add(one, weight)
                groups[prefix(one.key, request)].add(one, weight)
                if one.ttl_ms < 0:
                    largest[one.key] = one.bytes
            largest = dict(sorted(largest.items(), key=lambda item: -item[1])[: request.top])
    except ActionFailed as error:
        result["unreadable"].append({"what": "sizes and expiry of keys", "why": str(error)})
    result["sample"] = {
        "keys": sampled,
        "of": total,
        "exact": sampled >= total,
        "bytes": round(everything.bytes),
        "mean_bytes": round(everything.bytes / everything.keys) if everything.keys else None,
        "without_expiry_ratio": _ratio(everything.without_expiry, everything.keys),
        "without_expiry_bytes_ratio": _ratio(everything.without_expiry_bytes, everything.bytes),
        # The widest half of a 95 % interval that a share of the sample can have.
        "margin": 0.0 if sampled >= total else round(0.98 / sampled**0.5, 4) if sampled else None,
    }
    result["prefixes"] = [
        {
            "prefix": name,
            "keys": round(share.keys),
            "bytes": round(share.bytes),
            "bytes_ratio": _ratio(share.bytes, everything.bytes),
            "without_expiry": round(share.without_expiry),
            "largest_bytes": share.largest_bytes,
        }
        for name, share in sorted(groups.items(), key=lambda item: -item[1].bytes)[: request.top]
    ]
    result["largest_without_expiry"] = [
        {"key": key.decode(errors="backslashreplace"), "bytes": size} for key, size in largest.items()
    ]
    return result


def look(node: Node, keys: int, number: int, *, measure: str = "none") -> Iterator[Facts]:
    """Give every key once if the sample would be as large as the database, and random ones otherwise."""
    if not number:
        return
    if keys > number:
        yield from node.sample(number, measure=measure)
        return
    seen: set[bytes] = set()
    cursor = 0
    while True:
        cursor, found = node.walk(cursor, STEP, measure=measure)
        for one in found:
            if one.key not in seen:
                seen.add(one.key)
                yield one
        # Whatever grows meanwhile, the look stays bounded.
        if not cursor or len(seen) > 2 * number:
            return


def prefix(key: bytes, request: InfoRequest) -> str:
    """Return the first parts of a key with a star; the last part of a key is never one of them."""
    parts = key.split(request.separator, request.depth)
    if len(parts) == 1:
        return "(no prefix)"
    return request.separator.join([*parts[:-1], b"*"]).decode(errors="backslashreplace")


def node_row(name: str, info: Mapping[str, Any], keys: int) -> dict[str, Any]:
    """Return what one node says of itself."""
    limit = info.get("maxmemory", 0)
    hits, misses = info.get("keyspace_hits", 0), info.get("keyspace_misses", 0)
    return {
        "node": name,
        "role": info.get("role"),
        "version": info.get("redis_version"),
        "used_bytes": info["used_memory"],
        "peak_bytes": info.get("used_memory_peak"),
        "rss_bytes": info.get("used_memory_rss"),
        "limit_bytes": limit,
        "limited": bool(limit),
        "used_ratio": _ratio(info["used_memory"], limit),
        "host_bytes": info.get("total_system_memory"),
        "policy": info.get("maxmemory_policy"),
        "fragmentation_ratio": info.get("mem_fragmentation_ratio"),
        "overhead_bytes": info.get("used_memory_overhead"),
        "clients": {
            "connected": info.get("connected_clients"),
            "blocked": info.get("blocked_clients"),
            "maximum": info.get("maxclients"),
            "buffer_bytes": info.get("mem_clients_normal"),
        },
        "hit_ratio": _ratio(hits, hits + misses),
        "evicted_keys": info.get("evicted_keys"),
        "expired_keys": info.get("expired_keys"),
        "keys": keys,
        "evictable_ratio": evictable(info),
    }


def evictable(info: Mapping[str, Any]) -> float | None:
    """Return the share of all keys that the policy may evict; None in an empty server."""
    databases = [value for name, value in info.items() if name.startswith("db") and name[2:].isdigit()]
    keys = sum(one["keys"] for one in databases)
    policy = str(info.get("maxmemory_policy", "noeviction"))
    if not keys:
        return None
    if policy.startswith("allkeys"):
        return 1.0
    return _ratio(sum(one["expires"] for one in databases), keys) if policy.startswith("volatile") else 0.0


def _notes(row: Mapping[str, Any]) -> list[str]:
    notes = []
    if not row["limited"]:
        notes.append(
            f"{row['node']} has no memory limit (maxmemory 0), so there is no used share: it grows until the host or "
            "the container is full."
        )
    elif row["evictable_ratio"] == 0 and row["policy"] != "noeviction":
        notes.append(f"{row['node']} has policy {row['policy']} and no key with an expiry: it behaves like noeviction.")
    return notes


def _ratio(part: float, whole: float) -> float | None:
    return round(part / whole, 4) if whole else None
