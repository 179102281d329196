"""A small project with one runbook whose playbooks heal a file on this machine."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

RUNBOOK = """\
---
runbook: tiny
title: The file is broken
service: thing
owner: Team
reviewed: 2026-11-23
review_every_days: 90
target_group: things
alerts:
  - {name: ThingBroken, severity: critical, service: thing, identity: [instance], labels: [instance]}
diagnose: {playbook: playbooks/diagnose.yml, expected_seconds: 2, timeout_seconds: 60}
verify: {playbook: playbooks/verify.yml, expected_seconds: 2, timeout_seconds: 60}
recovered: The file says well.
options:
  - letter: A
    title: Mend the file
    playbook: playbooks/a_mend.yml
    when: evidence.state != "well"
    reason: The file does not say well.
    automation: auto
    idempotent: false
    expected_seconds: 2
    timeout_seconds: 60
    impact: None.
    variables:
      - {name: word, type: str, default: well, choices: [well, ill], description: What to write.}
      - {name: pause, type: float, default: 0.0, min: 0.0, max: 600.0, description: Seconds to take.}
  - letter: B
    title: Replace the file
    playbook: playbooks/b_replace.yml
    when: evidence.state == "ill"
    reason: Mending did not help.
    automation: auto
    idempotent: true
    expected_seconds: 2
    timeout_seconds: 60
    impact: None.
---

# The file is broken
"""

_HEAD = """\
---
- name: Test
  hosts: things
  gather_facts: false
  vars:
    state: "{{ lookup('ansible.builtin.file', patient, errors='ignore') | default('', true) }}"
  tasks:
"""

_PUBLISH = """\
    - name: Publish
      ansible.builtin.set_stats:
        per_host: false
        aggregate: false
        data:
          runbook_outcome:
            schema: 1
            runbook: tiny
            option: {option}
            status: {status}
            verdict: >-
              {{{{ 'unchecked' if ansible_check_mode else ('recovered' if state == 'well' else 'not_recovered') }}}}
            reason: "The file says {{{{ state }}}}."
            changed: {changed}
            check_mode: "{{{{ ansible_check_mode }}}}"
            actions: []
            before: {{}}
            after: {{state: "{{{{ state }}}}"}}
            checks: []
    - name: Fail unless recovered
      ansible.builtin.assert:
        that: ansible_check_mode or state == "well"
"""

_DIAGNOSE = """\
    - name: Publish
      ansible.builtin.set_stats:
        per_host: false
        aggregate: false
        data:
          runbook_evidence:
            schema: 1
            runbook: tiny
            collected_at: "2026-11-23T12:00:00Z"
            evidence:
              state: "{{ state }}"
              alert: "{{ runbook_alert | default({}) }}"
            unreadable: []
"""

_MEND = """\
    - name: Take the time
      ansible.builtin.command: {argv: [sleep, "{{ pause | default(0) }}"]}
      when: (pause | default(0) | float) > 0
    - name: Note the start
      ansible.builtin.lineinfile: {path: "{{ patient }}.log", line: "A {{ now() }}", create: true, mode: "0600"}
    - name: Mend
      ansible.builtin.copy: {dest: "{{ patient }}", content: "{{ word | default('well') }}", mode: "0600"}
"""

_REPLACE = """\
    - name: Replace
      ansible.builtin.copy: {dest: "{{ patient }}", content: well, mode: "0600"}
"""

_REFUSE = """\
    - name: Refuse
      ansible.builtin.set_stats:
        per_host: false
        aggregate: false
        data:
          runbook_outcome: {schema: 1, runbook: tiny, option: A, status: refused, verdict: unchecked, reason: Not now.,
                            changed: false, check_mode: false, actions: [], before: {}, after: {}, checks: []}
    - name: Fail
      ansible.builtin.fail: {msg: Not now.}
"""

PLAYBOOKS = {
    "diagnose.yml": _DIAGNOSE,
    "verify.yml": _PUBLISH.format(option="verify", status="unchanged", changed="false"),
    "a_mend.yml": _MEND + _PUBLISH.format(option="A", status="acted", changed="true"),
    "b_replace.yml": _REPLACE + _PUBLISH.format(option="B", status="acted", changed="true"),
    "refused.yml": _REFUSE,
    "silent.yml": "    - name: Say\n      ansible.builtin.debug: {msg: nothing}\n",
    "failing.yml": "    - name: Break\n      ansible.builtin.command: {argv: ['false']}\n",
    "hanging.yml": "    - name: Hang\n      ansible.builtin.command: {argv: [sleep, '86399']}\n",
    "hanging_shell.yml": (
        "    - name: Hang\n"
        "      ansible.builtin.shell: trap '' TERM; setsid sleep 86399 & while true; do sleep 86399; done\n"
    ),
    "environment.yml": (
        "    - name: Look\n"
        "      ansible.builtin.set_stats:\n"
        "        per_host: false\n"
        "        aggregate: false\n"
        "        data: {environment: \"{{ lookup('ansible.builtin.pipe', 'env') }}\"}\n"
    ),
    "broken.yml": "    - this is: [not a task\n",
}


def make_project(folder: Path) -> Path:
    """Write the project; its patient is the file ``patient`` in the folder."""
    for name in ("playbooks", "runbooks", "inventory"):
        (folder / name).mkdir()
    for name, tasks in PLAYBOOKS.items():
        (folder / "playbooks" / name).write_text(_HEAD + tasks)
    (folder / "runbooks" / "tiny.md").write_text(RUNBOOK)
    (folder / "inventory" / "hosts.yml").write_text(
        "things:\n  hosts:\n    here:\n      ansible_connection: local\n"
        f"      ansible_python_interpreter: {sys.executable}\n      patient: {folder / 'patient'}\n"
    )
    (folder / "patient").write_text("broken")
    return folder
