"""Expectations of the state of Keycloak."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.ops.runbooks.plugins.plugin_utils._keycloak import keycloak_state

NAME = "shop-keycloak-1"
SILENT: dict[str, Any] = {"status": None, "down": [], "error": "timed out"}
UNREADY: dict[str, Any] = {"status": 503, "down": ["database"], "error": ""}


def containers(*, oom: bool = False, errors: tuple[str, ...] = (), **more: Any) -> dict[str, Any]:
    one = {"name": NAME, "state": "running", "restarts": 0, "last_exit_code": None, "up_seconds": 500.0, **more}
    service = {
        "containers": [one],
        "broken": [NAME],
        "out_of_memory": [NAME] * oom,
        "errors": [{"last": error} for error in errors],
    }
    return {"services": {"keycloak": service}}


def state(found: dict[str, Any], ready: dict[str, Any], token: int | None = None, error: str = "") -> tuple[str, str]:
    answers = {"ready": ready, "endpoints": {"token": {"status": token, "error": error}}}
    told = keycloak_state(found, answers, service="keycloak", start_seconds=120)
    return told["state"], told["state_reason"]


@pytest.mark.parametrize(
    ("token", "error", "expected"),
    [
        pytest.param(200, "", ("serving", "it is ready and gives a token"), id="serving"),
        pytest.param(
            403, "Realm not enabled", ("refusing", "it is ready and answers 403 to a client: Realm not enabled"),
            id="refusing",
        ),
        pytest.param(
            None, "timed out", ("hung", "it says that it is ready and gives no token: timed out"), id="half-hung"
        ),
    ],
)  # fmt: skip
def test_what_answers_is_told_by_its_answers(token: int | None, error: str, expected: tuple[str, str]) -> None:
    """Whatever happened to its containers before."""
    ready = {"status": 200, "down": [], "error": ""}
    assert state(containers(oom=True, restarts=9), ready, token, error) == expected


@pytest.mark.parametrize(
    ("found", "ready", "expected"),
    [
        pytest.param({"failed": True, "msg": "No engine."}, SILENT, ("unknown", "No engine."), id="no-engine"),
        pytest.param({"services": {}}, SILENT, ("missing", "there is no container of keycloak"), id="missing"),
        pytest.param(
            containers(state="exited", up_seconds=0.0), SILENT, ("stopped", f"{NAME} is exited"), id="stopped"
        ),
        pytest.param(containers(state="paused"), SILENT, ("hung", f"{NAME} is frozen"), id="paused"),
        pytest.param(
            containers(), SILENT, ("hung", f"{NAME} runs and does not answer: timed out"), id="running-silent"
        ),
        pytest.param(containers(), UNREADY, ("not_ready", f"{NAME} is not ready: database"), id="not-ready"),
        pytest.param(
            containers(up_seconds=20.0), UNREADY, ("starting", f"{NAME} started 20 s ago"), id="starting"
        ),
        pytest.param(
            containers(state="restarting", restarts=4, up_seconds=0.0),
            SILENT,
            ("crash_looping", f"{NAME} ended by itself 4 times"),
            id="restarting",
        ),
        pytest.param(
            containers(restarts=2, up_seconds=1.0),
            SILENT,
            ("crash_looping", f"{NAME} ended by itself 2 times"),
            id="up-again-for-a-moment",
        ),
        pytest.param(
            containers(oom=True, state="restarting", restarts=4, up_seconds=0.0),
            SILENT,
            ("out_of_memory", f"the kernel killed {NAME} at its memory limit"),
            id="kernel",
        ),
        pytest.param(
            containers(oom=True, state="paused"), SILENT, ("hung", f"{NAME} is frozen"), id="killed-long-ago"
        ),
        pytest.param(
            containers(
                state="restarting", restarts=1, last_exit_code=3, up_seconds=0.0,
                errors=("Terminating due to java.lang.OutOfMemoryError: Java heap space",),
            ),
            SILENT,
            ("out_of_memory", f"{NAME} ended because its heap was full"),
            id="heap",
        ),
        pytest.param(
            containers(state="restarting", restarts=3, last_exit_code=3, up_seconds=0.0, errors=("ERROR: no",)),
            SILENT,
            ("crash_looping", f"{NAME} ended by itself 3 times"),
            id="exit-3-without-the-word",
        ),
    ],
)  # fmt: skip
def test_what_does_not_answer_is_told_by_its_container(
    found: dict[str, Any], ready: dict[str, Any], expected: tuple[str, str]
) -> None:
    """Each state leads to another option."""
    assert state(found, ready) == expected


def test_the_replica_that_does_not_serve_is_the_one_that_counts() -> None:
    """Of two, the broken one is told."""
    found = containers(state="exited", up_seconds=0.0)
    healthy = {"name": "shop-keycloak-2", "state": "running", "restarts": 0, "last_exit_code": None, "up_seconds": 9.0}
    found["services"]["keycloak"]["containers"].insert(0, healthy)
    assert state(found, SILENT) == ("stopped", f"{NAME} is exited")


def test_nothing_that_could_be_read_is_unknown() -> None:
    """Both sources failed."""
    told = keycloak_state({"failed": True}, {"failed": True}, service="keycloak", start_seconds=120)
    assert told == {"state": "unknown", "state_reason": "its containers could not be read"}
