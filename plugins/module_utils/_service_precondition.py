# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to the ops.runbooks collection: may change without notice.
"""Compare what the caller believes of a service with what is (twin of the doc fragment ``service.precondition``)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ansible_collections.ops.runbooks.plugins.module_utils._arguments import ArgumentSpec
from ansible_collections.ops.runbooks.plugins.module_utils._errors import PreconditionFailed
from ansible_collections.ops.runbooks.plugins.module_utils._service_replicas import count

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def precondition_options() -> ArgumentSpec:
    """Return the options that say what the caller believes, and what happens if it is not so."""
    return ArgumentSpec(
        options={
            "expected_replicas": {"type": "int"},
            "precondition_reaction": {"type": "str", "choices": ["fail", "skip", "warn"], "default": "fail"},
        }
    )


@dataclass(frozen=True)
class Precondition:
    """The number of replicas that the caller believes in, and the reaction to another one."""

    replicas: int | None
    reaction: str

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> Precondition:
        """Take the precondition from a module's options."""
        return cls(params["expected_replicas"], params["precondition_reaction"])

    def unmet(self, service: str, there: int, doing: tuple[str, str], warn: Callable[[str], None]) -> str | None:
        """Return why everything is to be left alone; None to go on.

        ``doing`` is what the caller wants, to complete "Cannot", and what it then did, to begin a sentence with.
        Raises PreconditionFailed if that is the reaction.
        """
        if self.replicas in (None, there):
            return None
        problem = (
            f"{service} has {count(there)}, expected {self.replicas}: it was scaled, or a replica went, since the "
            "decision was made"
        )
        wanted, done = doing
        if self.reaction == "fail":
            raise PreconditionFailed(f"Cannot {wanted}: {problem}. Look again, then decide.")
        if self.reaction == "warn":
            warn(f"{done} all the same: {problem}.")
            return None
        return problem
