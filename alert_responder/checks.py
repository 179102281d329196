# SPDX-License-Identifier: GPL-3.0-or-later
"""Hold alert rules, runbooks and playbooks together; write the index; begin a new runbook."""

from __future__ import annotations

import re
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import yaml

from alert_responder.errors import CatalogError
from alert_responder.runbooks import ANY_SERVICE, Catalog, Runbook, load_catalog, split_front_matter

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from alert_responder.settings import Settings

SECTIONS = ("Overview", "Quick Reference", "Diagnosis Steps", "Resolution Steps", "Escalation", "Post-Incident")
RULES = "observability/prometheus/alerts.yml"
# The responder cannot heal itself: its alerts lead to its documentation.
OWN_RULES = "observability/prometheus/responder-alerts.yml"
COLLECTION = "ops.runbooks."
TEMPLATE = "_template.md"
# An alert that always fires, so that its absence is the alarm, has no runbook to start.
_HEARTBEAT_SEVERITY = "none"

_HEADING = re.compile(r"^(#{2,4}) (.+?)\s*$", re.MULTILINE)
_OPTION = re.compile(r"Option ([A-Z]): (.+)")
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
_FENCED = re.compile(r"^[ ]*```.*?^[ ]*```", re.MULTILINE | re.DOTALL)
_RUNBOOK_URL = re.compile(r"(?:^|/)(runbooks/[^/#?]+\.md)(?:#.*)?$")
_PAGE_URL = re.compile(r"/blob/main/([\w./-]+\.md)#([\w-]+)$")
_INPUT = re.compile(r"inputs\.([a-z][a-z0-9_]*)")


def problems(settings: Settings) -> list[str]:
    """Return one sentence for each thing that does not fit; nothing when all is well."""
    try:
        catalog = load_catalog(settings.runbooks)
    except CatalogError as error:
        return [str(error)]
    found = [
        *_rule_problems(settings.project, catalog),
        *_own_rule_problems(settings.project),
        *_playbook_problems(settings.project, catalog),
    ]
    for path in sorted(settings.runbooks.glob("*.md")):
        found.extend(f"{path.name}: {problem}" for problem in _document_problems(path, settings.project, catalog))
    readme = settings.runbooks / "README.md"
    if not readme.is_file() or readme.read_text(encoding="utf-8") != index(catalog, settings.runbooks):
        found.append("README.md: it is stale; write it again with: alert-responder runbooks index")
    return found


def _rule_problems(project: Path, catalog: Catalog) -> Iterator[str]:
    """Every alert has a runbook and every alert of a runbook has a rule; both say the same about it."""
    entries = {
        (entry.name, entry.service): (runbook, entry)
        for runbook in catalog.runbooks.values()
        for entry in runbook.alerts
    }
    ruled: set[tuple[str, str]] = set()
    for rule in _alert_rules(project):
        labels, name = rule.get("labels", {}), rule["alert"]
        if labels.get("severity") == _HEARTBEAT_SEVERITY:
            continue
        service = labels.get("service", ANY_SERVICE)
        key = (name, service) if (name, service) in entries else (name, ANY_SERVICE)
        if key not in entries:
            yield f"{RULES}: alert {name} of {service} has no runbook"
            continue
        ruled.add(key)
        runbook, entry = entries[key]
        if labels.get("severity") != entry.severity:
            yield f"{RULES}: alert {name} is {labels.get('severity')}, {runbook.runbook}.md says {entry.severity}"
        url = _RUNBOOK_URL.search(rule.get("annotations", {}).get("runbook_url", ""))
        if url is None or not (project / url[1]).is_file() or url[1] != f"runbooks/{runbook.runbook}.md":
            yield f"{RULES}: runbook_url of alert {name} does not lead to runbooks/{runbook.runbook}.md"
        if labels.get("runbook", runbook.runbook) != runbook.runbook:
            yield f"{RULES}: alert {name} names runbook {labels['runbook']}, it belongs to {runbook.runbook}"
    for name, service in sorted(entries.keys() - ruled):
        yield f"{entries[name, service][0].runbook}.md: alert {name} of {service} has no rule in {RULES}"


def _own_rule_problems(project: Path) -> Iterator[str]:
    """Each alert about the responder leads to a heading in a page of this project."""
    if not (project / OWN_RULES).is_file():
        return
    for rule in _alert_rules(project, OWN_RULES):
        url = _PAGE_URL.search(rule.get("annotations", {}).get("runbook_url", ""))
        page = project / url[1] if url is not None else None
        if url is None or page is None or not page.is_file() or url[2] not in _anchors(page):
            yield f"{OWN_RULES}: runbook_url of alert {rule['alert']} does not lead to a heading of a page here"


def _alert_rules(project: Path, rules: str = RULES) -> list[dict[str, Any]]:
    document = read_yaml(project / rules) or {}
    return [rule for group in document.get("groups", []) for rule in group.get("rules", []) if "alert" in rule]


def _playbook_problems(project: Path, catalog: Catalog) -> Iterator[str]:
    """Every option has its playbook and every playbook of a runbook's folder has its place in the runbook."""
    expected: dict[Path, str] = {}
    for runbook in catalog.runbooks.values():
        where = f"{runbook.runbook}.md"
        steps = [("diagnose", runbook.diagnose.playbook), ("verify", runbook.verify.playbook)]
        steps += [(option.letter, option.playbook) for option in runbook.options]
        undone = [(f"undo of {option.letter}", option.undo) for option in runbook.options if option.undo]
        for step, name in (*steps, *undone):
            path = playbook_path(project, name)
            expected[path] = where
            if not path.is_file():
                yield f"{where}: the playbook of {step}, {name}, does not exist ({path.relative_to(project)})"
        for step, name in steps:
            path = playbook_path(project, name)
            if path.is_file():
                found = _content_problems(project, path, runbook, step)
                yield from (f"{path.relative_to(project)}: {problem}" for problem in found)
    for path in sorted((project / "playbooks").glob("*/*.yml")):
        if path not in expected and not path.name.startswith("_"):
            yield f"{path.relative_to(project)}: no runbook uses it"


def playbook_path(project: Path, name: str) -> Path:
    """Return the file of a playbook that is named in full or by its path."""
    if name.startswith(COLLECTION):
        return project / "playbooks" / f"{name.removeprefix(COLLECTION).replace('.', '/')}.yml"
    return project / name


def _content_problems(project: Path, path: Path, runbook: Runbook, step: str) -> Iterator[str]:
    """A playbook names its own runbook and option, runs on the group of the runbook, and uses what is declared."""
    document = read_yaml(path)
    mappings = list(_mappings(document))
    hosts = {mapping["hosts"] for mapping in mappings if "hosts" in mapping}
    if hosts != {runbook.target_group}:
        yield f"hosts is {', '.join(map(str, sorted(hosts)))}, expected the constant group {runbook.target_group}"
    is_option = step not in ("diagnose", "verify")
    if is_option and not path.name.startswith(f"{step.lower()}_"):
        yield f"the name of the playbook of option {step} begins with {step.lower()}_"
    for mapping in mappings:
        for key, value in (("outcome_runbook", runbook.runbook), ("outcome_option", step)):
            if key in mapping and mapping[key] != value:
                yield f"{key} is {mapping[key]!r}, expected {value!r}"
    if not is_option:
        return
    inputs = [
        mapping["ops.runbooks.runbook_inputs"] for mapping in mappings if "ops.runbooks.runbook_inputs" in mapping
    ]
    if inputs != [{"runbook": runbook.runbook, "option": step}]:
        yield f"it must check its inputs once with ops.runbooks.runbook_inputs of {runbook.runbook}, option {step}"
    declared = {variable.name for variable in runbook.option(step).variables}
    used = set(_INPUT.findall("\n".join(text for text in _texts(project, path, mappings))))
    for name in sorted(used - declared):
        yield f"it uses the variable {name}, which option {step} does not declare"
    for name in sorted(declared - used):
        yield f"option {step} declares the variable {name}, which it does not use"


def _texts(project: Path, path: Path, mappings: list[dict[str, Any]]) -> Iterator[str]:
    """Return the playbook, and the task files of the roles that it imports."""
    yield path.read_text(encoding="utf-8")
    for mapping in mappings:
        role = mapping.get("ansible.builtin.import_role")
        if isinstance(role, dict) and str(role.get("name", "")).startswith(COLLECTION):
            name = role["name"].removeprefix(COLLECTION)
            tasks = project / "roles" / name / "tasks" / f"{role.get('tasks_from', 'main')}.yml"
            if tasks.is_file():
                yield tasks.read_text(encoding="utf-8")


def _mappings(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
        for value in node.values():
            yield from _mappings(value)
    elif isinstance(node, list):
        for item in node:
            yield from _mappings(item)


def _document_problems(path: Path, project: Path, catalog: Catalog) -> Iterator[str]:
    """A runbook has its six sections, its options, and links that lead somewhere."""
    found = split_front_matter(path)
    body = found[1] if found is not None else path.read_text(encoding="utf-8")
    prose = _FENCED.sub("", body)
    runbook = catalog.runbooks.get(path.stem)
    if runbook is not None:
        headings = [(len(level), text) for level, text in _HEADING.findall(prose)]
        sections = tuple(text for level, text in headings if level == 2)  # noqa: PLR2004 -- the level of a section
        if sections != SECTIONS:
            yield f"its sections are {', '.join(sections)}; expected {', '.join(SECTIONS)}"
        steps = prose.partition("\n## Resolution Steps\n")[2].partition("\n## ")[0]
        shown = [match.groups() for _, text in _HEADING.findall(steps) if (match := _OPTION.fullmatch(text))]
        declared = [(option.letter, option.title) for option in runbook.options]
        if shown != declared:
            yield f"Resolution Steps shows {_options(shown)}; the front matter declares {_options(declared)}"
    for target in _LINK.findall(prose):
        if problem := _link_problem(path, project, target):
            yield problem


def _options(options: Sequence[tuple[str, ...]]) -> str:
    return ", ".join(": ".join(option) for option in options) or "none"


def _link_problem(path: Path, project: Path, target: str) -> str:
    if re.match(r"[a-z][a-z0-9+.-]*:", target):
        return ""
    name, _, anchor = unquote(target).partition("#")
    file = (path.parent / name).resolve() if name else path
    if not file.exists() or not file.is_relative_to(project.resolve()):
        return f"the link {target} leads nowhere"
    if anchor and file.suffix == ".md" and anchor not in _anchors(file):
        return f"the link {target} leads to a heading that does not exist"
    return ""


def _anchors(file: Path) -> set[str]:
    prose = _FENCED.sub("", file.read_text(encoding="utf-8"))
    return {
        re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
        for text in re.findall(r"^#{1,6} (.+?)\s*$", prose, re.MULTILINE)
    }


def read_yaml(path: Path) -> Any:
    """Return one YAML document; raises CatalogError."""
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise CatalogError(f"Cannot check {path}: {error}.") from error


def new(folder: Path, name: str, *, today: date) -> str:
    """Write a new runbook from the template and say what comes next; raises CatalogError."""
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name):
        raise CatalogError(f"Cannot begin runbook {name!r}: expected lower-case words joined by hyphens.")
    path = folder / f"{name}.md"
    text = (folder / TEMPLATE).read_text(encoding="utf-8")
    text = text.replace("name-of-the-runbook", name).replace("name_of_the_runbook", name.replace("-", "_"))
    text = re.sub(r"^reviewed: .*$", f"reviewed: {today.isoformat()}", text, count=1, flags=re.MULTILINE)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise CatalogError(f"Cannot begin runbook {name!r}: {path} exists.") from None
    return (
        f"Written: {path}. Next: fill it in, write its playbooks in playbooks/{name.replace('-', '_')}/ and its alert "
        "rule, then run: alert-responder runbooks index; alert-responder runbooks check"
    )


def index(catalog: Catalog, folder: Path) -> str:
    """Return runbooks/README.md."""
    runbooks = list(catalog.runbooks.values())
    alerts = sorted(
        ((entry, runbook) for runbook in runbooks for entry in runbook.alerts),
        key=lambda pair: (pair[1].runbook, pair[0].name, pair[0].service),
    )
    operational = [
        (path.name, _title(path))
        for path in sorted(folder.glob("*.md"))
        if not path.name.startswith("_")
        and path.name not in ("README.md", "post-incident-review.md")
        and path.stem not in catalog.runbooks
    ]
    return _INDEX.format(
        alerts=_rows(
            (entry.name, f"[{runbook.runbook}.md](./{runbook.runbook}.md)", entry.severity, entry.service)
            for entry, runbook in alerts
        ),
        runbooks=_rows(
            (
                f"[{runbook.runbook}.md](./{runbook.runbook}.md)",
                runbook.title,
                ", ".join(f"{option.letter} {option.title} ({option.automation})" for option in runbook.options),
            )
            for runbook in runbooks
        ),
        operational=_table(("Runbook", "Purpose"), [(f"[{name}](./{name})", title) for name, title in operational]),
        reviews=_rows(
            (
                f"[{runbook.runbook}.md](./{runbook.runbook}.md)",
                runbook.owner,
                runbook.reviewed.isoformat(),
                (runbook.reviewed + timedelta(days=runbook.review_every_days)).isoformat(),
            )
            for runbook in runbooks
        ),
    )


def _title(path: Path) -> str:
    heading = re.search(r"^# (.+?)\s*$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return heading[1] if heading else path.stem


def _rows(rows: Any) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _table(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    if not rows:
        return "None yet."
    return "\n".join((_rows([columns]), "|" + "---|" * len(columns), _rows(rows)))


_INDEX = """\
<!-- Written by `alert-responder runbooks index` from the front matter of the runbooks; do not edit. -->
# Operational runbooks

For incident response and routine operations. A person reads them; the responder and the playbooks use the same front
matter, so what is written here is what the machine does.

## Alert-to-runbook mapping

| Alert | Runbook | Severity | Service |
|---|---|---|---|
{alerts}

## Runbook index

### Incident response

| Runbook | For | Options, the least invasive first |
|---|---|---|
{runbooks}

### Operations

{operational}

### After an incident

| Template | Purpose |
|---|---|
| [post-incident-review.md](./post-incident-review.md) | The review of an incident |

### A new runbook

`alert-responder runbooks new NAME` begins one from [_template.md](./_template.md). Each has:

1. **Overview**: alert, severity, service, description, impact
2. **Quick Reference**: dashboards, logs, metrics, escalation
3. **Diagnosis Steps**: numbered, and they only read
4. **Resolution Steps**: options A, B, C for different causes
5. **Escalation**: when, and to whom
6. **Post-Incident**: what is left to do afterwards

## Principles

1. **Actionable**: every runbook leads to a resolution or to a person.
2. **Ready to paste**: commands work without modification.
3. **Tiered**: simple things first, then escalation.
4. **Aware of time**: steps say how long they take.
5. **Alive**: updated after each incident that used them.

## Dashboards

| Dashboard | Address |
|---|---|
| Infrastructure | <http://localhost:3000/d/infrastructure> |
| Backend | <http://localhost:3000/d/backend> |
| PostgreSQL | <http://localhost:3000/d/postgres> |
| Redis | <http://localhost:3000/d/redis> |
| Keycloak | <http://localhost:3000/d/keycloak> |

## Escalation contacts

| Role | Contact | Method |
|---|---|---|
| On-Call Engineer | set by your organisation | PagerDuty, Slack `#oncall` |
| Backend Team Lead | set by your organisation | Slack DM |
| Infrastructure | set by your organisation | Slack `#infrastructure` |
| Database Admin | set by your organisation | Slack `#database` |

## Review schedule

Runbooks are reviewed after each incident that used them, every quarter, and when a related system changes.

| Runbook | Owner | Reviewed | Next review |
|---|---|---|---|
{reviews}

## Related

- [Alert rules](../observability/prometheus/alerts.yml)
- [Architecture](../docs/architecture.md)
- [Responder](../docs/responder.md)
"""
