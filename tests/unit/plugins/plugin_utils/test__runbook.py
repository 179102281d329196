"""Expectations of the declared inputs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.ops.runbooks.plugins.plugin_utils._runbook import (
    declared_variables,
    front_matter,
    validated_inputs,
)

if TYPE_CHECKING:
    from pathlib import Path

SECONDS = {"name": "idle_seconds", "type": "int", "default": 300, "min": 1, "max": 86400, "description": "."}
MODE = {"name": "mode", "type": "str", "default": "soft", "choices": ["soft", "hard"], "description": "."}
NAME = {"name": "service_name", "type": "str", "required": True, "description": "."}
NAMES = {"name": "names", "type": "list", "default": ["a"], "description": "."}


@pytest.mark.parametrize(
    ("variables", "given", "values"),
    [
        pytest.param([SECONDS], {}, {"idle_seconds": 300}, id="default"),
        pytest.param([SECONDS], {"idle_seconds": "60"}, {"idle_seconds": 60}, id="text from the command line"),
        pytest.param([MODE], {"mode": "hard"}, {"mode": "hard"}, id="choice"),
        pytest.param([NAMES], {"names": "x,y"}, {"names": ["x", "y"]}, id="list"),
        pytest.param([], {}, {}, id="nothing declared"),
    ],
)
def test_values_are_given_or_defaults(
    variables: list[dict[str, Any]], given: dict[str, Any], values: dict[str, Any]
) -> None:
    """Every declared variable comes back, converted to its type."""
    assert validated_inputs(variables, given) == values


@pytest.mark.parametrize(
    ("variables", "given", "message"),
    [
        pytest.param([SECONDS], {"idle_seconds": 0}, "idle_seconds is 0, the least allowed is 1", id="below"),
        pytest.param(
            [SECONDS], {"idle_seconds": 90000}, "idle_seconds is 90000, the most allowed is 86400", id="above"
        ),
        pytest.param([SECONDS], {"idle_seconds": "soon"}, "we were unable to convert to int", id="type"),
        pytest.param([MODE], {"mode": "x"}, "value of mode must be one of: soft, hard, got: x", id="choice"),
        pytest.param([NAME], {}, "missing required arguments: service_name", id="missing"),
    ],
)
def test_a_wrong_value_is_named(variables: list[dict[str, Any]], given: dict[str, Any], message: str) -> None:
    """The message says which value is wrong and what is allowed."""
    with pytest.raises(ValueError, match=re.escape(message)):
        validated_inputs(variables, given)


def test_front_matter_is_the_yaml_between_the_first_two_lines(tmp_path: Path) -> None:
    """The text below the front matter is not read."""
    (tmp_path / "r.md").write_text("---\nrunbook: r\noptions: [{letter: A}]\n---\n# Title\n---\n", encoding="utf-8")
    document = front_matter("r", tmp_path)
    assert document == {"runbook": "r", "options": [{"letter": "A"}]}
    assert declared_variables(document, "A") == []
    with pytest.raises(ValueError, match=r"^Runbook 'r' has no option 'B'\. It has: A\.$"):
        declared_variables(document, "B")


@pytest.mark.parametrize("name", ["missing", "../secret", "sub/r"])
def test_only_a_runbook_of_the_folder_can_be_read(tmp_path: Path, name: str) -> None:
    """A name that leaves the folder is refused like one that does not exist."""
    (tmp_path / "runbooks").mkdir()
    (tmp_path / "secret.md").write_text("---\na: 1\n---\n", encoding="utf-8")
    with pytest.raises(ValueError, match="Cannot read runbook"):
        front_matter(name, tmp_path / "runbooks")


@pytest.mark.parametrize("text", ["# no front matter\n", "---\nrunbook: r\n", "---\n- a\n---\n"])
def test_a_file_without_front_matter_is_refused(tmp_path: Path, text: str) -> None:
    """A broken runbook stops the play before it starts."""
    (tmp_path / "r.md").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match="front matter"):
        front_matter("r", tmp_path)
