"""The same port on AWX: nothing asked is ignored, nothing is launched twice, nothing is lost over a restart."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import SecretStr

from alert_responder.alerts import run_variables
from alert_responder.runner import Report, Request
from alert_responder.runner_awx import AwxRunner, Controller, named_url
from tests.awx_server import TOKEN, Awx
from tests.unit.alert_responder.makers import make_alert, make_outcome

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OPTION = "ops.tests.option_a"
OUTCOME = {"runbook_outcome": make_outcome("recovered").model_dump(by_alias=True)}
EVENTS = (
    {"event": "playbook_on_start", "event_data": {}},
    {"event": "runner_on_start", "event_data": {"task": "Check", "resolved_action": "ansible.builtin.assert"}},
    {"event": "runner_on_start", "event_data": {"task": "Mend", "resolved_action": "ansible.builtin.copy"}},
    {"event": "runner_on_failed", "event_data": {"task": "Mend", "res": {"msg": "no space"}}},
    {"event": "playbook_on_stats", "event_data": {"artifact_data": {}}},
)


@pytest.fixture(params=["/api/v2", "/api/controller/v2"])
def awx(request: pytest.FixtureRequest) -> Iterator[Awx]:
    """Return an AWX that listens, under each prefix."""
    with Awx(request.param).listening() as listening:
        yield listening


@pytest.fixture
def runner(awx: Awx, tmp_path: Path) -> AwxRunner:
    """Return a runner on it that waits for nothing."""
    return make_runner(awx, tmp_path)


def make_runner(awx: Awx, folder: Path, token: str = TOKEN, **controller: Any) -> AwxRunner:
    # AWX hangs up where it fails; a time-out would only tell that the machine is slow.
    given = {"poll_seconds": 1.0, "patience_seconds": 5.0, "request_seconds": 300.0, **controller}
    made = Controller(awx.url, SecretStr(token), awx.prefix, **given)
    return AwxRunner(made, folder=folder / "runs", sleep=lambda _seconds: asyncio.sleep(0))


def run(runner: AwxRunner, name: str = "r1", seconds: float = 60, **request: Any) -> Report:
    return asyncio.run(runner.run(Request(run=name, playbook=OPTION, timeout_seconds=seconds, **request)))


def test_a_job_is_launched_followed_and_read(awx: Awx, runner: AwxRunner, tmp_path: Path) -> None:
    """By the template of the playbook's name; what it published is the report, its events are kept."""
    awx.add(OPTION, artifacts=OUTCOME, events=EVENTS)
    report = run(runner)

    assert (report.result, report.began, report.published) == ("done", True, OUTCOME)
    assert report.reason == "Mend: no space"
    assert [job.body["extra_vars"]["runbook_run_id"] for job in awx.jobs] == ["r1"]
    kept = (tmp_path / "runs" / "r1" / "job_events.jsonl").read_text().splitlines()
    assert [json.loads(line)["counter"] for line in kept] == [1, 2, 3, 4, 5]


def test_labels_arrive_as_the_text_they_are(awx: Awx, runner: AwxRunner) -> None:
    """AWX marks every value as text itself; our mark would become a key."""
    awx.add(OPTION, artifacts=OUTCOME)
    variables = run_variables(make_alert(labels={"instance": "{{ x }}"}), ("instance",), run="r1", incident=7)
    run(runner, variables=variables)

    given = awx.jobs[0].body["extra_vars"]
    assert given["runbook_alert"]["labels"] == {"instance": "{{ x }}"}
    assert given["runbook_run"] == {"id": "r1", "incident": "7"}
    assert "__ansible_unsafe" not in json.dumps(given)


def test_a_dry_run_is_a_check_with_differences(awx: Awx, runner: AwxRunner) -> None:
    """It is asked for as such, or not launched at all."""
    awx.add(OPTION, artifacts=OUTCOME)
    run(runner, check=True)

    assert {name: awx.jobs[0].body[name] for name in ("job_type", "diff_mode")} == {
        "job_type": "check",
        "diff_mode": True,
    }


@pytest.mark.parametrize(
    ("template", "said"),
    [
        pytest.param({"asks": {"ask_variables_on_launch": False}}, "must prompt for extra_vars", id="variables"),
        pytest.param({"asks": {"ask_job_type_on_launch": False}}, "must prompt for job_type", id="job-type"),
        pytest.param({"asks": {"ask_diff_mode_on_launch": False}}, "must prompt for diff_mode", id="diff-mode"),
        pytest.param({"needs": ["reason"]}, "needs the variables reason", id="survey"),
        pytest.param({"passwords": ["ssh_password"]}, "asks for passwords: ssh_password", id="password"),
    ],
)
def test_what_would_be_ignored_is_not_launched(
    awx: Awx, runner: AwxRunner, template: dict[str, Any], said: str
) -> None:
    """A dry run that AWX would turn into a real one never starts."""
    awx.add(OPTION, artifacts=OUTCOME, **template)
    report = run(runner, check=True)

    assert (report.result, report.began) == ("failed_launch", False)
    assert said in report.reason
    assert awx.jobs == []


def test_a_default_that_is_what_is_asked_needs_no_prompt(awx: Awx, runner: AwxRunner) -> None:
    """A template that always shows differences does not have to prompt for it; it is not asked for then."""
    awx.add(OPTION, artifacts=OUTCOME, asks={"ask_diff_mode_on_launch": False}, defaults={"diff_mode": True})

    assert run(runner, check=True).result == "done"
    assert "diff_mode" not in awx.jobs[0].body


def test_what_was_ignored_all_the_same_is_cancelled(
    awx: Awx, runner: AwxRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The template was changed between the question and the launch."""
    template = awx.add(OPTION, artifacts=OUTCOME)
    launch = awx._launch

    def changed(name: str, body: dict[str, Any]) -> tuple[int, Any]:
        template.asks["ask_job_type_on_launch"] = False
        return launch(name, body)

    monkeypatch.setattr(awx, "_launch", changed)
    report = run(runner, check=True)

    assert (report.result, report.began) == ("failed_launch", False)
    assert report.reason == "AWX ignored job_type; job 100 was cancelled"
    assert awx.jobs[0].status == "canceled"


def test_what_was_ignored_and_cannot_be_cancelled_is_verified(
    awx: Awx, runner: AwxRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody knows what it does: the launch is not simply failed."""
    awx.add(OPTION, states=("running",) * 99)
    awx.stubborn = True
    launch = awx._launch
    monkeypatch.setattr(awx, "_launch", lambda name, body: (201, {**launch(name, body)[1], "ignored_fields": {"x": 1}}))
    report = run(runner)

    assert (report.result, report.began) == ("interrupted", True)
    assert "could not be cancelled" in report.reason


@pytest.mark.parametrize("failure", ["502 after", "lost"])
def test_a_launch_that_was_accepted_and_not_answered_is_found_again(awx: Awx, runner: AwxRunner, failure: str) -> None:
    """It is never launched twice."""
    awx.add(OPTION, artifacts=OUTCOME)
    awx.add("other", artifacts={})
    awx.fail("launch", failure)
    report = run(runner)

    assert (report.result, report.published) == ("done", OUTCOME)
    assert awx.requests.count("launch") == 1
    assert len(awx.jobs) == 1


@pytest.mark.parametrize("failure", [502, 503, "hang up", "page"])
def test_a_launch_that_nobody_knows_of_is_not_repeated(awx: Awx, runner: AwxRunner, failure: Any) -> None:
    """What it may have left is verified first; AWX was looked at for as long as patience lasts."""
    awx.add(OPTION, artifacts=OUTCOME)
    awx.fail("launch", failure)
    report = run(runner)

    assert (report.result, report.began) == ("interrupted", True)
    assert awx.requests.count("launch") == 1
    assert awx.requests.count("list") == 5


@pytest.mark.parametrize(
    ("kind", "failure", "said"),
    [
        pytest.param("ask", 401, "does not accept the token", id="401"),
        pytest.param("ask", 403, f"does not let us use job template '{OPTION}' (403)", id="403"),
        pytest.param("ask", 404, "(404)", id="404"),
        pytest.param("ask", 503, "answered 503", id="503"),
        pytest.param("ask", "hang up", "did not answer", id="hang-up"),
        pytest.param("ask", "page", "something else than JSON", id="page"),
        pytest.param("launch", 400, "answered 400", id="400"),
        pytest.param("launch", 403, "(403)", id="launch-403"),
        pytest.param("launch", 405, "answered 405", id="405"),
        pytest.param("launch", 429, "is asked too often", id="429"),
    ],
)
def test_a_refused_launch_has_failed(awx: Awx, runner: AwxRunner, kind: str, failure: Any, said: str) -> None:
    """Nothing runs, and the reason says what to mend; a question that fails has launched nothing either."""
    awx.add(OPTION, artifacts=OUTCOME)
    awx.fail(kind, failure)
    report = run(runner)

    assert (report.result, report.began) == ("failed_launch", False)
    assert said in report.reason
    assert awx.jobs == []


def test_an_awx_that_is_away_has_launched_nothing(awx: Awx, tmp_path: Path) -> None:
    """A connection that was refused carried nothing."""
    awx.url = "http://127.0.0.1:1"
    report = run(make_runner(awx, tmp_path))

    assert (report.result, report.began) == ("failed_launch", False)
    assert "AWX cannot be reached" in report.reason


def test_an_unknown_template_is_named(awx: Awx, runner: AwxRunner) -> None:
    """The same name in another organization is not it."""
    awx.add(OPTION, "Elsewhere", artifacts=OUTCOME)

    assert run(runner).reason.startswith(f"AWX knows no job template '{OPTION}' in this organization")


def test_awx_being_away_for_a_while_is_no_news_of_the_job(awx: Awx, runner: AwxRunner) -> None:
    """Looking goes on."""
    awx.add(OPTION, artifacts=OUTCOME, events=EVENTS)
    awx.fail("look", 502, "hang up", 429, "page")
    awx.fail("events", 503)
    report = run(runner)

    assert (report.result, report.began) == ("done", True)


@pytest.mark.parametrize(
    ("template", "expected", "said"),
    [
        pytest.param(
            {"states": ("running", "failed"), "events": EVENTS}, ("failed_launch", True), "no space", id="no-document"
        ),
        pytest.param({"states": ("pending", "error")}, ("failed_launch", False), "It went wrong.", id="error"),
        pytest.param({"states": ("running", "canceled")}, ("interrupted", True), "cancelled in AWX", id="cancelled"),
        pytest.param({"states": ("pending", "canceled")}, ("failed_launch", False), "cancelled in AWX", id="in-queue"),
        pytest.param(
            {"states": ("running", "failed"), "artifacts": OUTCOME},
            ("done", False),
            "",
            id="a-failed-job-with-a-document",
        ),
    ],
)
def test_how_a_job_ends(
    awx: Awx, runner: AwxRunner, template: dict[str, Any], expected: tuple[str, bool], said: str
) -> None:
    """Each row: the states of the job, and what is reported."""
    awx.add(OPTION, **template)
    report = run(runner)

    assert (report.result, report.began) == expected
    assert said in report.reason


@pytest.mark.parametrize(
    ("states", "expected", "said"),
    [
        pytest.param(("running",), ("timed_out", True), "job 100 was cancelled after its limit of 0 s", id="running"),
        pytest.param(("pending",), ("failed_launch", False), "waited in AWX's queue for 0 s", id="in-the-queue"),
    ],
)
def test_the_limit_holds(
    awx: Awx, runner: AwxRunner, states: tuple[str, ...], expected: tuple[str, bool], said: str
) -> None:
    """The job is cancelled; one that never left the queue has changed nothing."""
    awx.add(OPTION, states=states * 99)
    awx.fail("cancel", 503)
    report = run(runner, seconds=0.2)

    assert (report.result, report.began) == expected
    assert said in report.reason
    assert awx.jobs[0].status == "canceled"


def test_a_job_that_ends_while_it_is_cancelled_counts(awx: Awx, runner: AwxRunner) -> None:
    """What it published is better than a time-out."""
    awx.add(OPTION, artifacts=OUTCOME, states=("running", "successful"))
    awx.stubborn = True
    report = run(runner, seconds=0)

    assert (report.result, report.published) == ("done", OUTCOME)


def test_a_job_that_cannot_be_cancelled_is_told(awx: Awx, runner: AwxRunner, caplog: pytest.LogCaptureFixture) -> None:
    """A person must end it."""
    awx.add(OPTION, states=("running",) * 999)
    awx.stubborn = True
    report = run(runner, seconds=0)

    assert report.reason == "job 100 could not be cancelled after its limit of 0 s"
    assert "End it in AWX." in caplog.text


def test_a_responder_that_stops_leaves_the_job_and_the_next_attaches(awx: Awx, tmp_path: Path) -> None:
    """No second launch; the whole outcome, from another machine as well."""
    template = awx.add(OPTION, artifacts=OUTCOME, events=EVENTS, states=("running",) * 999)
    runner = make_runner(awx, tmp_path)

    async def stop() -> None:
        task = asyncio.create_task(runner.run(Request(run="r1", playbook=OPTION, timeout_seconds=60)))
        while "look" not in awx.requests:  # noqa: ASYNC110 -- the server tells nobody
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(stop())
    assert awx.requests.count("cancel") == 0
    awx.jobs[0].states = ["running", template.states[0], "successful"]
    report = asyncio.run(make_runner(awx, tmp_path / "elsewhere").recover("r1"))

    assert (report.result, report.began, report.published) == ("done", True, OUTCOME)
    assert awx.requests.count("launch") == 1


def test_a_job_is_found_among_many(awx: Awx, runner: AwxRunner) -> None:
    """Page by page, the newest first; jobs of others, with any variables, are passed over."""
    awx.add(OPTION, artifacts=OUTCOME)
    for number in range(250):
        awx._launch(f"{OPTION}++Default", {"extra_vars": {"runbook_run_id": f"x{number}"}})
    awx.jobs[240].body["extra_vars"] = ["odd"]

    assert asyncio.run(runner.recover("x3")).result == "done"
    assert awx.requests.count("list") == 2


@pytest.mark.parametrize(
    ("failures", "expected", "said"),
    [
        pytest.param([], ("failed_launch", False), "before AWX had its job", id="never-launched"),
        pytest.param([503], ("failed_launch", False), "before AWX had its job", id="away-for-a-moment"),
        pytest.param([503] * 9, ("interrupted", True), "AWX cannot be asked", id="away"),
    ],
)
def test_a_run_without_a_job(
    awx: Awx, runner: AwxRunner, failures: list[int], expected: tuple[str, bool], said: str
) -> None:
    """Not being able to ask is not the same as not being there."""
    awx.fail("list", *failures)
    report = asyncio.run(runner.recover("r1"))

    assert (report.result, report.began) == expected
    assert said in report.reason


@pytest.mark.parametrize(
    ("job", "limit"),
    [
        pytest.param({"extra_vars": {"runbook_run_limit_seconds": 0}}, "0 s", id="its-own-limit-is-over"),
        pytest.param(
            {"extra_vars": {"runbook_run_limit_seconds": 60}, "created": "2026-01-01T00:00:00Z"}, "0 s", id="old"
        ),
    ],
)
def test_the_limit_holds_over_a_restart(awx: Awx, runner: AwxRunner, job: dict[str, Any], limit: str) -> None:
    """What was spent before the restart counts."""
    awx.add(OPTION, states=("running",) * 99)
    awx._launch(f"{OPTION}++Default", {"extra_vars": {"runbook_run_id": "r1", **job["extra_vars"]}})
    awx.jobs[0].created = job.get("created", awx.jobs[0].created)
    report = asyncio.run(runner.recover("r1"))

    assert (report.result, limit in report.reason) == ("timed_out", True)


def test_the_token_is_in_the_header_alone(
    awx: Awx, runner: AwxRunner, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither address, body, log, report nor what is kept holds it."""
    awx.add(OPTION, artifacts=OUTCOME, events=EVENTS)
    awx.fail("look", 500, "hang up")
    with caplog.at_level("DEBUG"):
        report = run(runner)
    wrong = make_runner(awx, tmp_path, token="wrong-s3cr3t")
    refused = run(wrong, "r2")

    assert "does not accept the token" in refused.reason
    assert all(headers["Authorization"].endswith("s3cr3t-token") for _, headers, _ in awx.seen[:-1])
    written = "".join(path.read_text() for path in (tmp_path / "runs").rglob("*") if path.is_file())
    sent = "".join(f"{path}{body.decode()}" for path, _, body in awx.seen)
    for secret in (TOKEN, "wrong-s3cr3t"):
        assert secret not in written + sent + caplog.text + str(report) + str(refused)


def test_old_runs_are_removed(awx: Awx, tmp_path: Path) -> None:
    """By the same rule as those of local runs."""
    awx.add(OPTION, artifacts=OUTCOME)
    runner = make_runner(awx, tmp_path)
    runner._keep_runs = 1
    for name in ("r1", "r2"):
        run(runner, name)
    runner.clean_up()

    assert len(list((tmp_path / "runs").iterdir())) == 1


def test_reserved_characters_of_a_name_are_escaped() -> None:
    """As AWX documents its named addresses."""
    assert named_url("a+b/c d", "Ops & Co") == "a%5B%2B%5Db%5B%2F%5Dc%20d++Ops%20%5B%26%5D%20Co"
