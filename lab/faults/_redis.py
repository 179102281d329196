"""What the faults of Redis share: its own client, run in its container."""

from __future__ import annotations

import time

from lab.compose import compose, environment
from lab.shell import CommandFailed, LabError, run

SERVICE = "redis"
HEALTHY_SECONDS = 60
# What `make up` gives the server (lab/compose.yml); redis.conf keeps what is changed at run time.
MAXMEMORY = 128 << 20
DEFAULTS = {"maxmemory": str(MAXMEMORY), "maxmemory-policy": "noeviction", "maxclients": "10000"}
# One call fills about 12 MB. All of it waits in memory for the append-only file, and the container has twice maxmemory.
LOT = 600
FILL = """
local used = 0
local value = string.rep('x', ARGV[4])
for i = ARGV[2], ARGV[3] do
  redis.call('SET', ARGV[1] .. i, value)
  if i % 50 == 0 then
    used = tonumber(string.match(redis.call('INFO', 'memory'), 'used_memory:(%d+)'))
    if used >= tonumber(ARGV[5]) then break end
  end
end
return used
"""
REMOVE = """
local cursor = '0'
repeat
  local step = redis.call('SCAN', cursor, 'MATCH', ARGV[1] .. '*', 'COUNT', 1000)
  cursor = step[1]
  for _, key in ipairs(step[2]) do
    if ARGV[2] == '0' or tonumber(string.match(key, '%d+$')) % tonumber(ARGV[2]) > 0 then redis.call('UNLINK', key) end
  end
until cursor == '0'
"""


def redis_cli(*arguments: str) -> str:
    """Run a command of Redis; an error of the server is one here.

    Raises:
        CommandFailed: The server does not answer, or refuses.
    """
    ask = ["timeout", "20", "redis-cli", "-e", *arguments]
    return run(compose("exec", "--no-TTY", SERVICE, *ask), environment=environment())


def fill(prefix: str, share: float, size: int = 20_000) -> str:
    """Store values until so much of the memory limit is used; return what was done."""
    redis_cli("MEMORY", "PURGE")  # what was removed just now would count twice
    number, used, target = 0, 0, round(share * MAXMEMORY)
    while used < target:
        first, number = number + 1, number + LOT
        used = int(redis_cli("EVAL", FILL, "0", prefix, str(first), str(number), str(size), str(target)))
    return f"keys {prefix}N fill {used / MAXMEMORY:.0%} of maxmemory"


def remove(prefix: str, keep_every: int = 0) -> None:
    """Remove the keys of a prefix, or all but every so-many-th."""
    redis_cli("EVAL", REMOVE, "0", prefix, str(keep_every))


def configure(**settings: str) -> None:
    """Change settings and keep them across a restart."""
    for name, value in settings.items():
        redis_cli("CONFIG", "SET", name.replace("_", "-"), value)
    redis_cli("CONFIG", "REWRITE")


def rewrite() -> None:
    """Have Redis write its append-only file anew, and wait until it has.

    Raises:
        LabError: It has not in time.
    """
    redis_cli("BGREWRITEAOF")
    deadline = time.monotonic() + HEALTHY_SECONDS
    while any(sign in redis_cli("INFO", "persistence") for sign in ("in_progress:1", "scheduled:1")):
        if time.monotonic() > deadline:
            raise LabError("Redis does not come to an end with rewriting its append-only file.")
        time.sleep(0.3)


def as_started() -> None:
    """Have every setting that a fault or an option changes as ``make up`` gives it."""
    asked = redis_cli("CONFIG", "GET", *DEFAULTS).split()
    now = dict(zip(asked[::2], asked[1::2], strict=True))
    changed = {name: value for name, value in DEFAULTS.items() if now[name] != value}
    if changed:
        configure(**changed)


def is_answering() -> bool:
    """Tell whether the server answers."""
    try:
        return "PONG" in redis_cli("PING")
    except CommandFailed:
        return False


def container() -> str:
    """Return the container of Redis, whatever its state; empty if there is none."""
    return run(compose("ps", "--all", "--quiet", SERVICE), environment=environment()).strip()


def start() -> None:
    """Start Redis, continue it, and wait until it answers.

    Raises:
        LabError: It does not.
    """
    run(compose("start", SERVICE), environment=environment(), timeout=120)
    deadline = time.monotonic() + HEALTHY_SECONDS
    while not is_answering():
        if time.monotonic() > deadline:
            raise LabError("Redis does not answer: look at `docker compose -p runbooks-lab logs redis`.")
        time.sleep(0.3)


def take_back(*prefixes: str) -> None:
    """Remove what a fault stored and restore the settings; does nothing where there is no server."""
    if not is_answering():
        return  # the fault that stopped it takes that back
    as_started()
    for prefix in prefixes:
        remove(prefix)
