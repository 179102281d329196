"""Fetch the published distribution of Keycloak, the one part of the lab that no Debian package brings."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from lab.engine import apt_install, root_prefix
from lab.shell import ROOT, STATE, LabError, stream

if TYPE_CHECKING:
    from collections.abc import Callable

    from lab.shell import Board

VERSION = "26.7.3"
SHA256 = "27a6535553c3cdcd083872ba40629efafb3475e3b758e0c6f691395561dd0f1f"
ARTIFACT = f"org.keycloak:keycloak-quarkus-dist:{VERSION}:zip"
PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1"
# Where the Dockerfile takes it from; one version at a time.
DISTRIBUTION = ROOT / ".cache" / "keycloak" / "distribution.zip"
FETCH_SECONDS = 900


def sha256(path: Path) -> str:
    """Return the checksum of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def ensure_maven(board: Board) -> None:
    """Leave with a Maven that can be called, unless the distribution is there already.

    Raises:
        LabError: It is missing and cannot be installed here.
    """
    if _is_here() or shutil.which("mvn"):
        return
    prefix = root_prefix()
    if prefix is None or shutil.which("apt-get") is None:
        raise LabError(
            "Keycloak's distribution is fetched by Maven, which is missing, and this user may not install it: "
            "have `mvn` installed (on Debian and Ubuntu: apt-get install maven), and repeat."
        )
    with board.step("Install maven") as report:
        apt_install(["maven"], report, prefix)


def ensure_distribution(board: Board) -> None:
    """Leave with the checked distribution in its place.

    Raises:
        LabError: It cannot be fetched, or is not the file that it should be.
    """
    if _is_here():
        return
    ensure_maven(board)
    DISTRIBUTION.parent.mkdir(parents=True, exist_ok=True)
    with (
        board.step(f"Fetch Keycloak {VERSION}") as report,
        tempfile.TemporaryDirectory(dir=DISTRIBUTION.parent) as place,
    ):
        keep(fetch(Path(place), report))


def fetch(place: Path, report: Callable[[str], None]) -> Path:
    """Have Maven copy the distribution into a folder; return the file."""
    command = ["mvn", "--batch-mode", "--no-transfer-progress", f"{PLUGIN}:copy"]
    log = STATE / "keycloak.log"
    stream([*command, f"-Dartifact={ARTIFACT}", f"-DoutputDirectory={place}"], report, log=log, timeout=FETCH_SECONDS)
    return place / f"keycloak-quarkus-dist-{VERSION}.zip"


def keep(fetched: Path, place: Path = DISTRIBUTION, expected: str = SHA256) -> None:
    """Put a file in its place if it is the one that is meant.

    Raises:
        LabError: It is another.
    """
    found = sha256(fetched)
    if found != expected:
        raise LabError(
            f"What Maven fetched as {ARTIFACT} has the SHA-256 {found}, expected {expected}. "
            f"Do not use it: remove it from Maven's local repository and repeat."
        )
    fetched.replace(place)


def _is_here() -> bool:
    return DISTRIBUTION.exists() and sha256(DISTRIBUTION) == SHA256
