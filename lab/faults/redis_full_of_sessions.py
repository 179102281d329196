"""More customers log in than maxmemory was made for: what fills Redis must stay."""

from lab.faults import _redis
from lab.faults._fault import Fault

PREFIX = "session:"

FAULT = Fault(
    name="redis_full_of_sessions",
    runbook="redis-down",
    option="C",
    wrong="B",
    alert="RedisHighMemory",
    happens="sessions, which may not be evicted, fill 95 % of maxmemory",
    inject=lambda: _redis.fill(PREFIX, 0.95),
    undo=lambda: _redis.take_back(PREFIX),
    ends=lambda: _redis.remove(PREFIX),
)
