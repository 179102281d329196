"""The real process: an alert in, a mended service out; and what a kill in the middle leaves."""

from __future__ import annotations

import functools
import os
import signal
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from alert_responder.processes import processes_of
from tests.integration.responder.service import HEALED, TOKEN, Service, command

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("executor", ["local", "warm"])
def test_an_alert_heals_the_service(service: Service, executor: str) -> None:
    """Evidence, the option it supports, recovery proved, closed; and the command line tells the same story."""
    service.settings["executor"] = executor
    service.start()
    answer = service.post(address=1)

    assert (answer.status_code, answer.json()) == (200, {"alerts": [{"incident": 1, "outcome": "opened"}]})
    service.until(service.over)
    assert service.story() == HEALED
    assert (service.project / "patient").read_text() == "well"
    assert service.post().json() == {"alerts": [{"incident": 1, "outcome": "repeated"}]}
    shown = command(service, "incidents", "show", "1").stdout
    assert "option A chosen: The file does not say well. [state=broken]" in shown
    assert "Closed as recovered: The file says well." in shown
    assert "recovered" in command(service, "incidents").stdout
    metrics = service.client.get("/metrics").text
    assert 'alert_responder_incidents_ended_total{runbook="tiny",status="recovered"} 1.0' in metrics
    assert service.stop() == 0
    assert warm_processes(service) == []


def test_the_next_option_after_one_that_did_not_help(service: Service) -> None:
    """Option A is made useless, new evidence supports B, and B helps."""
    mend = service.project / "playbooks" / "a_mend.yml"
    mend.write_text(mend.read_text().replace("default('well')", "default('ill')"))
    service.start()
    service.post()
    service.until(service.over)

    assert [line for line in service.story() if line.startswith(("started", "closed"))] == [
        "started diagnose",
        "started option A",
        "started diagnose",
        "started option B",
        "closed recovered",
    ]


def test_no_option_helps_is_escalated_with_the_evidence(service: Service) -> None:
    """The record that a person gets holds the evidence from before the first change and every attempt."""
    mend = service.project / "playbooks" / "a_mend.yml"
    mend.write_text(mend.read_text().replace("default('well')", "default('worse')"))
    service.start()
    service.post()
    service.until(service.over)

    last = service.events()[-1]
    assert last["kind"] == "escalated"
    assert last["reason"] == "No option is left whose evidence holds, and the service is not well. Tried: A."
    assert last["next_step"] == "Work through runbooks/tiny.md by hand; its owner is Team."
    assert service.events()[2]["evidence"]["evidence"]["state"] == "broken"
    assert service.post().json()["alerts"][0]["outcome"] == "repeated"


def test_hostile_labels_never_reach_a_playbook(service: Service) -> None:
    """Each incident is escalated with the reason; nothing was started, nothing was executed."""
    service.start()
    hostile = ["{{ lookup('pipe','touch pwned') }}", "'; DROP TABLE incidents; --", "db1\nother", "x" * 100_000]
    for number, instance in enumerate(hostile, start=1):
        answer = service.post(labels={"instance": instance}, fingerprint=f"f{number}")
        assert answer.json() == {"alerts": [{"incident": number, "outcome": "opened"}]}
    for number in range(1, len(hostile) + 1):
        service.until(functools.partial(service.over, number))
        assert service.story(number) == ["opened", "escalated"]
        assert "label instance" in service.events(number)[-1]["reason"]
    assert list(service.project.parent.rglob("pwned")) == []
    assert "label instance" in command(service, "incidents", "show", "1").stdout


@contextmanager
def _a_slow_option(service: Service) -> Iterator[None]:
    """Start the service with an option that takes long, and wait until it has begun to act."""
    mend = service.project / "playbooks" / "a_mend.yml"
    quick = mend.read_text()
    mend.write_text(quick.replace("default(0)", "default(86399)").replace("float) > 0", "float) > 1"))
    service.start()
    service.post()
    service.until(lambda: service.story()[-1] == "started option A")
    run = service.events()[-1]["run"]
    # Another test may run the same program on this machine.
    service.until(lambda: not processes_of(run).isdisjoint(map(int, living("sleep", "86399"))))
    yield
    mend.write_text(quick)


def living(*words: str) -> list[str]:
    """Return the processes whose command line is exactly these words."""
    wanted = "\0".join(words) + "\0"
    found = []
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdigit() and (process / "cmdline").read_text() == wanted:
                found.append(process.name)
        except OSError:
            continue
    return found


def warm_processes(service: Service) -> list[str]:
    """Return the processes that have imported Ansible for this service, without their forks."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
            if b"alert_responder.run_warm" in words and (process / "cwd").readlink() == service.project:
                found.append(process.name)
        except OSError:
            continue
    return found


@pytest.mark.parametrize("executor", ["local", "warm"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_after_a_kill_in_the_middle_the_option_is_verified_first(
    service: Service, number: signal.Signals, executor: str
) -> None:
    """Nothing acknowledged is lost, nothing of the run lives on, and the option does not run a second time."""
    service.settings["executor"] = executor
    with _a_slow_option(service):
        run = service.events()[-1]["run"]
        service.stop(number)
        service.until(lambda: processes_of(run) == set() and warm_processes(service) == [], seconds=15)
    assert (service.project / "patient").read_text() == "broken"
    service.start()
    service.until(service.over)

    assert service.story() == [
        "opened",
        "started diagnose",
        "finished done",
        "started option A",
        "finished interrupted",
        "started verify",
        "finished done",
        "started diagnose",
        "finished done",
        "escalated",
    ]
    assert not (service.project / "patient.log").exists()


def test_an_alert_that_ends_lets_the_running_step_end_and_starts_nothing(service: Service) -> None:
    """`resolved` neither kills nor starts."""
    mend = service.project / "playbooks" / "a_mend.yml"
    mend.write_text(mend.read_text().replace("default(0)", "default(2)").replace("default('well')", "default('ill')"))
    service.start()
    service.post()
    service.until(lambda: service.story()[-1] == "started option A")
    service.post(status="resolved", endsAt="2026-11-23T13:00:00Z")
    service.until(service.over)

    assert service.story()[3:] == ["started option A", "ended", "finished done", "closed resolved"]


def test_two_responders_on_one_state_folder_are_refused(service: Service) -> None:
    """The second one says why it does not start."""
    service.start()
    os.environ["ALERT_RESPONDER_TOKENS"] = TOKEN
    try:
        second = command(service, "serve")
    finally:
        del os.environ["ALERT_RESPONDER_TOKENS"]

    assert second.returncode == 2
    assert "another responder uses the state folder" in second.stderr


def test_one_step_by_hand(service: Service) -> None:
    """`run` uses the same runner, in check mode first, with variables held against the front matter."""
    service.config.write_text(yaml.safe_dump(service.settings))

    checked = command(service, "run", "tiny", "--option", "A", "--check")
    assert (checked.returncode, (service.project / "patient").read_text()) == (0, "broken")
    assert "acted, unchecked" in checked.stdout
    wrong = command(service, "run", "tiny", "--option", "A", "-e", "word=gone")
    assert wrong.returncode == 2
    assert "word is 'gone', expected one of well, ill" in " ".join(wrong.stderr.replace("│", " ").split())
    assert command(service, "run", "tiny", "--verify").returncode == 1
    done = command(service, "run", "tiny", "--option", "A", "-e", "word=well")
    assert (done.returncode, (service.project / "patient").read_text()) == (0, "well")
    assert '"state": "well"' in command(service, "run", "tiny", "--diagnose", "--json").stdout
