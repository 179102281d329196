"""Every command of the runbooks runs as printed, in the state in which a reader would be."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lab.faults import FAULTS

if TYPE_CHECKING:
    from tests.running_lab import Lab

pytestmark = [pytest.mark.drill, pytest.mark.slow]

RUNBOOKS = Path(__file__).resolve().parents[2] / "runbooks"
BIN = Path(sys.executable).parent
# The fault that each option is for.
OWN_FAULT = {("db-connections", "A"): "leaked_transactions", ("db-connections", "C"): "blocked_sessions"}
_BLOCK = re.compile(r"^( *)```bash\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced command; ``option`` is empty outside the options."""

    runbook: str
    option: str
    number: int
    text: str

    @property
    def only_looks(self) -> bool:
        return "--check" in self.text or "/verify.yml" in self.text

    def __str__(self) -> str:
        return f"{self.runbook}-{self.option or 'diagnosis'}-{self.number}"


def read_blocks(runbook: Path) -> list[Block]:
    """Return the commands of a runbook in their order."""
    text = runbook.read_text(encoding="utf-8")
    found = []
    for number, match in enumerate(_BLOCK.finditer(text), 1):
        heading = re.findall(r"^##+ (.*)$", text[: match.start()], re.MULTILINE)[-1]
        option = re.match(r"Option ([A-Z]):", heading)
        lines = [line.removeprefix(match[1]) for line in match[2].splitlines()]
        found.append(Block(runbook.stem, option[1] if option else "", number, "\n".join(lines)))
    return found


BLOCKS = [block for runbook in sorted(RUNBOOKS.glob("[a-z]*-*.md")) for block in read_blocks(runbook)
          if runbook.stem != "post-incident-review"]  # fmt: skip


def test_the_blocks_are_found() -> None:
    """Each option has commands, and each option has its fault."""
    options = {(block.runbook, block.option) for block in BLOCKS if block.option}
    assert options == OWN_FAULT.keys()
    assert sum(not block.option for block in BLOCKS) >= 5


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_a_command_runs_as_printed(lab: Lab, root: Path, block: Block) -> None:
    """Diagnosis on the healthy lab, a resolution under the fault of its option; verify may still see the fault."""
    if block.option:
        fault = FAULTS[OWN_FAULT[block.runbook, block.option]]
        lab.inject(fault.name)
        # Older than the thresholds of the lab.
        lab.wait(lambda: lab.firing(fault.alert), bool, 30)
    environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block.text],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    told = f"{block.text}\n{done.stdout}{done.stderr}"
    if "/verify.yml" in block.text:
        assert done.returncode in (0, 2), told
        assert "not_recovered" in told or done.returncode == 0
    else:
        assert done.returncode == 0, told
    if block.option and not block.only_looks:
        lab.wait(lambda: lab.http("/ready").status, lambda status: status == 200, 30)
        lab.wait(lambda: lab.firing(FAULTS[OWN_FAULT[block.runbook, block.option]].alert), lambda found: not found, 60)
