"""The collection as a user gets it: built, installed, sane; and the wrapper as a wheel."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import venv
from pathlib import Path

import pytest

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(1500)]

BIN = Path(sys.executable).parent
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"

TOP_LEVEL = {
    "CHANGELOG.md",
    "FILES.json",
    "LICENSE",
    "MANIFEST.json",
    "README.md",
    "changelogs",
    "docs",
    "extensions",
    "integrations",
    "inventories",
    "meta",
    "observability",
    "playbooks",
    "plugins",
    "requirements.txt",
    "roles",
    "runbooks",
}


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    """Run a program from the environment of the tests and return what it printed.

    It sees no setting of Ansible that is not given: `make` exports the collections' path of this checkout.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**inherited, "PATH": f"{BIN}:{os.environ['PATH']}", **environment},
        check=False,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert done.returncode == 0, f"{command} exited {done.returncode}:\n{done.stdout[-20_000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def tarball(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the collection as ``ansible-galaxy collection build`` makes it."""
    folder = tmp_path_factory.mktemp("build")
    run("ansible-galaxy", "collection", "build", "--output-path", folder, cwd=root)
    (built,) = folder.glob("ops-runbooks-*.tar.gz")
    return built


def test_the_tarball_holds_the_collection_and_nothing_else(tarball: Path) -> None:
    """No virtual environment, lab state, link farm or cache reaches a user."""
    with tarfile.open(tarball) as archive:
        members = archive.getmembers()
    assert {member.name.split("/")[0] for member in members} == TOP_LEVEL
    assert not [member.name for member in members if member.issym() or member.islnk()]
    assert not [member.name for member in members if "__pycache__" in member.name or "inventories/lab" in member.name]


def test_the_collection_installs_offline_into_an_empty_path(tarball: Path, tmp_path: Path) -> None:
    """Installed, every playbook is found by its full name and passes the syntax check."""
    # A collection that is anywhere on the configured path counts as installed, and nothing is done.
    only_here = {"ANSIBLE_COLLECTIONS_PATH": str(tmp_path)}
    run("ansible-galaxy", "collection", "install", tarball, "--offline", "-p", tmp_path, cwd=tmp_path, **only_here)
    installed = tmp_path / "ansible_collections" / "ops" / "runbooks"
    inventory = tmp_path / "hosts.yml"
    inventory.write_text("all: {hosts: {localhost: {ansible_connection: local}}}\n", encoding="utf-8")
    playbooks = [p.relative_to(installed / "playbooks") for p in (installed / "playbooks").rglob("*.yml")]
    names = [".".join(p.with_suffix("").parts) for p in playbooks]
    assert "scale" in names
    for name in names:
        run(
            *("ansible-playbook", "--syntax-check", "-i", inventory, f"ops.runbooks.{name}"),
            cwd=tmp_path,
            **only_here,
        )


def test_ansible_test_finds_nothing(tarball: Path, tmp_path: Path) -> None:
    """The sanity tests pass, without an ignore file, on what a user installs."""
    copy = tmp_path / "ansible_collections" / "ops" / "runbooks"
    copy.mkdir(parents=True)
    with tarfile.open(tarball) as archive:
        archive.extractall(copy, filter="data")
    assert not list(copy.glob("tests/sanity/ignore*"))
    home = tmp_path / "home"
    # ansible-test would fetch pip's bootstrap script from a server that a package mirror does not carry.
    cache = home / ".ansible" / "test" / "cache"
    cache.mkdir(parents=True)
    (cache / "get_pip_24_2.py").write_text("import ensurepip\nensurepip.bootstrap()\n", encoding="utf-8")
    # Interpreter shims of version managers exist for versions that are not installed; only real folders may be seen.
    real = os.pathsep.join(p for p in os.environ["PATH"].split(os.pathsep) if not p.endswith("/shims"))
    run(
        *("ansible-test", "sanity", "--python", PYTHON, "--color", "no"),
        cwd=copy,
        HOME=str(home),
        PATH=f"{BIN}:{real}",
    )


def test_the_playbooks_pass_ansible_lint(root: Path) -> None:
    """Playbooks and roles hold to the production profile."""
    run("ansible-lint", "--offline", "--strict", "--profile", "production", cwd=root)


def test_the_documentation_of_the_modules_is_complete(root: Path) -> None:
    """Every option, return value and link of the collection's documentation resolves."""
    run("antsibull-docs", "lint-collection-docs", "--plugin-docs", "--skip-rstcheck", ".", cwd=root)


def test_the_wheel_of_the_responder_starts(root: Path, tmp_path: Path) -> None:
    """A wheel, built and installed apart from the checkout, runs the command."""
    run("python", "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path, root, cwd=tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    venv.create(tmp_path / "venv", with_pip=True, system_site_packages=False)
    python = tmp_path / "venv" / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", "--no-deps", wheel, cwd=tmp_path)
    # Dependencies come from the environment of the tests: what is tested is the wheel, not the package index.
    site = next((BIN.parent / "lib").glob("python*/site-packages"))
    out = run(tmp_path / "venv" / "bin" / "alert-responder", "--version", cwd=tmp_path, PYTHONPATH=str(site))
    assert out.strip().endswith("0.1.0")
