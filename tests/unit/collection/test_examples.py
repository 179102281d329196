"""Every EXAMPLES block is valid input for its own module."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args
from ansible_collections.ops.runbooks.plugins.module_utils import _module

if TYPE_CHECKING:
    from pathlib import Path

PACKAGE = "ansible_collections.ops.runbooks.plugins.modules"


class Accepted(Exception):
    """The argument specification took the options."""


class OnlyValidates(AnsibleModule):  # type: ignore[misc]  # ansible carries no type information
    """Stop as soon as the options are validated."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        raise Accepted


def module_names(root: Path) -> list[str]:
    return sorted(path.stem for path in (root / "plugins" / "modules").glob("*.py"))


def tasks_of(block: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the tasks of a list, those of blocks and plays included."""
    tasks: list[dict[str, Any]] = []
    for entry in block:
        nested = [entry[key] for key in ("tasks", "block", "rescue", "always") if key in entry]
        tasks += [task for inner in nested for task in tasks_of(inner)] if nested else [entry]
    return tasks


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "module_name" in metafunc.fixturenames:
        metafunc.parametrize("module_name", module_names(metafunc.config.rootpath))


def test_examples_pass_the_argument_specification(
    module_name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A typo in an example fails the build; there is at least a normal, a check and a precondition example."""
    module = importlib.import_module(f"{PACKAGE}.{module_name}")
    own = [t[f"ops.runbooks.{module_name}"] for t in tasks_of(yaml.safe_load(module.EXAMPLES)) if is_of(t, module_name)]
    assert len(own) >= 2, f"{module_name} needs more examples"
    if not hasattr(module, "main"):  # documentation of an action plugin, which takes the same options
        documented = yaml.safe_load(module.DOCUMENTATION)["options"]
        assert all(set(arguments) <= set(documented) for arguments in own)
        return
    # Patched because the options must be validated without doing what they say.
    monkeypatch.setattr(_module, "AnsibleModule", OnlyValidates)
    for arguments in own:
        with patch_module_args(arguments or {}):
            try:
                module.main()
            except Accepted:
                continue
            except SystemExit:
                pytest.fail(f"{module_name} does not take {arguments}: {capsys.readouterr().out}")


def is_of(task: dict[str, Any], module_name: str) -> bool:
    return f"ops.runbooks.{module_name}" in task
