"""The lab's secrets and ports: generated once per lab into a file that only its owner can read."""

from __future__ import annotations

import os
import secrets
import socket
from typing import TYPE_CHECKING

from lab.shell import STATE, LabError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

SECRETS_FILE = STATE / "secrets.env"

SECRETS = (
    "POSTGRES_PASSWORD",
    "APP_DB_PASSWORD",
    "MONITOR_DB_PASSWORD",
    "RUNBOOKS_DB_PASSWORD",
    "REDIS_PASSWORD",
    "POOL_RESET_TOKEN",
    "RESPONDER_TOKEN",
    "KEYCLOAK_DB_PASSWORD",
    "KEYCLOAK_ADMIN_SECRET",
    "KEYCLOAK_CLIENT_SECRET",
    "KEYCLOAK_PROBE_SECRET",
    "KEYCLOAK_USER_PASSWORD",
)
# Tells the data of this lab from that of another checkout, whose passwords are others.
IDENTITY = "LAB_ID"
PORTS = {
    "lb": 18080,
    "postgres": 15432,
    "pgbouncer": 16432,
    "redis": 16379,
    "prometheus": 19090,
    "alertmanager": 19093,
    "keycloak": 18081,
    "keycloak-management": 19000,
    "responder": 19099,
    "probe": 19098,
}
# What is no service of the stack but listens on this machine: the responder, and the check of the way of an alert.
BESIDE_THE_STACK = frozenset({"responder", "probe"})


def port_variable(service: str) -> str:
    """Return the name of the environment variable that moves a service's port."""
    return f"LAB_PORT_{service.upper().replace('-', '_')}"


def read_settings(path: Path = SECRETS_FILE) -> dict[str, str]:
    """Return what the file holds; nothing if there is none."""
    try:
        lines = path.read_text().splitlines()
    except FileNotFoundError:
        return {}
    return {name: value for name, found, value in (line.partition("=") for line in lines) if found}


def complete(known: Mapping[str, str], environment: Mapping[str, str]) -> dict[str, str]:
    """Return every setting: what is known stays, the environment moves ports, what is missing is generated.

    Raises:
        LabError: A port is not a port.
    """
    settings = {name: known.get(name) or secrets.token_hex(16) for name in (IDENTITY, *SECRETS)}
    for service, default in PORTS.items():
        name = port_variable(service)
        value = environment.get(name) or known.get(name) or str(default)
        if not (value.isdecimal() and 0 < int(value) < 2**16):
            raise LabError(f"{name} is {value!r}, which is not a port: set it to a number from 1 to 65535.")
        settings[name] = value
    return settings


def write_settings(settings: Mapping[str, str], path: Path = SECRETS_FILE) -> None:
    """Write the file in one step, readable by its owner only from its first byte."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.writelines(f"{name}={value}\n" for name, value in settings.items())
    new.replace(path)


def check_ports(settings: Mapping[str, str], published: Collection[str]) -> None:
    """Refuse to start where another program has a port; ``published`` are the ports that the lab itself has now.

    Raises:
        LabError: A port is taken; says which and what to set.
    """
    for service in PORTS:
        port = settings[port_variable(service)]
        if service in BESIDE_THE_STACK or port in published:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", int(port)))
            except OSError as error:
                raise LabError(
                    f"Port {port} on 127.0.0.1, for {service}, is taken by another program ({error.strerror}). "
                    f"Set {port_variable(service)} to a free port and repeat."
                ) from error
