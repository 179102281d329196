"""A block of the append-only file is destroyed on disk, and Redis no longer starts."""

import time

from lab.compose import compose, environment
from lab.faults import _redis
from lab.faults._fault import Fault
from lab.shell import LabError, run

IMAGE = "runbooks-lab/redis:8"
EFFECT_SECONDS = 60
KEYS = 300
# The first command after the middle of the newest part loses its beginning.
DAMAGE = r"""
file=$(ls -t /data/appendonlydir/*.incr.aof | head -1)
half=$(($(stat -c %s "$file") / 2))
after=$(tail -c "+$((half + 1))" "$file" | grep -a -b -o -m 1 '^\*[1-9]' | head -1 | cut -d : -f 1)
printf 'GARBAGE!GARBAGE!' | dd of="$file" bs=1 seek=$((half + after)) conv=notrunc 2> /dev/null
"""
EMPTY = "rm -rf /data/appendonlydir /data/damaged-* /data/dump.rdb"


def beside(script: str) -> None:
    """Run a script in a container that has the volume of Redis."""
    command = ["docker", "run", "--rm", "--network", "none", "--volumes-from", _redis.container()]
    run([*command, "--entrypoint", "sh", IMAGE, "-c", script], timeout=60)


def restarts() -> int:
    """Return how often the engine has started Redis again by itself."""
    return int(run(["docker", "inspect", "--format", "{{.RestartCount}}", _redis.container()]))


def inject() -> str:
    """Write some keys, stop Redis, destroy a few bytes, and start it again, which does not succeed."""
    _redis.rewrite()  # what is in the newest part is then of this moment, not of an older fault
    _redis.redis_cli("EVAL", _redis.FILL, "0", "customer:c", "1", str(KEYS), "40", str(_redis.MAXMEMORY))
    run(compose("stop", "--timeout", "5", _redis.SERVICE), environment=environment())
    beside(DAMAGE)
    run(compose("start", _redis.SERVICE), environment=environment())
    deadline = time.monotonic() + EFFECT_SECONDS
    while restarts() < 1:
        if time.monotonic() > deadline:
            undo()
            raise LabError("Redis started in spite of the damage.")
        time.sleep(0.3)
    return "Redis ends at its start with a bad file format, again and again"


def undo() -> None:
    """Begin with empty files where Redis does not start; remove what repairs have kept aside."""
    if not _redis.container():
        return
    if _redis.is_answering():
        run(
            compose("exec", "--no-TTY", _redis.SERVICE, "sh", "-c", "rm -rf /data/damaged-*"), environment=environment()
        )
        return
    run(compose("stop", "--timeout", "1", _redis.SERVICE), environment=environment())
    beside(EMPTY)
    _redis.start()


FAULT = Fault(
    name="redis_damaged_aof",
    runbook="redis-down",
    option="E",
    wrong="A",
    alert="RedisConnectionFailure",
    happens="sixteen bytes in the middle of the append-only file are destroyed, and Redis does not start",
    inject=inject,
    undo=undo,
)
