"""What must never be committed."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

# Spelled in pieces so that this file names none of them.
REGISTRIES = "|".join(
    [
        *("py" + r"pi\.org", "python" + "hosted", r"deb\." + "debian", r"registry\." + "npmjs"),
        *(r"repo1?\." + "maven", r"proxy\." + "golang", r"crates\." + "io", r"docker\." + r"io/"),
    ]
)
HERE = r"(^|[\s\"'=(])/(" + "|".join(["wo" + "rk", "ro" + "ot", "ho" + r"me/[a-z]+"]) + ")/"
KEYS = "-----BEGIN [A-Z ]*PRIVATE KEY"


def tracked_files(root: Path) -> list[Path]:
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=root,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split("\0")
    return [root / name for name in names if name and (root / name).is_file()]


@pytest.mark.parametrize(
    ("pattern", "what"),
    [
        pytest.param(REGISTRIES, "the address of a package registry", id="registries"),
        pytest.param(HERE, "a path of one machine", id="paths"),
        pytest.param(KEYS, "a private key", id="keys"),
    ],
)
def test_no_tracked_file_holds(root: Path, pattern: str, what: str) -> None:
    """Addresses of registries, paths of a machine and keys stay out of the tree."""
    found = [
        f"{path.relative_to(root)}:{number}: {line.strip()[:80]}"
        for path in tracked_files(root)
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1)
        if re.search(pattern, line)
    ]
    assert not found, f"{what} in:\n" + "\n".join(found)
