"""The command line: data on standard output, one sentence for an error, and an exit code that means something."""

from __future__ import annotations

import json
import re
import shutil
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from alert_responder import cli
from alert_responder.incidents import Asked, Finished, Started
from alert_responder.routing import Route
from alert_responder.serve import now
from alert_responder.store import Delivery
from alert_responder.store_sql import SqlStore, sqlite_engine
from tests.unit.alert_responder.makers import make_alert, make_outcome

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def ask(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Return a function that runs the command line over a copy of the runbooks: exit code, output, errors."""
    shutil.copytree(root / "runbooks", tmp_path / "runbooks")
    config = tmp_path / "responder.yml"
    config.write_text("state: state\n")

    def ask(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["alert-responder", "--config", str(config), *arguments])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        said = capsys.readouterr()
        return int(stopped.value.code or 0), said.out, said.err

    return ask


@pytest.fixture
def store(tmp_path: Path) -> SqlStore:
    """Return the store of that command line, with one incident that asks about option A."""
    (tmp_path / "state").mkdir()
    store = SqlStore(sqlite_engine(tmp_path / "state" / "incidents.sqlite3"))
    at = now()
    store.receive([Delivery(make_alert(), Route("one", "thing", "tiny", ""))], now=at)
    store.append(
        1,
        [
            Started(at=at, run="r1", action="rehearse", option="A", reason="x"),
            Finished(at=at, run="r1", result="done", began=True, outcome=make_outcome("unchecked")),
            Asked(at=at, option="A", run="r1", expires_at=at + timedelta(hours=1)),
        ],
        owner=None,
    )
    return store


def test_incidents_are_listed_and_shown(ask: Callable[..., tuple[int, str, str]], store: SqlStore) -> None:
    """As a table, as a timeline, and as JSON."""
    code, out, _ = ask("incidents")
    assert (code, "ThingFull" in out, "waits for approval" in out) == (0, True, True)
    assert json.loads(ask("incidents", "--status", "open", "--json")[1])["incidents"][0]["id"] == 1
    assert "Dry run of option A: acted, unchecked" in ask("incidents", "show", "1")[1]
    assert len(json.loads(ask("incidents", "show", "1", "--json")[1])["events"]) == 4


def test_what_the_record_says_is_reported_and_counted(
    ask: Callable[..., tuple[int, str, str]], store: SqlStore, tmp_path: Path
) -> None:
    """The review is Markdown; the statistics are a table and JSON, from a time on."""
    assert ask("report", "1")[1].startswith("# Post-incident review: ThingFull\n")
    assert "tiny" in ask("stats")[1]
    [line] = json.loads(ask("stats", "--since", "2026-11-01", "--json")[1])["stats"]
    assert (line["runbook"], line["option"], line["incidents"], line["runs"]) == ("tiny", "", 1, 0)
    assert json.loads(ask("stats", "--since", "2999-01-01", "--json")[1])["stats"] == []
    (tmp_path / "runbooks" / "post-incident-review.md").unlink()
    assert "Cannot read the template of the review" in ask("report", "1")[2]


def test_reviews_are_listed_and_marked(
    ask: Callable[..., tuple[int, str, str]], store: SqlStore, tmp_path: Path
) -> None:
    """A runbook whose time is up is listed until it is marked; the index then shows the new day."""
    file = tmp_path / "runbooks" / "db-connections.md"
    file.write_text(re.sub(r"^reviewed: .*$", "reviewed: 2020-01-01", file.read_text(), count=1, flags=re.MULTILINE))
    assert ask("runbooks", "index")[0] == 0
    assert "it is reviewed every 90 days" in ask("review", "db-connections")[1]
    assert "db-connections" in [one["runbook"] for one in json.loads(ask("review", "--json")[1])["due"]]

    assert "Commit both" in ask("review", "db-connections", "--done")[1]
    assert json.loads(ask("review", "db-connections", "--json")[1]) == {"due": []}
    assert ask("runbooks", "index", "--check")[0] == 0
    assert ask("review", "--done")[0] == 2
    assert ask("review", "nope", "--done")[::2] == (1, ask("review", "nope")[2])


@pytest.mark.parametrize(("word", "kind"), [("approve", "approved"), ("deny", "denied")])
def test_a_person_answers(ask: Callable[..., tuple[int, str, str]], store: SqlStore, word: str, kind: str) -> None:
    """The answer is on record with name and reason; a second one is refused."""
    arguments = ("incidents", word, "1", "--option", "A", "--reason", "seen", "--who", "kim")

    assert ask(*arguments)[0] == 0
    event = store.events(1)[-1]
    assert event.model_dump(include={"kind", "who", "reason"}) == {"kind": kind, "who": "kim", "reason": "seen"}
    code, _, err = ask(*arguments)
    assert (code, err) == (1, "Error: The incident does not ask about option A.\n")


def test_an_incident_is_closed_by_hand(ask: Callable[..., tuple[int, str, str]], store: SqlStore) -> None:
    """Closing needs a reason and stays on record with the name."""
    assert ask("incidents", "close", "1")[0] == 2
    assert ask("incidents", "close", "1", "--reason", "done", "--who", "kim")[0] == 0
    assert "Closed as resolved by kim: done" in ask("incidents", "show", "1")[1]


def test_a_pause_is_set_listed_and_lifted(ask: Callable[..., tuple[int, str, str]]) -> None:
    """Hold, list, resume; and a hold that is not there."""
    assert "Hold 1 is set" in ask("pause", "--reason", "release", "--who", "kim", "--service", "thing")[1]
    assert "release" in ask("holds")[1]
    assert json.loads(ask("holds", "--json")[1])["holds"][0]["service"] == "thing"
    assert ask("resume", "1")[0] == 0
    assert ask("resume", "1")[::2] == (1, "Error: There is no hold 1 in force.\n")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        pytest.param(("incidents", "show", "9"), 1, "There is no store at", id="no-store"),
        pytest.param(("run", "nope", "--diagnose"), 1, "There is no runbook 'nope'", id="runbook"),
        pytest.param(("run", "db-connections", "--option", "Z"), 1, "has no option 'Z'", id="option"),
        pytest.param(("run", "db-connections"), 2, "Choose one of --option LETTER", id="no-step"),
        pytest.param(
            ("run", "db-connections", "--verify", "-e", "a=1"), 2, "Only an option takes variables", id="variable"
        ),
        pytest.param(("run", "db-connections", "--option", "A", "-e", "a"), 2, "is not NAME=VALUE", id="not-a-pair"),
        pytest.param(("run", "db-connections", "--option", "A", "-e", "a=1"), 2, "no variable 'a'", id="undeclared"),
        pytest.param(("serve",), 2, "tokens is empty", id="no-token"),
        pytest.param(("runbooks", "new", "../evil"), 1, "expected lower-case words", id="name"),
        pytest.param(("nothing",), 2, "No such command", id="command"),
    ],
)
def test_an_error_is_one_sentence_and_a_code(
    ask: Callable[..., tuple[int, str, str]], arguments: tuple[str, ...], code: int, said: str
) -> None:
    """Each row: 1 for what failed, 2 for what was asked wrongly; nothing on standard output."""
    stopped, out, err = ask(*arguments)

    assert (stopped, out) == (code, "")
    assert said in " ".join(err.replace("│", " ").split())


def test_settings_are_checked_and_shown_without_secrets(
    ask: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """check-config prints stars; a wrong setting is a usage error."""
    monkeypatch.setenv("ALERT_RESPONDER_TOKENS", "s3cr3t-s3cr3t-s3cr3t")
    code, out, _ = ask("check-config")
    assert (code, "concurrency: 4" in out, "s3cr3t" in out) == (0, True, False)
    monkeypatch.setenv("ALERT_RESPONDER_CONCURRENCY", "0")
    assert ask("check-config")[0] == 2


def test_the_catalogue_is_listed(ask: Callable[..., tuple[int, str, str]]) -> None:
    """As a table and as JSON."""
    assert "End idle sessions" in ask("catalog")[1]
    assert json.loads(ask("catalog", "--json")[1])["runbooks"][0]["runbook"] == "db-connections"


def test_the_index_is_written_and_checked(ask: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    """A stale index fails the check until it is written again."""
    (tmp_path / "runbooks" / "README.md").write_text("old")
    assert ask("runbooks", "index", "--check")[0] == 1
    assert ask("runbooks", "index")[0] == 0
    assert ask("runbooks", "index", "--check")[0] == 0
    assert "disk-full.md" in ask("runbooks", "new", "disk-full")[1]


def test_the_runbooks_of_this_repository_hold_together(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rules, runbooks, playbooks and index of this checkout fit."""
    monkeypatch.chdir(root)
    monkeypatch.setattr("sys.argv", ["alert-responder", "runbooks", "check"])
    with pytest.raises(SystemExit) as stopped:
        cli.main()

    assert (stopped.value.code, capsys.readouterr().out) == (0, "")


def test_the_version_is_printed(ask: Callable[..., tuple[int, str, str]]) -> None:
    """`--version` ends at once."""
    assert ask("--version")[:2] == (0, "alert-responder 0.1.0\n")
