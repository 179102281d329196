"""The scenarios, one after the other, as `molecule test --all` runs them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(1500)]

BIN = Path(sys.executable).parent
ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("scenario", sorted(file.parent.name for file in ROOT.glob("molecule/*/molecule.yml")))
def test_the_scenario_passes(root: Path, swarm: None, tmp_path: Path, scenario: str) -> None:
    """Check, run, check, run again on real servers, then a look at them that is not ours."""
    done = subprocess.run(
        [BIN / "molecule", "test", "--scenario-name", scenario],
        cwd=root,
        # A home of its own: molecule keeps the state of its scenarios there.
        env={**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "HOME": str(tmp_path), "NO_COLOR": "1"},
        check=False,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert done.returncode == 0, done.stdout[-20_000:]
    assert "Molecule executed 1 scenario (1 successful)" in done.stdout
