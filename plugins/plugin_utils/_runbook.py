# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to the ops.runbooks collection: may change without notice.
"""What the plays need of a runbook's front matter: the declared inputs of an option."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

if TYPE_CHECKING:
    from collections.abc import Mapping

# The link farm of a checkout and an installed collection both end at the same place.
RUNBOOKS = Path(__file__).resolve().parents[2] / "runbooks"
FENCE = "---\n"


def front_matter(runbook: str, directory: Path = RUNBOOKS) -> dict[str, Any]:
    """Return the YAML between the first two ``---`` lines of ``<runbook>.md``.

    Raises ValueError for a name that is not a plain file name, a missing file or missing front matter.
    """
    path = directory / f"{runbook}.md"
    if path.parent != directory or not path.is_file():
        raise ValueError(f"Cannot read runbook {runbook!r}: there is no {runbook}.md in the runbooks folder.")
    text = path.read_text(encoding="utf-8")
    header, end = text[len(FENCE) :].partition(FENCE)[:2]
    if not text.startswith(FENCE) or not end:
        raise ValueError(f"Cannot read runbook {runbook!r}: {path.name} does not begin with YAML front matter.")
    document = yaml.safe_load(header)
    if not isinstance(document, dict):
        raise ValueError(f"Cannot read runbook {runbook!r}: the front matter of {path.name} is not a mapping.")
    return document


def declared_variables(document: Mapping[str, Any], letter: str) -> list[dict[str, Any]]:
    """Return the variables that option ``letter`` declares, in order.

    Raises ValueError for an option that the runbook does not have.
    """
    for option in document.get("options", []):
        if option["letter"] == letter:
            return list(option.get("variables", []))
    known = ", ".join(option["letter"] for option in document.get("options", []))
    raise ValueError(f"Runbook {document.get('runbook')!r} has no option {letter!r}. It has: {known}.")


def validated_inputs(variables: list[dict[str, Any]], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return every declared variable with its value: the one given, else the default.

    ``given`` holds values only for declared variables. Raises ValueError with one sentence for each
    value that is missing, of the wrong type or out of bounds.
    """
    spec: dict[str, dict[str, Any]] = {}
    for variable in variables:
        entry: dict[str, Any] = {"type": variable["type"]}
        if variable.get("choices"):
            entry["choices"] = variable["choices"]
        if variable["type"] == "list":
            entry["elements"] = variable.get("elements", "str")
        if variable.get("default") is None:
            entry["required"] = variable.get("required", False)
        else:
            entry["default"] = variable["default"]
        spec[variable["name"]] = entry
    result = ArgumentSpecValidator(spec).validate(dict(given))
    problems = list(result.error_messages)
    values: dict[str, Any] = dict(result.validated_parameters)
    for variable in variables:
        name, value = variable["name"], values.get(variable["name"])
        if problems or not isinstance(value, (int, float)) or isinstance(value, bool):
            continue
        low, high = variable.get("min"), variable.get("max")
        if low is not None and value < low:
            problems.append(f"{name} is {value}, the least allowed is {low}")
        if high is not None and value > high:
            problems.append(f"{name} is {value}, the most allowed is {high}")
    if problems:
        raise ValueError("; ".join(problems))
    return values
