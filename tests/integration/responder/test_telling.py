"""The real process: what did not help is taken back, a person is told, and nothing secret is written anywhere."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.loopback import Receiver

if TYPE_CHECKING:
    from tests.integration.responder.service import Service

pytestmark = pytest.mark.integration

SECRET = "s3cr3t-of-the-channel"
UNDO = """\
---
- name: Take back
  hosts: things
  gather_facts: false
  tasks:
    - name: Write what was there before
      ansible.builtin.copy: {dest: "{{ patient }}", content: "{{ runbook_undo.before.state }}", mode: "0600"}
    - name: Publish
      ansible.builtin.set_stats:
        per_host: false
        aggregate: false
        data:
          runbook_outcome:
            {schema: 1, runbook: tiny, option: A, status: acted, verdict: unchecked, reason: Taken back., changed: true,
             check_mode: false, actions: [], before: {}, after: {}, checks: []}
"""


@pytest.mark.parametrize("killed", [False, True], ids=["alive", "killed-while-nobody-listened"])
def test_what_did_not_help_is_taken_back_and_a_person_is_told_once(service: Service, *, killed: bool) -> None:
    """The undo restores the value from before; the message arrives once, over a kill too, and its address nowhere."""
    playbooks = service.project / "playbooks"
    mend = (playbooks / "a_mend.yml").read_text().replace("default('well')", "default('worse')")
    (playbooks / "a_mend.yml").write_text(mend.replace("before: {}", "before: {state: broken}"))
    (playbooks / "undo.yml").write_text(UNDO)
    runbook = service.project / "runbooks" / "tiny.md"
    option = "playbook: playbooks/a_mend.yml\n"
    runbook.write_text(runbook.read_text().replace(option, f"{option}    undo: playbooks/undo.yml\n"))
    receiver = Receiver()
    receiver.answers = [503, 503, 503] if killed else []
    service.settings["policy"]["notice_retry_seconds"] = 0.5
    with receiver.listening():
        service.settings["notify"] = {"oncall": f"json://127.0.0.1:{receiver.port}/{SECRET}"}
        service.start()
        service.post()
        if killed:
            service.until(lambda: len(receiver.received) == 1)
            service.stop(signal.SIGKILL)
            service.start()
        service.until(lambda: len(receiver.received) == (4 if killed else 1))
        service.until(lambda: service.client.get("/readyz").json()["not_told"] == [])
        metrics = service.client.get("/metrics").text
        # A restart repeats nothing that was delivered.
        service.stop()
        service.start()
        assert "delivered" in metrics
        service.until(lambda: 'notices_failing{target="oncall"}' in service.client.get("/metrics").text)
        assert len(receiver.received) == (4 if killed else 1)

    assert [line for line in service.story() if line.startswith(("started", "esc"))] == [
        "started diagnose",
        "started option A",
        "started undo A",
        "started diagnose",
        "escalated",
    ]
    assert (service.project / "patient").read_text() == "broken"
    message = receiver.received[-1]["message"]
    assert "state = broken" in message
    assert "Undo of option A: acted" in message
    assert [path for path in written_by(service) if SECRET.encode() in path.read_bytes()] == []


def written_by(service: Service) -> list[Path]:
    """Return the files of the responder's state: the store, and what every run left."""
    state = service.config.parent / "state"
    found = [Path(folder) / name for folder, _, names in os.walk(state) for name in names]
    assert any(path.name == "stdout" for path in found)
    return found
