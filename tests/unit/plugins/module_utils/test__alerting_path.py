"""Expectations of the evidence about the way of an alert."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.ops.runbooks.plugins.module_utils._alerting_path import (
    Observer,
    demand,
    heartbeat_age,
    path_spec,
    storage_error,
)
from ansible_collections.ops.runbooks.plugins.module_utils._alerting_site import HttpSite, servers_of
from ansible_collections.ops.runbooks.plugins.module_utils._errors import (
    ActionFailed,
    ConnectionFailed,
    PreconditionFailed,
    Unsupported,
)

from tests.unit.plugins.module_utils.alerting import FakeSite

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2027, 1, 15, 8, 0, 10, tzinfo=UTC)
DAMAGED = 'ts=1 caller=main.go:1 level=error err="opening storage failed: segments are not sequential"'


@pytest.fixture
def site(tmp_path: Path) -> FakeSite:
    """Return two servers that are well."""
    return FakeSite(tmp_path)


def observe(site: FakeSite) -> dict[str, Any]:
    return Observer(site, site.params(starting_seconds=900.0, storage_path="/data"), now=lambda: NOW).observe()


def test_all_is_well(site: FakeSite) -> None:
    """Nothing is stale, invalid, failing or damaged, and nothing is unreadable."""
    found = observe(site)
    assert (found["stale"], found["invalid"], found["failing_rules"], found["unreadable"]) == ([], [], [], [])
    assert found["storage"] == {"damaged": False, "writable": True, "error": ""}
    assert found["prometheus"]["ready"] is found["alertmanager"]["ready"] is True
    assert (found["prometheus"]["rules"], found["alertmanager"]["heartbeat_age_seconds"]) == (1, 3.0)
    assert found["alertmanager"]["failures"] == {"alertmanager_notification_requests_failed_total": 1}
    assert found["prometheus"]["container"]["state"] == "running"


def test_two_silent_servers_leave_complete_evidence(site: FakeSite) -> None:
    """Every hop that could not be read is listed; validity is still told."""
    site.silent = {"prometheus", "alertmanager"}
    site.log = ["Server is ready to receive web requests.", DAMAGED]
    found = observe(site)
    assert [gap["what"] for gap in found["unreadable"]] == ["Prometheus is ready", "Alertmanager is ready"]
    assert found["prometheus"]["configuration"]["valid"] is True
    assert found["storage"] == {"damaged": True, "writable": True, "error": "segments are not sequential"}


@pytest.mark.parametrize("why", ["newer", "refused"])
def test_files_that_are_not_in_force_are_stale(site: FakeSite, why: str) -> None:
    """A file changed since the last reload, or that failed; hidden files and service discovery do not count."""
    site.write("alertmanager", ".alertmanager.new.yml", "x", age=-50)
    site.write("prometheus", "targets.json", "[]", age=-50)
    assert observe(site)["stale"] == []
    if why == "newer":
        site.write("alertmanager", "alertmanager.yml", "new", age=-50)
    else:
        site.failed_reloads = {"alertmanager"}
    assert observe(site)["stale"] == ["alertmanager"]


def test_wrong_files_are_invalid_and_not_stale(site: FakeSite) -> None:
    """A reload could not help."""
    site.failed_reloads = {"prometheus"}
    site.invalid = {"prometheus": "FAILED: line 3"}
    found = observe(site)
    assert (found["invalid"], found["stale"]) == (["prometheus"], [])


def test_a_rule_that_fails_is_named(site: FakeSite) -> None:
    """With group and error."""
    site.failing = ["TooManyLocks"]
    assert observe(site)["failing_rules"] == [
        {"group": "g", "file": "r.yml", "rule": "TooManyLocks", "error": "many-to-many"}
    ]


FULL = "write to WAL: log samples: write /data/wal/00000000: no space left on device"


@pytest.mark.parametrize(
    "error",
    [FULL, "open /data/wal: Disk quota exceeded", "write /data/wal/1: read-only file system", "input/output error"],
)
def test_a_disk_that_cannot_be_written_is_no_fault_of_the_rules(site: FakeSite, error: str) -> None:
    """A ready Prometheus says it of each rule that has something to say; the rule that fails by itself is named."""
    site.failing, site.why_failing = ["Watchdog"], error
    found = observe(site)
    assert found["storage"] == {"damaged": False, "writable": False, "error": error}
    assert (found["failing_rules"], found["prometheus"]["ready"]) == ([], True)


def test_a_prometheus_that_cannot_start_on_a_full_disk_is_not_damaged(site: FakeSite) -> None:
    """And is not started again: it could not."""
    site.silent = {"prometheus"}
    site.log = [f'level=error err="opening storage failed: repair corrupted WAL: {FULL}"']
    found = observe(site)
    assert (found["storage"]["damaged"], found["storage"]["writable"]) == (False, False)
    with pytest.raises(PreconditionFailed):
        demand(found, "prometheus_down")


def test_a_prometheus_that_was_killed_for_want_of_room_is_not_started_again(site: FakeSite) -> None:
    """It maps a file, and the signal that it gets on a full disk leaves no word of it in the log."""
    site.silent = {"prometheus"}
    site.log = ["fatal error: fault", "[signal SIGBUS: bus error code=0x2]"]
    site.free_kilobytes = 12
    found = observe(site)
    assert found["storage"] == {
        "damaged": False, "writable": False, "error": "no space left on device: 12288 bytes are free for /data",
    }  # fmt: skip
    with pytest.raises(PreconditionFailed):
        demand(found, "prometheus_down")


def test_a_prometheus_that_reads_its_log_is_starting(site: FakeSite) -> None:
    """For as long as it may; then it hangs."""
    site.starting = {"prometheus"}
    found = observe(site)
    assert (found["prometheus"]["ready"], found["prometheus"]["starting"]) == (False, True)
    patient = Observer(site, site.params(starting_seconds=60.0, storage_path="/data"), now=lambda: NOW).observe()
    assert patient["prometheus"]["starting"] is False


@pytest.mark.parametrize(
    ("log", "error"),
    [
        pytest.param([], "", id="nothing"),
        pytest.param([DAMAGED], "segments are not sequential", id="damaged"),
        pytest.param([DAMAGED, "Server is ready to receive web requests."], "", id="mended"),
        pytest.param(["Server is ready to receive web requests.", DAMAGED, "bye"], "segments are not sequential",
                     id="damaged-since"),
    ],
)  # fmt: skip
def test_the_log_says_whether_the_storage_could_be_opened(log: list[str], error: str) -> None:
    """Only the last start counts."""
    assert storage_error(log) == error


def test_no_heartbeat_has_no_age() -> None:
    """It is not young."""
    assert heartbeat_age([], NOW) is None


@pytest.mark.parametrize("name", ["alertmanager_down", "prometheus_down"])
def test_nothing_is_restarted_that_works(site: FakeSite, name: str) -> None:
    """The refusal carries the evidence."""
    with pytest.raises(PreconditionFailed, match="Refused: ") as error:
        demand(observe(site), name)
    assert error.value.details["stale"] == []
    site.silent = {name.removesuffix("_down")}
    demand(observe(site), name)


@pytest.mark.parametrize("other", ["invalid", "damaged", "starting"])
def test_a_restart_that_could_not_help_is_refused(site: FakeSite, other: str) -> None:
    """Wrong files, a damaged storage, or a start that is not over."""
    site.silent = {"prometheus"} if other != "starting" else set()
    site.starting = {"prometheus"}
    site.invalid = {"prometheus": "FAILED"} if other == "invalid" else {}
    site.log = [DAMAGED] if other == "damaged" else []
    with pytest.raises(PreconditionFailed):
        demand(observe(site), "prometheus_down")


def test_a_missing_engine_is_told(site: FakeSite) -> None:
    """The evidence goes on without it."""

    def gone(command: list[str]) -> tuple[int, str, str]:
        raise FileNotFoundError(2, "No such file or directory", command[0])

    site.on_docker = gone
    site.silent = {"prometheus"}
    found = observe(site)
    assert found["alertmanager"]["ready"] is True
    assert found["prometheus"]["configuration"] == {"valid": None, "output": ""}
    assert {"container of Prometheus", "validity of the files of Prometheus"} <= {
        gap["what"] for gap in found["unreadable"]
    }


def test_containers_and_documents_that_are_not_there_are_errors(site: FakeSite) -> None:
    """Each names what was asked."""
    prometheus, alertmanager = servers_of(site.params())
    site.on_docker = lambda _command: (1, "", "Error: No such container: c-prometheus")
    with pytest.raises(ConnectionFailed, match="No container c-prometheus for Prometheus: docker inspect failed"):
        site.container(prometheus)
    assert site.log_tail(prometheus) == []
    site.starting = {"alertmanager"}
    with pytest.raises(ActionFailed, match="Alertmanager answered 503 to /-/ready"):
        site.document(alertmanager, "/-/ready")
    with pytest.raises(Unsupported, match="Cannot run docker on this host"):
        HttpSite(_no_program, 0.1).docker("ps")


def _no_program(command: list[str]) -> tuple[int, str, str]:
    raise FileNotFoundError(2, "No such file or directory", command[0])


def test_nobody_at_the_address_is_told(site: FakeSite) -> None:
    """Where it asked, and why there was no answer."""
    prometheus = servers_of(site.params())[0]
    real = HttpSite(lambda _command: (0, "out", ""), 0.2)
    assert real.docker("ps") == "out"
    nowhere = type(prometheus)("prometheus", "http://127.0.0.1:1", "c", "f", "d")
    with pytest.raises(ConnectionFailed, match=r"no answer from Prometheus at http://127\.0\.0\.1:1/-/ready: "):
        real.send(nowhere, "/-/ready")


def test_the_options_are_those_of_the_module() -> None:
    """Both servers are needed."""
    options = path_spec().options
    assert options["prometheus"]["required"] is options["alertmanager"]["required"] is True
    assert options["demand"]["choices"] == ["alertmanager_down", "prometheus_down"]
