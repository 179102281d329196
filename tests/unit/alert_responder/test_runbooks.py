"""The front matter is checked to the last key, and `when` is judged on evidence alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from alert_responder.errors import CatalogError
from alert_responder.runbooks import Variable, judge, load_catalog

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MINIMAL = """\
---
runbook: tiny
title: Something is full
service: thing
owner: Team
reviewed: 2026-11-23
review_every_days: 90
target_group: things
alerts:
  - {name: ThingFull, severity: critical, service: thing, identity: [instance], labels: [instance]}
diagnose: {playbook: a.b.diagnose, expected_seconds: 1, timeout_seconds: 5}
verify: {playbook: a.b.verify, expected_seconds: 1, timeout_seconds: 5}
recovered: It is no longer full.
options:
  - &option
    letter: B
    title: Second
    playbook: a.b.b_second
    when: evidence.slots.used_ratio >= 0.9
    reason: It is full.
    automation: auto
    idempotent: true
    expected_seconds: 1
    timeout_seconds: 5
    impact: None.
    variables:
      - {name: idle_seconds, type: int, default: 300, min: 1, max: 600, description: Shortest idle time.}
  - {<<: *option, letter: A, title: First, playbook: playbooks/tiny/a_first.yml}
---

# Something is full
"""


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes the minimal runbook with one text replaced."""

    def write(old: str = "", new: str = "", name: str = "tiny.md") -> Path:
        assert old in MINIMAL
        (tmp_path / name).write_text(MINIMAL.replace(old, new, 1) if old else MINIMAL)
        return tmp_path

    return write


def test_options_come_in_the_order_of_their_letters(write: Callable[..., Path]) -> None:
    """A, the least invasive option, is first whatever the order in the file."""
    runbook = load_catalog(write()).get("tiny")

    assert [option.letter for option in runbook.options] == ["A", "B"]


def test_documents_without_front_matter_and_templates_are_not_runbooks(write: Callable[..., Path]) -> None:
    """README, files that begin with an underscore and plain documents are passed over."""
    folder = write()
    (folder / "README.md").write_text("---\nbroken: [\n---\n")
    (folder / "_template.md").write_text(MINIMAL)
    (folder / "scaling.md").write_text("# Scaling\n")

    assert list(load_catalog(folder).runbooks) == ["tiny"]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        pytest.param("title: Something", "titel: Something", "title is missing; titel is not a known key", id="typo"),
        pytest.param("automation: auto", "automation: yes", "options.0.automation is True: input should be", id="bool"),
        pytest.param(
            "timeout_seconds: 5}", "timeout_seconds: 0}", "diagnose.timeout_seconds is 0: input should be", id="zero"
        ),
        pytest.param(
            "expected_seconds: 1, timeout_seconds: 5}",
            "expected_seconds: 9, timeout_seconds: 5}",
            "timeout_seconds is 5, expected at least expected_seconds (9)",
            id="limit-below-expectation",
        ),
        pytest.param("letter: A", "letter: B", "letter B is given twice", id="letter-twice"),
        pytest.param("letter: A", "letter: AA", "options.1.letter is 'AA'", id="long-letter"),
        pytest.param(
            "runbook: tiny", "runbook: other", "runbook is 'other', expected the file's name, 'tiny'", id="name"
        ),
        pytest.param("owner: Team", "owner: Team\nowner: Other", "key 'owner' is given twice", id="key-twice"),
        pytest.param("title: Something", "title: [Something", "the front matter is not YAML", id="not-yaml"),
        pytest.param("a.b.b_second", "../../etc/evil.yml", "options.0.playbook is '../../etc/evil.yml'", id="outside"),
        pytest.param("a.b.b_second", "-e@x.yml", "options.0.playbook is '-e@x.yml'", id="playbook-is-an-option"),
        pytest.param(
            "used_ratio >= 0.9", "used_ratio >=", "expected a Jinja2 expression over the evidence", id="syntax"
        ),
        pytest.param(">= 0.9", ">= limit", "it reads ['evidence', 'limit']", id="other-names"),
        pytest.param("evidence.slots.used_ratio >= 0.9", "1 == 1", "it reads []", id="no-evidence"),
        pytest.param(
            "default: 300", "default: 3000", "idle_seconds is 3000, expected a whole number, at least 1", id="bounds"
        ),
        pytest.param(
            "name: idle_seconds", "name: ansible_host", "variables.0.name is 'ansible_host'", id="ansible-name"
        ),
    ],
)
def test_what_is_wrong_is_named_with_file_key_value_and_expectation(
    write: Callable[..., Path], old: str, new: str, said: str
) -> None:
    """An error names the file and the offending key."""
    folder = write(old, new)

    with pytest.raises(CatalogError) as caught:
        load_catalog(folder)

    assert "tiny.md" in str(caught.value)
    assert said in str(caught.value)


def test_front_matter_that_does_not_begin_the_file_is_an_error(write: Callable[..., Path]) -> None:
    """A runbook is not dropped in silence because of a blank line above its front matter."""
    folder = write("---\nrunbook", "\n---\nrunbook")

    with pytest.raises(CatalogError, match="must stand between two lines '---'"):
        load_catalog(folder)


def test_an_alert_belongs_to_one_runbook(write: Callable[..., Path]) -> None:
    """Two runbooks that claim the same alert of the same service are refused."""
    write()
    folder = write("runbook: tiny", "runbook: zebra", name="zebra.md")

    with pytest.raises(CatalogError, match="alert ThingFull of thing already belongs to runbook tiny"):
        load_catalog(folder)


def test_unknown_names_list_what_there_is(write: Callable[..., Path], tmp_path: Path) -> None:
    """An unknown runbook or option is answered with the known ones; so is a folder that is missing."""
    catalog = load_catalog(write())

    with pytest.raises(CatalogError, match=r"There is no runbook 'nope'. There are: tiny\."):
        catalog.get("nope")
    with pytest.raises(CatalogError, match=r"has no option 'Z'. It has: A, B\."):
        catalog.get("tiny").option("Z")
    with pytest.raises(CatalogError, match="is not a folder"):
        load_catalog(tmp_path / "missing")


EVIDENCE: dict[str, Any] = {
    "slots": {"used_ratio": 0.95, "used": 19},
    "idle": 3,
    "name": "app",
    "items": [1, 2],
    "sessions": [{"pid": number, "application": "x" * 50} for number in range(40)],
}


@pytest.mark.parametrize(
    ("when", "holds", "values"),
    [
        pytest.param(
            "evidence.slots.used_ratio >= 0.9 and evidence.idle > 0",
            True,
            {"slots.used_ratio": 0.95, "idle": 3},
            id="holds",
        ),
        pytest.param("evidence.idle > 5", False, {"idle": 3}, id="does-not-hold"),
        pytest.param("evidence['slots']['used'] == 19", True, {"slots.used": 19}, id="subscript"),
        pytest.param("evidence.items | length == 2", True, {"items": [1, 2]}, id="a-key-named-like-a-method"),
        pytest.param("evidence.idle > 0 or evidence.absent", True, {"idle": 3}, id="not-reached"),
        pytest.param("evidence.absent is defined", False, {}, id="asks-whether-defined"),
        pytest.param("evidence.sessions | length > 9", True, {"sessions": "list of 40"}, id="long-value"),
        pytest.param("evidence.absent > 0", None, {}, id="missing"),
        pytest.param("evidence.absent", None, {}, id="missing-alone"),
        pytest.param("not evidence.slots.absent", None, {}, id="missing-negated"),
        pytest.param("evidence.absent.deeper == 1", None, {}, id="missing-parent"),
        pytest.param("evidence.name > 5", None, {"name": "app"}, id="types-differ"),
        pytest.param("1 / (evidence.idle - 3) > 1", None, {"idle": 3}, id="division-by-zero"),
        pytest.param(
            "evidence.items | select('gt', 5)", None, {"items": [1, 2]}, id="a-generator-is-true-whatever-it-holds"
        ),
        pytest.param("evidence.name.__class__.__mro__", None, {}, id="sandboxed"),
        pytest.param("evidence.items.append(3)", None, {}, id="cannot-change-the-evidence"),
    ],
)
def test_judgement(when: str, holds: bool | None, values: dict[str, Any]) -> None:
    """A `when` holds, does not hold, or cannot be judged; the values it read are kept."""
    judgement = judge(when, EVIDENCE)

    assert judgement.holds is holds
    assert {name: value for name, value in judgement.values.items() if name in values} == values
    assert (judgement.problem == "") == (holds is not None)
    assert EVIDENCE["items"] == [1, 2]


def test_a_missing_value_is_named() -> None:
    """What could not be judged says which name is missing."""
    assert judge("evidence.slots.free > 1", EVIDENCE).problem == "'dict object' has no attribute 'free'"


NUMBER = Variable(name="n", type="int", min=1, max=9, description="A number.")


@pytest.mark.parametrize(
    ("variable", "text", "value"),
    [
        pytest.param(NUMBER, "5", 5, id="int"),
        pytest.param(Variable(name="f", type="float", description="x"), "0.5", 0.5, id="float"),
        pytest.param(Variable(name="b", type="bool", description="x"), "true", True, id="bool"),
        pytest.param(Variable(name="s", type="str", description="x"), "5", "5", id="str"),
        pytest.param(Variable(name="l", type="list", description="x"), "a, b", ["a", "b"], id="list"),
    ],
)
def test_typed_text_becomes_the_declared_type(variable: Variable, text: str, value: object) -> None:
    """What a person types is read as the declared type."""
    assert variable.parse(text) == value


@pytest.mark.parametrize("text", ["0", "10", "x", "true", "[1", "1.5", "{{ 1 }}"])
def test_text_that_does_not_fit_is_refused(text: str) -> None:
    """Wrong types and values out of bounds are refused with the expectation."""
    with pytest.raises(ValueError, match="expected a whole number, at least 1, at most 9"):
        NUMBER.parse(text)


def test_choices_are_named() -> None:
    """A value that is none of the choices is answered with the choices."""
    variable = Variable(name="mode", type="str", choices=("fast", "safe"), description="x")

    assert variable.parse("safe") == "safe"
    with pytest.raises(ValueError, match="mode is 'no', expected one of fast, safe"):
        variable.parse("no")


def test_undeclared_variables_are_refused(write: Callable[..., Path]) -> None:
    """A variable that the option does not declare is named, with those it has."""
    option = load_catalog(write()).get("tiny").option("B")

    assert option.values_from_text({"idle_seconds": "5"}) == {"idle_seconds": 5}
    with pytest.raises(ValueError, match="option B has no variable 'hosts'; it has: idle_seconds"):
        option.values_from_text({"hosts": "all"})
