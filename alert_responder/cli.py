# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line. Data goes to standard output, everything else to standard error."""

from __future__ import annotations

import asyncio
import getpass
import json
import os
import sys
import uuid
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from alert_responder import __version__, logs, report, review, stats
from alert_responder import checks as runbook_checks
from alert_responder.dependencies import read_dependencies
from alert_responder.documents import Evidence, Outcome, read_document
from alert_responder.errors import ResponderError, SettingsError
from alert_responder.incidents import Closed, Hold, Status, answer, fold
from alert_responder.notify import AppriseTeller
from alert_responder.runbooks import Runbook, load_catalog
from alert_responder.runner import Request
from alert_responder.serve import make_runner, now, open_store
from alert_responder.serve import serve as run_service
from alert_responder.settings import CONFIG, Settings, load_settings
from alert_responder.timeline import elapsed, evidence_lines, heading, outcome_lines, plain, timeline
from alert_responder.web import event_document, summary_document

if TYPE_CHECKING:
    from alert_responder.store_sql import SqlStore

FAILED, USAGE = 1, 2
_NARROW, _WIDE = 120, 240
# What an alert calls itself must not push the number out that the other commands ask for.
_WIDEST = {"Alert": 32, "Service": 16}
_DEFAULT_CONFIG = Path("alert-responder.yml")

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
incidents_app = typer.Typer(help="Show and close incidents.")
runbooks_app = typer.Typer(no_args_is_help=True, help="Check runbooks, write their index, begin a new one.")
app.add_typer(incidents_app, name="incidents")
app.add_typer(runbooks_app, name="runbooks")

Number = Annotated[int, typer.Argument(min=1, metavar="ID")]
Letter = Annotated[str, typer.Option("--option", help="The letter of the option.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; it stays on record.")]
Who = Annotated[str | None, typer.Option("--who", help="Your name; else the name you are logged in with.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@dataclass
class _Given:
    config: Path | None = None
    verbose: bool = False

    def settings(self) -> Settings:
        file = self.config or (_DEFAULT_CONFIG if _DEFAULT_CONFIG.is_file() else None)
        return load_settings(file, os.environ)


def _print_version(wanted: bool) -> None:  # noqa: FBT001 -- called by Typer
    if wanted:
        typer.echo(f"alert-responder {__version__}")
        raise typer.Exit


@app.callback()
def given(
    context: typer.Context,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", envvar=CONFIG, help="The settings; else ./alert-responder.yml.")
    ] = None,
    *,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log more.")] = False,
    version: Annotated[  # noqa: ARG001 -- its callback does it
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Let an alert start the right runbook, prove recovery, and escalate with the evidence."""
    context.obj = _Given(config, verbose)


@app.command()
def serve(context: typer.Context) -> None:
    """Receive alerts and work on incidents until stopped."""
    settings = context.obj.settings()
    logs.set_up("DEBUG" if context.obj.verbose else settings.log_level.upper())
    try:
        asyncio.run(run_service(settings))
    except* ResponderError as group:
        # The web server and the worker run side by side; what stopped them is one error to the reader.
        raise group.exceptions[0] from None


@app.command("check-config")
def check_config(context: typer.Context) -> None:
    """Check the settings and the runbooks; print the settings, secrets as stars."""
    settings = context.obj.settings()
    load_catalog(settings.runbooks)
    AppriseTeller(settings.notify)
    for name, value in settings:
        typer.echo(f"{name}: {plain(str(value))}")
    for service, needs in read_dependencies(settings).items():
        typer.echo(f"dependencies of {service}: {', '.join(sorted(needs))}")


@app.command()
def catalog(context: typer.Context, *, as_json: AsJson = False) -> None:
    """List every runbook with its alerts and options."""
    found = load_catalog(context.obj.settings().runbooks)
    if as_json:
        _print_json({"runbooks": [runbook.model_dump(mode="json") for runbook in found.runbooks.values()]})
        return
    table = _table("Runbook", "Option", "Title", "Automation", "When", "Expected")
    for runbook in found.runbooks.values():
        for option in runbook.options:
            table.add_row(
                *map(
                    Text,
                    (
                        runbook.runbook,
                        option.letter,
                        option.title,
                        option.automation,
                        option.when,
                        f"{option.expected_seconds} s",
                    ),
                )
            )
    _console().print(table)


@incidents_app.callback(invoke_without_command=True)
def incidents(
    context: typer.Context,
    *,
    status: Annotated[Status | None, typer.Option(help="Only incidents of this status.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many, the newest.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List the newest incidents."""
    if context.invoked_subcommand is not None:
        return
    lines = _store(context).summaries(status=status, limit=limit)
    if as_json:
        _print_json({"incidents": [summary_document(line) for line in lines]})
        return
    table = _table("ID", "Alert", "Service", "Runbook", "Status", "Opened", "Took", "Reason")
    for line in lines:
        table.add_row(
            *map(
                Text,
                (
                    str(line.id),
                    plain(line.alert),
                    plain(line.service),
                    line.runbook or "",
                    line.status.value,
                    f"{line.opened_at:%Y-%m-%d %H:%M:%S}Z",
                    elapsed(line.updated_at - line.opened_at),
                    plain(line.reason),
                ),
            )
        )
    _console().print(table)


@incidents_app.command()
def show(context: typer.Context, number: Number, *, as_json: AsJson = False) -> None:
    """Show one incident: the timeline with evidence, reasons, and values before and after."""
    events = _store(context).events(number)
    if as_json:
        _print_json({"id": number, "events": [event_document(event) for event in events]})
        return
    console = _console()
    console.print(Text(f"Incident {number}", style="bold"))
    for line in heading(events):
        console.print(Text(line))
    for at, headline, details in timeline(events):
        console.print(Text(f"{elapsed(at - events[0].at):>9}  {headline}"))
        for detail in details:
            console.print(Text(f"{'':>11}{detail}", style="dim"))


@incidents_app.command()
def approve(context: typer.Context, number: Number, option: Letter, reason: Reason, who: Who = None) -> None:
    """Allow the option that an incident asks about, having seen its dry run (show)."""
    _answer(context, number, option, yes=True, reason=reason, who=who)


@incidents_app.command()
def deny(context: typer.Context, number: Number, option: Letter, reason: Reason, who: Who = None) -> None:
    """Refuse the option that an incident asks about; the incident is escalated."""
    _answer(context, number, option, yes=False, reason=reason, who=who)


def _answer(context: typer.Context, number: int, option: str, *, yes: bool, reason: str, who: str | None) -> None:
    store = _store(context)
    state = fold(store.events(number))
    event = answer(state, option, yes=yes, who=who or getpass.getuser(), reason=reason, at=now())
    store.append(number, [event], owner=None, expected=state.sequence)


@incidents_app.command()
def close(context: typer.Context, number: Number, reason: Reason, who: Who = None) -> None:
    """Close an incident by hand."""
    event = Closed(at=now(), status="resolved", reason=reason, who=who or getpass.getuser())
    _store(context).append(number, [event], owner=None)


@app.command("report")
def report_incident(context: typer.Context, number: Number) -> None:
    """Write the post-incident review of an incident from runbooks/post-incident-review.md."""
    settings = context.obj.settings()
    events = _store(context).events(number)
    runbook = load_catalog(settings.runbooks).runbooks.get(fold(events).runbook or "")
    file = settings.runbooks / report.TEMPLATE
    try:
        template = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ResponderError(f"Cannot read the template of the review: {error}.") from error
    typer.echo(report.report(number, events, runbook, template), nl=False)


@app.command("stats")
def show_stats(
    context: typer.Context,
    *,
    since: Annotated[datetime | None, typer.Option(help="From when on, in UTC; else the last 90 days.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show what came of each runbook and option: runs, recoveries, times, escalations, flaps, and what to change."""
    settings = context.obj.settings()
    begin = since.replace(tzinfo=UTC) if since else now() - timedelta(days=90)
    lines = stats.stats(_store(context).records(since=begin), load_catalog(settings.runbooks), settings.policy)
    if as_json:
        _print_json({"since": begin.isoformat(), "stats": [line.document() for line in lines]})
        return
    columns = (
        "Runbook",
        "Option",
        "Incidents",
        "Runs",
        "Healed",
        "Recovered",
        "in (median, 95th)",
        "Escalated",
        "Flaps",
    )
    table = _table(*columns, "Took (median, 95th)", "Expected", "Suggested")
    for line in lines:
        cells = (
            line.runbook,
            line.option,
            *map(str, (line.incidents, line.runs, line.healed, line.recoveries)),
            _pair(line.recovery_median, line.recovery_95th),
            *map(str, (line.escalations, line.flaps)),
            _pair(line.measured_median, line.measured_95th),
            f"{line.expected} s" if line.expected is not None else "",
            line.suggestion,
        )
        table.add_row(*map(Text, cells))
    _console().print(table)


@app.command("review")
def show_reviews(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(metavar="RUNBOOK")] = None,
    *,
    done: Annotated[bool, typer.Option("--done", help="Mark RUNBOOK reviewed today.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the runbooks that are due for a review and why, or mark one reviewed."""
    settings = context.obj.settings()
    catalog = load_catalog(settings.runbooks)
    today = now().date()
    if done:
        if name is None:
            raise typer.BadParameter("Which one? alert-responder review RUNBOOK --done.")
        file = settings.runbooks / f"{catalog.get(name).runbook}.md"
        review.mark(file, today=today, content=review.content_of(settings.project, catalog.get(name)))
        listed = settings.runbooks / "README.md"
        listed.write_text(runbook_checks.index(load_catalog(settings.runbooks), settings.runbooks), encoding="utf-8")
        typer.echo(f"Marked as reviewed on {today}: {file}, {listed}. Commit both.")
        return
    chosen = [catalog.get(name)] if name is not None else list(catalog.runbooks.values())
    found = {runbook.runbook: _why_due(context, runbook, today) for runbook in chosen}
    if as_json:
        _print_json({"due": [{"runbook": name, "reasons": reasons} for name, reasons in found.items() if reasons]})
        return
    table = _table("Runbook", "Owner", "Reviewed", "Due because")
    for runbook in chosen:
        if reasons := found[runbook.runbook]:
            table.add_row(*map(Text, (runbook.runbook, runbook.owner, str(runbook.reviewed), "; ".join(reasons))))
    _console().print(table)


def _why_due(context: typer.Context, runbook: Runbook, today: date) -> list[str]:
    settings: Settings = context.obj.settings()
    day_after = datetime.combine(runbook.reviewed, time(), UTC) + timedelta(days=1)
    # A checkout without a responder has no incidents to count.
    stored = settings.database is not None or settings.file.is_file()
    incidents = open_store(settings).uses(runbook.runbook, since=day_after) if stored else 0
    content = review.content_of(settings.project, runbook)
    return review.due(runbook, today=today, incidents=incidents, content=content)


def _pair(one: float | None, other: float | None) -> str:
    return "" if one is None or other is None else f"{one:.1f} s, {other:.1f} s"


@app.command()
def run(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="RUNBOOK")],
    *,
    option: Annotated[str | None, typer.Option(help="The letter of the option to run.")] = None,
    diagnose: Annotated[bool, typer.Option("--diagnose", help="Only read the evidence.")] = False,
    verify: Annotated[bool, typer.Option("--verify", help="Only prove whether the service is well.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Say what would be done, and do nothing.")] = False,
    variable: Annotated[list[str] | None, typer.Option("--variable", "-e", help="NAME=VALUE.")] = None,
    as_json: AsJson = False,
) -> None:
    """Run one step of a runbook by hand, through the same runner as the responder."""
    settings = context.obj.settings()
    runbook = load_catalog(settings.runbooks).get(name)
    if [option is not None, diagnose, verify].count(True) != 1:
        raise typer.BadParameter("Choose one of --option LETTER, --diagnose and --verify.")
    request = _request(runbook, option=option, diagnose=diagnose, check=check, given=variable or [])
    report = asyncio.run(make_runner(settings, for_one_run=True).run(request))
    model: type[Evidence | Outcome] = Evidence if diagnose else Outcome
    try:
        document = read_document(report.published, model, runbook=name)
    except ValueError as error:
        raise ResponderError(f"{name}: {error}. {report.reason}") from error
    if as_json:
        _print_json(document.model_dump(mode="json", by_alias=True))
    elif isinstance(document, Evidence):
        _print_lines([f"Evidence about {name} ({report.seconds:.1f} s)", *evidence_lines(document)])
    elif isinstance(document, Outcome):
        verdict = f"{document.status}, {document.verdict} ({report.seconds:.1f} s): {plain(document.reason)}"
        _print_lines([verdict, *outcome_lines(document)])
    if isinstance(document, Outcome) and document.verdict not in ("recovered", "unchecked"):
        raise typer.Exit(FAILED)
    if isinstance(document, Outcome) and document.status in ("refused", "failed"):
        raise typer.Exit(FAILED)


@app.command()
def pause(
    context: typer.Context,
    *,
    reason: Reason,
    service: Annotated[str | None, typer.Option(help="Only this service; else every one.")] = None,
    minutes: Annotated[float | None, typer.Option(min=1, help="How long; else until it is lifted.")] = None,
    start: Annotated[datetime | None, typer.Option(help="When it begins, in UTC; else now.")] = None,
    who: Who = None,
) -> None:
    """Let no option start: a pause, or a maintenance window. Diagnosis and verification go on."""
    begins = start.replace(tzinfo=UTC) if start else now()
    hold = Hold(
        service=service,
        starts_at=begins,
        ends_at=begins + timedelta(minutes=minutes) if minutes else None,
        who=who or getpass.getuser(),
        reason=reason,
    )
    typer.echo(f"Hold {open_store(context.obj.settings()).hold(hold)} is set. End it with: alert-responder resume ID")


@app.command()
def resume(context: typer.Context, number: Number, who: Who = None) -> None:
    """End a pause or a maintenance window."""
    if not _store(context).lift(number, who=who or getpass.getuser(), now=now()):
        raise ResponderError(f"There is no hold {number} in force.")


@app.command()
def holds(context: typer.Context, *, as_json: AsJson = False) -> None:
    """List the holds that are in force."""
    found = _store(context).holds(now=now())
    if as_json:
        _print_json({"holds": [hold.model_dump(mode="json") for hold in found]})
        return
    table = _table("ID", "Service", "Until", "Who", "Reason")
    for hold in found:
        until = f"{hold.ends_at:%Y-%m-%d %H:%M:%S}Z" if hold.ends_at else "lifted"
        cells = (str(hold.id), plain(hold.service or "every"), until, plain(hold.who), plain(hold.reason))
        table.add_row(*map(Text, cells))
    _console().print(table)


@runbooks_app.command()
def index(
    context: typer.Context,
    *,
    check: Annotated[bool, typer.Option("--check", help="Only say whether it is up to date.")] = False,
) -> None:
    """Write runbooks/README.md from the front matter."""
    folder = context.obj.settings().runbooks
    text = runbook_checks.index(load_catalog(folder), folder)
    file = folder / "README.md"
    if not check:
        file.write_text(text, encoding="utf-8")
    elif not file.is_file() or file.read_text(encoding="utf-8") != text:
        raise ResponderError(f"{file} is stale. Write it again: alert-responder runbooks index.")


@runbooks_app.command()
def new(context: typer.Context, name: Annotated[str, typer.Argument(metavar="NAME")]) -> None:
    """Begin a runbook from runbooks/_template.md."""
    typer.echo(runbook_checks.new(context.obj.settings().runbooks, name, today=now().date()))


@runbooks_app.command("check")
def check_runbooks(context: typer.Context) -> None:
    """Hold alert rules, runbooks and playbooks together; one line per problem."""
    problems = runbook_checks.problems(context.obj.settings())
    for problem in problems:
        typer.echo(problem)
    if problems:
        raise typer.Exit(FAILED)


def main() -> None:
    """Run the command line; expected errors are one sentence and an exit code."""
    try:
        app()
    except SettingsError as error:
        typer.echo(f"Error: {error}", err=True)
        sys.exit(USAGE)
    except ResponderError as error:
        typer.echo(f"Error: {error}", err=True)
        sys.exit(FAILED)


def _request(runbook: Runbook, *, option: str | None, diagnose: bool, check: bool, given: list[str]) -> Request:
    values: dict[str, str] = {}
    for pair in given:
        name, equals, value = pair.partition("=")
        if not equals:
            raise typer.BadParameter(f"{pair!r} is not NAME=VALUE.")
        values[name] = value
    run = f"hand-{uuid.uuid4().hex[:12]}"
    if option is None:
        if values:
            raise typer.BadParameter("Only an option takes variables.")
        play = runbook.diagnose if diagnose else runbook.verify
        return Request(run=run, playbook=play.playbook, timeout_seconds=play.timeout_seconds, check=check)
    chosen = runbook.option(option)
    try:
        variables = chosen.values_from_text(values)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    return Request(
        run=run,
        playbook=chosen.playbook,
        timeout_seconds=chosen.timeout_seconds,
        # A value that a person typed is text, not a template, like one that came with an alert.
        variables={
            name: {"__ansible_unsafe": value} if isinstance(value, str) else value for name, value in variables.items()
        },
        check=check,
    )


def _store(context: typer.Context) -> SqlStore:
    settings: Settings = context.obj.settings()
    if settings.database is None and not settings.file.is_file():
        raise ResponderError(f"There is no store at {settings.file}. Has the responder been started with this state?")
    return open_store(settings)


def _console() -> Console:
    # A pipe has no width; what reads it wants whole lines. In a narrow terminal whole columns would be left out.
    width = max(_NARROW, Console().width) if sys.stdout.isatty() else _WIDE
    return Console(highlight=False, soft_wrap=True, width=width)


def _table(*columns: str) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(
            column,
            overflow="ellipsis" if column in _WIDEST else "fold",
            no_wrap=column not in ("Reason", "When"),
            max_width=_WIDEST.get(column),
        )
    return table


def _print_json(document: dict[str, Any]) -> None:
    typer.echo(json.dumps(document, indent=2))


def _print_lines(lines: list[str]) -> None:
    headline, *details = lines
    typer.echo(headline)
    for line in details:
        typer.echo(f"  {line}")
