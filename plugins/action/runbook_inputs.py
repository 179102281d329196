# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase
from ansible_collections.ops.runbooks.plugins.plugin_utils._runbook import (
    declared_variables,
    front_matter,
    validated_inputs,
)


class ActionModule(ActionBase):
    """Check the inputs of an option against its runbook; runs on the controller and costs no module."""

    _requires_connection = False
    _VALID_ARGS = frozenset({"runbook", "option"})

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return ``values``: each declared variable as given by the play's variables, else its default."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        runbook, option = str(self._task.args.get("runbook", "")), str(self._task.args.get("option", ""))
        known = task_vars or {}
        try:
            variables = declared_variables(front_matter(runbook), option)
            given = {v["name"]: self._templar.template(known[v["name"]]) for v in variables if v["name"] in known}
            values = validated_inputs(variables, given)
        except ValueError as error:
            raise AnsibleError(f"Cannot start option {option} of {runbook}: {error}.") from error
        result.update(changed=False, values=values)
        return result
