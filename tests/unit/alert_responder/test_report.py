"""The review says what the record knows, marks what only a person knows, and shows hostile text only as text."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from markdown_it import MarkdownIt

from alert_responder.errors import ResponderError
from alert_responder.incidents import (
    Approved,
    Asked,
    Closed,
    Considered,
    Ended,
    Escalated,
    Event,
    Finished,
    Fired,
    Opened,
    Started,
)
from alert_responder.report import TEMPLATE, escape, report, span
from tests.unit.alert_responder.makers import NOON, make_alert, make_evidence, make_option, make_outcome, make_runbook

if TYPE_CHECKING:
    from pathlib import Path

GOLDEN = "tests/unit/alert_responder/review.md"
RUNBOOK = make_runbook(make_option("A", expected_seconds=2, timeout_seconds=9), make_option("D", automation="approve"))


@pytest.fixture(scope="module")
def template(root: Path) -> str:
    return (root / "runbooks" / TEMPLATE).read_text()


def record(said: str = "It is full.", **label: str) -> list[Event]:
    """Return an incident in which A did not help, kim allowed D, and D healed; ``said`` stands in every free text."""
    considered = Considered(option="A", chosen=True, holds=True, why=said, values={"slots.used": 19})
    check = {"name": "slots", "value": 0.4, "expectation": said, "good": True, "error": None}

    def at(seconds: float) -> Any:
        return NOON + timedelta(seconds=seconds)

    alert = make_alert(labels={"severity": "critical", **label}, annotations={"summary": said})
    failed = make_outcome("not_recovered", reason=said, before={"used": 19}, after={"used": 18}, actions=[said])
    healed = make_outcome("recovered", reason=said, before={"used": 18}, after={"used": 3}, checks=[check])
    return [
        Opened(at=at(5), alert=alert, service="thing", runbook="tiny", problem=""),
        Started(at=at(6), run="1-2", action="diagnose", reason=said),
        Finished(at=at(8), run="1-2", result="done", began=False, seconds=2, evidence=make_evidence(used=19, who=said)),
        Started(at=at(9), run="1-4", action="option", option="A", reason=said, considered=(considered,)),
        Finished(at=at(29), run="1-4", result="done", began=True, seconds=20, outcome=failed),
        Fired(at=at(30), fingerprint="f2", starts_at=at(20)),
        Started(at=at(31), run="1-7", action="rehearse", option="D", reason=said),
        Finished(at=at(32), run="1-7", result="done", began=True, seconds=1, outcome=make_outcome("unchecked")),
        Asked(at=at(32), option="D", run="1-7", expires_at=at(3600)),
        Approved(at=at(152), option="D", seen="1-7", who="kim", reason=said),
        Started(at=at(153), run="1-11", action="option", option="D", approval=True, reason=said),
        Finished(at=at(155), run="1-11", result="done", began=True, seconds=2, outcome=healed),
        Closed(at=at(155), status="recovered", reason=said),
    ]


def test_a_whole_review(template: str, root: Path) -> None:
    """Timeline with sources, times, attempts with values before and after, evidence, and what was not as planned."""
    assert report(7, record(), RUNBOOK, template) == (root / GOLDEN).read_text()


def test_what_only_a_person_knows_is_marked(template: str) -> None:
    """Five whys, contributing factors, what went well, badly and by luck, actions with owner and date."""
    written = report(7, record(), RUNBOOK, template)
    sections = {part.partition("\n")[0]: part for part in written.split("\n## ")}

    assert sections["Root cause"].count("Why? **Person:**") == 5
    for name in (
        "Summary",
        "Impact",
        "Contributing factors",
        "What went well",
        "What went badly",
        "Where we were lucky",
    ):
        assert "**Person:**" in sections[name]
    assert "| Action | Owner | Due | Ticket |" in sections["Actions"]


def test_an_incident_that_nobody_healed(template: str) -> None:
    """What is missing is said in words, never left out and never invented."""
    events: list[Event] = [
        Opened(at=NOON, alert=make_alert(name=""), service="", runbook=None, problem="no runbook"),
    ]
    bare = report(1, events, None, template)
    for line in (
        "# Post-incident review: an alert without a name",
        "| Started, detected, recovered | 2026-11-23 12:00:00Z, 2026-11-23 12:00:00Z, not verified, unmatched |",
        "| Alert to first change | Nothing was changed by the responder. |",
        "| Alert to recovered | Recovery was not verified: unmatched. |",
        "| Alert to the first step, or the first word of a person | Not on record. |",
        "No evidence was read.",
        "Nothing was run.",
    ):
        assert line in bare


def test_a_run_without_an_end(template: str) -> None:
    """What was cut short counts as a change; what never began and what changed nothing does not."""
    later = NOON + timedelta(seconds=90)
    opened = Opened(at=NOON, alert=make_alert(), service="thing", runbook="tiny", problem="")
    option = {"action": "option", "option": "A", "reason": "x"}
    never: list[Event] = [
        Started.model_validate({"at": NOON, "run": "r1", **option}),
        Finished(at=NOON, run="r1", result="failed_launch", began=False, reason="no such host"),
        Started.model_validate({"at": NOON, "run": "r2", **option}),
        Finished(at=NOON, run="r2", result="done", began=True, outcome=make_outcome("unchecked", changed=False)),
        Started(at=NOON, run="r3", action="verify", reason="x"),
        Finished(at=NOON, run="r3", result="done", began=True, outcome=make_outcome("unknown")),
    ]
    cut: list[Event] = [
        Started(at=later, run="r6", action="verify", reason="x"),
        Finished(at=later, run="r6", result="done", began=True, outcome=make_outcome("not_recovered")),
        Started.model_validate({"at": later, "run": "r4", **option}),
        Finished(at=later, run="r4", result="interrupted", began=True, reason="it stopped"),
    ]
    asked: list[Event] = [
        Asked(at=later, option="A", run="r2", expires_at=later),
        Escalated(at=later, reason="Nobody answered.", next_step="Call Team."),
        Ended(at=later, fingerprint="f1", ends_at=later),
    ]
    open_end: list[Event] = [Started.model_validate({"at": later, "run": "r5", **option, "idempotent": True})]

    assert "Alert to first change | Nothing was changed" in report(1, [opened, *never], None, template)
    story = report(1, [opened, *never, *cut, *asked], RUNBOOK, template)
    assert "Alert to first change | 1 min 30 s |" in story
    assert "- Option A: failed launch: no such host" in story
    assert "- Verify ended with verdict unknown." in story
    assert "- Nobody answered about option A." in story
    assert "- Escalated: Nobody answered." in story
    assert "They fired for 1 min 30 s." in story
    assert "It has not ended." in report(1, [opened, *open_end], RUNBOOK, template)


def test_a_place_that_nobody_can_fill_is_named(template: str) -> None:
    """A template with a typo is an error and not a review with a hole."""
    with pytest.raises(ResponderError, match=r"the template asks for \{durration\}\. Known: .*timeline"):
        report(1, record(), None, template + "{durration}")


HOSTILE = [
    "<img src=x onerror=alert(1)> <!-- ",
    "[click](http://evil.example.com) ![x](http://evil.example.com/x.png)",
    "a | b | c\n| --- |\n# heading\n- item\n",
    "`code` **bold** _it_ ~~gone~~ ***",
    "http://evil.example.com www.evil.example.com @team #1",
    "1. one",
    "12) twelve",
    "- item",
    "+ item",
    "> quote",
    "=====",
    "\\\\[x](y) \\| \\`",
    "&lt;b&gt; &copy;",
    "{timeline} {nothing}",
    "a\x1b[2J\u202eb",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_changes_nothing_but_the_text(template: str, text: str) -> None:
    """The rendered review has the same headings, cells, links and lists as one with harmless words."""

    def shape(said: str) -> list[str]:
        parser = MarkdownIt("commonmark").enable(["table", "strikethrough"])
        tokens = parser.parse(report(7, record(said, team=said), RUNBOOK, template))
        inner = [child.type for token in tokens for child in token.children or [] if child.type != "text_special"]
        return [token.type for token in tokens] + [kind for kind in inner if kind != "text"]

    assert shape(text) == shape("harmless")


def test_text_stays_readable() -> None:
    """Escapes vanish when the text is rendered; nothing else is changed."""
    rendered = MarkdownIt("commonmark").renderInline(escape("a_b*c <d> [e] 1. f|g & h: 5 > 4"))
    assert rendered == "a_b*c &lt;d&gt; [e] 1. f|g &amp; h: 5 &gt; 4"
    assert re.fullmatch(r"plain words, 3\.5 s \(fine\)", escape("plain words, 3.5 s (fine)"))


@pytest.mark.parametrize(("seconds", "words"), [(-5, "0 s"), (59.4, "59 s"), (61, "1 min 1 s"), (7384, "2 h 3 min")])
def test_durations(seconds: float, words: str) -> None:
    """Short, and never negative."""
    assert span(timedelta(seconds=seconds)) == words
