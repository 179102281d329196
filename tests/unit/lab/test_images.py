"""Which images there are and when they are built."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.images import BASES, TARGETS, base_of, choose, fingerprint, read_context
from lab.shell import LabError

if TYPE_CHECKING:
    from pathlib import Path

FILES = st.dictionaries(st.text(min_size=1, max_size=5), st.binary(max_size=5), max_size=3)


def test_every_image_has_a_target_on_its_base(root: Path) -> None:
    """The table and the Dockerfile say the same."""
    dockerfile = (root / "lab/images/Dockerfile").read_text()
    stands_on = {target: base for base, target in re.findall(r"^FROM (\S+) AS (\S+)$", dockerfile, re.MULTILINE)}
    for image, target in TARGETS.items():
        stage = target
        while stage in stands_on:
            stage = stands_on[stage]
        assert stage == f"${{BASE_{BASES[base_of(image)].upper()}}}", image


def test_every_image_of_the_stack_is_built_here(root: Path) -> None:
    """Compose never has to pull."""
    used = re.findall(r"image: runbooks-lab/(\S+)", (root / "lab/compose.yml").read_text())
    assert used
    assert set(used) <= set(TARGETS)


def test_no_name_means_all() -> None:
    """All bases and all images."""
    assert choose([]) == [*BASES, *TARGETS]


def test_names_are_taken_with_and_without_prefix() -> None:
    """What docker prints can be pasted."""
    assert choose(["redis:8", "runbooks-lab/postgres:15"]) == ["redis:8", "postgres:15"]


def test_an_unknown_name_is_refused_with_those_that_exist() -> None:
    """A typo is no reason to build everything."""
    with pytest.raises(
        LabError, match=r"The lab has no image redis:9\. It has: base:trixie, base:bookworm, postgres:17"
    ):
        choose(["redis:8", "redis:9"])


@given(FILES, FILES, st.text(max_size=3), st.text(max_size=3))
def test_equal_fingerprints_mean_equal_inputs(
    one: dict[str, bytes], other: dict[str, bytes], base: str, other_base: str
) -> None:
    """A change in any name, content or base is seen; the order of the files is none."""
    same = (one, base) == (other, other_base)
    reverse = list(reversed(list(other.items())))
    assert (fingerprint(list(one.items()), base) == fingerprint(reverse, other_base)) is same


def test_the_context_is_what_the_dockerfile_copies(root: Path) -> None:
    """A file that a build copies and the fingerprint does not see would never be rebuilt."""
    dockerfile = (root / "lab/images/Dockerfile").read_text()
    seen = {name for name, _ in read_context()}
    for sources in re.findall(r"^COPY (?:--(?!from)\S+ )*([^-].*) \S+$", dockerfile, re.MULTILINE):
        for source in sources.split():
            assert any(name == source or name.startswith(source) for name in seen), source
