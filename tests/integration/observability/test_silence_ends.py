"""A silence of a playbook in a real Alertmanager: whatever becomes of the run, the silence ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.integration.alertmanager import silences_of, start_alertmanager, states_of
from tests.integration.containers import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.integration.containers import Containers

pytestmark = [pytest.mark.integration, pytest.mark.slow]

LIFE_SECONDS = 20
# As in the module's EXAMPLES: silence, act, and end the silence on every way out that Ansible still walks.
PLAYBOOK = f"""\
- name: Act behind a silence
  hosts: localhost
  gather_facts: false
  tasks:
    - name: Act
      block:
        - name: Silence
          ops.runbooks.alertmanager_silence:
            url: "{{{{ address }}}}"
            owner: "{{{{ owner }}}}"
            comment: a test
            duration_seconds: {LIFE_SECONDS}
            matchers: [{{name: alertname, value: BackendDown}}, {{name: service, value: backend}}]
        - name: Say that it acts
          ansible.builtin.file: {{path: "{{{{ folder }}}}/acting", state: touch, mode: "0600"}}
        - name: Act
          ansible.builtin.command: {{argv: "{{{{ act }}}}"}}
      always:
        - name: End the silence
          ops.runbooks.alertmanager_silence:
            url: "{{{{ address }}}}"
            owner: "{{{{ owner }}}}"
            state: absent
            matchers: [{{name: alertname, value: BackendDown}}, {{name: service, value: backend}}]
"""


@pytest.fixture(scope="module")
def address(containers: Containers, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the address of an Alertmanager that nobody sends alerts to."""
    return start_alertmanager(containers, tmp_path_factory.mktemp("alertmanager"))


@pytest.fixture
def play(address: str, tmp_path: Path, root: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Return a function that starts the playbook; what it acts with is its arguments."""
    (tmp_path / "play.yml").write_text(PLAYBOOK)
    started: list[subprocess.Popen[bytes]] = []

    def start(owner: str, *act: str) -> subprocess.Popen[bytes]:
        given = f'{{"address": "{address}", "owner": "{owner}", "folder": "{tmp_path}", "act": {list(act)!r}}}'
        command = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", "localhost,", "-c", "local"]
        extra = ["-e", f"ansible_python_interpreter={sys.executable}", "-e", given.replace("'", '"')]
        begun = subprocess.Popen(
            [*command, *extra, str(tmp_path / "play.yml")],
            cwd=root,
            env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(root / "collections")},
            start_new_session=True,
        )
        started.append(begun)
        return begun

    yield start
    for one in started:
        if one.poll() is None:
            os.killpg(one.pid, signal.SIGKILL)
        one.wait()


@pytest.mark.parametrize(("act", "code"), [(["true"], 0), (["false"], 2)], ids=["success", "failure"])
def test_a_run_that_ends_by_itself_leaves_no_silence(
    play: Callable[..., subprocess.Popen[bytes]], address: str, act: list[str], code: int
) -> None:
    """It was there, and is gone when the run is over, before its time."""
    owner = f"run that ends {code}"
    assert play(owner, *act).wait(300) == code
    assert states_of(address, owner) == ["expired"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_the_silence_of_a_run_that_is_cut_off_ends_by_itself(
    play: Callable[..., subprocess.Popen[bytes]], address: str, tmp_path: Path, number: signal.Signals
) -> None:
    """Ansible runs no ``always`` when it is cancelled or killed; the silence was made for a short time only."""
    owner = f"run that gets {number.name}"
    # What a killed run has begun goes on: it must end by itself.
    run = play(owner, "sleep", str(LIFE_SECONDS + 120))
    wait_for((tmp_path / "acting").exists, "The run acts", 300)
    (made,) = silences_of(address, owner)
    life = datetime.fromisoformat(made["endsAt"]) - datetime.fromisoformat(made["startsAt"])
    assert 0 < life.total_seconds() <= LIFE_SECONDS + 1
    os.killpg(run.pid, number)
    assert run.wait(60) != 0
    wait_for(lambda: states_of(address, owner) == ["expired"], "The silence ends", LIFE_SECONDS + 60)
