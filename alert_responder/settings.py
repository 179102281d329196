# SPDX-License-Identifier: GPL-3.0-or-later
"""The configuration: one frozen model out of one YAML file and the environment."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    SecretStr,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)

from alert_responder.errors import SettingsError, explain
from alert_responder.incidents import Policy
from alert_responder.processes import MARK
from alert_responder.runbooks import load_yaml

PREFIX = "ALERT_RESPONDER_"
CONFIG = f"{PREFIX}CONFIG"
_NOT_SETTINGS = frozenset({CONFIG, MARK})
_SHORTEST_TOKEN = 16

_DATABASE = re.compile(r"postgres(ql)?://[^/]*/[^/]+")
Address = Annotated[str, StringConstraints(pattern=r"^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+):[0-9]{1,5}$")]


def _state_folder() -> Path:
    return Path(os.environ.get("XDG_STATE_HOME", Path.home() / ".local" / "state")) / "alert-responder"


class Settings(BaseModel):
    """Everything that can be set; each name is described in docs/responder.md."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    project: Path = Path()
    runbooks: Path = Path("runbooks")
    inventory: Path | None = None
    collections: tuple[Path, ...] = (Path("collections"),)
    state: Path = Field(default_factory=_state_folder)
    database: SecretStr | None = None
    listen: Annotated[tuple[Address, ...], Field(min_length=1)] = ("127.0.0.1:19099",)
    tokens: tuple[SecretStr, ...] = ()
    approvers: dict[Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._@-]{1,64}$")], SecretStr] = Field(
        default_factory=dict
    )
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    tls_client_ca: Path | None = None
    notify: dict[Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,64}$")], SecretStr] = Field(
        default_factory=dict
    )
    executor: Literal["local", "warm", "awx"] = "local"
    awx_url: Annotated[str, StringConstraints(pattern=r"^https?://[^/?#@]+$")] | None = None
    awx_prefix: Literal["/api/v2", "/api/controller/v2"] = "/api/v2"
    awx_token: SecretStr | None = None
    awx_organization: Annotated[str, StringConstraints(min_length=1, max_length=512)] = "Default"
    awx_ca_file: Path | None = None
    alertmanager_url: Annotated[str, StringConstraints(pattern=r"^https?://[^/?#@]+(/[^?#@]*)?$")] | None = None
    alertmanager_token: SecretStr | None = None
    alertmanager_author: Annotated[str, StringConstraints(min_length=1, max_length=100)] = "alert-responder"
    most_body_bytes: PositiveInt = 4 * 1024 * 1024
    most_requests_per_second: PositiveFloat = 2000.0
    concurrency: PositiveInt = 4
    poll_seconds: PositiveFloat = 1.0
    lease_seconds: PositiveFloat = 60.0
    stop_seconds: PositiveFloat = 30.0
    pass_environment: tuple[Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")], ...] = ()
    keep_runs: PositiveInt = 500
    keep_days: PositiveFloat = 30.0
    watchdog_seconds: PositiveFloat | None = None
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    policy: Policy = Policy()

    @field_validator("database")
    @classmethod
    def _is_postgresql(cls, database: SecretStr | None) -> SecretStr | None:
        if database is not None and not _DATABASE.match(database.get_secret_value()):
            raise ValueError("expected postgresql://USER:PASSWORD@HOST/DATABASE")
        return database

    @model_validator(mode="after")
    def _long_tokens(self) -> Settings:
        texts = [token.get_secret_value() for token in (*self.tokens, *self.approvers.values())]
        if any(len(text) < _SHORTEST_TOKEN for text in texts):
            raise ValueError(f"expected each token to have at least {_SHORTEST_TOKEN} characters")
        if len(set(texts)) < len(texts):
            raise ValueError("expected every token to be given once: who may approve is told by the token")
        return self

    @model_validator(mode="after")
    def _whole_tls(self) -> Settings:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("expected tls_certificate and tls_key together")
        if self.tls_client_ca is not None and self.tls_certificate is None:
            raise ValueError("expected tls_certificate and tls_key beside tls_client_ca")
        return self

    @model_validator(mode="after")
    def _whole_awx(self) -> Settings:
        if self.executor == "awx" and (self.awx_url is None or self.awx_token is None):
            raise ValueError("expected awx_url and awx_token beside executor: awx")
        return self

    @model_validator(mode="before")
    @classmethod
    def _one_is_a_list(cls, given: Any) -> Any:
        """Accept ``listen: address`` for ``listen: [address]``."""
        if not isinstance(given, Mapping):
            raise ValueError("expected a mapping of settings")  # noqa: TRY004 -- pydantic reports only ValueError
        return {key: [value] if key in _LISTS and isinstance(value, str) else value for key, value in given.items()}

    @property
    def file(self) -> Path:
        """Return the file of the store, when no database is set."""
        return self.state / "incidents.sqlite3"


_MAPPINGS = frozenset({"policy", "approvers", "notify"})
_LISTS = frozenset({"collections", "listen", "tokens", "pass_environment"})


def load_settings(file: Path | None, environment: Mapping[str, str]) -> Settings:
    """Build the settings; the environment wins over the file.

    A relative path starts at the file's folder; ``runbooks``, ``inventory`` and ``collections`` start at the project.
    Raises SettingsError naming the setting, its value and what was expected.
    """
    given, where = _read(file) if file is not None else ({}, Path.cwd())
    source = f"{file} or the environment" if file is not None else "the environment"
    try:
        settings = Settings.model_validate({**given, **_from_environment(environment)})
    except ValidationError as error:
        raise SettingsError(f"Cannot start with the settings in {source}: {'; '.join(explain(error))}.") from error
    project = (where / settings.project).resolve()
    return settings.model_copy(
        update={
            "project": project,
            "runbooks": project / settings.runbooks,
            "inventory": project / settings.inventory if settings.inventory is not None else None,
            "collections": tuple(project / path for path in settings.collections),
            "state": (where / settings.state.expanduser()).resolve(),
            **{
                name: (where / path.expanduser()).resolve()
                for name in ("tls_certificate", "tls_key", "tls_client_ca", "awx_ca_file")
                if (path := getattr(settings, name)) is not None
            },
        }
    )


def _read(file: Path) -> tuple[dict[str, Any], Path]:
    try:
        given = load_yaml(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsError(f"Cannot read the settings in {file}: {error}.") from error
    if given is None:
        given = {}
    if not isinstance(given, dict):
        raise SettingsError(f"Cannot use the settings in {file}: expected a mapping of settings.")
    return given, file.resolve().parent


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for variable, text in environment.items():
        if not variable.startswith(PREFIX) or variable in _NOT_SETTINGS:
            continue
        name = variable.removeprefix(PREFIX).lower()
        if name in _LISTS:
            values[name] = [item.strip() for item in text.split(",") if item.strip()]
        elif name in _MAPPINGS:
            try:
                values[name] = load_yaml(text)
            except yaml.YAMLError as error:
                raise SettingsError(f"Cannot use {variable}: expected a YAML mapping: {error}.") from error
        else:
            values[name] = text
    return values
