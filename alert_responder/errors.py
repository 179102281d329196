# SPDX-License-Identifier: GPL-3.0-or-later
"""The one family of errors of this package, and the words for what a model did not accept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


_SECRET = ("token", "approver", "notify", "password", "secret", "database")


class ResponderError(Exception):
    """Say what could not be done, on what, and what to do next."""


class CatalogError(ResponderError):
    """A runbook's front matter is missing, unreadable or wrong."""


class SettingsError(ResponderError):
    """The configuration is missing, unreadable or wrong; nothing was started."""


class BadPayload(ResponderError):
    """What was posted is not a webhook that can be read."""


class StoreUnavailable(ResponderError):
    """The store cannot be read or written now; what was asked did not happen."""


class Overloaded(ResponderError):
    """More is waiting than may be held in memory; what was asked did not happen."""


class Conflict(ResponderError):
    """The incident has moved on since it was read; read it again and decide again."""


class UnknownIncident(ResponderError):
    """There is no incident with this number."""


def explain(error: ValidationError) -> list[str]:
    """Return one sentence per problem: the key, the value and what was expected. Secret input is never repeated."""
    sentences = []
    for problem in error.errors(include_url=False):
        key = ".".join(str(part) for part in problem["loc"])[:120] or "document"
        what = problem["msg"].removeprefix("Value error, ")
        what = what[:1].lower() + what[1:]
        if problem["type"] == "missing":
            sentences.append(f"{key} is missing")
        elif problem["type"] == "extra_forbidden":
            sentences.append(f"{key} is not a known key")
        elif not problem["loc"] and isinstance(problem["input"], Mapping):
            # What does not fit is the whole, which may hold secrets.
            sentences.append(what)
        elif any(word in key for word in _SECRET) or problem["type"] == "json_invalid":
            sentences.append(f"{key}: {what}")
        else:
            sentences.append(f"{key} is {_short(problem['input'])}: {what}")
    return sentences


def _short(value: object, longest: int = 80) -> str:
    text = repr(value)
    return text if len(text) <= longest else f"{text[:longest]}…"
