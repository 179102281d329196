"""Rules, runbooks and playbooks cannot drift apart without a line that says so."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

import pytest

from alert_responder.checks import index, new, problems
from alert_responder.errors import CatalogError
from alert_responder.runbooks import load_catalog
from alert_responder.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

RUNBOOK = """\
---
runbook: thing-full
title: The thing is full
service: thing
owner: Team
reviewed: 2026-11-23
review_every_days: 90
target_group: things
alerts:
  - {name: ThingFull, severity: critical, service: thing, identity: [instance], labels: [instance]}
diagnose: {playbook: ops.runbooks.thing_full.diagnose, expected_seconds: 1, timeout_seconds: 5}
verify: {playbook: ops.runbooks.thing_full.verify, expected_seconds: 1, timeout_seconds: 5}
recovered: It is no longer full.
options:
  - letter: A
    title: Empty it
    playbook: ops.runbooks.thing_full.a_empty
    when: evidence.full
    reason: It is full.
    automation: auto
    idempotent: true
    expected_seconds: 1
    timeout_seconds: 5
    impact: None.
    variables:
      - {name: share, type: float, default: 0.5, description: How much to take out.}
---

# The thing is full

## Overview

See [the rules](../observability/prometheus/alerts.yml) and [option A](#option-a-empty-it).

## Quick Reference

## Diagnosis Steps

```bash
# ## not a heading [not a link](nowhere)
```

## Resolution Steps

### Option A: Empty it

## Escalation

## Post-Incident

[Review](https://example.com/review)
"""

RULES = """\
groups:
  - name: thing
    rules:
      - alert: ThingFull
        expr: full == 1
        labels: {severity: critical, service: thing, runbook: thing-full}
        annotations: {runbook_url: https://example.com/blob/main/runbooks/thing-full.md}
      - alert: Watchdog
        expr: vector(1)
        labels: {severity: none}
      - record: thing:full
        expr: full
"""

PLAY = """\
---
- name: Play
  hosts: things
  tasks:
    - name: Publish
      ansible.builtin.import_role: {name: ops.runbooks.outcome}
      vars: {outcome_runbook: thing-full, outcome_option: verify}
"""

OPTION = """\
---
- name: Play
  hosts: things
  tasks:
    - name: Validate inputs
      ops.runbooks.runbook_inputs: {runbook: thing-full, option: A}
      register: validated
    - name: Act
      ansible.builtin.import_role: {name: ops.runbooks.thing, tasks_from: empty}
      vars: {inputs: "{{ validated['values'] }}"}
    - name: Publish
      ansible.builtin.import_role: {name: ops.runbooks.outcome}
      vars: {outcome_runbook: thing-full, outcome_option: A}
"""

OWN_RULES = """\
groups:
  - name: own
    rules:
      - alert: Down
        expr: up == 0
        annotations: {runbook_url: https://example.com/blob/main/docs/responder.md#responder}
"""

FILES = {
    "runbooks/thing-full.md": RUNBOOK,
    "runbooks/scaling.md": "# Scale services\n",
    "observability/prometheus/alerts.yml": RULES,
    "observability/prometheus/responder-alerts.yml": OWN_RULES,
    "playbooks/thing_full/diagnose.yml": PLAY.replace("verify", "diagnose"),
    "playbooks/thing_full/verify.yml": PLAY,
    "playbooks/thing_full/a_empty.yml": OPTION,
    "playbooks/thing_full/_part.yml": "---\n",
    "roles/thing/tasks/empty.yml": "- ops.runbooks.x: {share: '{{ inputs.share }}'}\n",
    "docs/architecture.md": "# Architecture\n",
    "docs/responder.md": "# Responder\n",
    "runbooks/_template.md": RUNBOOK.replace("thing-full", "name-of-the-runbook").replace(
        "thing_full", "name_of_the_runbook"
    ),
    "runbooks/post-incident-review.md": "# Review\n",
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a project in which everything fits."""
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    write_index(tmp_path)
    return tmp_path


def write_index(project: Path) -> None:
    text = index(load_catalog(project / "runbooks"), project / "runbooks")
    (project / "runbooks" / "README.md").write_text(text)


def check(project: Path) -> list[str]:
    return problems(Settings(project=project, runbooks=project / "runbooks"))


def test_nothing_is_said_when_everything_fits(project: Path) -> None:
    """The sound project has no problem."""
    assert check(project) == []


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        pytest.param(
            "observability/prometheus/alerts.yml",
            "alert: ThingFull",
            "alert: Other",
            "alert Other of thing has no runbook",
            id="alert-without-runbook",
        ),
        pytest.param(
            "observability/prometheus/alerts.yml",
            "alert: ThingFull",
            "alert: Other",
            "thing-full.md: alert ThingFull of thing has no rule",
            id="runbook-without-alert",
        ),
        pytest.param(
            "observability/prometheus/alerts.yml",
            "severity: critical",
            "severity: warning",
            "alert ThingFull is warning, thing-full.md says critical",
            id="severity",
        ),
        pytest.param(
            "observability/prometheus/alerts.yml",
            "runbooks/thing-full.md",
            "runbooks/gone.md",
            "runbook_url of alert ThingFull does not lead to runbooks/thing-full.md",
            id="runbook-url",
        ),
        pytest.param(
            "observability/prometheus/alerts.yml",
            "runbook: thing-full",
            "runbook: other",
            "alert ThingFull names runbook other, it belongs to thing-full",
            id="runbook-label",
        ),
        pytest.param(
            "runbooks/thing-full.md",
            "thing_full.a_empty",
            "thing_full.a_gone",
            "the playbook of A, ops.runbooks.thing_full.a_gone, does not exist (playbooks/thing_full/a_gone.yml)",
            id="option-without-playbook",
        ),
        pytest.param(
            "runbooks/thing-full.md",
            "thing_full.a_empty",
            "thing_full.a_gone",
            "playbooks/thing_full/a_empty.yml: no runbook uses it",
            id="playbook-without-option",
        ),
        pytest.param(
            "runbooks/thing-full.md",
            "## Escalation\n",
            "",
            "thing-full.md: its sections are Overview, Quick Reference",
            id="section-missing",
        ),
        pytest.param(
            "runbooks/thing-full.md",
            "### Option A: Empty it",
            "### Option A: Fill it",
            "Resolution Steps shows A: Fill it; the front matter declares A: Empty it",
            id="option-heading",
        ),
        pytest.param(
            "runbooks/thing-full.md",
            "#option-a-empty-it",
            "#option-b",
            "the link #option-b leads to a heading that does not exist",
            id="anchor",
        ),
        pytest.param(
            "observability/prometheus/responder-alerts.yml",
            "#responder}",
            "#gone}",
            "runbook_url of alert Down does not lead to a heading of a page here",
            id="own-alert",
        ),
        pytest.param(
            "runbooks/thing-full.md",
            "../observability/prometheus/alerts.yml",
            "../gone.yml",
            "the link ../gone.yml leads nowhere",
            id="link",
        ),
        pytest.param(
            "runbooks/thing-full.md",
            "../observability/prometheus/alerts.yml",
            "../../../../etc/passwd",
            "the link ../../../../etc/passwd leads nowhere",
            id="link-outside",
        ),
        pytest.param(
            "playbooks/thing_full/a_empty.yml",
            "hosts: things",
            "hosts: '{{ target }}'",
            "hosts is {{ target }}, expected the constant group things",
            id="hosts",
        ),
        pytest.param(
            "playbooks/thing_full/a_empty.yml",
            "option: A}\n      register",
            "option: B}\n      register",
            "it must check its inputs once with ops.runbooks.runbook_inputs of thing-full, option A",
            id="inputs",
        ),
        pytest.param(
            "playbooks/thing_full/a_empty.yml",
            "outcome_option: A",
            "outcome_option: B",
            "outcome_option is 'B', expected 'A'",
            id="outcome",
        ),
        pytest.param(
            "roles/thing/tasks/empty.yml",
            "inputs.share",
            "inputs.part",
            "it uses the variable part, which option A does not declare",
            id="variable-undeclared",
        ),
        pytest.param(
            "roles/thing/tasks/empty.yml",
            "inputs.share",
            "0.5",
            "option A declares the variable share, which it does not use",
            id="variable-unused",
        ),
        pytest.param("runbooks/README.md", "Operational", "My", "README.md: it is stale", id="index"),
        pytest.param("runbooks/thing-full.md", "letter: A", "letter: 1", "options.0.letter is 1", id="front-matter"),
    ],
)
def test_what_does_not_fit_is_named(project: Path, file: str, old: str, new: str, said: str) -> None:
    """Each row breaks one thing in one file, and is told about it."""
    text = (project / file).read_text()
    assert old in text
    (project / file).write_text(text.replace(old, new))

    assert [line for line in check(project) if said in line] != [], check(project)


def test_an_option_is_in_a_playbook_of_its_letter(project: Path) -> None:
    """The name of a playbook begins with its option's letter."""
    (project / "playbooks/thing_full/a_empty.yml").rename(project / "playbooks/thing_full/empty.yml")
    text = RUNBOOK.replace("thing_full.a_empty", "thing_full.empty")
    (project / "runbooks/thing-full.md").write_text(text)

    assert check(project) == ["playbooks/thing_full/empty.yml: the name of the playbook of option A begins with a_"]


def test_the_index_shows_alerts_options_operations_and_reviews(project: Path) -> None:
    """What the front matter says is in the index; so are the documents without front matter."""
    text = (project / "runbooks/README.md").read_text()

    assert "| ThingFull | [thing-full.md](./thing-full.md) | critical | thing |" in text
    assert "| [thing-full.md](./thing-full.md) | The thing is full | A Empty it (auto) |" in text
    assert "| [scaling.md](./scaling.md) | Scale services |" in text
    assert "| [thing-full.md](./thing-full.md) | Team | 2026-11-23 | 2027-02-21 |" in text


def test_a_new_runbook_begins_from_the_template(project: Path) -> None:
    """Names and date are filled in; what exists is never overwritten."""
    told = new(project / "runbooks", "disk-full", today=date(2027, 1, 2))
    text = (project / "runbooks" / "disk-full.md").read_text()

    assert "playbooks/disk_full/" in told
    assert "runbook: disk-full" in text
    assert "ops.runbooks.disk_full.diagnose" in text
    assert "reviewed: 2027-01-02" in text
    with pytest.raises(CatalogError, match="exists"):
        new(project / "runbooks", "disk-full", today=date(2027, 1, 2))


@pytest.mark.parametrize("name", ["../evil", "Disk", "disk_full", "disk-", ""])
def test_a_name_that_is_not_a_file_name_is_refused(project: Path, name: str) -> None:
    """Only lower-case words joined by hyphens become runbooks."""
    with pytest.raises(CatalogError, match="expected lower-case words joined by hyphens"):
        new(project / "runbooks", name, today=date(2027, 1, 2))
