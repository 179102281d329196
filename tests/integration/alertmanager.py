"""An Alertmanager of the tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx

from tests.integration.containers import wait_for

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.containers import Containers

NOBODY = "route: {receiver: nobody}\nreceivers: [{name: nobody}]\n"


def start_alertmanager(containers: Containers, folder: Path) -> str:
    """Start one that tells nobody, and return its address."""
    folder.chmod(0o755)
    (folder / "alertmanager.yml").write_text(NOBODY)
    container = containers.start(
        "runbooks-lab/alertmanager:0.28", ports=[9093], volumes={str(folder): "/etc/prometheus"}
    )
    address = f"http://127.0.0.1:{container.port(9093)}"
    wait_for(lambda: httpx.get(f"{address}/-/ready").is_success, "Alertmanager")
    return address


def silences_of(address: str, author: str) -> list[dict[str, Any]]:
    """Return every silence of an author as Alertmanager lists it, also those that have ended."""
    listed: list[dict[str, Any]] = httpx.get(f"{address}/api/v2/silences").json()
    return [one for one in listed if one["createdBy"] == author]


def states_of(address: str, author: str) -> list[str]:
    """Return the states of an author's silences: active or expired."""
    return sorted(one["status"]["state"] for one in silences_of(address, author))
