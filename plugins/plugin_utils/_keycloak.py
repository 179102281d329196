# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to the ops.runbooks collection: may change without notice.
"""Name the state of Keycloak from what its containers and its answers show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

OK, UNAVAILABLE = 200, 503
# kc.sh has the JVM exit with 3 when it runs out of memory (ExitOnOutOfMemoryError).
EXIT_OUT_OF_MEMORY = 3
# A container that ended by itself this often does not come up.
LOOPS_FROM = 2


def keycloak_state(
    containers: Mapping[str, Any], answers: Mapping[str, Any], *, service: str, start_seconds: float
) -> dict[str, str]:
    """Return ``state`` and ``state_reason``.

    ``containers`` is the result of service_info, ``answers`` that of keycloak_info; either may have failed.

    serving: ready, and a client gets a token. refusing: ready, and no client gets one. starting, not_ready: it answers
    that it is not ready. hung: it runs and does not answer. stopped, missing, crash_looping, out_of_memory: it does not
    run. unknown: it could not be told.
    """
    ready = answers.get("ready", {})
    token = answers.get("endpoints", {}).get("token", {})
    if ready.get("status") == OK:
        if token.get("status") == OK:
            return _state("serving", "it is ready and gives a token")
        if token.get("status") is None:
            return _state("hung", f"it says that it is ready and gives no token: {token.get('error')}")
        return _state("refusing", f"it is ready and answers {token['status']} to a client: {token.get('error')}")
    if containers.get("failed"):
        return _state("unknown", str(containers.get("msg", "its containers could not be read")))
    found = containers.get("services", {}).get(service)
    if not found or not found["containers"]:
        return _state("missing", f"there is no container of {service}")
    container = next((one for one in found["containers"] if one["name"] in found["broken"]), found["containers"][0])
    return _without_answer(found, container, ready, start_seconds)


def _without_answer(
    found: Mapping[str, Any], container: Mapping[str, Any], ready: Mapping[str, Any], start_seconds: float
) -> dict[str, str]:
    name, state = container["name"], container["state"]
    long_up = state in ("running", "paused") and container["up_seconds"] >= start_seconds
    if name in found["out_of_memory"] and not long_up:
        return _state("out_of_memory", f"the kernel killed {name} at its memory limit")
    if container["last_exit_code"] == EXIT_OUT_OF_MEMORY and _says_heap(found):
        return _state("out_of_memory", f"{name} ended because its heap was full")
    if state == "restarting" or (state == "running" and container["restarts"] >= LOOPS_FROM):
        return _state("crash_looping", f"{name} ended by itself {container['restarts']} times")
    if state == "running":
        return _running(container, ready, start_seconds)
    return _state("hung", f"{name} is frozen") if state == "paused" else _state("stopped", f"{name} is {state}")


def _running(container: Mapping[str, Any], ready: Mapping[str, Any], start_seconds: float) -> dict[str, str]:
    name, up_seconds = container["name"], container["up_seconds"]
    if up_seconds < start_seconds:
        return _state("starting", f"{name} started {up_seconds:.0f} s ago")
    if ready.get("status") == UNAVAILABLE:
        return _state("not_ready", f"{name} is not ready: {', '.join(ready['down'])}")
    return _state("hung", f"{name} runs and does not answer: {ready.get('error')}")


def _says_heap(found: Mapping[str, Any]) -> bool:
    return any("OutOfMemoryError" in group["last"] for group in found["errors"])


def _state(state: str, reason: str) -> dict[str, str]:
    return {"state": state, "state_reason": reason}
