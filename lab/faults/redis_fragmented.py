"""A large part of the cache was removed at once, and its memory was not given back to the system."""

from lab.faults import _redis
from lab.faults._fault import Fault

PREFIX = "import:"
SIZE = 16_000
KEEP_EVERY = 20
# How long the allocator keeps what was freed, in milliseconds: -1 is for ever; 10000 is its own default.
DECAY = ("DEBUG", "MALLCTL", "arena.0.dirty_decay_ms")


def inject() -> str:
    """Fill, and remove nineteen of twenty, while the allocator gives nothing back by itself."""
    _redis.redis_cli(*DECAY, "-1")
    _redis.fill(PREFIX, 0.72, SIZE)
    _redis.remove(PREFIX, KEEP_EVERY)
    return "the process holds many times the memory that its keys need"


def undo() -> None:
    """Remove the rest, and let the allocator give memory back again."""
    if _redis.is_answering():
        _redis.redis_cli(*DECAY, "10000")
    _redis.take_back(PREFIX)


FAULT = Fault(
    name="redis_fragmented",
    runbook="redis-down",
    option="F",
    wrong="B",
    alert="RedisHighMemory",
    happens="most of a large import was removed, and the allocator keeps the memory",
    inject=inject,
    undo=undo,
)
