"""A large part of the cache was removed at once, and its memory was not given back to the system."""

from lab.faults import _redis
from lab.faults._fault import Fault

PREFIX = "import:"
SIZE = 16_000
KEEP_EVERY = 20


def inject() -> str:
    """Fill, and remove nineteen of twenty; the allocator's own thread, which would clear up, is off."""
    _redis.configure(jemalloc_bg_thread="no")
    _redis.fill(PREFIX, 0.72, SIZE)
    _redis.remove(PREFIX, KEEP_EVERY)
    return "the process holds many times the memory that its keys need"


FAULT = Fault(
    name="redis_fragmented",
    runbook="redis-down",
    option="F",
    wrong="B",
    alert="RedisHighMemory",
    happens="most of a large import was removed, and the allocator keeps the memory",
    inject=inject,
    undo=lambda: _redis.take_back(PREFIX),
)
