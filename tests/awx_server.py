"""A small AWX: the part of its documented API that the responder uses, with its habits and its failures.

Habits: what a template does not prompt for is dropped and named in ``ignored_fields``; the list of jobs cannot be
filtered by variables; the last events come late; a job that has ended cannot be cancelled (405). Failures are given by
``fail``: for the next requests of one kind, an answer, or ``lost`` for one that is carried out and never answered.
"""

from __future__ import annotations

import json
import threading
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator

TOKEN = "awx-s3cr3t-token"


@dataclass
class Template:
    """One job template: what it prompts for, and what its jobs do, state by state."""

    id: int
    asks: dict[str, Any] = field(default_factory=dict)
    needs: list[str] = field(default_factory=list)
    passwords: list[str] = field(default_factory=list)
    states: tuple[str, ...] = ("pending", "running", "successful")
    artifacts: dict[str, Any] = field(default_factory=dict)
    events: tuple[dict[str, Any], ...] = ()
    defaults: dict[str, Any] = field(default_factory=dict)


@dataclass
class Job:
    """One job; each look at it is a step of its life."""

    id: int
    template: Template
    body: dict[str, Any]
    states: list[str]
    created: str
    looks_after_end: int = 0

    @property
    def status(self) -> str:
        return self.states[0]

    @property
    def ended(self) -> bool:
        return self.status in ("successful", "failed", "error", "canceled")

    @property
    def started(self) -> bool:
        return self.status not in ("new", "pending", "waiting", "canceled-in-queue")


class Awx:
    """Templates, jobs, and the requests that were made."""

    def __init__(self, prefix: str = "/api/v2") -> None:
        self.prefix = prefix
        self.templates: dict[str, Template] = {}
        self.jobs: list[Job] = []
        self.requests: list[str] = []
        self.seen: list[tuple[str, dict[str, str], bytes]] = []
        self.stubborn = False
        self.url = ""
        self._failures: dict[str, list[Any]] = defaultdict(list)
        self._was_running: set[int] = set()
        self._lock = threading.Lock()

    def add(self, name: str, organization: str = "Default", **template: Any) -> Template:
        """Add a template that prompts for everything unless told otherwise."""
        prompts = ("variables", "job_type", "diff_mode")
        asks = {f"ask_{prompt}_on_launch": True for prompt in prompts} | template.pop("asks", {})
        made = Template(len(self.templates) + 1, asks, **template)
        self.templates[f"{name}++{organization}"] = made
        return made

    def fail(self, kind: str, *answers: Any) -> None:
        """Let the next requests of a kind (launch, ask, look, events, cancel, list) fail so."""
        self._failures[kind] += answers

    def answer(self, method: str, path: str, query: dict[str, str], body: bytes) -> tuple[int, Any] | None:
        """Return status and document; None to hang up."""
        kind, handle = self._route(method, path)
        with self._lock:
            self.requests.append(kind)
            failure = self._failures[kind].pop(0) if self._failures[kind] else None
            if isinstance(failure, int):
                return failure, {"detail": f"failure {failure}"}
            if failure == "hang up":
                return None
            if failure == "page":
                return 200, "<html>maintenance</html>"
            found = handle(query, json.loads(body or b"{}"))
        if failure == "lost":
            return None
        return (502, "<html>Bad Gateway</html>") if failure == "502 after" else found

    def _route(self, method: str, path: str) -> tuple[str, Any]:  # noqa: PLR0911 -- one for each address
        parts = path.removeprefix(self.prefix).strip("/").split("/")
        match method, parts if path.startswith(self.prefix + "/") else []:
            case "GET", ["job_templates", name, "launch"]:
                return "ask", lambda _query, _body: self._prompts(name)
            case "POST", ["job_templates", name, "launch"]:
                return "launch", lambda _query, body: self._launch(name, body)
            case "GET", ["jobs"]:
                return "list", lambda query, _body: self._list(query)
            case "GET", ["jobs", number]:
                return "look", lambda _query, _body: self._look(int(number))
            case "GET", ["jobs", number, "job_events"]:
                return "events", lambda query, _body: self._events(int(number), query)
            case "POST", ["jobs", number, "cancel"]:
                return "cancel", lambda _query, _body: self._cancel(int(number))
            case _:
                return "unknown", lambda _query, _body: (404, {"detail": "Not found."})

    def _prompts(self, name: str) -> tuple[int, Any]:
        template = self.templates.get(name)
        if template is None:
            return 404, {"detail": "No JobTemplate matches the given query."}
        return 200, {
            **template.asks,
            "ask_limit_on_launch": False,
            "survey_enabled": False,
            "variables_needed_to_start": template.needs,
            "passwords_needed_to_start": template.passwords,
            "can_start_without_user_input": not template.needs and not template.passwords,
            "defaults": {"job_type": "run", "diff_mode": False, "extra_vars": "", **template.defaults},
        }

    def _launch(self, name: str, body: dict[str, Any]) -> tuple[int, Any]:
        template = self.templates[name]
        prompts = {"extra_vars": "variables", "job_type": "job_type", "diff_mode": "diff_mode"}
        ignored = {key: body[key] for key in body if not template.asks.get(f"ask_{prompts.get(key, key)}_on_launch")}
        kept = {key: value for key, value in body.items() if key not in ignored}
        job = Job(100 + len(self.jobs), template, kept, list(template.states), datetime.now(UTC).isoformat())
        self.jobs.append(job)
        return 201, {"job": job.id, "id": job.id, "ignored_fields": ignored, "status": "pending"}

    def _list(self, query: dict[str, str]) -> tuple[int, Any]:
        if any(name.startswith("extra_vars") for name in query):
            return 403, {"detail": "Filtering on extra_vars is not allowed."}
        size, page = int(query["page_size"]), int(query["page"])
        newest = sorted(self.jobs, key=lambda job: -job.id)
        shown = newest[(page - 1) * size : page * size]
        more = f"{self.prefix}/jobs/?page={page + 1}" if len(newest) > page * size else None
        return 200, {"count": len(newest), "next": more, "results": [self._document(job) for job in shown]}

    def _document(self, job: Job) -> dict[str, Any]:
        return {
            "id": job.id,
            "status": job.status,
            "created": job.created,
            "started": job.created if job.id in self._was_running else None,
            "extra_vars": json.dumps(job.body.get("extra_vars", {})),
            "job_explanation": "It went wrong." if job.status == "error" else "",
        }

    def _look(self, number: int) -> tuple[int, Any]:
        job = self._job(number)
        if job.status == "running":
            self._was_running.add(job.id)
        document = {**self._document(job), "artifacts": job.template.artifacts if job.ended else {}}
        if job.ended:
            job.looks_after_end += 1
        document["event_processing_finished"] = job.looks_after_end > 1
        if len(job.states) > 1:
            job.states.pop(0)
            if job.status not in ("pending", "waiting", "canceled"):
                self._was_running.add(job.id)
                document["started"] = job.created
        return 200, document

    def _events(self, number: int, query: dict[str, str]) -> tuple[int, Any]:
        job = self._job(number)
        whole = [{"counter": count, **event} for count, event in enumerate(job.template.events, start=1)]
        # The last ones come late.
        ready = whole if job.looks_after_end > 1 else whole[:-1] if job.id in self._was_running else []
        left = [event for event in ready if event["counter"] > int(query["counter__gt"])]
        return 200, {"next": "more" if len(left) > 2 else None, "results": left[:2]}

    def _cancel(self, number: int) -> tuple[int, Any]:
        job = self._job(number)
        if job.ended:
            return 405, {"detail": "Method not allowed."}
        if not self.stubborn:
            job.states = ["canceled"]
        return 202, {}

    def _job(self, number: int) -> Job:
        return next(job for job in self.jobs if job.id == number)

    @contextmanager
    def listening(self) -> Iterator[Awx]:
        """Serve on loopback."""
        awx = self

        class Handler(BaseHTTPRequestHandler):
            def _serve(self) -> None:
                address = urlsplit(self.path)
                query = {name: values[0] for name, values in parse_qs(address.query).items()}
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                awx.seen.append((self.path, dict(self.headers), body))
                if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                    answer: tuple[int, Any] | None = (401, {"detail": "Authentication credentials were not provided."})
                else:
                    answer = awx.answer(self.command, unquote(address.path), query, body)
                if answer is None:
                    self.close_connection = True
                    return
                status, document = answer
                text = document if isinstance(document, str) else json.dumps(document)
                self.send_response(status)
                self.send_header("Content-Length", str(len(text.encode())))
                self.end_headers()
                self.wfile.write(text.encode())

            do_GET = do_POST = _serve  # noqa: N815 -- the names that http.server calls

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            thread.join()
            server.server_close()
