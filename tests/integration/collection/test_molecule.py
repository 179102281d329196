"""The scenarios of the roles, as `molecule test --all` runs them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.integration, pytest.mark.slow]

BIN = Path(sys.executable).parent


def test_every_scenario_passes(root: Path, images: None, tmp_path: Path) -> None:
    """Check, run, check, run again on real servers, then a look at them that is not ours."""
    done = subprocess.run(
        [BIN / "molecule", "test", "--all"],
        cwd=root,
        # A home of its own: molecule keeps the state of its scenarios there.
        env={**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "HOME": str(tmp_path), "NO_COLOR": "1"},
        check=False,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert done.returncode == 0, done.stdout[-20_000:]
    scenarios = [folder.parent.name for folder in root.glob("molecule/*/molecule.yml")]
    assert f"Molecule executed {len(scenarios)} scenarios ({len(scenarios)} successful)" in done.stdout
