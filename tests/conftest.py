"""Make the checkout importable as the collection ``ops.runbooks``, as Ansible itself does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible.utils.collection_loader._collection_finder import _AnsibleCollectionFinder
from hypothesis import HealthCheck, settings

from tests import swarm
from tests.running_lab import lab, running_lab

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["lab", "running_lab"]

# How long an example takes says something about the machine, not about the code.
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("quick", settings.get_profile("tests"), max_examples=15)  # for every save: make check
settings.load_profile("tests")

ROOT = Path(__file__).resolve().parents[1]

# The private class is the only way in: PyPI's "ansible" ships a regular package
# ansible_collections, which would hide ours from Python's own import system.
_AnsibleCollectionFinder(paths=[str(ROOT / "collections")])._install()


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep together what shares a set-up, when several processes share the tests (``make test``).

    All that needs the running lab is one group; each other folder of integration tests is one. What talks to a real
    system is given another go: a machine that is shared may stall for longer than any limit. The summary names it.
    """
    for item in items:
        if item.get_closest_marker("integration") or item.get_closest_marker("drill"):
            item.add_marker(pytest.mark.flaky(reruns=2))
        folder = item.path.parent.relative_to(ROOT / "tests")
        if "running_lab" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group("lab"))
        elif folder.parts[:1] == ("integration",):
            item.add_marker(pytest.mark.xdist_group(str(folder)))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """End the Swarm, once all that shared it are over: this process is the only one, or the one that outlives them."""
    if not hasattr(session.config, "workerinput"):
        swarm.end()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say why a test was given another go: what fails now and then is a defect until it is understood."""
    for report in terminalreporter.stats.get("rerun", []):
        terminalreporter.section(f"given another go: {report.nodeid}", "-")
        terminalreporter.line(report.longreprtext)


@pytest.fixture(scope="session")
def root() -> Path:
    """Return the top of the checkout."""
    return ROOT


@pytest.fixture
def run_module(
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., dict[str, Any]]:
    """Return a function that runs a module's ``main`` in process and returns the JSON it prints.

    ``run_module(main, {"option": 1}, check=True, diff=True)``; the key ``_exit_code`` is 0 or 1.
    """

    def run(
        main: Callable[[], None], arguments: dict[str, Any], *, check: bool = False, diff: bool = False
    ) -> dict[str, Any]:
        given = {**arguments, "_ansible_check_mode": check, "_ansible_diff": diff, "_ansible_remote_tmp": "/tmp"}
        with patch_module_args(given), pytest.raises(SystemExit) as stopped:
            main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        result["_exit_code"] = stopped.value.code
        return result

    return run
