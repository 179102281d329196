# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to the ops.runbooks collection: may change without notice.
"""A Compose override file of our own, which keeps what was changed across a recreate."""

from __future__ import annotations

import json
import os
import tempfile
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible_collections.ops.runbooks.plugins.module_utils._errors import ActionFailed, PreconditionFailed

if TYPE_CHECKING:
    from collections.abc import Mapping

MARK = "x-written-by"
WRITTEN_BY = "ops.runbooks"
MODE = 0o644


class OverrideFile(ABC):
    """Where a choice is kept across a recreate; see LocalOverrideFile."""

    name = ""

    @abstractmethod
    def read(self) -> str | None:
        """Return its text; None if there is no such file."""

    @abstractmethod
    def write(self, text: str) -> None:
        """Replace its text as one step; raises ActionFailed."""

    def document(self) -> dict[str, Any]:
        """Return what it says, as yet nothing without a file; raises PreconditionFailed if somebody else wrote it."""
        found = self.read()
        try:
            document = json.loads(found) if found is not None else {MARK: WRITTEN_BY}
        except ValueError:
            document = None
        if not isinstance(document, dict) or document.get(MARK) != WRITTEN_BY:
            raise PreconditionFailed(
                f"Cannot keep the choice in {self.name}: somebody else wrote it. Name a file of its own, or state the "
                "choice there by hand."
            )
        return document


def text_of(document: Mapping[str, Any]) -> str:
    """Return the text of a document; JSON is YAML, too."""
    return json.dumps(document, indent=2, sort_keys=True) + "\n"


class LocalOverrideFile(OverrideFile):
    """A file of this machine."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.name = str(path)

    def read(self) -> str | None:
        """Return its text; None if there is no such file."""
        try:
            return self._path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise ActionFailed(f"Cannot read {self.name}: {error}. Check the path and its owner.") from error

    def write(self, text: str) -> None:
        """Replace its text as one step, so that Compose never reads half of it."""
        temporary = ""
        try:
            handle, temporary = tempfile.mkstemp(dir=str(self._path.parent), prefix=f".{self._path.name}.")
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
            Path(temporary).chmod(self._path.stat().st_mode & 0o777 if self._path.exists() else MODE)
            Path(temporary).replace(self._path)
        except OSError as error:
            if temporary and Path(temporary).exists():
                Path(temporary).unlink()
            raise ActionFailed(
                f"Cannot write {self.name}: {error}. What was changed holds until the next recreate; set override_file "
                "to a folder that exists and may be written, and repeat."
            ) from error
