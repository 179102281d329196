"""The table in README.md that says what happens when things go wrong names tests that exist."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def test_every_row_names_a_test(root: Path) -> None:
    """Each row ends with one test, and its file has a function of that name."""
    text = (root / "README.md").read_text()
    table = text.partition("## How it behaves when things go wrong")[2].partition("\n## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 20
    for row in rows:
        named = re.search(r"\| `([\w/]+\.py)::(test_\w+)` \|$", row)
        assert named is not None, row
        tree = ast.parse((root / "tests" / named[1]).read_text())
        functions = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        assert named[2] in functions, row
