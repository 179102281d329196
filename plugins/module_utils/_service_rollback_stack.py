# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to the ops.runbooks collection: may change without notice.
"""Decide to which image a service returns whose engine replaces replicas itself. Nothing here knows Docker."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ansible_collections.ops.runbooks.plugins.module_utils._errors import OpsError, PreconditionFailed
from ansible_collections.ops.runbooks.plugins.module_utils._service_ports import Change
from ansible_collections.ops.runbooks.plugins.module_utils._service_replacing import (
    START_FIRST,
    order_of,
    see_through,
)
from ansible_collections.ops.runbooks.plugins.module_utils._service_replicas import state_of
from ansible_collections.ops.runbooks.plugins.module_utils._waiting import Clock

if TYPE_CHECKING:
    from collections.abc import Callable

    from ansible_collections.ops.runbooks.plugins.module_utils._service_ports import OrchestratedEngine, Told
    from ansible_collections.ops.runbooks.plugins.module_utils._service_rollback import RollbackRequest


class StackRollbacker:
    """Return one service to an image that it ran before; its engine goes forward again by itself."""

    def __init__(
        self,
        engine: OrchestratedEngine,
        request: RollbackRequest,
        *,
        warn: Callable[[str], None],
        clock: Clock | None = None,
    ) -> None:
        self._engine = engine
        self._request = request
        self._warn = warn
        self._clock = clock or Clock()
        self._service = request.target.service
        self._result: dict[str, Any] = {"changed": False, **request.target.as_return(), "actions": []}

    def run(self, *, dry_run: bool) -> dict[str, Any]:
        """Have every replica replaced; a dry run says by what.

        Raises PreconditionFailed before anything is changed, and ActionFailed if the wanted image does not come to
        serve. What an error carries is true at its time.
        """
        start = self._clock.now()
        try:
            self._run(dry_run=dry_run)
        except OpsError as error:
            error.details = {**self._result, **error.details}
            raise
        self._result["duration_seconds"] = round(self._clock.now() - start, 3)
        return self._result

    def _run(self, *, dry_run: bool) -> None:
        request, service = self._request, self._service
        told = self._engine.told(service)
        replicas = self._engine.replicas(service)
        self._result["before"] = self._result["after"] = self._state(told)
        there = sum(replica.counts for replica in replicas)
        unmet = request.precondition.unmet(service, there, (f"roll back {service}", "Rolled back"), self._warn)
        unmet = unmet or self._other_image(told)
        if unmet:
            self._say(f"Left everything alone: {unmet}.")
            return
        image = self._wanted(told)
        if image is None or image == told.image:
            self._say(
                f"Nothing to change: {service} runs {told.image}"
                + (", to which it was rolled back. To go further back, name an image." if image is None else ".")
            )
            return
        order = order_of(self._engine.definition(service), self._engine.data(service), len(replicas))
        self._result["changed"] = True
        if dry_run:
            self._say(f"Would replace every replica by {image}, {order.replace('_', ' ')}.")
            self._result["after"] = {"replicas": len(replicas), "images": [image]}
            return
        note = json.dumps({"from": told.image, "to": image})
        change = Change(image=image, note=note, start_first=order == START_FIRST, undo=True)
        try:
            _new, beside = see_through(self._engine, service, change, request.gate, self._clock)
        except OpsError as error:
            self._refresh()
            self._result["changed"] = not error.details.get("undone", False)
            raise type(error)(f"Cannot bring {service} to {image}: {error}", **error.details) from error
        self._result["after"] = self._state(self._engine.told(service))
        self._say(f"{service} runs {image}. The Swarm keeps it until the stack is deployed again.")
        for sentence in beside:
            self._say(sentence)

    def _wanted(self, told: Told) -> str | None:
        """Choose the image; None if a run before this one has done it and nothing was deployed since."""
        wanted = self._request.image
        if wanted is None:
            done = json.loads(told.note) if told.note else {}
            if done.get("to") == told.image:
                return None
            # The same bad one again: the Swarm's own memory of what was before may be of something else.
            wanted = done["to"] if done.get("from") == told.image else told.former
        if wanted is None or (wanted == told.image and self._request.image is None):
            raise PreconditionFailed(
                f"Cannot roll back {self._service}: the Swarm remembers no image before {told.image}. Name one."
            )
        if told.everywhere_here and self._engine.image(wanted) is None:
            raise PreconditionFailed(
                f"Cannot roll back {self._service} to {wanted}: the host has no such image. Pull or load it first "
                f"(docker pull {wanted}), or name another one."
            )
        return wanted

    def _other_image(self, told: Told) -> str | None:
        """Return why everything is to be left alone if the caller believes in another image; None to go on."""
        expected, reaction = self._request.expected_image, self._request.precondition.reaction
        if expected in (None, told.image):
            return None
        problem = (
            f"{self._service} runs {told.image}, expected {expected}: another one was deployed since the decision was "
            "made"
        )
        if reaction == "fail":
            raise PreconditionFailed(f"Cannot roll back {self._service}: {problem}. Look again, then decide.")
        if reaction == "warn":
            self._warn(f"Rolled back all the same: {problem}.")
            return None
        return problem

    def _state(self, told: Told) -> dict[str, Any]:
        return {**state_of(self._engine.replicas(self._service)), "images": [told.image]}

    def _refresh(self) -> None:
        """Bring what a failure returns up to date, if the engine still answers."""
        try:
            self._result["after"] = self._state(self._engine.told(self._service))
        except OpsError:
            return

    def _say(self, sentence: str) -> None:
        self._result["actions"].append(sentence)
