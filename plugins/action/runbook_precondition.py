# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase
from ansible_collections.ops.runbooks.plugins.plugin_utils._precondition import find_option, why_refused
from ansible_collections.ops.runbooks.plugins.plugin_utils._runbook import front_matter


class ActionModule(ActionBase):
    """Ask the runbook whether the evidence calls for the option; runs on the controller and costs no module."""

    _requires_connection = False
    _VALID_ARGS = frozenset({"runbook", "option", "evidence"})

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Fail with C(refused) unless the option's `when` holds."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        args = self._task.args
        runbook, letter = str(args.get("runbook", "")), str(args.get("option", ""))
        try:
            option = find_option(front_matter(runbook), letter)
        except ValueError as error:
            raise AnsibleError(f"Cannot judge option {letter} of {runbook}: {error}") from error
        refused = why_refused(option, args["evidence"])
        result.update(changed=False, refused=bool(refused), failed=bool(refused), msg=refused or option["reason"])
        return result
