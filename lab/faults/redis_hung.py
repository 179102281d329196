"""Redis hangs: its port is open and nothing is answered, as when its disk or its host stalls."""

from lab.compose import compose, environment
from lab.faults import _redis
from lab.faults._fault import Fault
from lab.shell import run


def inject() -> str:
    """Stop the process where it is; it stays in the list of processes and keeps its port."""
    run(compose("kill", "--signal", "STOP", _redis.SERVICE), environment=environment())
    return "the process of Redis no longer runs on, and its port is still open"


def undo() -> None:
    """Let it run on."""
    if _redis.container() and not _redis.is_answering():
        run(compose("kill", "--signal", "CONT", _redis.SERVICE), environment=environment())


FAULT = Fault(
    name="redis_hung",
    runbook="redis-down",
    option="A",
    wrong="D",
    alert="RedisConnectionFailure",
    happens="the process of Redis is stopped in the middle of its work (SIGSTOP)",
    inject=inject,
    undo=undo,
)
