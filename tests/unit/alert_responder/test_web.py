"""Every request gets an answer of one shape; what is bad is a 4xx, what is our fault a 5xx."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from starlette.routing import Route

from alert_responder import receiver as receiving
from alert_responder import web
from alert_responder.incidents import Asked, Escalated, Finished, Started
from alert_responder.limits import RateLimit
from alert_responder.metrics import Metrics
from alert_responder.openapi import document
from alert_responder.receiver import Receiver
from alert_responder.runbooks import Catalog
from alert_responder.settings import Settings
from alert_responder.store_memory import MemoryStore
from alert_responder.web import Web
from tests.unit.alert_responder.makers import NOON, make_outcome, make_runbook
from tests.unit.alert_responder.test_alerts import payload

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

TOKEN = "0123456789abcdef"
OLD_TOKEN = "fedcba9876543210"
KIM = "kims-0123456789abcdef"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


class Server:
    """The application over a store in memory."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.metrics = Metrics()
        self.woken = 0
        self.settings = Settings.model_validate(
            {
                "tokens": [TOKEN, OLD_TOKEN],
                "approvers": {"kim": KIM},
                "most_body_bytes": 100_000,
                "notify": {"oncall": "json://x"},
            }
        )
        receiver = Receiver(self.store, Catalog({"tiny": make_runbook()}), self.metrics, lambda: NOON, self.wake)
        self.web = Web(self.settings, receiver, self.store, self.metrics, lambda: NOON)
        self.app = self.web.app()

    def wake(self) -> None:
        self.woken += 1

    def ask(self, method: str, path: str, *, headers: dict[str, str] | None = None, **request: Any) -> httpx.Response:
        return asyncio.run(self._ask(method, path, headers=BEARER if headers is None else headers, **request))

    async def _ask(self, method: str, path: str, **request: Any) -> httpx.Response:
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://responder.example.com") as client:
            return await client.request(method, path, **request)


@pytest.fixture
def server() -> Server:
    """Return an empty responder."""
    return Server()


@pytest.mark.parametrize("path", ["/", "/api/v1/alerts"])
def test_alerts_are_on_record_before_the_answer(server: Server, path: str) -> None:
    """The answer names the incident, and the worker is woken."""
    answer = server.ask("POST", path, content=payload())

    assert (answer.status_code, answer.json()) == (200, {"alerts": [{"incident": 1, "outcome": "opened"}]})
    assert len(server.store.events(1)) == 1
    assert server.woken == 1
    assert server.ask("POST", path, content=payload()).json()["alerts"][0]["outcome"] == "repeated"
    assert server.woken == 1
    assert 'alert_responder_alerts_total{outcome="repeated"} 1.0' in server.ask("GET", "/metrics").text


def test_what_no_runbook_answers_wakes_nobody(server: Server) -> None:
    """It waits for a person; a storm of it does not make the worker look for work that is not there."""
    server.ask("POST", "/", content=payload(labels={"alertname": "Unknown"}))
    assert (server.store.counts(), server.woken) == ({"unmatched": 1}, 0)


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"Authorization": f"Bearer {OLD_TOKEN}"}, id="the-other-token"),
        pytest.param({"Authorization": f"bearer {TOKEN}"}, id="lower-case"),
        pytest.param({"Authorization": "Basic " + base64.b64encode(f"x:{TOKEN}".encode()).decode()}, id="basic"),
    ],
)
def test_a_valid_token_is_enough(server: Server, headers: dict[str, str]) -> None:
    """Any of the tokens, as a bearer or as the password."""
    assert server.ask("GET", "/api/v1/incidents", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="none"),
        pytest.param({"Authorization": "Bearer "}, id="empty"),
        pytest.param({"Authorization": f"Bearer {TOKEN}x"}, id="wrong"),
        pytest.param({"Authorization": TOKEN}, id="no-scheme"),
        pytest.param({"Authorization": f"Digest {TOKEN}"}, id="other-scheme"),
        pytest.param({"Authorization": "Basic !!!"}, id="not-base64"),
        pytest.param({"Authorization": "Basic " + base64.b64encode(b"\xff").decode()}, id="not-text"),
    ],
)
@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/"), ("GET", "/api/v1/incidents"), ("GET", "/api/v1/incidents/1")]
)
def test_without_a_valid_token_nothing_is_read_or_written(
    server: Server, method: str, path: str, headers: dict[str, str]
) -> None:
    """Each row is a 401 that says what is needed, and the token is not repeated."""
    answer = server.ask(method, path, headers=headers, content=payload() if method == "POST" else None)

    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.json()["error"]["message"] == "A valid token is needed: Authorization: Bearer TOKEN."
    assert server.store.summaries() == []


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        pytest.param(b"hello", 400, "invalid JSON", id="not-json"),
        pytest.param(payload({"version": "3"}), 400, "version is '3', expected '4'", id="version"),
        pytest.param(b'{"version": "4"}', 400, "alerts is missing", id="missing-fields"),
        pytest.param(b"[" * 90_000, 400, "recursion limit exceeded", id="deep-nesting"),
        pytest.param(b"x" * 10 * 1024 * 1024, 413, "The body is larger than 100000 bytes.", id="10-megabytes"),
        pytest.param(payload(labels={"a": ["x"]}), 400, "alerts.0.labels.a", id="label-type"),
    ],
)
def test_a_bad_payload_is_refused(server: Server, body: bytes, status: int, said: str) -> None:
    """Each row says what was wrong; nothing is recorded, and it is counted."""
    answer = server.ask("POST", "/", content=body)

    assert answer.status_code == status
    assert answer.json()["error"]["status"] == status
    assert said in answer.json()["error"]["message"]
    assert server.store.summaries() == []
    assert f'alert_responder_requests_rejected_total{{code="{status}"}} 1.0' in server.ask("GET", "/metrics").text


def test_a_body_without_end_is_refused_at_the_limit(server: Server) -> None:
    """A sender that announces no length is stopped as soon as it has sent too much."""
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 1
            yield b"x" * 10_000

    assert server.ask("POST", "/", content=endless()).status_code == 413
    assert sent <= 12


@pytest.mark.parametrize(
    ("labels", "status", "said"),
    [
        pytest.param({"alertname": "Nope"}, "unmatched", "no runbook answers alert 'Nope'", id="unknown-alert"),
        pytest.param({}, "unmatched", "no runbook answers alert ''", id="no-labels"),
        pytest.param(
            {"alertname": "{{ lookup('pipe','touch pwned') }}"}, "unmatched", "no runbook answers", id="hostile-name"
        ),
        pytest.param({"alertname": "ThingFull", "service": "x" * 90_000}, "unmatched", "no runbook", id="long-service"),
        pytest.param({"alertname": "ThingFull", "service": "thing"}, "open", "", id="declared-label-missing"),
    ],
)
def test_an_alert_that_cannot_be_used_is_kept(server: Server, labels: dict[str, str], status: str, said: str) -> None:
    """Each row is an incident on record; the worker escalates what it may not run."""
    assert server.ask("POST", "/", content=payload(labels=labels)).status_code == 200
    [line] = server.ask("GET", "/api/v1/incidents").json()["incidents"]

    assert line["status"] == status
    assert said in line["reason"]


def test_alerts_that_alertmanager_cut_off_are_an_incident(server: Server) -> None:
    """What was left out is counted and on record for a person."""
    server.ask("POST", "/", content=payload({"truncatedAlerts": 7, "receiver": "night"}))
    line = server.ask("GET", "/api/v1/incidents?status=unmatched").json()["incidents"][0]

    assert line["alert"] == "AlertmanagerTruncated"
    assert "left 7 alerts out of a webhook to receiver 'night'" in line["reason"]
    assert "alert_responder_alerts_truncated_total 7.0" in server.ask("GET", "/metrics").text


def test_a_store_that_is_down_is_a_503_and_the_sender_tries_again(server: Server) -> None:
    """Never a 4xx for our own fault; the answer tells nothing about the inside."""
    server.store.down = True
    answer = server.ask("POST", "/", content=payload())

    assert answer.status_code == 503
    assert answer.json()["error"]["message"] == "The store is not available; nothing was recorded. Try again."
    assert server.ask("GET", "/readyz").status_code == 503
    server.store.down = False
    assert server.ask("POST", "/", content=payload()).status_code == 200


def test_a_mistake_of_ours_is_a_500_of_the_same_shape(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unexpected error tells its text to the log, not to the sender."""

    def broken(**_: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(server.store, "summaries", broken)
    answer = server.ask("GET", "/api/v1/incidents")

    assert (answer.status_code, answer.json()["error"]["status"]) == (500, 500)
    assert "secret detail" not in answer.text


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        pytest.param("GET", "/nothing", 404, id="path"),
        pytest.param("GET", "/api/v1/incidents/7", 404, id="incident"),
        pytest.param("GET", "/api/v1/incidents/" + "9" * 30, 404, id="large-number"),
        pytest.param("GET", "/api/v1/incidents/x", 404, id="not-a-number"),
        pytest.param("GET", "/api/v1/incidents?status=lost", 400, id="status"),
        pytest.param("GET", "/api/v1/incidents?limit=0", 400, id="limit-zero"),
        pytest.param("GET", "/api/v1/incidents?limit=²", 400, id="limit-superscript"),
        pytest.param("GET", "/api/v1/incidents?limit=99999", 400, id="limit-large"),
        pytest.param("DELETE", "/api/v1/incidents", 405, id="method"),
        pytest.param("GET", "/", 405, id="webhook-by-get"),
    ],
)
def test_every_error_has_one_shape(server: Server, method: str, path: str, status: int) -> None:
    """Each row is JSON with status and message."""
    answer = server.ask(method, path)

    assert answer.status_code == status
    assert answer.json()["error"].keys() == {"status", "message"}


def test_one_incident_is_shown_with_its_events(server: Server) -> None:
    """The record is JSON all the way."""
    server.ask("POST", "/", content=payload())
    document = server.ask("GET", "/api/v1/incidents/1").json()

    assert document["id"] == 1
    assert document["events"][0]["alert"]["labels"]["alertname"] == "ThingFull"


def ask_about_option_a(server: Server) -> None:
    """Bring incident 1 to the question whether option A may run."""
    server.ask("POST", "/", content=payload(labels={"alertname": "ThingFull", "service": "thing", "instance": "a"}))
    server.store.append(
        1,
        [
            Started(at=NOON, run="r1", action="rehearse", option="A", reason="x"),
            Finished(at=NOON, run="r1", result="done", began=True, outcome=make_outcome("unchecked")),
            Asked(at=NOON, option="A", run="r1", expires_at=NOON + timedelta(hours=1)),
        ],
        owner=None,
    )
    server.woken = 0


@pytest.mark.parametrize(("word", "kind"), [("approve", "approved"), ("deny", "denied")])
def test_a_person_answers(server: Server, word: str, kind: str) -> None:
    """The record says who, why, and which dry run they could see; the worker is woken."""
    ask_about_option_a(server)
    headers = {"Authorization": f"Bearer {KIM}"}
    given = {"option": "A", "reason": "It is night."}
    answer = server.ask("POST", f"/api/v1/incidents/1/{word}", headers=headers, json=given)

    assert answer.status_code == 200
    said = server.store.events(1)[-1].model_dump(include={"kind", "who", "reason", "seen", "option"})
    assert said == {"kind": kind, "who": "kim", "reason": "It is night.", "seen": "r1", "option": "A"}
    assert server.woken == 1
    assert server.ask("POST", f"/api/v1/incidents/1/{word}", headers=headers, json=given).status_code == 409


@pytest.mark.parametrize(
    ("token", "number", "given", "status"),
    [
        pytest.param(TOKEN, 1, {"option": "A", "reason": "x"}, 403, id="a-sender-may-not-approve"),
        pytest.param("wrong", 1, {"option": "A", "reason": "x"}, 401, id="no-token"),
        pytest.param(KIM, 1, {"option": "B", "reason": "x"}, 409, id="another-option"),
        pytest.param(KIM, 7, {"option": "A", "reason": "x"}, 404, id="another-incident"),
        pytest.param(KIM, 1, {"option": "A", "reason": " "}, 400, id="no-reason"),
        pytest.param(KIM, 1, {"option": "A", "reason": "x", "who": "root"}, 400, id="somebody-elses-name"),
    ],
)
def test_an_answer_that_does_not_count(
    server: Server, token: str, number: int, given: dict[str, str], status: int
) -> None:
    """Each row is refused and changes nothing."""
    ask_about_option_a(server)
    headers = {"Authorization": f"Bearer {token}"}
    answer = server.ask("POST", f"/api/v1/incidents/{number}/approve", headers=headers, json=given)

    assert answer.status_code == status
    assert server.store.events(1)[-1].kind == "asked"


def test_health_needs_nothing_and_readiness_needs_a_worker(server: Server) -> None:
    """A worker that does not look for work makes the service not ready."""
    assert server.ask("GET", "/healthz", headers={}).status_code == 200
    answer = server.ask("GET", "/readyz", headers={})
    assert (answer.status_code, "has not looked for work" in answer.json()["error"]["message"]) == (503, True)
    server.metrics.heartbeat.set(NOON.timestamp())
    assert server.ask("GET", "/readyz", headers={}).status_code == 200


def test_readiness_says_what_could_not_be_told(server: Server) -> None:
    """A responder that receives is ready; that nobody heard its escalation stands beside it."""
    server.metrics.heartbeat.set(NOON.timestamp())
    server.ask("POST", "/", content=payload())
    server.store.append(1, [Escalated(at=NOON, reason="x", next_step="y")], owner=None)
    lease = timedelta(seconds=60)
    [notice] = server.store.claim_notices(["oncall"], now=NOON, since=NOON - lease, lease=lease, limit=1)
    server.store.settle_notice(notice, due_at=NOON + lease, error="no answer")

    answer = server.ask("GET", "/readyz", headers={})
    failing = {"incident": 1, "target": "oncall", "attempts": 1, "error": "no answer"}
    assert (answer.status_code, answer.json()) == (200, {"status": "ready", "not_told": [failing]})


def test_requests_that_arrive_together_are_written_together(server: Server) -> None:
    """While one write is on its way, the others gather for the next."""
    writes: list[int] = []
    receive = server.store.receive

    def counted(deliveries: Any, *, now: Any) -> Any:
        writes.append(len(deliveries))
        return receive(deliveries, now=now)

    server.store.receive = counted  # type: ignore[method-assign] # a spy on the fake

    async def storm() -> list[httpx.Response]:
        return list(
            await asyncio.gather(
                *(
                    server._ask("POST", "/", headers=BEARER, content=payload(fingerprint=f"f{number}"))
                    for number in range(20)
                )
            )
        )

    assert {answer.status_code for answer in asyncio.run(storm())} == {200}
    assert sum(writes) == 20
    assert len(writes) < 20
    assert json.loads(json.dumps(server.store.counts())) == {"open": 20}


def test_too_many_requests_are_sent_again_and_not_lost(server: Server) -> None:
    """With a token: 503, which Alertmanager repeats; a 429 would be the end of the alert. Nothing is recorded."""
    server.web._senders = RateLimit(1, lambda: 0.0)
    answers = [server.ask("POST", "/", content=payload()) for _ in range(4)]

    assert [answer.status_code for answer in answers] == [200, 200, 503, 503]
    assert answers[-1].headers["retry-after"] == "1"
    assert answers[-1].json()["error"]["message"] == "Too many requests; nothing was recorded. Try again."
    assert server.ask("GET", "/healthz").status_code == 200


def test_too_many_wrong_tokens_are_turned_away_and_the_right_one_is_not(server: Server) -> None:
    """Without a token: 429 after a while; whoever has a token is answered beside it, from the same address."""
    server.web._strangers = RateLimit(1, lambda: 0.0)
    wrong = {"Authorization": "Bearer wrong"}
    answers = [server.ask("POST", "/", headers=wrong, content=payload()) for _ in range(4)]

    assert [answer.status_code for answer in answers] == [401, 401, 429, 429]
    assert answers[-1].headers["retry-after"] == "1"
    assert server.ask("POST", "/", content=payload()).status_code == 200


def test_what_waits_for_the_disk_is_bounded(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the store is slow, more than fits is a 503; what was taken is written."""
    monkeypatch.setattr(receiving, "MOST_WAITING", 3)

    async def storm() -> list[httpx.Response]:
        requests = (
            server._ask("POST", "/", headers=BEARER, content=payload(fingerprint=f"f{number}")) for number in range(20)
        )
        return list(await asyncio.gather(*requests))

    answers = asyncio.run(storm())
    taken = [answer for answer in answers if answer.status_code == 200]
    refused = [answer for answer in answers if answer.status_code == 503]
    assert len(taken) + len(refused) == 20
    assert "alerts wait for the disk; nothing was recorded" in refused[0].json()["error"]["message"]
    assert len(server.store.summaries()) == len(taken) >= 3


def test_bodies_that_are_being_read_are_bounded_together(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many large requests at once are a 503, and what they held is given back."""
    monkeypatch.setattr(web, "_MOST_HELD_BYTES", 50_000)
    large = payload(labels={"a": "x" * 60_000})

    assert server.ask("POST", "/", content=large).status_code == 503
    assert server.web._held_bytes == 0
    assert server.ask("POST", "/", content=payload()).status_code == 200


def test_the_description_names_every_request(server: Server) -> None:
    """Each route and method of the application is in the document, and nothing else; each reference leads somewhere."""
    described = {(path, method.upper()) for path, operations in document()["paths"].items() for method in operations}
    answered = {
        (route.path.replace(":int}", "}"), method)
        for route in server.app.routes
        if isinstance(route, Route)
        for method in (route.methods or set()) - {"HEAD"}
    }
    text = server.ask("GET", "/openapi.json", headers={}).text

    assert described == answered
    names = set(re.findall(r'"#/components/schemas/(\w+)"', text))
    assert names <= json.loads(text)["components"]["schemas"].keys()
    assert len(names) > 10
