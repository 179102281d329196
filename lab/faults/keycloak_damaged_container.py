"""A file of Keycloak in its container is damaged: it ends at every start."""

from lab.faults._keycloak import KEYCLOAK, fault, recreate, state_of, wait
from lab.shell import CommandFailed, run

FILE = "/opt/keycloak/lib/quarkus-run.jar"
# Whether the container's own copy is empty can be told without running it.
LOOPS = 2


def _damaged() -> bool:
    if not state_of(KEYCLOAK):
        return True
    try:
        changed = run(["docker", "diff", KEYCLOAK])
    except CommandFailed:
        return False
    return f"C {FILE}\n" in changed


def inject() -> str:
    """Cut the program short and end the process; every start after that fails."""
    run(["docker", "exec", KEYCLOAK, "truncate", "--size", "0", FILE])
    run(["docker", "exec", KEYCLOAK, "bash", "-c", "kill -TERM 1"])
    wait(lambda: state_of(KEYCLOAK).get("RestartCount", 0) >= LOOPS, "Keycloak ends again and again")
    return f"{FILE} in {KEYCLOAK} is empty."


def undo() -> None:
    """Put a fresh container in its place, if this one is damaged or gone."""
    if _damaged():
        recreate()


FAULT = fault(
    name="keycloak_damaged_container",
    option="C",
    wrong="E",
    happens="a file of the program is cut short in the container: Keycloak ends at every start",
    inject=inject,
    undo=undo,
)
