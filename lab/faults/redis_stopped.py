"""Redis has stopped, as after an operator's mistake or an upgrade that went wrong."""

from lab.compose import compose, environment
from lab.faults import _redis
from lab.faults._fault import Fault
from lab.shell import run


def inject() -> str:
    """Stop the container; its restart policy leaves it alone then."""
    run(compose("stop", "--timeout", "5", _redis.SERVICE), environment=environment())
    return "the container of Redis has exited"


def undo() -> None:
    """Start it where it is stopped."""
    if _redis.container() and not _redis.is_answering():
        _redis.start()


FAULT = Fault(
    name="redis_stopped",
    runbook="redis-down",
    option="A",
    wrong="B",
    alert="RedisConnectionFailure",
    happens="the container of Redis is stopped",
    inject=inject,
    undo=undo,
)
