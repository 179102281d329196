# SPDX-License-Identifier: GPL-3.0-or-later
"""Which service depends on which: the inventory's variable ``service_dependencies``, read once at start."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from alert_responder.errors import SettingsError, explain
from alert_responder.runbooks import Name
from alert_responder.runner import environment

if TYPE_CHECKING:
    from alert_responder.settings import Settings

log = logging.getLogger(__name__)

VARIABLE = "service_dependencies"
_SECONDS = 60
_DECLARED: TypeAdapter[dict[str, tuple[str, ...]]] = TypeAdapter(dict[Name, tuple[Name, ...]])

Dependencies = Mapping[str, frozenset[str]]


def read_dependencies(settings: Settings) -> Dependencies:
    """Return, for each service, every service that it depends on, directly or not.

    Raises SettingsError for a wrong declaration. An inventory that cannot be read now does not keep the responder from
    receiving alerts: nothing is held, and the log says so.
    """
    program = Path(sys.executable).parent / "ansible-inventory"
    command = [str(program), "--list", *(["-i", str(settings.inventory)] if settings.inventory else [])]
    variables = environment(settings.project, settings.collections, settings.pass_environment)
    # Without this, what Ansible cannot read looks like an inventory without hosts.
    variables["ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED"] = "true"
    try:
        listed = subprocess.run(  # noqa: S603 -- our own program, without a shell
            command,
            cwd=settings.project,
            env=variables,
            capture_output=True,
            check=True,
            timeout=_SECONDS,
        )
        hosts = json.loads(listed.stdout)["_meta"]["hostvars"]
    except (OSError, subprocess.SubprocessError, ValueError, KeyError) as error:
        log.error(
            "Cannot read %s from the inventory: %s. No incident waits for another service.",
            VARIABLE,
            error,
            extra={"action": "dependencies.unreadable"},
        )
        return {}
    return closure(merge([values[VARIABLE] for values in hosts.values() if VARIABLE in values]))


def merge(declared: list[Any]) -> dict[str, frozenset[str]]:
    """Put together what several hosts declare; raises SettingsError for what is not services and lists of services."""
    merged: dict[str, frozenset[str]] = {}
    for one in declared:
        try:
            found = _DECLARED.validate_python(one)
        except ValidationError as error:
            raise SettingsError(
                f"Cannot use {VARIABLE} of the inventory: {'; '.join(explain(error))}. "
                "Expected, for each service, a list of services."
            ) from error
        for service, needs in found.items():
            merged[service] = merged.get(service, frozenset()) | set(needs)
    return merged


def closure(direct: Mapping[str, frozenset[str]]) -> Dependencies:
    """Return what each service depends on through any number of others; raises SettingsError for a circle.

    In a circle each would wait for the other.
    """
    found: dict[str, frozenset[str]] = {}

    def reach(service: str, path: tuple[str, ...]) -> frozenset[str]:
        if service in path:
            circle = " -> ".join((*path[path.index(service) :], service))
            raise SettingsError(f"Cannot use {VARIABLE} of the inventory: {circle} is a circle. Leave one of them out.")
        if service not in found:
            needs = direct.get(service, frozenset())
            found[service] = needs.union(*(reach(need, (*path, service)) for need in sorted(needs)))
        return found[service]

    return {service: reach(service, ()) for service in sorted(direct)}
