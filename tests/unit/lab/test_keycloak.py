"""What is accepted as the distribution of Keycloak."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

import pytest

from lab import keycloak
from lab.shell import LabError

if TYPE_CHECKING:
    from pathlib import Path

CONTENT = b"the distribution"
RIGHT = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def fetched(tmp_path: Path) -> Path:
    path = tmp_path / "fetched.zip"
    path.write_bytes(CONTENT)
    return path


def test_the_right_file_takes_its_place(fetched: Path, tmp_path: Path) -> None:
    """In one step, so that no build ever sees half of it."""
    place = tmp_path / "distribution.zip"
    keycloak.keep(fetched, place, RIGHT)
    assert place.read_bytes() == CONTENT
    assert not fetched.exists()


def test_another_file_is_refused_with_both_checksums(fetched: Path, tmp_path: Path) -> None:
    """What came instead is not built into anything."""
    place = tmp_path / "distribution.zip"
    with pytest.raises(LabError) as caught:
        keycloak.keep(fetched, place, "0" * 64)
    assert str(caught.value) == (
        f"What Maven fetched as {keycloak.ARTIFACT} has the SHA-256 {RIGHT}, expected {'0' * 64}. "
        "Do not use it: remove it from Maven's local repository and repeat."
    )
    assert not place.exists()


def test_the_dockerfile_takes_what_is_fetched(root: Path) -> None:
    """One place, let into the context, and the image's tag says the version."""
    place = keycloak.DISTRIBUTION.relative_to(root)
    assert f"source={place}," in (root / "lab/images/Dockerfile").read_text()
    assert f"!{place}" in (root / "lab/images/Dockerfile.dockerignore").read_text().splitlines()
    (tag,) = re.findall(r"image: runbooks-lab/keycloak:(\S+)", (root / "lab/compose.yml").read_text())
    assert keycloak.VERSION.startswith(f"{tag}.")
