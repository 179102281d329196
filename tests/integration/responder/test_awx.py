"""The real process with AWX as its executor: jobs in place of runs, through a kill and through AWX being away."""

from __future__ import annotations

import re
import signal
from typing import TYPE_CHECKING

import pytest

from tests.awx_server import TOKEN, Awx
from tests.integration.responder.service import HEALED
from tests.unit.alert_responder.makers import make_evidence, make_outcome

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.responder.service import Service

pytestmark = pytest.mark.integration

DIAGNOSE, MEND = "ops.tiny.diagnose", "ops.tiny.a_mend"
EVIDENCE = make_evidence(state="broken").model_dump(mode="json", by_alias=True)
OUTCOME = make_outcome("recovered", option="A").model_dump(mode="json", by_alias=True)
BEGINS = ({"event": "runner_on_start", "event_data": {"task": "Mend", "resolved_action": "ansible.builtin.copy"}},)


@pytest.fixture(params=["/api/v2"])
def awx(request: pytest.FixtureRequest, service: Service, monkeypatch: pytest.MonkeyPatch) -> Iterator[Awx]:
    """Return an AWX with the templates of the project, which the service uses."""
    runbook = service.project / "runbooks" / "tiny.md"
    runbook.write_text(re.sub(r"playbooks/(\w+)\.yml", r"ops.tiny.\1", runbook.read_text()))
    made = Awx(request.param)
    made.add(DIAGNOSE, artifacts={"runbook_evidence": EVIDENCE})
    made.add(MEND, artifacts={"runbook_outcome": OUTCOME}, events=BEGINS)
    monkeypatch.setenv("ALERT_RESPONDER_AWX_TOKEN", TOKEN)
    with made.listening():
        service.settings |= {"executor": "awx", "awx_url": made.url, "awx_prefix": made.prefix}
        yield made


def launched(awx: Awx) -> list[str]:
    names = {template.id: name.removesuffix("++Default") for name, template in awx.templates.items()}
    return [names[job.template.id] for job in awx.jobs]


@pytest.mark.parametrize("awx", ["/api/v2", "/api/controller/v2"], indirect=True)
def test_an_alert_heals_the_service_by_jobs(service: Service, awx: Awx) -> None:
    """Diagnosis and option are a job each, with the declared label alone; the token stands nowhere."""
    service.start(keep_log=True)
    service.post(labels={"stranger": "x"})
    service.until(service.over)

    assert service.story() == HEALED
    assert launched(awx) == [DIAGNOSE, MEND]
    given = [job.body["extra_vars"] for job in awx.jobs]
    assert [one["runbook_alert"]["labels"] for one in given] == [{"instance": "db1:5432"}] * 2
    assert service.stop() == 0
    kept = [file for file in service.config.parent.rglob("*") if file.is_file()]
    assert kept
    assert not [file for file in kept if TOKEN.encode() in file.read_bytes()]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_after_a_kill_the_running_job_is_attached_to_again(service: Service, awx: Awx, number: signal.Signals) -> None:
    """It went on without the responder, is launched once, and its outcome is that of the run."""
    awx.templates[f"{MEND}++Default"].states = ("running",) * 1000
    service.start()
    service.post()
    service.until(lambda: launched(awx) == [DIAGNOSE, MEND] and "look" in awx.requests[-2:])
    service.stop(number)
    awx.jobs[-1].states = ["running", "running", "successful"]
    service.start()
    service.until(service.over)

    assert service.story() == HEALED
    assert launched(awx) == [DIAGNOSE, MEND]
    assert "cancel" not in awx.requests


def test_an_awx_that_is_away_costs_no_option(service: Service, awx: Awx) -> None:
    """Neither the question before a launch nor the launch is answered; both are tried again when nothing can run."""
    awx.fail("ask", 503, "hang up")
    awx.fail("launch", 429)
    service.settings["policy"]["launch_retries"] = 3
    service.start()
    service.post()
    service.until(service.over)

    story = service.story()
    assert story.count("finished failed_launch") == 3
    assert [line for line in story if line != "finished failed_launch"][-4:] == HEALED[-4:]
    assert launched(awx) == [DIAGNOSE, MEND]
