# SPDX-License-Identifier: GPL-3.0-or-later
"""What playbooks publish (docs/architecture.md, section 2), read as values."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from alert_responder.errors import explain

MOST_CHARACTERS = 512 * 1024

Status = Literal["acted", "unchanged", "refused", "failed"]
Verdict = Literal["recovered", "not_recovered", "decaying", "unknown", "unchecked"]


class _Document(BaseModel):
    # A play of a later version may publish more than we read.
    model_config = ConfigDict(frozen=True, extra="allow")

    schema_: Annotated[Literal[1], Field(alias="schema")]
    runbook: str


class Evidence(_Document):
    """What a diagnosis saw, and what it could not read."""

    collected_at: str
    evidence: dict[str, Any]
    unreadable: list[dict[str, str]] = []


class Outcome(_Document):
    """What an option or a verification did, and whether the service has recovered."""

    option: str
    status: Status
    verdict: Verdict
    reason: str
    changed: bool
    check_mode: bool
    actions: list[str]
    before: dict[str, Any]
    after: dict[str, Any]
    checks: list[dict[str, Any]]


_D = TypeVar("_D", bound=_Document)


def read_document(published: Any, model: type[_D], *, runbook: str) -> _D:
    """Return the document of one run; raises ValueError with a sentence when it is not the one that was asked for."""
    name = "runbook_evidence" if model is Evidence else "runbook_outcome"
    if not isinstance(published, dict) or name not in published:
        raise ValueError(f"the play published no {name}")
    if len(json.dumps(published[name], default=str)) > MOST_CHARACTERS:
        raise ValueError(f"the play published a {name} of more than {MOST_CHARACTERS} characters")
    try:
        document = model.model_validate(published[name])
    except ValidationError as error:
        raise ValueError(f"the play published a {name} that is not valid: {'; '.join(explain(error)[:3])}") from error
    if document.runbook != runbook:
        raise ValueError(f"the play published a {name} of runbook {document.runbook!r}, expected {runbook!r}")
    return document
