# SPDX-License-Identifier: GPL-3.0-or-later
"""Run playbooks as AWX jobs: one job template for each playbook, of the same name.

Three things about AWX decide how this is written. It drops without an error what a template does not prompt for, so
what a launch needs is asked first and its answer is checked. A launch has no idempotency key and a proxy may answer 502
for one that was accepted, so a launch is never repeated: its job is looked for by the run's id. And a job outlives
whoever launched it, so a responder that stops leaves it running, and whoever goes on attaches to it again.
"""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx
from typing_extensions import override

from alert_responder.processes import LONGEST_ERROR
from alert_responder.run_events import EventReport
from alert_responder.runner import Report, Request, Runner, remove_old_runs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pydantic import SecretStr

    from alert_responder.incidents import Result

log = logging.getLogger(__name__)

RUN_ID, RUN_LIMIT = "runbook_run_id", "runbook_run_limit_seconds"
_PROMPTS = {
    "extra_vars": "ask_variables_on_launch",
    "job_type": "ask_job_type_on_launch",
    "diff_mode": "ask_diff_mode_on_launch",
}
_FINAL = frozenset({"successful", "failed", "error", "canceled"})
# What stands for these characters in a named URL.
_RESERVED = frozenset(";/?:@=&[]+")
_PAGE = 200
_MOST_PAGES = 25
_LOOK_BACK = timedelta(days=1)
_DEFAULT_LIMIT_SECONDS = 3600.0
_MOST_ERRORS = 5


class AwxError(Exception):
    """AWX did not do what it was asked; ``uncertain`` if it may have all the same."""

    def __init__(self, message: str, *, uncertain: bool = False) -> None:
        super().__init__(message)
        self.uncertain = uncertain


@dataclass(frozen=True)
class Controller:
    """Where AWX answers and as whom we ask."""

    url: str
    token: SecretStr
    prefix: str = "/api/v2"
    organization: str = "Default"
    ca_file: Path | None = None
    request_seconds: float = 15.0
    # How often a job is looked at, and how long one of an uncertain launch, or the end of a cancelled one, is awaited.
    poll_seconds: float = 2.0
    patience_seconds: float = 60.0


@dataclass
class _Watch:
    """What is known of one job so far."""

    job: int
    events: EventReport
    counter: int = 0
    seen: dict[str, Any] = field(default_factory=dict)

    @property
    def ended(self) -> bool:
        return self.seen.get("status") in _FINAL


class AwxRunner(Runner):
    """Runs each playbook as a job; what it tells is kept in a folder of its own beside those of local runs.

    ``place`` stays empty: any responder on the same store can find a job again.
    """

    def __init__(
        self,
        controller: Controller,
        *,
        folder: Path,
        keep_runs: int = 500,
        keep_days: float = 30,
        sleep: Callable[[float], Any] = asyncio.sleep,
    ) -> None:
        self._controller = controller
        self._folder = folder
        self._keep_runs = keep_runs
        self._keep_days = keep_days
        self._sleep = sleep

    @override
    async def run(self, request: Request) -> Report:
        """Launch one job and follow it to its end or its limit; cancelling the task leaves the job to `recover`."""
        started = time.monotonic()
        async with self._client() as client:
            try:
                job = await self._launch(client, request)
            except AwxError as error:
                seconds = round(time.monotonic() - started, 3)
                # Nobody knows whether it runs: what it may leave is verified before anything else.
                result: Result = "interrupted" if error.uncertain else "failed_launch"
                return Report(result, began=error.uncertain, reason=str(error), seconds=seconds)
            return await self._follow(client, request.run, job, request.timeout_seconds, started)

    @override
    async def recover(self, run: str) -> Report:
        """Attach to the job of this run again, and say how it ended."""
        started = time.monotonic()
        async with self._client() as client:
            try:
                found = await self._look_for(client, run, self._controller.poll_seconds, at_least_once=True)
            except AwxError as error:
                reason = f"the responder stopped while it ran, and AWX cannot be asked: {error}"
                return Report("interrupted", began=True, reason=reason, seconds=0.0)
            if found is None:
                reason = "the responder stopped before AWX had its job"
                return Report("failed_launch", began=False, reason=reason, seconds=0.0)
            job = await self._until_answered(client, f"/jobs/{found}/", f"job {found}")
            return await self._follow(client, run, found, _time_left(job), started)

    @override
    def clean_up(self) -> None:
        remove_old_runs(self._folder, keep_runs=self._keep_runs, keep_days=self._keep_days)

    def _client(self) -> httpx.AsyncClient:
        one = self._controller
        return httpx.AsyncClient(
            base_url=f"{one.url.rstrip('/')}{one.prefix.rstrip('/')}",
            headers={"Authorization": f"Bearer {one.token.get_secret_value()}"},
            verify=ssl.create_default_context(cafile=one.ca_file),
            timeout=one.request_seconds,
            # Nothing of the environment may send it, with its token, elsewhere.
            trust_env=False,
        )

    async def _launch(self, client: httpx.AsyncClient, request: Request) -> int:
        template = named_url(request.playbook, self._controller.organization)
        path = f"/job_templates/{template}/launch/"
        asks = await self._ask(client, "GET", path, f"job template {request.playbook!r}")
        wanted = _needed(asks, _body(request))
        problems = list(_not_accepted(asks, wanted))
        if problems:
            raise AwxError(f"job template {request.playbook!r} cannot be launched as asked: {'; '.join(problems)}")
        self._note(request.run, {"template": request.playbook, "launched_at": datetime.now(UTC).isoformat()})
        try:
            launched = await self._ask(client, "POST", path, f"job template {request.playbook!r}", json=wanted)
            job = int(launched["job"])
        except AwxError as error:
            if not error.uncertain:
                raise
            log.warning("Run %s: %s; its job is looked for.", request.run, error, extra={"action": "awx.uncertain"})
            found = await self._look_for(client, request.run, self._controller.patience_seconds)
            if found is None:
                raise
            job, launched = found, {}
        self._note(request.run, {"template": request.playbook, "job": job})
        ignored = launched.get("ignored_fields") or {}
        if ignored:
            await self._refuse(client, request, job, f"AWX ignored {', '.join(sorted(ignored))}")
        return job

    async def _refuse(self, client: httpx.AsyncClient, request: Request, job: int, why: str) -> None:
        """End a job that is not the one that was asked for."""
        watch = _Watch(job, EventReport())
        ended = await self._cancel(client, request.run, watch)
        what = "was cancelled" if ended else "could not be cancelled"
        raise AwxError(f"{why}; job {job} {what}", uncertain=watch.events.began or not ended)

    async def _follow(
        self, client: httpx.AsyncClient, run: str, job: int, limit_seconds: float, started: float
    ) -> Report:
        """Read a job's state and events until it has ended; AWX being away for a while is no news of the job."""
        watch = _Watch(job, EventReport())
        while not watch.ended:
            if time.monotonic() - started > limit_seconds:
                ended = await self._cancel(client, run, watch)
                return _over_limit(watch, limit_seconds, time.monotonic() - started, ended=ended)
            await self._look(client, run, watch)
            if not watch.ended:
                await self._sleep(self._controller.poll_seconds)
        await self._read_the_rest(client, run, watch)
        return _report(watch, round(time.monotonic() - started, 3))

    async def _read_the_rest(self, client: httpx.AsyncClient, run: str, watch: _Watch) -> None:
        """Wait until AWX has stored every event of an ended job."""
        for _ in self._patience():
            if watch.seen.get("event_processing_finished", True):
                return
            await self._sleep(self._controller.poll_seconds)
            await self._look(client, run, watch)

    async def _look(self, client: httpx.AsyncClient, run: str, watch: _Watch) -> None:
        try:
            watch.seen = await self._ask(client, "GET", f"/jobs/{watch.job}/", f"job {watch.job}")
            while await self._read_events(client, run, watch):
                continue
        except AwxError as error:
            log.warning("Run %s: job %d: %s", run, watch.job, error, extra={"action": "awx.away"})

    async def _read_events(self, client: httpx.AsyncClient, run: str, watch: _Watch) -> bool:
        """Take in one page of events; True if there are more."""
        query = {"order_by": "counter", "counter__gt": watch.counter, "page_size": _PAGE}
        page = await self._ask(client, "GET", f"/jobs/{watch.job}/job_events/", f"job {watch.job}", params=query)
        for event in page["results"]:
            watch.counter = max(watch.counter, int(event["counter"]))
            watch.events.on_event(event)
            self._keep(run, event)
        return bool(page.get("next")) and bool(page["results"])

    async def _cancel(self, client: httpx.AsyncClient, run: str, watch: _Watch) -> bool:
        """End a job; True once AWX says that it has ended."""
        for _ in self._patience():
            try:
                await self._ask(client, "POST", f"/jobs/{watch.job}/cancel/", f"job {watch.job}")
            except AwxError as error:
                # 405: it has ended already, as the next look will show.
                log.info("Run %s: cancel of job %d: %s", run, watch.job, error, extra={"action": "awx.cancel"})
            await self._look(client, run, watch)
            if watch.ended:
                return True
            await self._sleep(self._controller.poll_seconds)
        log.error("Job %d of run %s cannot be ended. End it in AWX.", watch.job, run, extra={"action": "run.not_ended"})
        return False

    async def _look_for(
        self, client: httpx.AsyncClient, run: str, seconds: float, *, at_least_once: bool = False
    ) -> int | None:
        """Return the job that carries the run's id; None if there is none by ``seconds``.

        With ``at_least_once``, raises AwxError if AWX could not be asked at all.
        """
        asked, last = not at_least_once, AwxError("no answer")
        for _ in self._patience(max(seconds, self._controller.patience_seconds) if at_least_once else seconds):
            try:
                job = await self._find(client, run)
            except AwxError as error:
                last = error
            else:
                asked = True
                if job is not None or at_least_once:
                    return job
            await self._sleep(self._controller.poll_seconds)
        if not asked:
            raise last
        return None

    async def _find(self, client: httpx.AsyncClient, run: str) -> int | None:
        # Filtering by variables is forbidden in AWX; the newest jobs are read instead.
        since = (datetime.now(UTC) - _LOOK_BACK).isoformat()
        for page in range(1, _MOST_PAGES + 1):
            query = {"order_by": "-id", "created__gt": since, "page_size": _PAGE, "page": page}
            listed = await self._ask(client, "GET", "/jobs/", "the jobs", params=query)
            for job in listed["results"]:
                if _variables(job).get(RUN_ID) == run:
                    return int(job["id"])
            if not listed.get("next"):
                return None
        return None

    async def _until_answered(self, client: httpx.AsyncClient, path: str, what: str) -> dict[str, Any]:
        for _ in self._patience():
            try:
                return await self._ask(client, "GET", path, what)
            except AwxError as error:
                log.warning("%s", error, extra={"action": "awx.away"})
            await self._sleep(self._controller.poll_seconds)
        return {}

    def _patience(self, seconds: float | None = None) -> Iterator[int]:
        wait = self._controller.patience_seconds if seconds is None else seconds
        yield from range(max(1, round(wait / self._controller.poll_seconds)))

    async def _ask(self, client: httpx.AsyncClient, method: str, path: str, what: str, **given: Any) -> dict[str, Any]:
        """Return AWX's answer; raises AwxError with a sentence, uncertain if the request may have changed something."""
        changes = method != "GET"
        try:
            answer = await client.request(method, path, **given)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.UnsupportedProtocol) as error:
            raise AwxError(f"AWX cannot be reached: {error or type(error).__name__}") from error
        except httpx.HTTPError as error:
            raise AwxError(
                f"AWX did not answer about {what}: {error or type(error).__name__}", uncertain=changes
            ) from error
        if answer.is_success:
            try:
                found: dict[str, Any] = answer.json() if answer.content else {}
            except ValueError as error:
                raise AwxError(f"AWX answered about {what} with something else than JSON", uncertain=changes) from error
            return found
        raise AwxError(_refusal(answer, what), uncertain=changes and answer.is_server_error)

    def _note(self, run: str, document: dict[str, Any]) -> None:
        folder = self._folder / run
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / "awx.json").write_text(json.dumps(document))

    def _keep(self, run: str, event: dict[str, Any]) -> None:
        folder = self._folder / run
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (folder / "job_events.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(event) + "\n")


def named_url(name: str, organization: str) -> str:
    """Return what stands for an object of one organization in AWX's addresses; a bare name could be another's."""

    def escaped(text: str) -> str:
        return quote("".join(f"[{char}]" if char in _RESERVED else char for char in text), safe="")

    return f"{escaped(name)}++{escaped(organization)}"


def plain_values(value: Any) -> Any:
    """Take our mark for text off: it means something in a JSON file only, and AWX marks every value itself."""
    if isinstance(value, dict):
        if value.keys() == {"__ansible_unsafe"}:
            return value["__ansible_unsafe"]
        return {key: plain_values(item) for key, item in value.items()}
    return [plain_values(item) for item in value] if isinstance(value, list) else value


def _body(request: Request) -> dict[str, Any]:
    variables = plain_values(dict(request.variables))
    body: dict[str, Any] = {"extra_vars": {**variables, RUN_ID: request.run, RUN_LIMIT: request.timeout_seconds}}
    if request.check:
        body |= {"job_type": "check", "diff_mode": True}
    return body


def _needed(asks: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
    """Leave out what a template does by itself and does not prompt for."""
    defaults = asks.get("defaults") or {}
    return {name: value for name, value in body.items() if asks.get(_PROMPTS[name]) or defaults.get(name) != value}


def _not_accepted(asks: dict[str, Any], wanted: dict[str, Any]) -> Iterator[str]:
    """Say what a template would drop without a word, or miss."""
    for name in wanted:
        if not asks.get(_PROMPTS[name]):
            yield f"it must prompt for {name} ({_PROMPTS[name]})"
    missing = sorted(set(asks.get("variables_needed_to_start") or ()) - wanted["extra_vars"].keys())
    if missing:
        yield f"it needs the variables {', '.join(missing)}"
    if asks.get("passwords_needed_to_start"):
        yield f"it asks for passwords: {', '.join(asks['passwords_needed_to_start'])}"


def _refusal(answer: httpx.Response, what: str) -> str:
    words = {
        401: "AWX does not accept the token (401)",
        403: f"AWX does not let us use {what} (403)",
        404: f"AWX knows no {what} in this organization (404)",
        429: "AWX is asked too often (429)",
    }
    said = " ".join(answer.text.split())[:300]
    known = words.get(answer.status_code, f"AWX answered {answer.status_code} about {what}")
    return f"{known}: {said}" if said and "<html" not in said.lower() else known


def _variables(job: dict[str, Any]) -> dict[str, Any]:
    try:
        found = json.loads(job.get("extra_vars") or "{}")
    except (TypeError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _time_left(job: dict[str, Any]) -> float:
    """Return how long a job that is attached to again may still run."""
    limit = _variables(job).get(RUN_LIMIT, _DEFAULT_LIMIT_SECONDS)
    limit = float(limit) if isinstance(limit, int | float) else _DEFAULT_LIMIT_SECONDS
    try:
        age = (datetime.now(UTC) - datetime.fromisoformat(str(job["created"]))).total_seconds()
    except (KeyError, ValueError, TypeError):
        return limit
    return min(limit, max(0.0, limit - age))


def _over_limit(watch: _Watch, limit_seconds: float, seconds: float, *, ended: bool) -> Report:
    job, took = watch.job, round(seconds, 3)
    if ended and watch.seen.get("status") != "canceled":
        # It came to its end while it was being cancelled.
        return _report(watch, took)
    if ended and not watch.seen.get("started"):
        reason = f"job {job} waited in AWX's queue for {limit_seconds:.0f} s and was cancelled"
        return Report("failed_launch", began=False, reason=reason, seconds=took)
    what = "was cancelled" if ended else "could not be cancelled"
    reason = f"job {job} {what} after its limit of {limit_seconds:.0f} s"
    return Report("timed_out", began=True, reason=reason, seconds=took)


def _report(watch: _Watch, seconds: float) -> Report:
    """Turn an ended job into a report: what it published counts, whatever its status."""
    status, events = watch.seen.get("status"), watch.events
    published = watch.seen.get("artifacts") or events.published
    errors = "; ".join(events.errors[:_MOST_ERRORS])
    if isinstance(published, dict) and published:
        return Report("done", events.began, errors, seconds, published)
    said = watch.seen.get("job_explanation") or watch.seen.get("result_traceback") or ""
    reason = errors or f"AWX says {status} of job {watch.job}: {said}"[:LONGEST_ERROR]
    if status == "canceled":
        result: Result = "interrupted" if watch.seen.get("started") else "failed_launch"
        return Report(
            result, began=result == "interrupted", reason=f"job {watch.job} was cancelled in AWX", seconds=seconds
        )
    return Report("failed_launch", events.began, reason, seconds)
