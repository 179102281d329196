"""A fault knows whether it was injected."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lab.faults import _fault
from lab.shell import LabError

if TYPE_CHECKING:
    from pathlib import Path


def test_only_what_was_injected_is_undone_and_only_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By whatever process; and a fault that failed to take effect is undone as well."""
    monkeypatch.setattr(_fault, "STATE", tmp_path)
    done: list[str] = []

    def inject() -> str:
        done.append("inject")
        raise LabError("It did not take effect.")

    plain = _fault.Fault("a", "r", "A", "B", "Alert", "it breaks", inject, lambda: done.append("undo"))
    one, other = _fault.remembered(plain), _fault.remembered(plain)
    other.undo()
    with pytest.raises(LabError):
        one.inject()
    other.undo()
    one.undo()
    assert done == ["inject", "undo"]
