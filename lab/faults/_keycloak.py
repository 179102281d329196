"""What the faults of Keycloak share: its containers, its administration, its database."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from lab.compose import compose, environment
from lab.faults._fault import Fault
from lab.settings import port_variable
from lab.shell import CommandFailed, LabError, run

if TYPE_CHECKING:
    from collections.abc import Callable

KEYCLOAK, DATABASE, REALM = "runbooks-lab-keycloak-1", "runbooks-lab-postgres-1", "lab"
START_SECONDS = 300
EFFECT_SECONDS = 90


def fault(
    *, name: str, option: str, wrong: str, happens: str, inject: Callable[[], str], undo: Callable[[], None]
) -> Fault:
    """Make a fault of this runbook."""
    return Fault(name, "keycloak-down", option, wrong, "KeycloakDown", happens, inject, undo)


def state_of(container: str) -> dict[str, Any]:
    """Return the engine's word on a container: State, and RestartCount and the memory limit beside it; {} if none."""
    shown = run(["docker", "ps", "--all", "--quiet", "--filter", f"name=^{container}$"]).strip()
    if not shown:
        return {}
    (found,) = json.loads(run(["docker", "inspect", container]))
    return {**found["State"], "RestartCount": found["RestartCount"], "Memory": found["HostConfig"]["Memory"]}


def freeze(container: str) -> None:
    """Stop every process of a container where it is; on a busy machine with cgroup v1 the first tries may fail.

    Raises:
        LabError: None succeeded.
    """

    def frozen() -> bool:
        with suppress(CommandFailed):
            run(["docker", "pause", container])
        return bool(state_of(container).get("Paused"))

    wait(frozen, f"{container} is frozen")


def unpause(container: str) -> None:
    """Let a frozen container go on."""
    if state_of(container).get("Paused"):
        run(["docker", "unpause", container])


def recreate() -> None:
    """Put a fresh container in the place of the damaged one and wait until it is ready."""
    up = ["up", "--detach", "--no-deps", "--force-recreate", "--wait", "--wait-timeout", str(START_SECONDS)]
    run(compose(*up, "keycloak"), timeout=START_SECONDS + 30, environment=environment())


def sql(statement: str, database: str = "keycloak") -> str:
    """Run a statement as the superuser of the database."""
    psql = ["psql", "--no-psqlrc", "-v", "ON_ERROR_STOP=1", "-Atq", "-U", "postgres", "-d", database, "-c", statement]
    return run(["docker", "exec", DATABASE, *psql], timeout=30).strip()


def wait(effect: Callable[[], object], what: str) -> None:
    """Wait until a fault is in effect.

    Raises:
        LabError: It is not in time.
    """
    deadline = time.monotonic() + EFFECT_SECONDS
    while not effect():
        if time.monotonic() > deadline:
            raise LabError(f"Within {EFFECT_SECONDS} s it did not come to this: {what}.")
        time.sleep(0.3)


def ask(path: str, *, method: str = "GET", form: dict[str, str] | None = None, **more: Any) -> tuple[int, Any]:
    """Return status and document; status 0 means that nobody answered."""
    data = urllib.parse.urlencode(form).encode() if form else None
    if "document" in more:
        data = json.dumps(more["document"]).encode()
    headers = {"Content-Type": "application/json"} if "document" in more else {}
    if "token" in more:
        headers["Authorization"] = f"Bearer {more['token']}"
    url = f"http://127.0.0.1:{environment()[port_variable('keycloak')]}{path}"
    request = urllib.request.Request(url, data, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - a fixed address
            text = answer.read()
            return answer.status, json.loads(text) if text else None
    except urllib.error.HTTPError as error:
        with error:
            return error.code, None
    except OSError:
        return 0, None


def token(realm: str, client: str, secret: str) -> tuple[int, Any]:
    """Ask for a token as a client does."""
    form = {"grant_type": "client_credentials", "client_id": client, "client_secret": environment()[secret]}
    return ask(f"/realms/{realm}/protocol/openid-connect/token", method="POST", form=form)


def serves() -> bool:
    """Tell whether a client gets a token."""
    return token(REALM, "probe", "KEYCLOAK_PROBE_SECRET")[0] == 200  # noqa: PLR2004 - HTTP's


def administer(method: str, path: str, document: dict[str, Any] | None = None) -> int:
    """Call the admin API of the realm; returns the status."""
    _, answer = token("master", "runbooks", "KEYCLOAK_ADMIN_SECRET")
    if not answer:
        return 0
    more: dict[str, Any] = {"token": answer["access_token"]}
    if document is not None:
        more["document"] = document
    return ask(f"/admin/realms/{REALM}{path}", method=method, **more)[0]
