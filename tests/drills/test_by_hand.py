"""What the README has a person type, from the checkout and as an installed collection."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.running_lab import Lab

    Play = Callable[..., subprocess.CompletedProcess[str]]

pytestmark = [pytest.mark.drill, pytest.mark.slow]

BIN = Path(sys.executable).parent
OPTION_A = "db_connections/a_end_idle_sessions"


def run(*command: str | Path, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    return subprocess.run(
        [BIN / command[0], *command[1:]],
        cwd=cwd,
        env={**environment, **variables},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@pytest.fixture(scope="module")
def installed(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the collection, as it is built, into an empty path."""
    path = tmp_path_factory.mktemp("installed")
    build = run("ansible-galaxy", "collection", "build", "--output-path", path, cwd=root)
    assert build.returncode == 0, build.stderr
    (archive,) = path.glob("*.tar.gz")
    # A collection that is anywhere on the configured path counts as installed, and nothing is done.
    only_here = {"ANSIBLE_COLLECTIONS_PATH": str(path)}
    done = run("ansible-galaxy", "collection", "install", archive, "--offline", "-p", path, cwd=path, **only_here)
    assert done.returncode == 0, done.stderr
    return path


@pytest.fixture(params=["checkout", "installed"])
def play(request: pytest.FixtureRequest, root: Path, installed: Path) -> Play:
    """Return a function that runs a playbook by its path from the checkout, or by its name from anywhere."""
    inventory = root / "inventories" / "lab"

    def from_checkout(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return run("ansible-playbook", f"playbooks/{name}.yml", *arguments, cwd=root)

    def from_anywhere(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        full = f"ops.runbooks.{name.replace('/', '.')}"
        command: tuple[str | Path, ...] = ("ansible-playbook", "-i", inventory, full, *arguments)
        # The checkout's ansible.cfg shows evidence and outcome; elsewhere a person asks for them.
        return run(*command, cwd=installed, ANSIBLE_COLLECTIONS_PATH=str(installed), ANSIBLE_SHOW_CUSTOM_STATS="true")

    return from_checkout if request.param == "checkout" else from_anywhere


def replicas(lab: Lab) -> list[str]:
    """Return the identities of the backend's containers, as Docker lists them."""
    return lab.compose("ps", "--quiet", "backend").split()


@pytest.fixture
def two_replicas(lab: Lab) -> Iterator[list[str]]:
    """Begin and end with the two replicas of the lab."""
    found = replicas(lab)
    assert len(found) == 2
    yield found
    lab.compose("up", "--detach", "--wait", "--no-recreate", "--scale", "backend=2", "backend")


def test_scaling_as_the_readme_says(lab: Lab, two_replicas: list[str], play: Play) -> None:
    """Check, run, run again, back: check changes nothing, the first run does, the second does not."""
    three = ("-e", "service=backend", "-e", "replicas=3")
    checked = play("scale", *three, "--check")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "changed=1" in checked.stdout
    assert replicas(lab) == two_replicas

    done = play("scale", *three)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(replicas(lab)) == 3
    assert set(two_replicas) < set(replicas(lab))
    again = play("scale", *three)
    assert again.returncode == 0, again.stdout
    assert "changed=0" in again.stdout
    assert "recovered" in again.stdout

    back = play("scale", "-e", "service=backend", "-e", "replicas=2")
    assert back.returncode == 0, back.stdout
    assert sorted(replicas(lab)) == sorted(two_replicas)


def test_a_rolling_restart_by_hand_fails_no_request(lab: Lab, root: Path) -> None:
    """Check leaves every replica; the run starts each of them again while every request is served."""

    def started() -> dict[str, str]:
        shape = "{{.Name}} {{.State.StartedAt}}"
        shown = subprocess.run(
            ["docker", "inspect", "--format", shape, *replicas(lab)], check=True, capture_output=True, text=True
        )
        return dict(line.split() for line in shown.stdout.splitlines())

    command = ("ansible-playbook", "playbooks/restart.yml", "-e", "service=backend", "-e", "minimum_age_seconds=0")
    before = started()
    checked = run(*command, "--check", cwd=root)
    assert checked.returncode == 0, checked.stdout
    assert started() == before

    statuses: list[int] = []
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            statuses.append(lab.http("/orders").status)

    client = threading.Thread(target=ask)
    client.start()
    try:
        done = run(*command, cwd=root)
    finally:
        over.set()
        client.join()
    assert done.returncode == 0, done.stdout
    after = started()
    assert after.keys() == before.keys()
    assert all(after[name] > before[name] for name in before)
    assert set(statuses) == {200}, statuses


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("service=nosuch", "replicas=2"), "Cannot find service 'nosuch' in project runbooks-lab"),
        (("service=backend", "replicas=-1"), "a number of replicas cannot be negative"),
        (("service=backend", "replicas=11"), "maximum is 10"),
        (("service=redis", "replicas=2"), "publishes the fixed host port"),
        (("service=backend", "replicas=two"), "cannot be converted to an int"),
    ],
)
def test_scaling_refuses_what_cannot_be(
    lab: Lab, root: Path, arguments: tuple[str, str], said: str, tmp_path: Path
) -> None:
    """The reason is in the output, and nothing has changed."""
    before = replicas(lab)
    extra = [part for one in arguments for part in ("-e", one)]
    done = run("ansible-playbook", "playbooks/scale.yml", *extra, cwd=root)
    assert done.returncode != 0
    assert said in " ".join(done.stdout.split()), done.stdout
    assert replicas(lab) == before


@pytest.mark.parametrize("limit", ["nosuchhost", "all:!lab"])
def test_an_empty_target_is_refused(lab: Lab, root: Path, limit: str) -> None:
    """Selecting nobody is no success."""
    done = run("ansible-playbook", f"playbooks/{OPTION_A}.yml", "--limit", limit, cwd=root)
    assert done.returncode != 0, done.stdout


def test_ending_idle_sessions_as_the_readme_says(lab: Lab, play: Play) -> None:
    """On the fault: check changes nothing, the run heals, a second run changes nothing, verify agrees."""
    lab.inject("leaked_transactions")
    leaked = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'leaky-worker'"
    lab.wait(lambda: int(lab.sql(leaked)[0][0]), lambda number: number > 30, 20)
    age = ("-e", "idle_in_transaction_seconds=1")
    before = lab.sql(leaked)

    found = play("db_connections/diagnose")
    assert found.returncode == 0, found.stdout
    assert "leaky-worker" in found.stdout
    checked = play(OPTION_A, *age, "--check")
    assert checked.returncode == 0, checked.stdout
    assert "unchecked" in checked.stdout
    assert lab.sql(leaked) == before

    done = play(OPTION_A, *age)
    assert done.returncode == 0, done.stdout
    assert "recovered" in done.stdout
    assert lab.sql(leaked) == [["0"]]
    again = play(OPTION_A, *age)
    assert again.returncode == 0, again.stdout
    assert "changed=0" in again.stdout
    assert play("db_connections/verify").returncode == 0
