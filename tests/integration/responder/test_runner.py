"""Real runs of ansible-runner, in new programs and in forks of a warm process: the same is asked of both."""

from __future__ import annotations

import asyncio
import stat
import time
from typing import TYPE_CHECKING, Any

import pytest

from alert_responder.alerts import run_variables
from alert_responder.processes import processes_of
from alert_responder.runner import AnsibleRunner, Report, Request
from tests.integration.responder.project import make_project
from tests.unit.alert_responder.makers import make_alert

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.integration


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a project with small playbooks."""
    (tmp_path / "project").mkdir()
    return make_project(tmp_path / "project")


@pytest.fixture(params=["local", "warm"])
def runner(request: pytest.FixtureRequest, project: Path, tmp_path: Path) -> Iterator[AnsibleRunner]:
    """Return a runner over the project; a warm one has not gone the plain way."""
    made = AnsibleRunner(
        folder=tmp_path / "runs",
        project=project,
        inventory=project / "inventory",
        collections=[],
        warm=request.param == "warm",
    )
    yield made
    assert made._warm is None or made._warm._rests_until == 0
    made.close()


def run(runner: AnsibleRunner, playbook: str, name: str = "r1", seconds: float = 60, **request: Any) -> Report:
    made = Request(run=name, playbook=f"playbooks/{playbook}.yml", timeout_seconds=seconds, **request)
    return asyncio.run(runner.run(made))


def test_an_option_is_run_and_its_outcome_read(runner: AnsibleRunner, project: Path) -> None:
    """The document that the play published is the report."""
    report = run(runner, "a_mend")

    assert (report.result, report.began) == ("done", True)
    assert report.published["runbook_outcome"]["verdict"] == "recovered"
    assert (project / "patient").read_text() == "well"
    assert report.seconds > 0


def test_check_mode_changes_nothing(runner: AnsibleRunner, project: Path) -> None:
    """A dry run says so in its document and leaves the system as it was."""
    report = run(runner, "a_mend", check=True)

    assert report.published["runbook_outcome"]["check_mode"] is True
    assert (project / "patient").read_text() == "broken"


def test_a_refusal_is_a_document_although_the_play_fails(runner: AnsibleRunner) -> None:
    """A failed play that published its outcome has done its work."""
    report = run(runner, "refused")

    assert (report.result, report.began) == ("done", False)
    assert report.published["runbook_outcome"]["status"] == "refused"
    assert report.reason == "Fail: Not now."


@pytest.mark.parametrize(
    ("playbook", "began", "said"),
    [
        pytest.param("failing", True, "Break: non-zero return code", id="a-task-fails"),
        pytest.param("silent", False, "PLAY RECAP", id="no-document"),
        pytest.param("broken", False, "YAML parsing failed", id="not-a-playbook"),
        pytest.param("missing", False, "could not be found", id="no-such-playbook"),
    ],
)
def test_a_run_without_a_document_has_failed_to_launch(
    runner: AnsibleRunner, playbook: str, began: bool, said: str
) -> None:
    """Each row says why, and whether a task that may change something had begun."""
    report = run(runner, playbook)

    assert (report.result, report.began) == ("failed_launch", began)
    assert said in report.reason
    assert len(report.reason) <= 5000


@pytest.mark.parametrize("playbook", ["hanging", "hanging_shell"])
def test_a_hanging_run_is_ended_with_all_its_processes(runner: AnsibleRunner, playbook: str) -> None:
    """The limit holds from outside, and not even a process that ignores SIGTERM in a session of its own is left."""
    started = time.monotonic()
    report = run(runner, playbook, seconds=4)

    assert report.result == "timed_out"
    assert report.reason == "it was ended after its limit of 4 s"
    assert time.monotonic() - started < 12
    assert processes_of("r1") == set()


def test_a_cancelled_run_leaves_no_process(runner: AnsibleRunner) -> None:
    """Stopping the responder's task ends the run."""

    async def cancel() -> None:
        task = asyncio.create_task(runner.run(Request(run="r1", playbook="playbooks/hanging.yml", timeout_seconds=60)))
        async with asyncio.timeout(20):
            while len(processes_of("r1")) < 3:  # noqa: ASYNC110 -- the system tells nobody when a process appears
                await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())

    assert processes_of("r1") == set()
    assert asyncio.run(runner.recover("r1")).result == "interrupted"


def test_what_a_run_left_is_read_after_a_restart(runner: AnsibleRunner) -> None:
    """A finished run is known again from its folder; one that never began is told apart."""
    report = run(runner, "a_mend")

    recovered = asyncio.run(runner.recover("r1"))
    assert (recovered.result, recovered.published) == ("done", report.published)
    never = asyncio.run(runner.recover("never"))
    assert (never.result, never.began) == ("failed_launch", False)


def test_a_hostile_label_arrives_as_literal_text(runner: AnsibleRunner, project: Path, tmp_path: Path) -> None:
    """A template in a label is text to the play, even if it came as far as the run."""
    hostile = f"{{{{ lookup('pipe','touch {tmp_path}/pwned') }}}}"
    variables = run_variables(make_alert(labels={"instance": hostile}), ("instance",), run="r1", incident=1)
    report = run(runner, "diagnose", variables=variables)

    assert report.published["runbook_evidence"]["evidence"]["alert"]["labels"]["instance"] == hostile
    assert not (tmp_path / "pwned").exists()


def test_the_environment_is_scrubbed_and_variables_are_not_on_the_command_line(
    runner: AnsibleRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the responder's secrets nor the variables are found in what the run sees or leaves."""
    monkeypatch.setenv("ALERT_RESPONDER_TOKENS", "s3cr3t-token")
    report = run(runner, "environment", variables={"word": "s3cr3t-variable"})

    assert "PATH=" in report.published["environment"]
    assert "s3cr3t" not in report.published["environment"]
    left = [path for path in (tmp_path / "runs").rglob("*") if path.is_file()]
    assert any(path.name == "command" for path in left)
    assert [path for path in left if "s3cr3t" in path.read_text(errors="replace")] == []
    assert stat.S_IMODE((tmp_path / "runs" / "r1").stat().st_mode) == 0o700


def test_runs_at_once_do_not_disturb_each_other(runner: AnsibleRunner) -> None:
    """Each run has a folder of its own."""

    async def both() -> list[Report]:
        return list(
            await asyncio.gather(
                *(
                    runner.run(
                        Request(run=name, playbook="playbooks/diagnose.yml", timeout_seconds=60, variables={"n": name})
                    )
                    for name in ("r1", "r2")
                )
            )
        )

    assert [report.result for report in asyncio.run(both())] == ["done", "done"]


def test_old_runs_are_removed(project: Path, tmp_path: Path) -> None:
    """The retention keeps the newest."""
    for name in ("old", "new"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        time.sleep(0.02)
    keeper = AnsibleRunner(
        folder=tmp_path / "runs", project=project, inventory=project, collections=[], keep_runs=1, keep_days=1
    )
    keeper.clean_up()

    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["new"]
