# SPDX-License-Identifier: GPL-3.0-or-later
"""How far an option may be trusted, by what came of its last runs: two rules, and no other word about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from alert_responder.incidents import PastRun, Policy

# A direct probe was good; a windowed alert had yet to empty.
HEALED = frozenset({"recovered", "decaying"})


@dataclass(frozen=True)
class Trust:
    """The last runs of one option."""

    runs: int
    healed: int

    @property
    def ratio(self) -> float:
        """Return the part that healed; 0 when there was no run."""
        return self.healed / self.runs if self.runs else 0.0

    def __str__(self) -> str:
        return f"{self.healed} of its last {self.runs} runs healed"


def trust(past: Iterable[PastRun], letter: str, policy: Policy) -> Trust:
    """Judge the newest runs of one option among those of its runbook."""
    newest = sorted((run for run in past if run.option == letter), key=lambda run: run.at)[-policy.trust_runs :]
    return Trust(len(newest), sum(run.verdict in HEALED for run in newest))


def falls_back(given: Trust, policy: Policy) -> bool:
    """Say whether an option marked auto needs approval until its runs heal again."""
    return given.runs >= policy.fallback_runs and given.ratio < policy.fallback_ratio


def earns_auto(given: Trust, policy: Policy) -> bool:
    """Say whether an option marked approve has healed often enough for auto to be suggested; a person decides."""
    return given.runs >= policy.trust_runs and given.ratio >= policy.promote_ratio
