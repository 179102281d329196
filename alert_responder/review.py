# SPDX-License-Identifier: GPL-3.0-or-later
"""Say which runbooks are due for a review, and mark one reviewed.

A runbook is due when its time is up, when an incident used it, and when something that it runs has changed: its
playbooks, the roles they import, the modules they call and what those import. What was there at the review is kept as
one hash in the front matter, so that this holds without a repository too.
"""

from __future__ import annotations

import hashlib
import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from alert_responder.checks import COLLECTION, playbook_path, read_yaml
from alert_responder.errors import CatalogError
from alert_responder.runbooks import split_front_matter

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import date
    from pathlib import Path

    from alert_responder.runbooks import Runbook

_UTILS = re.compile(r"\bmodule_utils\.(_?[a-z0-9_]+)")
_NAMED = re.compile(re.escape(COLLECTION) + r"([a-z0-9_]+(?:\.[a-z0-9_]+)*)")
_REVIEWED = re.compile(r"^reviewed: .*$", re.MULTILINE)
_CONTENT = re.compile(r"^reviewed_content: .*\n", re.MULTILINE)


def due(runbook: Runbook, *, today: date, incidents: int, content: str) -> list[str]:
    """Return why a runbook should be reviewed; ``incidents`` are those of a day after its review."""
    reasons = []
    until = runbook.reviewed + timedelta(days=runbook.review_every_days)
    if today >= until:
        reasons.append(f"it is reviewed every {runbook.review_every_days} days; its day was {until}")
    if incidents:
        reasons.append(f"{incidents} incident{'s' if incidents > 1 else ''} used it since {runbook.reviewed}")
    if runbook.reviewed_content is not None and runbook.reviewed_content != content:
        reasons.append("what it runs has changed since")
    return reasons


def content_of(project: Path, runbook: Runbook) -> str:
    """Hash every file that the steps of a runbook run."""
    digest = hashlib.sha256()
    for path in sorted(_sources(project, runbook)):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(project)}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()[:16]


def mark(path: Path, *, today: date, content: str) -> None:
    """Write day and hash of a review into the front matter, and leave every other character as it is."""
    found = split_front_matter(path)
    text = path.read_text(encoding="utf-8")
    if found is None:
        raise CatalogError(f"Cannot mark {path}: it has no front matter.")
    front = text[: len(text) - len(found[1])]
    front = _REVIEWED.sub(f"reviewed: {today}\nreviewed_content: {content}", _CONTENT.sub("", front), count=1)
    path.write_text(front + found[1], encoding="utf-8")


def _sources(project: Path, runbook: Runbook) -> set[Path]:
    names = [runbook.diagnose.playbook, runbook.verify.playbook]
    for option in runbook.options:
        names += [option.playbook, *([option.undo] if option.undo else [])]
    found: set[Path] = set()
    waiting = [playbook_path(project, name) for name in names]
    while waiting:
        path = waiting.pop()
        if path in found or not path.is_file():
            continue
        found.add(path)
        if path.suffix == ".py":
            waiting += _imports(project, path)
        elif path.suffix in (".yml", ".yaml"):
            waiting += _named(project, read_yaml(path))
    return found


def _named(project: Path, document: Any) -> Iterator[Path]:
    """Return the modules, plugins, playbooks and roles of this collection that a YAML document names."""
    for name in _NAMED.findall("\n".join(_texts(document))):
        yield from (project / "plugins" / kind / f"{name}.py" for kind in ("modules", "action", "filter"))
        yield playbook_path(project, COLLECTION + name)
        yield from (project / "roles" / name).rglob("*")


def _imports(project: Path, path: Path) -> Iterator[Path]:
    for name in _UTILS.findall(path.read_text(encoding="utf-8")):
        yield project / "plugins" / "module_utils" / f"{name}.py"


def _texts(node: Any) -> Iterable[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            yield from _texts(key)
            yield from _texts(value)
    elif isinstance(node, list):
        for item in node:
            yield from _texts(item)
    elif isinstance(node, str):
        yield node
