# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to the ops.runbooks collection: may change without notice.
"""The way from ``AnsibleModule`` to the logic and back, written once for every module."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.ops.runbooks.plugins.module_utils._errors import (
    MissingLibrary,
    OpsError,
    PreconditionFailed,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ansible_collections.ops.runbooks.plugins.module_utils._arguments import ArgumentSpec


def runner_of(module: AnsibleModule) -> Callable[[list[str]], tuple[int, str, str]]:
    """Return what runs a program of the host; raises OSError if there is none of this name."""

    def run(command: list[str]) -> tuple[int, str, str]:
        # Arguments are taken as they are: nothing in them is to be expanded.
        result: tuple[int, str, str] = module.run_command(command, handle_exceptions=False, expand_user_and_vars=False)
        return result

    return run


def run_module(spec: ArgumentSpec, work: Callable[[AnsibleModule], Mapping[str, Any]]) -> None:
    """Run ``work`` and exit with what it returns, or fail with the message of its ``OpsError``.

    Every module of this collection supports check mode; ``work`` reads ``module.check_mode``
    and ``module._diff``. A precondition that does not hold fails with ``refused: true``, so that a play
    can tell "I would not" from "I could not". ``work`` returns the module's result, ``changed`` included.
    """
    module = AnsibleModule(supports_check_mode=True, **spec.to_kwargs())
    try:
        result = work(module)
    except MissingLibrary as error:
        module.fail_json(msg=missing_required_lib(error.library), exception=error.traceback)
    except PreconditionFailed as error:
        module.fail_json(msg=str(error), refused=True, **error.details)
    except OpsError as error:
        module.fail_json(msg=str(error), **error.details)
    except ValueError as error:  # a value that the argument specification cannot express
        module.fail_json(msg=str(error))
    else:
        module.exit_json(**result)
