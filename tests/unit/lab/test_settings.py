"""Secrets and ports of a lab."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest

from lab.settings import PORTS, SECRETS, check_ports, complete, port_variable, read_settings, write_settings
from lab.shell import LabError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def test_a_new_lab_gets_secrets_of_its_own() -> None:
    """Every secret is long, and no two are alike, in one lab or between two."""
    first, second = complete({}, {}), complete({}, {})
    secrets = [settings[name] for settings in (first, second) for name in SECRETS]
    assert len(set(secrets)) == 2 * len(SECRETS)
    assert all(len(secret) == 32 for secret in secrets)


def test_known_settings_stay() -> None:
    """A second start changes nothing."""
    settings = complete({}, {})
    assert complete(settings, {}) == settings


def test_the_environment_moves_a_port_and_the_file_remembers_it() -> None:
    """LAB_PORT_<SERVICE> wins over the file, the file over the default."""
    moved = complete({}, {"LAB_PORT_LB": "28080"})
    assert moved["LAB_PORT_LB"] == "28080"
    assert complete(moved, {})["LAB_PORT_LB"] == "28080"
    assert complete(moved, {"LAB_PORT_LB": "18080"})["LAB_PORT_LB"] == "18080"
    assert moved["LAB_PORT_REDIS"] == str(PORTS["redis"])


@pytest.mark.parametrize("value", ["0", "65536", "http", "-1", "1.5"])
def test_what_is_no_port_is_refused(value: str) -> None:
    """The message names the variable, the value and the range."""
    with pytest.raises(LabError) as caught:
        complete({}, {"LAB_PORT_REDIS": value})
    expected = f"LAB_PORT_REDIS is {value!r}, which is not a port: set it to a number from 1 to 65535."
    assert str(caught.value) == expected


def test_the_file_is_for_its_owner_only(tmp_path: Path) -> None:
    """Mode 0600 whatever the umask, also when an older file was open to everybody; what is written is read back."""
    path = tmp_path / "state" / "secrets.env"
    path.parent.mkdir()
    path.write_text("OLD=1\n")
    path.chmod(0o666)
    umask = os.umask(0)
    try:
        write_settings({"A": "1", "B": "x=y"}, path)
    finally:
        os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_settings(path) == {"A": "1", "B": "x=y"}
    assert list(path.parent.iterdir()) == [path]


def test_no_file_means_no_settings(tmp_path: Path) -> None:
    """A lab that was never started has none."""
    assert read_settings(tmp_path / "secrets.env") == {}


@pytest.fixture
def taken() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def free_ports() -> dict[str, str]:
    """Return settings whose ports nobody has at the moment."""
    settings = {}
    for service in PORTS:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            settings[port_variable(service)] = str(probe.getsockname()[1])
    return settings


def test_a_taken_port_is_named_with_the_remedy(taken: socket.socket) -> None:
    """The sentence says which port, for what, and what to set."""
    port = str(taken.getsockname()[1])
    with pytest.raises(LabError) as caught:
        check_ports(free_ports() | {"LAB_PORT_POSTGRES": port}, set())
    assert str(caught.value) == (
        f"Port {port} on 127.0.0.1, for postgres, is taken by another program (Address already in use). "
        "Set LAB_PORT_POSTGRES to a free port and repeat."
    )


def test_the_labs_own_port_is_not_taken(taken: socket.socket) -> None:
    """A second start finds its own services on their ports."""
    port = str(taken.getsockname()[1])
    check_ports(free_ports() | {"LAB_PORT_POSTGRES": port}, {port})


def test_free_ports_are_free() -> None:
    """Nothing is refused without need."""
    check_ports(free_ports(), set())
