"""The modules for the way of an alert on real servers; docker and the servers' own APIs say what became of it."""

from __future__ import annotations

import importlib
import json
import subprocess
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.integration.containers import wait_for
from tests.integration.gate import Gate
from tests.integration.observability.pair import FAILING, RULES, Pair, start_pair, write

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.integration.containers import Containers

    RunModule = Callable[..., dict[str, Any]]

pytestmark = [pytest.mark.integration, pytest.mark.slow]

MODULES = "ansible_collections.ops.runbooks.plugins.modules."
path_info = importlib.import_module(f"{MODULES}alerting_path_info").main
path_check = importlib.import_module(f"{MODULES}alerting_path_check").main
config = importlib.import_module(f"{MODULES}alerting_config").main
repair = importlib.import_module(f"{MODULES}prometheus_storage_repair").main

QUIET = {"alert": "QuietToo", "expr": "vector(0) > 2"}
# The last segment of the write-ahead log once more, two numbers on: the one between is missing.
GAP = 'cd /data/wal && last=$(ls -d 0??????? | tail -1) && cp -p "$last" "$(printf %08d "$(expr "$last" + 2)")"'


@pytest.fixture(scope="module")
def running(containers: Containers, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """Start both servers."""
    return start_pair(containers, tmp_path_factory.mktemp("pair"))


@pytest.fixture
def pair(running: Pair) -> Pair:
    """Give a test two servers that run with their files."""
    for kind in ("prometheus", "alertmanager"):
        if not running.is_ready(kind):
            running.start(kind)
    write(running.folder / "prometheus" / "rules.yml", RULES)
    for kind in ("prometheus", "alertmanager"):
        httpx.post(f"{running.url(kind)}/-/reload", timeout=60).raise_for_status()
    running.arrived()
    return running


def reloaded(pair: Pair) -> None:
    """Have Prometheus read its files, past the module."""
    httpx.post(f"{pair.url('prometheus')}/-/reload", timeout=60).raise_for_status()


def cut(pair: Pair, kind: str, at: int) -> Gate:
    """Return a way to a server that is killed before its request number ``at``."""
    container = pair.prometheus if kind == "prometheus" else pair.alertmanager
    return Gate(pair.ports[kind], at, container.handle.kill)


def test_every_hop_is_read(pair: Pair, run_module: RunModule) -> None:
    """Check and run say the same, twice; nothing is left out, and the servers say the same themselves."""
    seen = [run_module(path_info, pair.options(), check=check, diff=True) for check in (True, False, False)]
    for told in seen:
        assert (told["_exit_code"], told["changed"], told["unreadable"]) == (0, False, []), told
        assert (told["prometheus"]["ready"], told["alertmanager"]["ready"]) == (True, True)
        assert told["prometheus"]["rules"] == len(pair.rules()) == 2
        assert len(told["prometheus"]["alertmanagers"]) == 1
        assert told["alertmanager"]["heartbeat_age_seconds"] < 600
        assert [told[name] for name in ("invalid", "stale", "failing_rules")] == [[], [], []]
        assert told["storage"] == {"damaged": False, "writable": True, "error": ""}
    refused = run_module(path_info, pair.options(demand="prometheus_down"))
    assert (refused["_exit_code"], refused["refused"]) == (1, True)


@pytest.mark.parametrize("at", [1, 2, 3, 4])
def test_what_is_read_while_prometheus_dies_is_true(pair: Pair, run_module: RunModule, at: int) -> None:
    """Each of its four answers may be the first that does not come; the other server is read all the same."""
    with cut(pair, "prometheus", at).open() as gate:
        told = run_module(path_info, pair.options(urls={"prometheus": gate.url}))
    assert told["_exit_code"] == 0, told
    assert told["prometheus"]["ready"] is (at > 1)
    assert told["alertmanager"]["heartbeat_age_seconds"] is not None
    assert "Prometheus" in str([gap["what"] for gap in told["unreadable"]])
    assert told["storage"]["damaged"] is False
    assert "prometheus" not in told["stale"]

    again = run_module(path_info, pair.options(demand="prometheus_down"))
    assert (again["_exit_code"], again["prometheus"]["ready"]) == (0, False)
    assert again["prometheus"]["container"]["state"] == "exited"
    assert again["prometheus"]["configuration"]["valid"] is True
    assert run_module(path_info, pair.options(demand="alertmanager_down"))["_exit_code"] == 1


def checked(pair: Pair, **more: Any) -> dict[str, Any]:
    options = pair.options(listen_host=pair.listen_host, listen_port=pair.listen_port, **more)
    return {"heartbeat_seconds": 600, "arrival_seconds": 60, "recovery_timeout_seconds": 120, **options}


def test_a_test_alert_arrives_and_is_ended(pair: Pair, run_module: RunModule) -> None:
    """Check mode sends none and proves nothing; a run proves it, twice; no test alert goes on firing."""
    planned = run_module(path_check, checked(pair, recovery_timeout_seconds=2), check=True)
    assert (planned["verdict"], planned["changed"]) == ("unknown", False), planned
    for _run in range(2):
        done = run_module(path_check, checked(pair), diff=True)
        assert (done["verdict"], done["_exit_code"], done["changed"]) == ("recovered", 0, False), done
    wait_for(
        lambda: "AlertingPathProbe" not in json.dumps(pair.ask("alertmanager", "/api/v2/alerts?active=true")),
        "The test alerts end",
    )


@pytest.mark.parametrize("at", [1, 3, 5])
def test_an_alertmanager_that_dies_is_not_called_recovered(pair: Pair, run_module: RunModule, at: int) -> None:
    """Nothing arrives any more, and that is said; once it is back a second run proves that it does."""
    with cut(pair, "alertmanager", at).open() as gate:
        asked = checked(pair, urls={"alertmanager": gate.url}, arrival_seconds=2, recovery_timeout_seconds=3)
        done = run_module(path_check, asked)
    assert (done["verdict"], done["good"]) == ("not_recovered", False), done
    assert "Alertmanager" in done["reason"]
    pair.start("alertmanager")
    assert run_module(path_check, checked(pair))["verdict"] == "recovered"


def test_files_are_loaded_once(pair: Pair, run_module: RunModule, tmp_path: Path) -> None:
    """Check changes nothing, the run loads, and the next two find nothing to do; wrong files are refused."""
    asked = pair.options(state="loaded", keep=str(tmp_path))
    pair.add_rule(QUIET)
    assert run_module(config, asked, check=True, diff=True)["changed"] is True
    assert "QuietToo" not in pair.rules()
    done = run_module(config, asked, diff=True)
    assert (done["changed"], done["actions"][0]) == (True, "Prometheus loaded its files."), done
    assert "QuietToo" in pair.rules()
    assert [run_module(config, asked, check=check)["changed"] for check in (True, False)] == [False, False]

    pair.add_rule({"alert": "Wrong", "expr": "up =="})
    refused = run_module(config, asked)
    assert (refused["_exit_code"], refused["changed"]) == (1, False)
    assert "Refused to load the files of Prometheus" in refused["msg"]
    assert "QuietToo" in pair.rules()


@pytest.mark.parametrize("at", [1, 2, 3, 4, 5])
def test_what_is_said_of_loading_into_a_dying_prometheus_is_true(
    pair: Pair, run_module: RunModule, tmp_path: Path, at: int
) -> None:
    """Changed is what was loaded before it died; a start loads the files as well, and a second run sees it."""
    pair.add_rule(QUIET)
    with cut(pair, "prometheus", at).open() as gate:
        done = run_module(config, pair.options(urls={"prometheus": gate.url}, state="loaded", keep=str(tmp_path)))
    assert done["changed"] is (at > 3), done  # the third request is the reload
    assert ("no answer from Prometheus" in str(done["actions"]) + done.get("msg", "")) is (at < 5)
    pair.start("prometheus")
    again = run_module(config, pair.options(state="loaded", keep=str(tmp_path)))
    assert (again["_exit_code"], again["changed"]) == (0, False), again
    assert "QuietToo" in pair.rules()


@pytest.mark.parametrize("at", [2, 3, 4])
def test_a_copy_is_kept_whole_or_not_at_all(pair: Pair, run_module: RunModule, tmp_path: Path, at: int) -> None:
    """Before Prometheus has said that its rules are well nothing of it is kept; a second run keeps what is missing."""
    asked: dict[str, Any] = {"state": "kept", "keep": str(tmp_path)}
    with cut(pair, "prometheus", at).open() as gate:
        done = run_module(config, pair.options(urls={"prometheus": gate.url}, **asked))
    kept = tmp_path / "prometheus"
    assert (done["changed"], kept.is_dir(), done["_exit_code"]) == ((True, True, 0) if at > 3 else (False, False, 1)), (
        done
    )
    pair.start("prometheus")
    assert run_module(config, pair.options(**asked))["_exit_code"] == 0
    for kind, name in (("prometheus", "rules.yml"), ("alertmanager", "alertmanager.yml")):
        assert (tmp_path / kind / name).read_bytes() == (pair.folder / kind / name).read_bytes()
    assert run_module(config, pair.options(**asked))["changed"] is False


def break_rules(pair: Pair, run_module: RunModule, keep: Path) -> dict[str, Any]:
    """Keep the good files, then load a rule that cannot be evaluated; return the options to restore."""
    assert run_module(config, pair.options(state="kept", keep=str(keep)), check=True)["changed"] is True
    assert not (keep / "prometheus").exists()
    assert run_module(config, pair.options(state="kept", keep=str(keep)))["changed"] is True
    pair.add_rule(FAILING)
    reloaded(pair)
    wait_for(lambda: "err" in json.dumps(pair.ask("prometheus", "/api/v1/rules")), "The rule fails", 90)
    return {"state": "restored", "keep": str(keep)}


def test_the_last_good_files_are_put_back(pair: Pair, run_module: RunModule, tmp_path: Path) -> None:
    """Check changes nothing, the run puts them back and keeps the others; the next two find nothing to do."""
    asked = pair.options(**break_rules(pair, run_module, tmp_path))
    bad = (pair.folder / "prometheus" / "rules.yml").read_bytes()
    assert run_module(config, asked, check=True)["changed"] is True
    assert "Failing" in pair.rules()
    done = run_module(config, asked, diff=True)
    assert (done["_exit_code"], done["changed"]) == (0, True), done
    assert "Failing" not in pair.rules()
    assert [path.read_bytes() for path in tmp_path.glob("set-aside/*/prometheus/rules.yml")] == [bad]
    assert [run_module(config, asked, check=check)["changed"] for check in (True, False)] == [False, False]


@pytest.mark.parametrize(
    ("at", "said"),
    [
        pytest.param(2, "Left Prometheus alone: its files are valid; its rules are not known: no answer", id="rules"),
        pytest.param(3, "Started Prometheus: it is ready", id="reload"),
    ],
)
def test_restoring_the_files_of_a_dying_prometheus(
    pair: Pair, run_module: RunModule, tmp_path: Path, at: int, said: str
) -> None:
    """It does not claim what it could not ask; what it has put back it starts; a second run finishes."""
    asked = break_rules(pair, run_module, tmp_path)
    with cut(pair, "prometheus", at).open() as gate:
        done = run_module(config, pair.options(urls={"prometheus": gate.url}, **asked))
    assert said in str(done["actions"]), done
    assert done["changed"] is (at == 3)
    if not pair.is_ready("prometheus"):
        pair.start("prometheus")
        wait_for(lambda: "err" in json.dumps(pair.ask("prometheus", "/api/v1/rules")), "The rule fails", 90)
    again = run_module(config, pair.options(**asked))
    assert (again["_exit_code"], again["changed"]) == (0, at == 2), again
    assert "Failing" not in pair.rules()


@pytest.fixture
def damaged(pair: Pair) -> Pair:
    """Make a gap in the write-ahead log, so that Prometheus does not start."""
    pair.prometheus.handle.stop()
    beside(pair, f"rm -rf /data/set-aside; {GAP}")
    pair.prometheus.handle.start()
    wait_for(lambda: "segments are not sequential" in logs(pair), "Prometheus refuses its storage", 90)
    return pair


def logs(pair: Pair) -> str:
    text: str = pair.prometheus.handle.logs(tail=20).decode()
    return text


def beside(pair: Pair, script: str) -> str:
    """Run a script over the storage, whether Prometheus runs or not."""
    command = ["docker", "run", "--rm", "--network", "none", "--user", "0", "--volumes-from", pair.prometheus.name]
    done = subprocess.run(
        [*command, "--entrypoint", "sh", "runbooks-lab/prometheus:2.53", "-c", script],
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout


def test_a_damaged_log_is_moved_aside(damaged: Pair, run_module: RunModule) -> None:
    """Check moves nothing; the run moves the log and Prometheus starts; a second run is refused."""
    planned = run_module(repair, damaged.options(), check=True)
    assert (planned["changed"], planned["moved"]) == (True, []), planned
    assert "set-aside" not in beside(damaged, "ls /data")
    done = run_module(repair, damaged.options(), diff=True)
    assert (done["_exit_code"], done["after"]["ready"]) == (0, True), done
    (moved,) = done["moved"]
    assert beside(damaged, f"ls {moved}").split()
    assert damaged.is_ready("prometheus")
    for check in (True, False):
        again = run_module(repair, damaged.options(), check=check)
        assert (again["_exit_code"], again["refused"]) == (1, True)


def test_a_prometheus_that_dies_after_the_move_is_not_called_ready(damaged: Pair, run_module: RunModule) -> None:
    """It says what it moved and how the process ended; the log lies aside once, and a start is all that is missing."""
    with cut(damaged, "prometheus", 2).open() as gate:  # the first request finds nobody, the second is after the start
        done = run_module(repair, damaged.options(urls={"prometheus": gate.url}))
    assert (done["_exit_code"], done["changed"], done["after"]["ready"]) == (1, True, False), done
    assert "ended with exit code 137 while it started" in done["msg"]
    assert not damaged.is_ready("prometheus")
    again = run_module(repair, damaged.options())
    assert (again["_exit_code"], again["refused"]) == (1, True), again
    damaged.start("prometheus")
    assert len(beside(damaged, "ls -d /data/set-aside/*/wal").split()) == len(done["moved"]) == 1
