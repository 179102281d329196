"""Start, stop and look at the Compose project."""

from __future__ import annotations

import json
import os
import shutil
import socket
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from lab.rules import derive_alertmanager, derive_rules
from lab.settings import (
    BESIDE_THE_STACK,
    IDENTITY,
    PORTS,
    check_ports,
    complete,
    port_variable,
    read_settings,
    write_settings,
)
from lab.shell import ROOT, STATE, CommandFailed, LabError, run, stream

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from lab.shell import Board

PROJECT = "runbooks-lab"
# Where Alertmanager sends to: config/receiver.cfg hands it on to the responder, if one runs beside the stack.
RECEIVER = "http://receiver:9095"
HEALTHY_WITHIN_SECONDS = 300
OBSERVABILITY = ROOT / "observability"


@dataclass(frozen=True)
class Service:
    """What runs of a service: its replicas and how many of them are healthy."""

    name: str
    replicas: int
    healthy: int
    states: tuple[str, ...]


def compose(*arguments: str) -> list[str]:
    """Return the command line of Docker Compose for the lab."""
    return ["docker", "compose", "--project-name", PROJECT, "--file", str(ROOT / "lab" / "compose.yml"), *arguments]


def environment() -> dict[str, str]:
    """Return the environment for Compose: the lab's settings, whatever this shell has under the same names."""
    known = read_settings()
    return os.environ | known | complete(known, os.environ)


def up(board: Board) -> None:
    """Start what does not run, recreate what has changed, and wait until everything is healthy.

    Raises:
        LabError: A port is taken, or a service does not get healthy in time.
    """
    known = read_settings()
    settings = complete(known, os.environ)
    if _volumes() - _volumes(f"ops.runbooks.lab={settings[IDENTITY]}"):
        with board.step("Remove the lab of another checkout, whose passwords are others"):
            down()
    check_ports(settings, _published())
    write_settings(known | settings)
    changed = write_configuration(settings)
    with board.step("Start the services and wait until they are healthy") as report:
        wait = ["--wait", "--wait-timeout", str(HEALTHY_WITHIN_SECONDS)]
        try:
            stream(
                compose("--progress", "plain", "up", "--detach", "--remove-orphans", *wait),
                lambda line: report(line.strip()),
                log=STATE / "up.log",
                timeout=HEALTHY_WITHIN_SECONDS + 60,
                environment=environment(),
            )
        except CommandFailed as error:
            ill = [f"{service.name} ({', '.join(service.states)})" for service in services() if not is_well(service)]
            raise LabError(
                f"The lab did not start: {', '.join(ill) or error}. "
                f"`docker compose -p {PROJECT} logs SERVICE` says why; repeat when it is mended."
            ) from error
    for service in changed:
        _post(f"http://127.0.0.1:{settings[port_variable(service)]}/-/reload")
    keep_configuration()
    write_settings(known | settings | {"LAB_RESPONDER_HOST": responder_host()})


def _volumes(*labels: str) -> set[str]:
    """Return the names of the project's volumes that carry all labels."""
    filters = [f"label={label}" for label in (f"com.docker.compose.project={PROJECT}", *labels)]
    return set(
        run(["docker", "volume", "ls", "--quiet", *(part for one in filters for part in ("--filter", one))]).split()
    )


def down() -> None:
    """Remove containers, networks and volumes of the project, of faults too, and nothing else."""
    command = compose("--profile", "*", "down", "--volumes", "--remove-orphans", "--timeout", "5")
    run(command, timeout=120, environment=environment())
    if left := _volumes():
        run(["docker", "volume", "rm", *left])


def write_configuration(settings: dict[str, str], state: Path = STATE) -> list[str]:
    """Write the configuration that is derived for the lab; return the services whose files changed."""
    rules = {
        name: yaml.safe_dump(derive_rules(_load(OBSERVABILITY / "prometheus" / name)), sort_keys=False)
        for name in ("alerts.yml", "responder-alerts.yml")
    }
    probe = f"http://host.docker.internal:{settings[port_variable('probe')]}"
    routes = derive_alertmanager(_load(OBSERVABILITY / "alertmanager" / "alertmanager.yml"), RECEIVER, probe)
    wanted = {
        state / "prometheus" / "prometheus.yml": (ROOT / "lab" / "config" / "prometheus.yml").read_text(),
        **{state / "prometheus" / name: text for name, text in rules.items()},
        state / "alertmanager" / "alertmanager.yml": yaml.safe_dump(routes, sort_keys=False),
    }
    changed = []
    for path, text in wanted.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
            changed.append(path.parent.name)
        # The programs in the containers have users of their own.
        path.parent.chmod(0o755)
        path.chmod(0o644)
    return sorted(set(changed))


def keep_configuration(state: Path = STATE) -> None:
    """Keep what the servers have just loaded as the last good files, as verify.yml of its runbook does later."""
    for service in ("prometheus", "alertmanager"):
        shutil.rmtree(state / "alerting" / service, ignore_errors=True)
        # What Prometheus finds by itself (*.json) belongs to the moment.
        left_out = shutil.ignore_patterns("*.json")
        shutil.copytree(state / service, state / "alerting" / service, ignore=left_out)


def services() -> list[Service]:
    """Return every service of the lab, also those of which nothing runs."""
    names = run(compose("config", "--services"), environment=environment()).split()
    listing = run(compose("ps", "--all", "--format", "json"), environment=environment())
    containers = parse_containers(listing)
    return [_service(name, [one for one in containers if one["Service"] == name]) for name in sorted(names)]


def parse_containers(listing: str) -> list[dict[str, Any]]:
    """Read what `docker compose ps` prints: a list, or since 2.21 one object on each line."""
    if listing.lstrip().startswith("["):
        containers: list[dict[str, Any]] = json.loads(listing)
        return containers
    return [json.loads(line) for line in listing.splitlines() if line]


def _service(name: str, containers: Sequence[dict[str, Any]]) -> Service:
    states = tuple(sorted(one["Health"] or one["State"] for one in containers))
    return Service(name, len(containers), states.count("healthy"), states)


def is_well(service: Service) -> bool:
    """Tell whether something runs of it and all of it is healthy."""
    return 0 < service.replicas == service.healthy


def alerts() -> list[dict[str, Any]]:
    """Return the alerts that Prometheus holds as pending or firing.

    Raises:
        LabError: Prometheus does not answer.
    """
    url = f"http://127.0.0.1:{environment()[port_variable('prometheus')]}/api/v1/alerts"
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            found: list[dict[str, Any]] = json.load(answer)["data"]["alerts"]
    except (OSError, ValueError) as error:
        raise LabError(f"Prometheus does not answer on {url}: {error}.") from error
    return found


def addresses() -> dict[str, str]:
    """Return where to reach each service from this machine."""
    settings = environment()
    web = {"lb", "prometheus", "alertmanager", "keycloak", "keycloak-management"}
    return {
        service: f"{'http://' if service in web else ''}127.0.0.1:{settings[port_variable(service)]}"
        for service in PORTS
        if service not in BESIDE_THE_STACK
    }


def responder_host() -> str:
    """Return the address on which the responder hears Alertmanager: what host.docker.internal means in its container.

    Where that is no address of this machine, as with an engine in a virtual machine, loopback is what is forwarded.
    """
    hosts = run(
        compose("exec", "-T", "alertmanager", "getent", "hosts", "host.docker.internal"), environment=environment()
    )
    address = hosts.split()[0]
    with socket.socket() as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return "127.0.0.1"
    return address


def _published() -> set[str]:
    """Return the host ports that running services of the project have."""
    listing = run(compose("ps", "--format", "json"), environment=environment())
    return {
        str(port["PublishedPort"])
        for one in parse_containers(listing)
        for port in one["Publishers"] or ()
        if port["PublishedPort"]
    }


def _load(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(path.read_text())
    return document


def _post(url: str) -> None:
    try:
        urllib.request.urlopen(urllib.request.Request(url, method="POST"), timeout=10).close()  # noqa: S310 - fixed
    except urllib.error.URLError as error:
        raise LabError(f"Cannot load the new configuration by {url}: {error}.") from error
