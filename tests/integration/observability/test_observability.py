"""prometheus_query_info and alertmanager_silence against the lab's own."""

from __future__ import annotations

import importlib
import json
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.ops.runbooks.plugins.module_utils._alertmanager import HttpSilences, Silences
from ansible_collections.ops.runbooks.plugins.module_utils._http import Http

from tests.unit.plugins.module_utils.alertmanager import SilencesContract

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.running_lab import Lab

    RunModule = Callable[..., dict[str, Any]]

pytestmark = [pytest.mark.integration, pytest.mark.slow]

MODULES = "ansible_collections.ops.runbooks.plugins.modules."
query_info = importlib.import_module(f"{MODULES}prometheus_query_info").main
silence = importlib.import_module(f"{MODULES}alertmanager_silence").main
config_check = importlib.import_module(f"{MODULES}prometheus_config_check").main


class TestHttpSilences(SilencesContract):
    """The real Alertmanager keeps the contract."""

    @pytest.fixture
    def silences(self, running_lab: Lab) -> Silences:
        return HttpSilences(Http(running_lab.address("alertmanager")))


def silenced(lab: Lab, owner: str) -> list[dict[str, Any]]:
    """Return the silences of an owner that have not ended, as the API lists them."""
    listed: list[dict[str, Any]] = json.loads(lab.http(f"{lab.address('alertmanager')}/api/v2/silences").body)
    return [one for one in listed if one["createdBy"] == owner and one["status"]["state"] != "expired"]


def test_a_silence_comes_and_goes(running_lab: Lab, run_module: RunModule) -> None:
    """Check, run, check, run, then absent in the same way; Alertmanager itself says so."""
    owner = "test of a silence"
    asked = {
        "url": running_lab.address("alertmanager"),
        "owner": owner,
        "comment": "a test",
        "duration_seconds": 60,
        "matchers": [{"name": "alertname", "value": "NoSuchAlert"}],
    }
    assert run_module(silence, asked, check=True)["changed"] is True
    assert silenced(running_lab, owner) == []
    made = run_module(silence, asked, diff=True)
    assert (made["changed"], made["_exit_code"]) == (True, 0), made
    assert [one["id"] for one in silenced(running_lab, owner)] == [made["id"]]
    assert [run_module(silence, asked, check=check)["changed"] for check in (True, False)] == [False, False]

    gone = {**asked, "state": "absent"}
    assert run_module(silence, gone, check=True)["changed"] is True
    assert len(silenced(running_lab, owner)) == 1
    assert run_module(silence, gone)["changed"] is True
    assert silenced(running_lab, owner) == []
    assert run_module(silence, gone)["changed"] is False


def test_queries_are_answered_by_the_real_prometheus(running_lab: Lab, run_module: RunModule) -> None:
    """What is up, a scalar, and one that is wrong beside them."""
    queries = [
        {"name": "up", "query": "up"},
        {"name": "one", "query": "scalar(vector(1))"},
        {"name": "bad", "query": "("},
    ]
    asked = {"url": running_lab.address("prometheus"), "queries": queries}
    result = run_module(query_info, asked)
    assert len(result["results"]["up"]) >= 4
    assert result["results"]["one"] == [{"labels": {}, "value": 1}]
    assert [gap["what"] for gap in result["unreadable"]] == ["bad"]
    assert run_module(query_info, {**asked, "require_all": True})["_exit_code"] == 1


def test_the_servers_own_tools_judge_their_files(running_lab: Lab, run_module: RunModule) -> None:
    """What the running servers read is valid; rules that do not parse are not, and the line is told."""
    prometheus = {"container": "runbooks-lab-prometheus-1"}
    good = run_module(config_check, {**prometheus, "prometheus_file": "/etc/prometheus/prometheus.yml"})
    assert (good["valid"], good["changed"]) == (True, False), good
    assert good["checks"][0]["rules"] >= 2
    alertmanager = {"container": "runbooks-lab-alertmanager-1", "alertmanager_file": "/etc/prometheus/alertmanager.yml"}
    assert run_module(config_check, alertmanager, check=True)["valid"] is True
    wrong = "printf 'groups:\\n- name: x\\n  rules:\\n  - {alert: A, expr: up ==}\\n' > /tmp/wrong.yml"
    running_lab.compose("exec", "-T", "prometheus", "sh", "-c", wrong)
    bad = run_module(config_check, {**prometheus, "rule_files": ["/tmp/wrong.yml"]})
    assert bad["_exit_code"] == 1
    assert "could not parse expression" in bad["msg"]
    for missing in ("no-such-container", "runbooks-lab-redis-1"):
        assert "in container" in run_module(config_check, {"container": missing, "rule_files": ["/x.yml"]})["msg"]


@pytest.mark.parametrize("main", [query_info, silence])
def test_nobody_there_is_told(run_module: RunModule, main: Callable[[], None]) -> None:
    """Where it asked, and why there was no answer."""
    own = {"queries": [{"name": "up", "query": "up"}]}
    if main is silence:
        own = {"owner": "t", "comment": "c", "matchers": [{"name": "alertname", "value": "X"}]}  # type: ignore[dict-item]
    done = run_module(main, {"url": "http://127.0.0.1:1", **own})
    assert done["_exit_code"] == 1
    assert "http://127.0.0.1:1: " in done["msg"]
    assert "refused" in done["msg"]
