"""A runbook is due after its time, after an incident, and after a change of what it runs; marking touches two lines."""

from __future__ import annotations

import shutil
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from alert_responder.errors import CatalogError
from alert_responder.review import content_of, due, mark
from alert_responder.runbooks import load_catalog, load_runbook
from tests.unit.alert_responder.makers import make_runbook

if TYPE_CHECKING:
    from pathlib import Path

REVIEWED = date(2026, 11, 23)
LATER = REVIEWED + timedelta(days=30)
CONTENT = "0123456789abcdef"


@pytest.mark.parametrize(
    ("given", "reasons"),
    [
        pytest.param({}, [], id="nothing"),
        pytest.param(
            {"today": REVIEWED + timedelta(days=90)},
            ["it is reviewed every 90 days; its day was 2027-02-21"],
            id="quarterly",
        ),
        pytest.param({"today": REVIEWED + timedelta(days=89)}, [], id="the-day-before"),
        pytest.param({"incidents": 1}, ["1 incident used it since 2026-11-23"], id="incident"),
        pytest.param({"incidents": 2}, ["2 incidents used it since 2026-11-23"], id="incidents"),
        pytest.param({"content": "f" * 16}, ["what it runs has changed since"], id="changed"),
    ],
)
def test_why_a_runbook_is_due(given: dict[str, Any], reasons: list[str]) -> None:
    """Each reason alone, from both sides of its limit."""
    runbook = make_runbook(reviewed=REVIEWED, reviewed_content=CONTENT)
    assert due(runbook, **{"today": LATER, "incidents": 0, "content": CONTENT, **given}) == reasons


def test_without_a_recorded_content_a_change_is_not_known() -> None:
    """A runbook that was reviewed before hashes were kept is not called changed."""
    assert due(make_runbook(reviewed=REVIEWED), today=LATER, incidents=0, content=CONTENT) == []


@pytest.fixture
def project(root: Path, tmp_path: Path) -> Path:
    """Return a copy of the parts of this repository that a runbook is made of."""
    for name in ("runbooks", "playbooks", "roles", "plugins"):
        shutil.copytree(root / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


@pytest.mark.parametrize(
    "path",
    [
        "playbooks/db_connections/diagnose.yml",
        "playbooks/db_connections/a_end_idle_sessions.yml",
        "roles/db_connections/tasks/observe.yml",
        "roles/outcome/tasks/main.yml",
        "plugins/modules/postgresql_pool_reset.py",
        "plugins/module_utils/_errors.py",
    ],
)
def test_a_change_of_what_a_runbook_runs_changes_its_content(project: Path, path: str) -> None:
    """Playbook, role, module, and what the module imports."""
    runbook = load_catalog(project / "runbooks").get("db-connections")
    before = content_of(project, runbook)
    assert content_of(project, runbook) == before
    with (project / path).open("a") as file:
        file.write("\n# changed\n")

    assert content_of(project, runbook) != before


def test_a_change_elsewhere_does_not(project: Path) -> None:
    """What another runbook uses is not this one's."""
    runbook = load_catalog(project / "runbooks").get("db-connections")
    before = content_of(project, runbook)
    for path in ("plugins/modules/redis_evict.py", "runbooks/db-connections.md", "playbooks/scale.yml"):
        with (project / path).open("a") as file:
            file.write("\n# changed\n")

    assert content_of(project, runbook) == before


def test_marking_writes_two_lines_and_leaves_the_rest(project: Path) -> None:
    """Twice is once: the lines are replaced, and every other character stays."""
    file = project / "runbooks" / "db-connections.md"
    text = file.read_text()
    mark(file, today=LATER, content="f" * 16)
    mark(file, today=LATER, content=CONTENT)

    runbook = load_runbook(file)
    assert runbook is not None
    assert (runbook.reviewed, runbook.reviewed_content) == (LATER, CONTENT)
    marked = file.read_text().replace(f"reviewed_content: {CONTENT}\n", "")
    assert marked.splitlines()[7:] == text.replace(f"reviewed_content: {CONTENT}\n", "").splitlines()[7:]
    assert len(marked) == len(
        "".join(line for line in text.splitlines(keepends=True) if "reviewed_content" not in line)
    )


def test_only_a_runbook_is_marked(project: Path) -> None:
    """A page without front matter has no review."""
    with pytest.raises(CatalogError, match="it has no front matter"):
        mark(project / "runbooks" / "README.md", today=LATER, content=CONTENT)
