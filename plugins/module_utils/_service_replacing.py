# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to the ops.runbooks collection: may change without notice.
"""How a replica gives way to its successor, and how an engine that does it by itself is watched."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from ansible_collections.ops.runbooks.plugins.module_utils._errors import (
    ActionFailed,
    ConnectionFailed,
    PreconditionFailed,
)
from ansible_collections.ops.runbooks.plugins.module_utils._service_logs import tidy
from ansible_collections.ops.runbooks.plugins.module_utils._waiting import Clock, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ansible_collections.ops.runbooks.plugins.module_utils._service_options import Gate
    from ansible_collections.ops.runbooks.plugins.module_utils._service_ports import (
        Change,
        Data,
        OrchestratedEngine,
        Progress,
    )
    from ansible_collections.ops.runbooks.plugins.module_utils._service_replicas import Definition, Replica

START_FIRST = "start_first"
STOP_FIRST = "stop_first"
RECREATE = "recreate"
LOG_LINES = 20


def order_of(definition: Definition, data: Data, replicas: int) -> str:
    """Return whether a replica may run beside its successor; raises PreconditionFailed if data would be lost."""
    full = definition.container_name is not None or any(port.size <= replicas for port in definition.host_ports)
    if replicas == 1:
        return RECREATE if full or data.own or data.shared else START_FIRST
    if data.own:
        raise PreconditionFailed(
            f"Cannot replace the replicas of {definition.name}: each keeps data in a volume without a name, which a "
            "new replica does not get. Name the volumes in the Compose file, or replace the replicas by hand."
        )
    return STOP_FIRST if full or definition.one_per_node else START_FIRST


def see_through(
    engine: OrchestratedEngine, service: str, change: Change, gate: Gate, clock: Clock
) -> tuple[list[Replica], list[str]]:
    """Have the engine replace every replica and wait until the successors serve.

    Return them, and what is to be told beside. Raises ActionFailed if one does not serve, and ConnectionFailed if the
    engine cannot be asked any more; each says what becomes of the service, and is ``undone`` if all is as before.
    """
    try:
        before = {replica.started for replica in engine.replicas(service)}
        beside = engine.change(service, change)
    except ActionFailed as error:
        error.details["undone"] = True
        raise
    except ConnectionFailed as error:
        raise ConnectionFailed(f"{error} {_UNHEARD}") from error
    deploys = change.image is not None or change.limits is not None

    def enough(replicas: Sequence[Replica]) -> bool:
        # Half-way through a deployment some replicas may be already as they are to be, and stay.
        return deploys or all(replica.started not in before for replica in replicas)

    with once_told():
        return _successors(engine, service, enough, gate, clock), beside


@contextmanager
def once_told() -> Iterator[None]:
    """Add to the error of an engine that goes away that it had been told what to do."""
    try:
        yield
    except ConnectionFailed as error:
        raise ConnectionFailed(f"{error} {_TOLD}", **error.details) from error


def _successors(
    engine: OrchestratedEngine, service: str, enough: Callable[[Sequence[Replica]], bool], gate: Gate, clock: Clock
) -> list[Replica]:
    """Wait until enough of the replicas were replaced and all serve."""

    def served(seen: tuple[Progress, list[Replica]]) -> bool:
        progress, replicas = seen
        if progress.state == "going":
            return False
        if progress.state == "undone":
            return all(r.ready(0) for r in replicas)
        return progress.state != "done" or (enough(replicas) and all(r.ready(0) for r in replicas))

    failures: dict[str, tuple[Replica, list[str]]] = {}

    def look() -> tuple[Progress, list[Replica]]:
        seen = engine.progress(service), engine.replicas(service)
        # An engine that goes back removes at once what failed, and its log with it.
        one = engine.failed(service)
        if one is not None and one.id not in failures:
            failures[one.id] = one, tidy(engine.log_tail(one, LOG_LINES))
        return seen

    waited = wait_until(look, served, timeout_seconds=gate.timeout_seconds, clock=clock)
    progress, replicas = waited.state
    if waited.reached and progress.state == "done":
        return replicas
    failed, lines = max(failures.values(), key=lambda found: found[0].started, default=(None, []))
    if failed is None and progress.state in ("going", "done"):
        failed = next((r for r in replicas if not r.ready(0)), None)
    cause = failed.describe() if failed is not None else progress.message or "it takes longer"
    if lines:
        cause += f"; its last line: {lines[-1].rstrip('.')}"
    raise ActionFailed(
        f"{service} did not come to serve in {waited.seconds:.0f} s: {cause}. {_STANDING[progress.state]}",
        failed_replica=failed.name if failed is not None else None,
        log_tail=lines,
        undone=progress.state == "undone",
    )


_UNHEARD = "Whether it had heard what to do is not known: if so, it goes on by itself. Repeat when it answers."
_TOLD = "It had been told what to do, and may go on by itself. Repeat when it answers, to see that it is done."
_STANDING = {
    "going": "The engine goes on by itself: look again, then decide.",
    "done": "The engine goes on to start it: look again, then decide.",
    "stopped": "The engine stopped there and left the others as they are. Find out why, then repeat.",
    "undone": "The engine returned to what was before.",
}
