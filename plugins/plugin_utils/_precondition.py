# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to the ops.runbooks collection: may change without notice.
"""Decide whether the evidence calls for an option, by the `when` of its runbook."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from jinja2 import StrictUndefined, TemplateError, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

if TYPE_CHECKING:
    from collections.abc import Mapping

_ENVIRONMENT = ImmutableSandboxedEnvironment(undefined=StrictUndefined)


def find_option(document: Mapping[str, Any], letter: str) -> Mapping[str, Any]:
    """Return an option of a runbook's front matter; raises ValueError for one that it does not have."""
    options: list[Mapping[str, Any]] = document.get("options", [])
    for option in options:
        if option["letter"] == letter:
            return option
    known = ", ".join(option["letter"] for option in options)
    raise ValueError(f"Runbook {document.get('runbook')!r} has no option {letter!r}. It has: {known}.")


def why_refused(option: Mapping[str, Any], evidence: Mapping[str, Any]) -> str:
    """Say why an option must not run on this evidence; empty if its `when` holds.

    Evidence that is missing is no licence: then the sentence names what could not be judged.
    """
    source = option["when"]
    refused = f"Refused: option {option['letter']} is for this: {option['reason'].rstrip('.')} ({source})"
    try:
        holds = _ENVIRONMENT.compile_expression(source, undefined_to_none=False)(evidence=evidence)
        if isinstance(holds, Undefined):
            str(holds)  # raises the error that names it
    except (TemplateError, TypeError, ValueError, LookupError) as error:
        return f"{refused}. It cannot be judged: {error}."
    if holds:
        return ""
    return f"{refused}. Found: {_found(source, evidence)}."


def _found(source: str, evidence: Mapping[str, Any]) -> str:
    """Name each value that the expression reads."""
    paths = sorted(set(re.findall(r"\bevidence((?:\.\w+)+)", source)))
    values = (f"{path[1:]} is {_at(path, evidence)!r}" for path in paths)
    return ", ".join(values)


def _at(path: str, evidence: Mapping[str, Any]) -> Any:
    return _ENVIRONMENT.compile_expression(f"evidence{path}")(evidence=evidence)
