"""What the stack is made of, and what is written for it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from lab.compose import Service, is_well, parse_containers, write_configuration
from lab.settings import BESIDE_THE_STACK, PORTS, SECRETS, complete

if TYPE_CHECKING:
    from pathlib import Path

# Services that hold replicas, or that only others of the stack talk to.
WITHOUT_HOST_PORT = {
    "backend",
    "receiver",
    "postgres-exporter",
    "redis-exporter",
    "blackbox-exporter",
    "loadgen",
    "fault",
}


@pytest.fixture
def services(root: Path) -> dict[str, dict[str, Any]]:
    document = yaml.safe_load((root / "lab/compose.yml").read_text())
    found: dict[str, dict[str, Any]] = document["services"]
    return found


def test_ports_are_on_loopback_and_can_be_moved(services: dict[str, dict[str, Any]]) -> None:
    """Nothing of the lab is open to the network, and each port has its variable."""
    for name, service in services.items():
        ports = service.get("ports", [])
        assert bool(ports) == (name not in WITHOUT_HOST_PORT), name
        for port in ports:
            assert re.fullmatch(rf"127\.0\.0\.1:\$\{{LAB_PORT_{name.upper()}(_MANAGEMENT)?\}}:\d+", port), port
    assert set(services) - WITHOUT_HOST_PORT == set(PORTS) - BESIDE_THE_STACK - {"keycloak-management"}


def test_every_service_has_a_health_check_limits_and_a_restart_policy(services: dict[str, dict[str, Any]]) -> None:
    """A service without them would look well when it is not, or take the machine with it."""
    for name, service in services.items():
        assert service["deploy"]["resources"]["limits"].keys() == {"cpus", "memory"}, name
        if name == "fault":
            continue
        assert service["healthcheck"]["test"], name
        assert service["restart"] == "unless-stopped", name


def test_the_whole_stack_fits_into_four_gigabytes(services: dict[str, dict[str, Any]]) -> None:
    """The sum of the memory limits, with three replicas and a fault, leaves room on a small machine."""
    megabytes = 0
    for name, service in services.items():
        limit = re.fullmatch(r"(\d+)m", service["deploy"]["resources"]["limits"]["memory"])
        assert limit, name
        megabytes += int(limit[1]) * (3 if name == "backend" else 1)
    assert megabytes < 4000


def test_the_backend_can_be_scaled(services: dict[str, dict[str, Any]]) -> None:
    """A fixed name or host port would keep a second replica from starting."""
    assert "container_name" not in services["backend"]
    assert "ports" not in services["backend"]
    assert services["backend"]["deploy"]["replicas"] == 2


def test_every_variable_is_a_setting(root: Path) -> None:
    """Compose would fill in nothing for a name that `up` does not write."""
    used = set(re.findall(r"(?:\$\{|\{environment: )(\w+)", (root / "lab/compose.yml").read_text()))
    assert used <= set(complete({}, {}))
    assert set(SECRETS) <= used


def test_derived_files_hold_no_secret_and_are_written_once(tmp_path: Path) -> None:
    """The first start writes them, the second changes nothing, a changed port changes Alertmanager's only."""
    settings = complete({}, {})
    assert write_configuration(settings, tmp_path) == ["alertmanager", "prometheus"]
    assert write_configuration(settings, tmp_path) == []
    moved = settings | {"LAB_PORT_PROBE": "29098"}
    assert write_configuration(moved, tmp_path) == ["alertmanager"]
    text = "".join(path.read_text() for path in tmp_path.rglob("*.yml"))
    assert "host.docker.internal:29098" in text
    assert not [name for name in SECRETS if settings[name] in text]


def test_derived_files_can_be_read_in_the_containers(tmp_path: Path) -> None:
    """Prometheus and Alertmanager run as users of their own."""
    write_configuration(complete({}, {}), tmp_path)
    for path in tmp_path.rglob("*"):
        assert path.stat().st_mode & 0o777 == (0o755 if path.is_dir() else 0o644), path


@pytest.mark.parametrize(
    ("listing", "names"),
    [
        pytest.param('{"Name": "a"}\n{"Name": "b"}\n', ["a", "b"], id="an-object-on-each-line"),
        pytest.param('[{"Name": "a"}, {"Name": "b"}]', ["a", "b"], id="a-list"),
        pytest.param("", [], id="nothing"),
        pytest.param("[]\n", [], id="an-empty-list"),
    ],
)
def test_both_listings_of_compose_are_read(listing: str, names: list[str]) -> None:
    """Compose changed its format in 2.21."""
    assert [one["Name"] for one in parse_containers(listing)] == names


@pytest.mark.parametrize(
    ("service", "well"),
    [
        pytest.param(Service("a", 2, 2, ("healthy", "healthy")), True, id="all-healthy"),
        pytest.param(Service("a", 2, 1, ("healthy", "starting")), False, id="one-starting"),
        pytest.param(Service("a", 0, 0, ()), False, id="nothing-runs"),
    ],
)
def test_well_means_that_something_runs_and_all_of_it_is_healthy(service: Service, well: bool) -> None:
    """Nothing running is not well."""
    assert is_well(service) is well
