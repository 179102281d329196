"""How the engine is made to answer: decisions only, nothing is installed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lab.engine import Machine, Plan, check_disk, debian_mirror, plan
from lab.shell import LabError

BARE = Machine(
    system="debian",
    release=12,
    prefix=(),
    engine="no",
    installed=False,
    compose=False,
    buildx=False,
    service_manager=False,
)


@pytest.mark.parametrize(
    ("machine", "expected"),
    [
        pytest.param(
            replace(BARE, engine="yes", installed=True, compose=True, buildx=True), Plan(), id="everything-answers"
        ),
        pytest.param(
            replace(BARE, system="arch", prefix=None, engine="yes", compose=True, buildx=True),
            Plan(),
            id="an-engine-that-answers-is-enough-anywhere",
        ),
        pytest.param(
            BARE,
            Plan(("docker.io", "iptables"), ("docker-compose", "docker-buildx"), "background"),
            id="debian-12-borrows-compose-and-buildx",
        ),
        pytest.param(
            replace(BARE, release=13, service_manager=True),
            Plan(("docker.io", "docker-cli", "iptables", "docker-compose", "docker-buildx"), (), "service"),
            id="debian-13-has-everything",
        ),
        pytest.param(
            replace(BARE, system="ubuntu", release=24, prefix=("sudo", "-n"), service_manager=True),
            Plan(("docker.io", "iptables", "docker-compose-v2", "docker-buildx"), (), "service"),
            id="ubuntu",
        ),
        pytest.param(
            replace(BARE, installed=True, compose=True, buildx=True),
            Plan((), (), "background"),
            id="installed-but-stopped",
        ),
        pytest.param(
            replace(BARE, system="arch", installed=True, compose=True, buildx=True, service_manager=True),
            Plan((), (), "service"),
            id="starting-needs-no-known-distribution",
        ),
        pytest.param(
            replace(BARE, engine="yes", installed=True, compose=True),
            Plan((), ("docker-buildx",), "no"),
            id="only-buildx-is-missing",
        ),
        pytest.param(
            replace(BARE, system="ubuntu", release=22, engine="yes", installed=True, buildx=True),
            Plan(("docker-compose-v2",), (), "no"),
            id="only-compose-is-missing",
        ),
    ],
)
def test_plan(machine: Machine, expected: Plan) -> None:
    """Only what is missing is installed, and what answers is left alone."""
    assert plan(machine) == expected


@pytest.mark.parametrize(
    ("machine", "message"),
    [
        pytest.param(
            replace(BARE, engine="forbidden", installed=True),
            "The Docker engine refuses this user. Run `sudo usermod -aG docker $USER`, log in again and repeat.",
            id="not-in-the-group",
        ),
        pytest.param(
            replace(BARE, prefix=None),
            "This machine lacks a Docker engine, docker compose, docker buildx, and this user may not install or start "
            "it: run this command as root or with passwordless sudo, or have it installed, and repeat.",
            id="no-right-to-install",
        ),
        pytest.param(
            replace(BARE, system="arch"),
            "This machine lacks a Docker engine, docker compose, docker buildx, and the lab can install it only on "
            "Debian 12 or Ubuntu 22.04 and later: install Docker with Compose v2 and Buildx, and repeat.",
            id="unknown-distribution",
        ),
        pytest.param(
            replace(BARE, release=11, engine="yes", buildx=True),
            "This machine lacks docker compose, and the lab can install it only on Debian 12 or Ubuntu 22.04 and "
            "later: install Docker with Compose v2 and Buildx, and repeat.",
            id="too-old",
        ),
    ],
)
def test_what_cannot_be_had_is_said_in_one_sentence(machine: Machine, message: str) -> None:
    """The message names what is missing and what to do."""
    with pytest.raises(LabError) as caught:
        plan(machine)
    assert str(caught.value) == message


def test_the_mirror_is_the_machines_own() -> None:
    """Neither the security archive nor somebody else's packages are taken for the Debian mirror."""
    targets = """\
https://packages.example.com/cloud cloud-sdk
http://mirror.example.com/debian-security/ bookworm-security
http://mirror.example.com/debian/ bookworm-updates
http://mirror.example.com/debian/ bookworm
"""
    assert debian_mirror(targets) == "http://mirror.example.com/debian/"


def test_the_mirror_can_be_named() -> None:
    """Where apt's sources are no Debian archive, the user says which to use."""
    assert debian_mirror("", "http://192.0.2.1/debian") == "http://192.0.2.1/debian"


def test_without_a_mirror_the_remedy_is_said() -> None:
    """Ubuntu's archive is no Debian archive."""
    with pytest.raises(LabError, match="set LAB_DEBIAN_MIRROR to the address of one and repeat"):
        debian_mirror("http://mirror.example.com/ubuntu/ noble")


@pytest.mark.integration
def test_too_little_disk_is_said_before_it_is_used() -> None:
    """A disk that cannot hold the images stops the build with the numbers and the remedy."""
    with pytest.raises(LabError, match=r"The images need 1000000 GB and /\S+ has [\d.]+ GB free: free some space"):
        check_disk(10**15)
