# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the front matter of runbooks, and judge which option the evidence supports."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Annotated, Any, Literal

import yaml
from jinja2 import StrictUndefined, TemplateSyntaxError, Undefined, UndefinedError, meta, nodes
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PositiveInt,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)

from alert_responder.errors import CatalogError, explain

if TYPE_CHECKING:
    from pathlib import Path

ANY_SERVICE = "any"
_FENCE = "---\n"
_RECORDED_CHARACTERS = 1000

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")]
Sentence = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]
# A full name (ops.runbooks.db_connections.diagnose) or a path inside the project; never absolute, never an option.
Playbook = Annotated[
    str,
    StringConstraints(
        pattern=r"^([a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_]*){2,}|([A-Za-z0-9_][A-Za-z0-9_-]*/)*[A-Za-z0-9_][A-Za-z0-9_-]*\.ya?ml)$"
    ),
]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Variable(_Model):
    """One input that an option declares."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")]
    type: Literal["str", "int", "float", "bool", "list"]
    default: Any = None
    required: bool = False
    min: int | float | None = None
    max: int | float | None = None
    choices: tuple[Any, ...] | None = Field(default=None, strict=False)
    elements: Literal["str", "int", "float"] = "str"
    description: Sentence

    @field_validator("name")
    @classmethod
    def _not_a_connection_variable(cls, name: str) -> str:
        if name.startswith("ansible_"):
            raise ValueError("expected a name that does not begin with ansible_, for those change how Ansible connects")
        return name

    @model_validator(mode="after")
    def _default_fits(self) -> Variable:
        if self.default is not None:
            self.check(self.default)
        return self

    def parse(self, text: str) -> Any:
        """Return the value that a person typed; raises ValueError with a sentence."""
        if self.type == "str":
            return self.check(text)
        if self.type == "list":
            return self.check([item.strip() for item in text.split(",") if item.strip()])
        try:
            return self.check(yaml.safe_load(text))
        except yaml.YAMLError as error:
            raise ValueError(f"{self.name} is {text!r}, expected {self.expectation}") from error

    def check(self, value: Any) -> Any:
        """Return ``value`` if it has the declared type and keeps the bounds; raises ValueError with a sentence."""
        kinds: dict[str, type | tuple[type, ...]] = {
            "str": str,
            "int": int,
            "float": (int, float),
            "bool": bool,
            "list": list,
        }
        fits = isinstance(value, kinds[self.type]) and (self.type == "bool" or not isinstance(value, bool))
        if fits and self.choices is not None:
            fits = value in self.choices
        if fits and isinstance(value, int | float):
            fits = (self.min is None or value >= self.min) and (self.max is None or value <= self.max)
        if not fits:
            raise ValueError(f"{self.name} is {value!r}, expected {self.expectation}")
        return value

    @property
    def expectation(self) -> str:
        """Say in words which values are accepted."""
        words = {"str": "text", "int": "a whole number", "float": "a number", "bool": "true or false", "list": "a list"}
        text = words[self.type]
        if self.choices is not None:
            text = "one of " + ", ".join(map(str, self.choices))
        if self.min is not None:
            text += f", at least {self.min}"
        if self.max is not None:
            text += f", at most {self.max}"
        return text


class Play(_Model):
    """A playbook with its expected duration and its limit, in seconds."""

    playbook: Playbook
    expected_seconds: PositiveInt
    timeout_seconds: PositiveInt

    @model_validator(mode="after")
    def _limit_above_expectation(self) -> Play:
        if self.timeout_seconds < self.expected_seconds:
            least = f"at least expected_seconds ({self.expected_seconds})"
            raise ValueError(f"timeout_seconds is {self.timeout_seconds}, expected {least}")
        return self


class Option(Play):
    """One way to heal, and the evidence that makes it the right one."""

    letter: Annotated[str, StringConstraints(pattern=r"^[A-Z]$")]
    title: Sentence
    when: str
    reason: Sentence
    automation: Literal["auto", "approve", "manual"]
    idempotent: bool
    impact: Sentence
    preconditions: Annotated[tuple[Sentence, ...], Field(strict=False)] = ()
    variables: Annotated[tuple[Variable, ...], Field(strict=False)] = ()
    undo: Playbook | None = None

    @field_validator("when")
    @classmethod
    def _compiles(cls, source: str) -> str:
        check_expression(source)
        return source

    @field_validator("variables")
    @classmethod
    def _distinct_variables(cls, variables: tuple[Variable, ...]) -> tuple[Variable, ...]:
        _refuse_repeated("variable", [variable.name for variable in variables])
        return variables

    def values_from_text(self, given: Mapping[str, str]) -> dict[str, Any]:
        """Return the typed values of ``given``; raises ValueError naming what is not declared or does not fit."""
        declared = {variable.name: variable for variable in self.variables}
        unknown = sorted(given.keys() - declared.keys())
        if unknown:
            known = ", ".join(declared) or "none"
            raise ValueError(f"option {self.letter} has no variable {unknown[0]!r}; it has: {known}")
        return {name: declared[name].parse(text) for name, text in given.items()}


class AlertEntry(_Model):
    """One alert that a runbook answers."""

    name: Name
    severity: Literal["critical", "warning", "info"]
    service: Name
    identity: Annotated[tuple[Name, ...], Field(strict=False)] = ()
    labels: Annotated[tuple[Name, ...], Field(strict=False)] = ()


def _none_as_text(value: Any) -> Any:
    # YAML reads the unquoted word in `recovered: yes` as a boolean; the sentence must be a sentence.
    return value if isinstance(value, str) else None


class Runbook(_Model):
    """The front matter of one runbook (docs/architecture.md, section 1)."""

    runbook: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]*$")]
    title: Sentence
    service: Name
    owner: Sentence
    reviewed: date
    reviewed_content: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")] | None = None
    review_every_days: PositiveInt
    target_group: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")]
    alerts: Annotated[tuple[AlertEntry, ...], Field(strict=False)]
    diagnose: Play
    verify: Play
    recovered: Annotated[Sentence, BeforeValidator(_none_as_text)]
    options: Annotated[tuple[Option, ...], Field(strict=False)]

    @field_validator("alerts")
    @classmethod
    def _distinct_alerts(cls, alerts: tuple[AlertEntry, ...]) -> tuple[AlertEntry, ...]:
        _refuse_none("alert", alerts)
        _refuse_repeated("alert", [f"{alert.name} of {alert.service}" for alert in alerts])
        return alerts

    @field_validator("options")
    @classmethod
    def _ordered_options(cls, options: tuple[Option, ...]) -> tuple[Option, ...]:
        _refuse_none("option", options)
        _refuse_repeated("letter", [option.letter for option in options])
        return tuple(sorted(options, key=lambda option: option.letter))

    def option(self, letter: str) -> Option:
        """Return the option with this letter; raises CatalogError if there is none."""
        for option in self.options:
            if option.letter == letter:
                return option
        known = ", ".join(option.letter for option in self.options)
        raise CatalogError(f"Runbook {self.runbook} has no option {letter!r}. It has: {known}.")


def _refuse_none(what: str, given: tuple[object, ...]) -> None:
    # A minimum length in the field itself would also complain when an item is merely wrong.
    if not given:
        raise ValueError(f"at least one {what} is needed")


def _refuse_repeated(what: str, names: list[str]) -> None:
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"{what} {repeated[0]} is given twice")


@dataclass(frozen=True)
class Catalog:
    """Every runbook of a folder, by name."""

    runbooks: Mapping[str, Runbook] = field(default_factory=dict)

    def get(self, name: str) -> Runbook:
        """Return one runbook; raises CatalogError if there is none of this name."""
        try:
            return self.runbooks[name]
        except KeyError:
            known = ", ".join(self.runbooks) or "none"
            raise CatalogError(f"There is no runbook {name!r}. There are: {known}.") from None


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML without silent overwriting: a key given twice is an error."""


def _unique_mapping(loader: _UniqueKeyLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
    for key in keys:
        if keys.count(key) > 1:
            raise yaml.constructor.ConstructorError(problem=f"key {key!r} is given twice", problem_mark=node.start_mark)
    loader.flatten_mapping(node)
    return loader.construct_mapping(node, deep=True)


_UniqueKeyLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _unique_mapping)


def load_yaml(text: str) -> Any:
    """Return the document; raises yaml.YAMLError, also for a key that is given twice."""
    return yaml.load(text, Loader=_UniqueKeyLoader)  # noqa: S506 -- a SafeLoader with one check more


def split_front_matter(path: Path) -> tuple[Any, str] | None:
    """Return the front matter and the body of one Markdown file; None if it has no front matter.

    Raises CatalogError when the file looks as if it had one and it cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CatalogError(f"Cannot read {path}: {error}.") from error
    if not text.lstrip("\ufeff \t\r\n").startswith("---"):
        return None
    parts = text.split(_FENCE, 2)
    if len(parts) != 3 or parts[0]:  # noqa: PLR2004 -- nothing, front matter, body
        raise CatalogError(
            f"Cannot read {path}: the front matter must stand between two lines '---', the first on top."
        )
    try:
        return load_yaml(parts[1]), parts[2]
    except yaml.YAMLError as error:
        raise CatalogError(f"Cannot read {path}: the front matter is not YAML: {error}.") from error


def load_runbook(path: Path) -> Runbook | None:
    """Return the runbook in one file; None if the file has no front matter. Raises CatalogError."""
    found = split_front_matter(path)
    if found is None:
        return None
    try:
        runbook = Runbook.model_validate(found[0])
    except ValidationError as error:
        raise CatalogError(f"Cannot use {path}: {'; '.join(explain(error))}.") from error
    if runbook.runbook != path.stem and not path.stem.startswith("_"):
        raise CatalogError(
            f"Cannot use {path}: runbook is {runbook.runbook!r}, expected the file's name, {path.stem!r}."
        )
    return runbook


def load_catalog(directory: Path) -> Catalog:
    """Load every runbook of a folder; raises CatalogError naming file, key, value and what was expected.

    Files that begin with an underscore, README.md and files without front matter are not runbooks.
    """
    if not directory.is_dir():
        raise CatalogError(f"Cannot load runbooks: {directory} is not a folder.")
    runbooks: dict[str, Runbook] = {}
    claimed: dict[tuple[str, str], str] = {}
    for path in sorted(directory.glob("*.md")):
        if path.name.startswith("_") or path.name == "README.md":
            continue
        runbook = load_runbook(path)
        if runbook is None:
            continue
        for alert in runbook.alerts:
            other = claimed.setdefault((alert.name, alert.service), runbook.runbook)
            if other != runbook.runbook:
                raise CatalogError(
                    f"Cannot use {path}: alert {alert.name} of {alert.service} already belongs to runbook {other}."
                )
        runbooks[runbook.runbook] = runbook
    return Catalog(runbooks)


class _EvidenceEnvironment(ImmutableSandboxedEnvironment):
    """Jinja2 over plain data: ``evidence.items`` is the evidence called items, never a method of dict."""

    def getattr(self, obj: Any, attribute: str) -> Any:
        if isinstance(obj, Mapping) and attribute in obj:
            return obj[attribute]
        return super().getattr(obj, attribute)


_ENVIRONMENT = _EvidenceEnvironment(undefined=StrictUndefined)


def check_expression(source: str) -> None:
    """Raise ValueError unless ``source`` is one Jinja2 expression that reads ``evidence`` and nothing else."""
    try:
        _ENVIRONMENT.compile_expression(source)
        parsed = _parse(source)
    except TemplateSyntaxError as error:
        raise ValueError(f"expected a Jinja2 expression over the evidence; {error.message}") from error
    names = meta.find_undeclared_variables(parsed)
    if names != {"evidence"}:
        raise ValueError(f"expected an expression that reads evidence and nothing else, it reads {sorted(names)}")


@dataclass(frozen=True)
class Judgement:
    """Whether an option's `when` holds, and on which values; ``holds`` is None if it could not be judged."""

    holds: bool | None
    values: Mapping[str, Any]
    problem: str = ""


def judge(source: str, evidence: Mapping[str, Any]) -> Judgement:
    """Evaluate a `when`. Evidence that is missing, or of a type that cannot be compared, is never a licence."""
    values = {path: _bounded(value) for path, value in _read_values(source, evidence).items()}
    try:
        result = _ENVIRONMENT.compile_expression(source, undefined_to_none=False)(evidence=evidence)
        if isinstance(result, Undefined):
            # Asking an undefined value anything raises the error that names it.
            str(result)
        if not isinstance(result, bool | int | float | str | list | tuple | dict | None):
            # A filter such as `select` returns a generator, which is true even when nothing was selected.
            return Judgement(None, values, f"the expression gives a {type(result).__name__}, expected true or false")
        return Judgement(bool(result), values)
    except (UndefinedError, SecurityError) as error:
        return Judgement(None, values, str(error.message))
    except (TypeError, ValueError, ArithmeticError, LookupError) as error:
        return Judgement(None, values, f"{type(error).__name__}: {error}")


def _parse(source: str) -> nodes.Template:
    return _ENVIRONMENT.parse("{{ (" + source + "\n) }}")


def _read_values(source: str, evidence: Mapping[str, Any]) -> dict[str, Any]:
    """Return the value of each name under ``evidence`` that the expression reads; names that are missing are absent."""
    paths: dict[str, Any] = {}

    def visit(node: nodes.Node) -> None:
        path = _path_of(node)
        if path is None:
            for child in node.iter_child_nodes():
                visit(child)
            return
        value: Any = evidence
        for name in path:
            if not isinstance(value, Mapping) or name not in value:
                return
            value = value[name]
        paths[".".join(path)] = value

    visit(_parse(source))
    return paths


def _path_of(node: nodes.Node) -> tuple[str, ...] | None:
    """Return ("slots", "used_ratio") for ``evidence.slots["used_ratio"]``; None for anything else."""
    if isinstance(node, nodes.Name):
        return () if node.name == "evidence" else None
    if isinstance(node, nodes.Getattr):
        before, name = _path_of(node.node), node.attr
    elif isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const) and isinstance(node.arg.value, str):
        before, name = _path_of(node.node), node.arg.value
    else:
        return None
    return None if before is None else (*before, name)


def _bounded(value: Any) -> Any:
    """Keep the record readable: a long value is in the evidence already, here its size says enough."""
    text = json.dumps(value, default=str)
    if len(text) <= _RECORDED_CHARACTERS:
        return value
    if isinstance(value, str):
        return f"{value[:_RECORDED_CHARACTERS]}… ({len(value)} characters)"
    return f"{type(value).__name__} of {len(value)}"
