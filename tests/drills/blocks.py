"""The commands that a runbook prints, the steps that they stand for, and how a person would run both."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from alert_responder.documents import Outcome
from lab import responder

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
# A block that a machine must not run is preceded by this line, which says why.
NOT_RUN = re.compile(r"<!-- not run by the tests: (\S.*?) -->\s*$")
_BLOCK = re.compile(r"^( *)```bash\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)

Kind = Literal["look", "check", "play", "hand", "verify", "undo"]


@dataclass(frozen=True)
class Block:
    """A fenced command; ``option`` is empty outside the options."""

    runbook: str
    option: str
    number: int
    text: str
    why_not: str = ""

    @property
    def kind(self) -> Kind:
        """What a reader wants with it."""
        if not self.option:
            return "look"
        if "/verify.yml" in self.text:
            return "verify"
        if re.search(rf"/{self.option.lower()}_undo\w*\.yml", self.text):
            return "undo"
        if re.search(rf"/{self.option.lower()}_\w+\.yml", self.text):
            return "check" if "--check" in self.text else "play"
        return "hand"

    def __str__(self) -> str:
        return f"{self.runbook}-{self.option or 'diagnosis'}-{self.number}"


def read_blocks(runbook: str) -> list[Block]:
    """Return the commands of a runbook in their order."""
    text = (ROOT / "runbooks" / f"{runbook}.md").read_text(encoding="utf-8")
    found = []
    for number, match in enumerate(_BLOCK.finditer(text), 1):
        before = text[: match.start()]
        heading = re.findall(r"^##+ (.*)$", before, re.MULTILINE)[-1]
        option = re.match(r"Option ([A-Z]):", heading)
        why_not = NOT_RUN.search(before)
        lines = [line.removeprefix(match[1]) for line in match[2].splitlines()]
        found.append(
            Block(runbook, option[1] if option else "", number, "\n".join(lines), why_not[1] if why_not else "")
        )
    return found


def paste(block: Block) -> str:
    """Run a command as printed, from the checkout; return what it said.

    Raises:
        AssertionError: It failed; says what it printed.
    """
    environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block.text],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    told = f"{block.text}\n{done.stdout}{done.stderr}"
    assert done.returncode == 0, told
    return told


def run_step(runbook: str, *arguments: str) -> dict[str, Any]:
    """Run one step of a runbook by the command line of the responder; return the document that it ends with."""
    done = responder.run("run", runbook, *arguments, "--json")
    assert done.stdout, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def run_option(runbook: str, letter: str, *arguments: str) -> Outcome:
    """Run one option of a runbook; return its outcome."""
    return Outcome.model_validate(run_step(runbook, "--option", letter, *arguments))
