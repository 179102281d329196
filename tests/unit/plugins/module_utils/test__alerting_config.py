"""Expectations of loading, keeping and restoring configuration; the files are real, the servers answer as told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.ops.runbooks.plugins.module_utils._alerting_config import Configurator, config_spec
from ansible_collections.ops.runbooks.plugins.module_utils._errors import ActionFailed, PreconditionFailed

from tests.unit.plugins.module_utils.alerting import FakeSite

if TYPE_CHECKING:
    from pathlib import Path

    from ansible_collections.ops.runbooks.plugins.module_utils._alerting_site import Server

WRONG = "Checking\n  FAILED: line 3: did not find expected key\n"


@pytest.fixture
def site(tmp_path: Path) -> FakeSite:
    """Return two servers whose files are kept as last good."""
    made = FakeSite(tmp_path)
    assert run(made, "kept")["changed"] is True
    return made


def run(site: FakeSite, state: str, *, dry_run: bool = False) -> dict[str, Any]:
    params = site.params(state=state, keep=str(site.folder / "keep"))
    return Configurator(site, params, dry_run=dry_run, stamp=lambda: "T1").run()


def text(path: Path) -> str | None:
    return path.read_text() if path.exists() else None


def test_what_runs_is_left_alone(site: FakeSite) -> None:
    """A healthy system is not touched by any of the three."""
    for state in ("loaded", "restored", "kept"):
        done = run(site, state)
        assert (done["changed"], site.reloaded) == (False, []), done
    assert done["before"]["prometheus"] == {
        "valid": True,
        "stale": False,
        "has_last_good": True,
        "differs_from_last_good": {"changed": [], "added": [], "missing": []},
    }


def test_valid_files_that_are_not_in_force_are_loaded(site: FakeSite) -> None:
    """Only by the server that lacks them; a second run changes nothing."""
    site.write("alertmanager", "alertmanager.yml", "better", age=-50)
    planned = run(site, "loaded", dry_run=True)
    assert (planned["changed"], site.reloaded) == (True, [])
    assert "Would have Alertmanager load its files." in planned["actions"]
    done = run(site, "loaded")
    assert (done["changed"], site.reloaded) == (True, ["alertmanager"])
    assert (done["before"]["alertmanager"]["stale"], done["after"]["alertmanager"]["stale"]) == (True, False)
    assert run(site, "loaded")["changed"] is False


def test_wrong_files_are_never_loaded(site: FakeSite) -> None:
    """The refusal has the line, and the result what was done before it."""
    site.write("prometheus", "alerts.yml", "half", age=-50)
    site.invalid = {"prometheus": WRONG}
    with pytest.raises(PreconditionFailed, match=r"Refused to load the files of Prometheus: FAILED: line 3") as error:
        run(site, "loaded")
    assert (error.value.details["changed"], site.reloaded) == (False, [])


def test_a_silent_server_is_left_alone(site: FakeSite) -> None:
    """The other one is still looked after."""
    site.silent = {"prometheus"}
    site.failed_reloads = {"alertmanager"}
    with pytest.raises(ActionFailed, match="Alertmanager did not accept its files") as error:
        run(site, "loaded")
    assert (error.value.details["changed"], site.reloaded) == (True, ["alertmanager"])
    assert error.value.details["before"] == {
        "prometheus": {**error.value.details["before"]["prometheus"], "stale": None},  # type: ignore[index]
        "alertmanager": error.value.details["before"]["alertmanager"],  # type: ignore[index]
    }


def test_a_reload_that_is_forbidden_names_the_switch(site: FakeSite) -> None:
    """As Prometheus answers without it."""
    site.write("prometheus", "alerts.yml", "new", age=-50)
    answer = site.send
    site.send = lambda server, path, **more: (  # type: ignore[method-assign]
        (403, "Lifecycle API is not enabled.") if path == "/-/reload" else answer(server, path, **more)
    )
    with pytest.raises(ActionFailed, match=r"answered 403 to a reload: .* needs --web.enable-lifecycle"):
        run(site, "loaded")


def test_bad_files_are_set_aside_and_the_last_good_ones_are_back(site: FakeSite) -> None:
    """Changed, added and missing ones; what was there is kept, and a second run changes nothing."""
    site.write("prometheus", "more.yml", "kept too", age=100)
    run(site, "kept")
    site.write("prometheus", "alerts.yml", "half", age=-50)
    site.write("prometheus", "new.yml", "bad", age=-50)
    site.path("prometheus", "more.yml").unlink()
    site.invalid = {"prometheus": WRONG}
    planned = run(site, "restored", dry_run=True)
    assert planned["actions"][0].endswith("key): alerts.yml, new.yml, more.yml.")
    assert (text(site.path("prometheus", "alerts.yml")), site.reloaded) == ("half", [])

    answer = site.send

    def send(server: Server, path: str, **more: Any) -> tuple[int, str]:
        # What is on disk when the reload comes decides it.
        if text(site.path("prometheus", "alerts.yml")) == "good":
            site.invalid = {}
        return answer(server, path, **more)

    site.send = send  # type: ignore[method-assign]
    done = run(site, "restored")
    assert (done["changed"], site.reloaded) == (True, ["prometheus"])
    live = {path.name: path.read_text() for path in (site.folder / "prometheus").iterdir()}
    assert live == {"alerts.yml": "good", "more.yml": "kept too"}
    aside = {path.name: path.read_text() for path in (site.folder / "keep/set-aside/T1/prometheus").iterdir()}
    assert aside == {"alerts.yml": "half", "new.yml": "bad"}
    assert run(site, "restored")["changed"] is False


def test_a_rule_that_fails_is_restored_too(site: FakeSite) -> None:
    """Though its file is valid."""
    site.write("prometheus", "alerts.yml", "valid and wrong", age=50)
    site.failing = ["TooManyLocks"]
    done = run(site, "restored")
    assert (done["changed"], text(site.path("prometheus", "alerts.yml"))) == (True, "good")
    assert "(rule TooManyLocks fails: many-to-many)" in done["actions"][0]


def test_no_file_is_replaced_for_a_full_disk(site: FakeSite) -> None:
    """Every rule fails then, with good files and with others."""
    site.write("prometheus", "alerts.yml", "newer and good", age=50)
    site.failing, site.why_failing = ["Watchdog"], "write to WAL: no space left on device"
    done = run(site, "restored")
    assert (done["changed"], text(site.path("prometheus", "alerts.yml"))) == (False, "newer and good")


def test_a_server_that_did_not_come_up_is_started(site: FakeSite) -> None:
    """Whoever restarted it with the bad files has left it down."""
    site.write("alertmanager", "alertmanager.yml", "half", age=-50)
    site.invalid = {"alertmanager": WRONG}
    site.silent = {"alertmanager", "prometheus"}

    def restarts(command: list[str]) -> tuple[int, str, str] | None:
        if command[1] == "restart":
            site.silent = set()
            site.invalid = {}
        return None

    site.on_docker = restarts
    done = run(site, "restored")
    assert ["docker", "restart", "c-alertmanager"] in site.commands
    assert done["actions"][-1] == "Started Alertmanager: it is ready after 0 s."


@pytest.mark.parametrize(
    ("prepare", "said"),
    [
        pytest.param("none", "no last good copy is in", id="no-copy"),
        pytest.param("same", "they are the last good ones", id="no-difference"),
    ],
)
def test_what_cannot_be_restored_is_left(tmp_path: Path, prepare: str, said: str) -> None:
    """Nothing is moved."""
    site = FakeSite(tmp_path)
    if prepare == "same":
        run(site, "kept")
    site.invalid = {"prometheus": WRONG}
    with pytest.raises(PreconditionFailed, match=said):
        run(site, "restored")
    assert text(site.path("prometheus", "alerts.yml")) == "good"
    assert not (tmp_path / "keep" / "set-aside").exists()


def test_only_what_has_proved_itself_is_kept(site: FakeSite) -> None:
    """Not what is not in force, nor rules that fail; check mode copies nothing."""
    site.write("prometheus", "alerts.yml", "new", age=-50)
    with pytest.raises(PreconditionFailed, match="it does not run with them"):
        run(site, "kept")
    site.write("prometheus", "alerts.yml", "new", age=50)
    site.failing = ["A"]
    with pytest.raises(PreconditionFailed, match="Refused to keep the rules: A fails"):
        run(site, "kept")
    site.failing = []
    assert run(site, "kept", dry_run=True)["changed"] is True
    kept = site.folder / "keep" / "prometheus" / "alerts.yml"
    assert text(kept) == "good"
    assert run(site, "kept")["changed"] is True
    assert text(kept) == "new"
    assert run(site, "kept")["changed"] is False


def test_the_options_are_those_of_the_module() -> None:
    """Nothing happens without saying what is wanted."""
    assert config_spec().options["state"]["required"] is True
