"""The warm executor: what a run finds in a fork is what it finds in a new program, and nothing rests on one process."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from alert_responder import children
from alert_responder.processes import processes_of
from alert_responder.runner import AnsibleRunner, Report, Request
from tests.integration.responder.project import make_project

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.integration

# Runs inside ansible-playbook: writes down what it finds, then leaves everything changed.
LOOK = """
import json, os, signal, sys, tempfile
from ansible import constants as C
from ansible.plugins.callback import CallbackBase

class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "look"

    def v2_playbook_on_start(self, playbook):
        links = {}
        for name in sorted(os.listdir("/proc/self/fd"), key=int):
            try:
                links[name] = os.readlink("/proc/self/fd/" + name)
            except OSError:
                pass
        status = dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\\t" in line)
        umask = os.umask(0o022)
        found = {
            "environment": dict(os.environ),
            "cwd": os.getcwd(),
            "umask": umask,
            "files": links,
            "signals": [status["SigIgn"], status["SigBlk"]],
            "handlers": {one.name: str(signal.getsignal(one))[:20] for one in signal.valid_signals()
                         if hasattr(one, "name")},
            "argv": sys.argv,
            "path": sys.path,
            "streams": [[one.isatty(), one.encoding, one.line_buffering, one.fileno()]
                        for one in (sys.stdin, sys.stdout, sys.stderr)],
            "temporary": tempfile.gettempdir(),
            "constants": {name: sorted(map(str, value)) if isinstance(value, (set, frozenset)) else str(value)
                          for name, value in vars(C).items() if name.isupper()},
            "program": open("/proc/self/cmdline").read().split("\\0"),
            "leader": os.getsid(0) == os.getpid(),
            "dirt": getattr(C, "DIRT", None),
            "modules": sorted(name for name in sys.modules if "dirt" in name),
        }
        with open(C.DEFAULT_LOCAL_TMP + "/../../found.json", "w") as file:
            json.dump(found, file)
        C.DIRT = os.environ["DIRT"] = "dirt"
        C.DEFAULT_TIMEOUT = 99
        sys.modules["dirt"] = sys
        sys.path.insert(0, "/dirt")
        os.umask(0o777 - 0o700)
        os.open("/etc/hostname", os.O_RDONLY)
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        tempfile.tempdir = "/"
"""

TIMEOUT = """\
---
- name: Test
  hosts: things
  gather_facts: false
  tasks:
    - name: Publish
      ansible.builtin.set_stats:
        per_host: false
        aggregate: false
        data:
          timeout: "{{ lookup('ansible.builtin.config', 'DEFAULT_TIMEOUT') }}"
          word: "{{ 'say' | word }}"
          given: "{{ lookup('ansible.builtin.env', 'GIVEN') }}"
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a project with small playbooks, a filter of its own, and a callback that looks around."""
    (tmp_path / "project").mkdir()
    made = make_project(tmp_path / "project")
    for folder in ("callback_plugins", "filters"):
        (made / "playbooks" / folder).mkdir()
    (made / "playbooks" / "callback_plugins" / "look.py").write_text(LOOK)
    (made / "playbooks" / "timeout.yml").write_text(TIMEOUT)
    (made / "ansible.cfg").write_text("[defaults]\nfilter_plugins = ./playbooks/filters\n")
    _say(made, "first")
    return made


def _say(project: Path, word: str) -> None:
    (project / "playbooks" / "filters" / "say.py").write_text(
        f"class FilterModule:\n    def filters(self):\n        return {{'word': lambda _: {word!r}}}\n"
    )


@pytest.fixture
def runners(project: Path, tmp_path: Path) -> Iterator[dict[str, AnsibleRunner]]:
    """Return a runner of each kind, over one project and one folder."""
    made = {
        kind: AnsibleRunner(
            folder=tmp_path / "runs",
            project=project,
            inventory=project / "inventory",
            collections=[],
            pass_environment=["GIVEN"],
            warm=kind == "warm",
        )
        for kind in ("local", "warm")
    }
    yield made
    for one in made.values():
        one.close()


@pytest.fixture
def warm(runners: dict[str, AnsibleRunner]) -> AnsibleRunner:
    """Return the runner with a warm process."""
    return runners["warm"]


def run(runner: AnsibleRunner, playbook: str, name: str, seconds: float = 120, **request: Any) -> Report:
    made = Request(run=name, playbook=f"playbooks/{playbook}.yml", timeout_seconds=seconds, **request)
    return asyncio.run(runner.run(made))


def server(runner: AnsibleRunner) -> int:
    """Return the number of the warm process."""
    assert runner._warm is not None
    assert runner._warm._process is not None
    return runner._warm._process.pid


def test_a_fork_finds_what_a_new_program_finds(
    runners: dict[str, AnsibleRunner], project: Path, tmp_path: Path
) -> None:
    """Environment, folder, umask, files, signals, arguments, settings: all alike, whatever the run before left."""
    found = {}
    for kind, name in (("local", "plain-1"), ("warm", "fork-1"), ("warm", "fork-2")):
        assert run(runners[kind], "diagnose", name).result == "done"
        text = (tmp_path / "runs" / name / "found.json").read_text()
        # What is the run's own: its name, numbers of processes, folders of random names, its terminal.
        for pattern, word in (
            (name, "RUN"),
            (r"ansible-local-[\w]+", "LOCAL"),
            (r"/dev/pts/\d+", "TERMINAL"),
            (r"#\d+", "#"),
        ):
            text = re.sub(pattern, word, text)
        found[name] = json.loads(re.sub(r"(pipe|socket|anon_inode):\[?\w+\]?", r"\1", text))
    # Only this tells them apart, and that the forks have not gone the plain way after all.
    assert any("ansible-playbook" in word for word in found["plain-1"].pop("program"))
    assert "alert_responder.run_warm" in found["fork-1"]["program"]
    assert "alert_responder.run_warm" in found["fork-2"]["program"]
    for part, expected in found["plain-1"].items():
        assert found["fork-1"][part] == expected, part
        assert found["fork-2"][part] == expected, part
    assert found["fork-2"]["dirt"] is None
    assert found["fork-2"]["modules"] == []


def test_forks_come_from_one_process_until_what_it_imported_changes(
    warm: AnsibleRunner, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plugin, the configuration and the environment are read at import: each change is seen by the next run."""
    first = run(warm, "timeout", "r1")
    number = server(warm)
    assert first.published == {"timeout": 10, "word": "first", "given": ""}
    run(warm, "timeout", "r2")
    assert server(warm) == number

    _say(project, "another word")
    assert run(warm, "timeout", "r3").published["word"] == "another word"
    with (project / "ansible.cfg").open("a") as file:
        file.write("timeout = 33\n")
    assert run(warm, "timeout", "r4").published["timeout"] == 33
    monkeypatch.setenv("GIVEN", "this")
    assert run(warm, "timeout", "r5").published == {"timeout": 33, "word": "another word", "given": "this"}
    (project / "ansible.cfg").unlink()
    (project / "playbooks" / "filters").rename(project / "playbooks" / "filter_plugins")
    assert run(warm, "timeout", "r6").published == {"timeout": 10, "word": "another word", "given": "this"}


def test_a_dead_process_is_replaced(warm: AnsibleRunner) -> None:
    """Killed between two runs, nobody notices."""
    warm.get_ready()
    number = server(warm)
    os.kill(number, signal.SIGKILL)

    assert run(warm, "diagnose", "r1").result == "done"
    assert server(warm) != number


def test_a_run_outlives_the_process_that_it_came_from(warm: AnsibleRunner, project: Path) -> None:
    """Killed in the middle of a run, the run ends as it would have, once; the next one finds another process."""

    async def kill_in_the_middle() -> Report:
        request = Request(run="r1", playbook="playbooks/a_mend.yml", timeout_seconds=120, variables={"pause": 2})
        task = asyncio.create_task(warm.run(request))
        await _until(lambda: len(processes_of("r1")) >= 3)
        os.kill(server(warm), signal.SIGKILL)
        return await task

    report = asyncio.run(kill_in_the_middle())

    assert (report.result, report.published["runbook_outcome"]["verdict"]) == ("done", "recovered")
    assert len((project / "patient.log").read_text().splitlines()) == 1
    assert run(warm, "diagnose", "r2").result == "done"


@pytest.mark.parametrize("also_the_server", [False, True])
def test_a_killed_run_is_told_and_leaves_nothing(warm: AnsibleRunner, *, also_the_server: bool) -> None:
    """A run that was killed may have come further than it says, whoever else was killed with it."""

    async def kill_in_the_middle() -> Report:
        task = asyncio.create_task(warm.run(Request(run="r1", playbook="playbooks/hanging.yml", timeout_seconds=120)))
        await _until(lambda: len(processes_of("r1")) >= 3)
        victims = processes_of("r1") | ({server(warm)} if also_the_server else set())
        for victim in victims:
            with suppress(ProcessLookupError):  # it may end with the one before it
                os.kill(victim, signal.SIGKILL)
        return await task

    report = asyncio.run(kill_in_the_middle())

    assert (report.result, report.began) == ("failed_launch", True)
    assert "left no result" in report.reason
    # What was killed last may not be gone yet; what was not killed would hang for a day.
    asyncio.run(_until(lambda: processes_of("r1") == set()))
    assert run(warm, "diagnose", "r2").result == "done"


def test_a_process_that_stands_still_is_not_waited_for_for_ever(
    warm: AnsibleRunner, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run goes on with another process, and what the first one had been asked is not done as well."""
    assert run(warm, "diagnose", "r1").result == "done"
    stuck = server(warm)
    os.kill(stuck, signal.SIGSTOP)
    monkeypatch.setattr(children, "_START_SECONDS", 20)

    assert run(warm, "a_mend", "r2").result == "done"
    with pytest.raises(ProcessLookupError):
        os.kill(stuck, 0)
    assert len((project / "patient.log").read_text().splitlines()) == 1


def test_a_run_that_is_given_up_before_it_began_never_begins(warm: AnsibleRunner, project: Path) -> None:
    """The responder's task ends while the warm process is still importing."""

    async def give_up() -> None:
        task = asyncio.create_task(warm.run(Request(run="r1", playbook="playbooks/a_mend.yml", timeout_seconds=120)))
        await _until((warm._folder / "r1" / "job.json").exists)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(give_up())

    # The process is there and takes jobs, one after the other.
    assert run(warm, "diagnose", "r2").result == "done"
    assert processes_of("r1") == set()
    assert not (project / "patient.log").exists()


@pytest.mark.parametrize(
    ("setting", "said"),
    [("log_path = ansible.log", "is log_path set?"), ("timeout = never", "DEFAULT_TIMEOUT")],
    ids=["an-open-file", "a-wrong-setting"],
)
def test_without_a_warm_process_runs_go_the_plain_way(
    warm: AnsibleRunner, project: Path, setting: str, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The log has the reason, once; a run is what it would have been without the setting."""
    with (project / "ansible.cfg").open("a") as file:
        file.write(f"{setting}\n")
    results = [run(warm, "a_mend", name).result for name in ("r1", "r2")]

    assert results == (["done"] * 2 if "log_path" in setting else ["failed_launch"] * 2)
    [record] = [one for one in caplog.records if getattr(one, "action", "") == "warm.missing"]
    assert said in record.getMessage()


def test_a_project_that_is_not_there_is_told(warm: AnsibleRunner, project: Path, tmp_path: Path) -> None:
    """Neither way can run anything; the report says so."""
    project.rename(tmp_path / "elsewhere")
    warm.get_ready()

    assert run(warm, "diagnose", "r1").result == "failed_launch"


async def _until(reached: Any, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
