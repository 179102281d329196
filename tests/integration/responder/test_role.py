"""The role `responder`, for real: a wheel into a virtual environment, settings, secrets, a unit, an upgrade.

No container here runs systemd: the unit is judged by `systemd-analyze`, and its command is started as it is written.
"""

from __future__ import annotations

import getpass
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.containers import free_port, wait_for
from tests.integration.responder.project import make_project

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(900)]

TOKEN = 'quote-"-dollar-$HOME-0123456789'
PLAY = """\
- name: Install the responder
  hosts: localhost
  connection: local
  gather_facts: false
  roles:
    - role: ops.runbooks.responder
"""


class Host:
    """A folder that stands for a host, and a run of the role over it."""

    def __init__(self, root: Path, folder: Path) -> None:
        self.root, self.folder = root, folder
        self.port = free_port()
        (folder / "project").mkdir()
        make_project(folder / "project")
        (folder / "play.yml").write_text(PLAY)
        (folder / "units").mkdir()
        self.variables: dict[str, Any] = {
            "ansible_python_interpreter": sys.executable,
            "responder_python": sys.executable,
            "responder_project": str(folder / "project"),
            "responder_home": str(folder / "home"),
            "responder_state": str(folder / "state"),
            "responder_configuration": str(folder / "etc"),
            "responder_units": str(folder / "units"),
            "responder_wheelhouse": str(folder / "wheels"),
            "responder_user": getpass.getuser(),
            "responder_manage_user": False,
            "responder_manage_service": False,
            "responder_settings": {"inventory": "inventory", "listen": [f"127.0.0.1:{self.port}"], "stop_seconds": 5},
            "responder_secrets": {"tokens": TOKEN},
        }

    def build(self, version: str) -> str:
        """Build a wheel of this checkout under another version."""
        source = self.folder / f"source-{version}"
        shutil.copytree(
            self.root / "alert_responder", source / "alert_responder", ignore=shutil.ignore_patterns("__pycache__")
        )
        for name in ("README.md", "LICENSE", "requirements.txt"):
            shutil.copy(self.root / name, source)
        text = (self.root / "pyproject.toml").read_text()
        versioned = re.sub(r'^version = ".*"$', f'version = "{version}"', text, flags=re.MULTILINE)
        (source / "pyproject.toml").write_text(versioned)
        out = self.folder / "wheels"
        command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(source)]
        subprocess.run(command, check=True, capture_output=True, timeout=300)
        return str(next(out.glob(f"*-{version}-*.whl")))

    def lend_dependencies(self) -> None:
        """Let the virtual environment see what this one has, but not the responder: no package index is asked."""
        venv.create(self.folder / "home" / "venv", with_pip=True)
        lent = self.folder / "lent"
        lent.mkdir()
        for entry in Path(pytest.__file__).parent.parent.iterdir():
            if not entry.name.startswith(("alert_responder", "__editable__", "pip")) and entry.suffix != ".pth":
                (lent / entry.name).symlink_to(entry)
        (site,) = (self.folder / "home" / "venv" / "lib").glob("python*/site-packages")
        (site / "lent.pth").write_text(f"{lent}\n")

    def run(self, *arguments: str, **variables: Any) -> tuple[int, str]:
        given = self.folder / "variables.json"
        given.write_text(json.dumps({**self.variables, **variables}))
        command = ["ansible-playbook", "-i", "localhost,", str(self.folder / "play.yml"), "-e", f"@{given}", *arguments]
        environment = {
            **os.environ,
            "ANSIBLE_COLLECTIONS_PATH": str(self.root / "collections"),
            "ANSIBLE_NOCOLOR": "1",
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        }
        done = subprocess.run(
            command, cwd=self.root, env=environment, capture_output=True, text=True, timeout=600, check=False
        )
        return done.returncode, done.stdout + done.stderr

    def versions(self) -> list[str]:
        found = (self.folder / "home" / "venv").glob("lib/python*/site-packages/alert_responder-*.dist-info")
        return [path.name.removeprefix("alert_responder-").removesuffix(".dist-info") for path in found]

    def unit(self) -> dict[str, str]:
        text = (self.folder / "units" / "alert-responder.service").read_text()
        return dict(line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))


def changed(output: str) -> int:
    found = re.search(r"changed=(\d+) ", output)
    assert found is not None, output
    return int(found[1])


def test_the_responder_is_installed_configured_and_upgraded(root: Path, tmp_path: Path) -> None:
    """Install, again without a change, a refused setting and a refused secret, the service itself, an upgrade."""
    host = Host(root, tmp_path)
    first, second = host.build("0.1.0"), host.build("0.1.1")
    host.lend_dependencies()

    code, output = host.run(responder_package=first)
    assert code == 0, output
    assert TOKEN not in output
    assert host.versions() == ["0.1.0"]
    code, output = host.run(responder_package=first)
    assert (code, changed(output)) == (0, 0), output

    settings, secrets = tmp_path / "etc" / "alert-responder.yml", tmp_path / "etc" / "environment"
    assert (settings.stat().st_mode & 0o777, secrets.stat().st_mode & 0o777) == (0o644, 0o600)
    assert TOKEN not in settings.read_text()
    kept = settings.read_text(), secrets.read_text()
    code, output = host.run(responder_package=first, responder_settings={"concurrency": 0})
    assert code == 2
    code, output = host.run(responder_package=first, responder_secrets={"tokens": "short"})
    assert code == 2
    assert "expected each token to have at least 16 characters" in output
    assert (settings.read_text(), secrets.read_text()) == kept
    code, output = host.run(responder_package=first, responder_settings={"tokens": TOKEN})
    assert (code, "secrets belong into responder_secrets" in output) == (2, True)

    _judge_unit(host)
    _serve(host)

    code, output = host.run(responder_package=second)
    assert code == 0, output
    assert host.versions() == ["0.1.1"]


def _judge_unit(host: Host) -> None:
    """The unit is accepted, and systemd rates what is left open to it."""
    unit = host.folder / "units" / "alert-responder.service"
    judged = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
    complaints = [line for line in (judged.stdout + judged.stderr).splitlines() if "alert-responder" in line]
    assert complaints == []
    rated = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=45", "--no-pager", unit],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert rated.returncode == 0, rated.stdout[-500:] + rated.stderr
    written = host.unit()
    assert (written["NoNewPrivileges"], written["ProtectSystem"], written["TimeoutStopSec"]) == ("yes", "strict", "20")
    assert written["ReadWritePaths"] == str(host.folder / "state")


def _serve(host: Host) -> None:
    """Start what the unit starts, with the file of secrets that it names, as systemd reads it."""
    written = host.unit()
    assert written["EnvironmentFile"] == str(host.folder / "etc" / "environment")
    environment = {"PATH": os.defpath, "HOME": written["WorkingDirectory"]}
    for line in Path(written["EnvironmentFile"]).read_text().splitlines():
        if not line.startswith("#"):
            name, _, value = line.partition("=")
            (environment[name],) = shlex.split(value)
    process = subprocess.Popen(shlex.split(written["ExecStart"]), env=environment, cwd=written["WorkingDirectory"])
    try:
        address = f"http://127.0.0.1:{host.port}"
        wait_for(lambda: httpx.get(f"{address}/readyz").status_code == 200, "The service is ready", 90)
        listed = httpx.get(f"{address}/api/v1/incidents", headers={"Authorization": f"Bearer {TOKEN}"})
        assert (listed.status_code, listed.json()) == (200, {"incidents": []})
    finally:
        process.terminate()
        assert process.wait(60) == 0
