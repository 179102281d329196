"""The memory limit of Keycloak is too low: the kernel kills it at every start."""

from lab.faults._keycloak import KEYCLOAK, fault, recreate, state_of, wait
from lab.shell import run

TOO_LOW = 220
RIGHT = 704
MEBIBYTE = 1024 * 1024
HEAP_FULL = 3


def _killed() -> bool:
    """Tell whether the kernel has killed it; a heap that is full first ends it with 3."""
    if state_of(KEYCLOAK).get("ExitCode") == HEAP_FULL:
        return True
    events = ["docker", "events", "--since", "90s", "--until", "0s", "--filter", f"container={KEYCLOAK}"]
    return "oom" in run([*events, "--filter", "event=oom", "--format", "{{.Action}}"])


def inject() -> str:
    """Set the limit while it is stopped, as a deployment with a wrong number would, and start it."""
    run(["docker", "stop", "--time", "10", KEYCLOAK], timeout=60)
    run(["docker", "update", "--memory", f"{TOO_LOW}m", "--memory-swap", f"{TOO_LOW}m", KEYCLOAK])
    run(["docker", "start", KEYCLOAK])
    wait(_killed, "the kernel kills Keycloak")
    return f"{KEYCLOAK} may use {TOO_LOW} MiB and needs more."


def undo() -> None:
    """Put a fresh container with the limit of the Compose file in its place."""
    if state_of(KEYCLOAK).get("Memory") != RIGHT * MEBIBYTE:
        recreate()


FAULT = fault(
    name="keycloak_memory",
    option="E",
    wrong="D",
    happens=f"the container may use {TOO_LOW} MiB: the kernel kills Keycloak at every start",
    inject=inject,
    undo=undo,
)
