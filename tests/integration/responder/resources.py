"""What a process holds: memory, files, threads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Held:
    """At one moment."""

    megabytes: float
    files: int
    threads: int


def held_by(process: int | str = "self") -> Held:
    """Return what a process holds now; this one if none is named."""
    folder = Path(f"/proc/{process}")
    return Held(_status(folder, "VmRSS") / 1024, len(list((folder / "fd").iterdir())), _status(folder, "Threads"))


def most_megabytes(process: int) -> float:
    """Return the most memory that a process has ever held."""
    return _status(Path(f"/proc/{process}"), "VmHWM") / 1024


def _status(folder: Path, name: str) -> int:
    return int((folder / "status").read_text().partition(f"{name}:")[2].split()[0])
