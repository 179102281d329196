# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to the ops.runbooks collection: may change without notice.
"""A real Redis node, version 5 and later."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ansible_collections.ops.runbooks.plugins.module_utils._redis_adapter import refused
from ansible_collections.ops.runbooks.plugins.module_utils._redis_ports import (
    BUCKETS,
    PER_OCTAVE,
    Cut,
    Facts,
    Memory,
    Node,
    Slice,
)

if TYPE_CHECKING:
    from ansible_collections.ops.runbooks.plugins.module_utils._redis_adapter import Connection

# A key that is sampled holds the server up for some microseconds; a batch, for about a millisecond.
BATCH = 200

# MEMORY USAGE looks at 5 elements of a value, its default. SAMPLES 0 would walk all of them: 365 ms for a hash of two
# million fields, during which nobody is served.
FACTS = """
local cursor, keys = '0', {}
if ARGV[1] == 'random' then
  for i = 1, tonumber(ARGV[3]) do
    local key = redis.call('RANDOMKEY')
    if not key then break end
    keys[i] = key
  end
else
  local step = redis.call('SCAN', ARGV[2], 'COUNT', ARGV[3])
  cursor, keys = step[1], step[2]
end
local facts = {}
for i = 1, #keys do
  local key = keys[i]
  local ttl = redis.call('PTTL', key)
  if ttl ~= -2 then
    local measured = -1
    if ARGV[4] == 'idle' then measured = redis.call('OBJECT', 'IDLETIME', key) or -1 end
    if ARGV[4] == 'frequency' then measured = redis.call('OBJECT', 'FREQ', key) or -1 end
    local allowed = 1
    if redis.acl_check_cmd and not redis.acl_check_cmd('UNLINK', key) then allowed = 0 end
    facts[#facts + 1] = {key, ttl, redis.call('MEMORY', 'USAGE', key) or 0, measured, allowed}
  end
end
return {cursor, facts}
"""

# Filters stand in the order of their cost. What was unlinked before an error is told beside the error.
SLICE = """
local asked = cjson.decode(ARGV[1])
local step = redis.call('SCAN', ARGV[2], 'MATCH', ARGV[4], 'COUNT', ARGV[3])
local keys, find, call = step[2], string.find, redis.call
local patterns, protect = {}, {}
for i = 5, 4 + asked.patterns do patterns[#patterns + 1] = ARGV[i] end
for i = 5 + asked.patterns, #ARGV do protect[#protect + 1] = ARGV[i] end
local seen, protected, skipped, evicted, full, weighed, heavy = 0, 0, 0, 0, 0, 0, 0
local chunk, buckets, sizes, trouble = {}, {}, {}, false
local plain = asked.plain and #patterns == 0 and #protect == 0

local function matches(list, key)
  for i = 1, #list do
    if find(key, list[i]) then return true end
  end
  return false
end

local function unlink()
  if #chunk == 0 or trouble then return end
  local answer = redis.pcall('UNLINK', unpack(chunk))
  if type(answer) == 'table' then trouble = answer.err else evicted = evicted + answer end
  chunk = {}
end

-- Where nothing is asked of a key, none is looked at by itself.
if plain and not asked.quota then
  for first = 1, #keys, asked.chunk do
    local last = math.min(#keys, first + asked.chunk - 1)
    for i = first, last, 16 do
      weighed, heavy = weighed + 1, heavy + (call('MEMORY', 'USAGE', keys[i]) or 0)
    end
    local answer = redis.pcall('UNLINK', unpack(keys, first, last))
    if type(answer) == 'table' then trouble = answer.err break end
    seen, evicted = seen + last - first + 1, evicted + answer
  end
  keys = {}
end

for i = 1, #keys do
  if trouble then break end
  local key = keys[i]
  local size, ttl, measured = false, false, 0
  local meant = true
  if not plain then
    if #patterns > 0 and not matches(patterns, key) then
      meant = false
    elseif matches(protect, key) then
      protected, meant = protected + 1, false
    elseif not asked.plain then
      if asked.ttl ~= 'any' or asked.within or asked.order == 'expiry' then
        ttl = call('PTTL', key)
        if ttl == -2 or (asked.ttl == 'with' and ttl < 0) or (asked.ttl == 'without' and ttl >= 0)
          or (asked.within and (ttl < 0 or ttl > asked.within)) then meant = false end
      end
      if meant and (asked.idle or asked.order == 'idle') then
        measured = call('OBJECT', 'IDLETIME', key) or -1
        if measured < 0 or (asked.idle and measured < asked.idle) then meant = false end
      end
      if meant and asked.bytes then
        size = call('MEMORY', 'USAGE', key) or 0
        if size < asked.bytes then meant = false end
      end
      if not meant then skipped = skipped + 1 end
      if meant and asked.order ~= 'none' then
        local place
        if asked.order == 'frequency' then
          place = call('OBJECT', 'FREQ', key) or 0
        else
          if asked.order == 'expiry' then measured = ttl < 0 and -1 or ttl end
          if asked.order == 'size' then
            size = size or call('MEMORY', 'USAGE', key) or 0
            measured = size
          end
          if measured == -1 then place = asked.last
          elseif measured < 1 then place = 0
          else place = math.min(asked.last, 1 + math.floor(math.log(measured) / math.log(2) * asked.octave)) end
        end
        if asked.measure then
          meant = false
          size = size or call('MEMORY', 'USAGE', key) or 0
          buckets[place] = (buckets[place] or 0) + 1
          sizes[place] = (sizes[place] or 0) + size
        elseif asked.low and (place < asked.low or place > asked.high) then
          meant = false
        end
      end
    end
  end
  if meant then
    if asked.quota and evicted + #chunk >= asked.quota then
      unlink()
      if evicted >= asked.quota then full = 1 break end
    end
    if size or (evicted + #chunk) % 16 == 0 then
      weighed, heavy = weighed + 1, heavy + (size or call('MEMORY', 'USAGE', key) or 0)
    end
    chunk[#chunk + 1] = key
    if #chunk >= asked.chunk then unlink() end
  end
  seen = seen + 1
end
unlink()
local histogram = {}
for place, number in pairs(buckets) do
  histogram[#histogram + 1] = place
  histogram[#histogram + 1] = number
  histogram[#histogram + 1] = sizes[place]
end
return {step[1], seen, protected, skipped, evicted, full, weighed, heavy, trouble, histogram}
"""


class RedisNode(Node):
    """The server behind one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.name = connection.name

    def info(self) -> dict[str, Any]:
        """Return what INFO says."""
        answer: dict[str, Any] = self._connection.ask("INFO")
        return answer

    def memory(self) -> Memory:
        """Return how full the node is."""
        return memory_of(self._connection.ask("INFO", "memory"))

    def keys(self) -> int:
        """Return the number of keys in the database."""
        return int(self._connection.ask("DBSIZE"))

    def sample(self, number: int, *, measure: str = "none") -> list[Facts]:
        """Return the facts of random keys, in batches that each hold the server up for a moment only."""
        found: list[Facts] = []
        for start in range(0, number, BATCH):
            batch = min(BATCH, number - start)
            answer = self._connection.script(FACTS, "random", 0, batch, measure)
            found += _facts(answer[1], measure)
        return found

    def walk(self, cursor: int, count: int, *, measure: str = "none") -> tuple[int, list[Facts]]:
        """Return the facts of the keys of one step."""
        answer = self._connection.script(FACTS, "scan", cursor, count, measure)
        return int(answer[0]), _facts(answer[1], measure)

    def slice(self, asked: Slice) -> Cut:
        """Carry out one step."""
        criteria = asked.criteria
        single = len(criteria.patterns) == 1
        patterns = [] if single else [one.lua() for one in criteria.patterns]
        protect = [one.lua() for one in criteria.protect]
        request: dict[str, Any] = {
            "patterns": len(patterns),
            "plain": asked.order == "none" and not criteria.filters,
            "ttl": criteria.ttl,
            "order": asked.order,
            "measure": asked.measure,
            "last": BUCKETS - 1,
            "octave": PER_OCTAVE,
            # Keys of one command must share a slot in a cluster; and Lua passes no more than some thousand arguments.
            "chunk": 1 if self._connection.login.cluster else 1000,
        }
        within = criteria.expires_within_seconds
        low, high = asked.band or (None, None)
        limits = {
            "idle": criteria.minimum_idle_seconds,
            "within": None if within is None else within * 1000,
            "bytes": criteria.minimum_bytes,
            "low": low,
            "high": high,
            "quota": asked.quota,
        }
        request.update({name: limit for name, limit in limits.items() if limit is not None})
        answer = self._connection.script(
            SLICE,
            json.dumps(request),
            asked.cursor,
            asked.count,
            criteria.patterns[0].text if single else "*",
            *patterns,
            *protect,
        )
        full = bool(answer[5])
        histogram = answer[9]
        return Cut(
            cursor=asked.cursor if full else int(answer[0]),
            seen=answer[1],
            protected=answer[2],
            skipped=answer[3],
            evicted=answer[4],
            full=full,
            weighed=answer[6],
            weighed_bytes=answer[7],
            error=str(refused(self._connection.login, self.name, answer[8].decode())) if answer[8] else None,
            buckets={histogram[i]: (histogram[i + 1], histogram[i + 2]) for i in range(0, len(histogram), 3)},
        )


def memory_of(info: dict[str, Any]) -> Memory:
    """Read the limits out of INFO memory."""
    return Memory(
        used=info["used_memory"],
        limit=info.get("maxmemory", 0),
        policy=info.get("maxmemory_policy", "noeviction"),
        pending=info.get("lazyfree_pending_objects", 0),
    )


def _facts(rows: list[Any], measure: str) -> list[Facts]:
    return [
        Facts(
            key=key,
            ttl_ms=ttl,
            bytes=size,
            idle_seconds=measured if measure == "idle" else None,
            frequency=measured if measure == "frequency" else None,
            may_unlink=bool(allowed),
        )
        for key, ttl, size, measured, allowed in rows
    ]
