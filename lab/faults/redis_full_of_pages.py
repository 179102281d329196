"""A crawler asks for pages without end, and a release forgot their expiry: the cache fills up."""

from lab.faults import _redis
from lab.faults._fault import Fault

PREFIX = "orders:page:9"

FAULT = Fault(
    name="redis_full_of_pages",
    runbook="redis-down",
    option="B",
    wrong="F",
    alert="RedisHighMemory",
    happens="cached pages without an expiry fill 95 % of maxmemory, and the policy is noeviction",
    inject=lambda: _redis.fill(PREFIX, 0.95),
    undo=lambda: _redis.take_back(PREFIX),
)
