# SPDX-License-Identifier: GPL-3.0-or-later
"""What the events of a run tell: ansible-runner here and AWX there emit the same ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alert_responder.processes import LONGEST_ERROR

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# Tasks that can change nothing on a target; every other one may have.
_HARMLESS = frozenset(
    {"assert", "debug", "fail", "set_fact", "set_stats", "include_role", "import_role", "include_tasks", "meta"}
)


def changes_nothing(action: str) -> bool:
    """Tell whether a task of this kind leaves every target as it was."""
    name = action.rpartition(".")[2]
    return name in _HARMLESS or name.endswith("_info") or name == "runbook_inputs"


class EventReport:
    """Collects from the events of a run what the responder needs to know."""

    def __init__(self, on_began: Callable[[], None] = lambda: None) -> None:
        self._on_began = on_began
        self.began = False
        self.published: dict[str, Any] = {}
        self.errors: list[str] = []

    def on_event(self, event: Mapping[str, Any]) -> bool:
        """Take one event in; the answer tells ansible-runner to keep it among the artefacts."""
        kind, data = event.get("event", ""), event.get("event_data") or {}
        if kind == "runner_on_start" and not self.began:
            if not changes_nothing(str(data.get("resolved_action") or data.get("task_action") or "")):
                self.began = True
                self._on_began()
        elif kind == "playbook_on_stats":
            self.published = data.get("artifact_data") or {}
        elif kind in ("runner_on_failed", "runner_on_unreachable") and not data.get("ignore_errors"):
            message = str((data.get("res") or {}).get("msg") or "no message")
            self.errors.append(f"{data.get('task', 'a task')}: {message}"[:LONGEST_ERROR])
        return True
