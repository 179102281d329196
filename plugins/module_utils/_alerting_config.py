# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to the ops.runbooks collection: may change without notice.
"""Configuration of the two servers: load what is on disk, keep what has proved itself, put that back.

``<keep>/<server>`` is the last good copy; ``<keep>/set-aside/<time>/<server>`` is what was replaced; nothing is lost.
"""

from __future__ import annotations

import filecmp
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible_collections.ops.runbooks.plugins.module_utils._alerting_path import (
    failing_rules,
    files_of,
    is_stale,
    validate,
    wrong_rules,
)
from ansible_collections.ops.runbooks.plugins.module_utils._alerting_site import OK, alerting_options, servers_of
from ansible_collections.ops.runbooks.plugins.module_utils._errors import (
    ActionFailed,
    ConnectionFailed,
    PreconditionFailed,
)
from ansible_collections.ops.runbooks.plugins.module_utils._waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ansible_collections.ops.runbooks.plugins.module_utils._alerting_site import Server, Site
    from ansible_collections.ops.runbooks.plugins.module_utils._arguments import ArgumentSpec

READY_SECONDS = 30.0


def config_spec() -> ArgumentSpec:
    """Return the options of alerting_config."""
    own = alerting_options()
    own.options.update(
        state={"type": "str", "choices": ["loaded", "kept", "restored"], "required": True},
        keep={"type": "path", "required": True},
    )
    return own


@dataclass(frozen=True)
class Difference:
    """How the files on disk differ from the last good ones, by relative path."""

    changed: tuple[str, ...]
    added: tuple[str, ...]
    missing: tuple[str, ...]

    def __bool__(self) -> bool:
        """Tell whether they differ at all."""
        return bool(self.changed or self.added or self.missing)

    def as_return(self) -> dict[str, list[str]]:
        """Return the paths."""
        return {"changed": list(self.changed), "added": list(self.added), "missing": list(self.missing)}


def compare(server: Server, good: Path) -> Difference:
    """Compare what is on disk with the last good copy."""
    live = {str(path.relative_to(server.directory)): path for path in files_of(server)}
    kept = {str(path.relative_to(good)): path for path in files_of(replace(server, directory=str(good)))}
    both = sorted(live.keys() & kept.keys())
    return Difference(
        changed=tuple(name for name in both if not filecmp.cmp(live[name], kept[name], shallow=False)),
        added=tuple(sorted(live.keys() - kept.keys())),
        missing=tuple(sorted(kept.keys() - live.keys())),
    )


class Configurator:
    """Brings both servers to the state that is asked for, one after the other."""

    def __init__(
        self,
        site: Site,
        params: Mapping[str, Any],
        *,
        dry_run: bool,
        stamp: Callable[[], str] = lambda: time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()),
    ) -> None:
        self._site = site
        self._servers = servers_of(params)
        self._keep = Path(params["keep"])
        self._state = params["state"]
        self._dry_run = dry_run
        self._stamp = stamp
        self._actions: list[str] = []
        self._changed = False

    def run(self) -> dict[str, Any]:
        """Return what was done; raises OpsError with as much of it as was done."""
        before = {server.kind: self._describe(server) for server in self._servers}
        step = {"loaded": self._load, "kept": self._keep_good, "restored": self._restore}[self._state]
        try:
            for server in self._servers:
                step(server)
        except (ActionFailed, ConnectionFailed, PreconditionFailed) as error:
            error.details.update(changed=self._changed, actions=self._actions, before=before)
            raise
        after = before if self._dry_run else {server.kind: self._describe(server) for server in self._servers}
        return {"changed": self._changed, "actions": self._actions, "before": before, "after": after}

    def _describe(self, server: Server) -> dict[str, Any]:
        good = self._keep / server.kind
        try:
            stale: bool | None = is_stale(self._site.metrics(server), server, files_of(server))
        except (ActionFailed, ConnectionFailed, KeyError):
            stale = None
        return {
            "valid": validate(self._site, server)["valid"],
            "stale": stale,
            "has_last_good": good.is_dir(),
            "differs_from_last_good": compare(server, good).as_return() if good.is_dir() else None,
        }

    def _load(self, server: Server) -> None:
        try:
            stale = is_stale(self._site.metrics(server), server, files_of(server))
        except ConnectionFailed as error:
            self._actions.append(f"Left {server.title} alone: {error}.")
            return
        if not stale:
            self._actions.append(f"Left {server.title} alone: it runs with what is on disk.")
            return
        self._require_valid(server)
        self._reload(server)

    def _require_valid(self, server: Server) -> None:
        verdict = validate(self._site, server)
        if not verdict["valid"]:
            raise PreconditionFailed(
                f"Refused to load the files of {server.title}: {last_line(verdict['output'])}. "
                "Correct them, or put the last good ones back (option D)."
            )

    def _reload(self, server: Server) -> None:
        if self._dry_run:
            self._changed = True
            self._actions.append(f"Would have {server.title} load its files.")
            return
        status, body = self._site.send(server, "/-/reload", method="POST")
        if status != OK:
            raise ActionFailed(
                f"{server.title} answered {status} to a reload: {' '.join(body.split())[:300]}. "
                "Prometheus needs --web.enable-lifecycle for this."
            )
        self._changed = True
        if self._site.metrics(server)[f"{server.kind}_config_last_reload_successful"] != 1:
            raise ActionFailed(f"{server.title} did not accept its files; its log says why.")
        self._actions.append(f"{server.title} loaded its files.")

    def _keep_good(self, server: Server) -> None:
        files = files_of(server)
        if is_stale(self._site.metrics(server), server, files):
            raise PreconditionFailed(f"Refused to keep the files of {server.title}: it does not run with them.")
        if server.kind == "prometheus":
            wrong = failing_rules(self._site.document(server, "/api/v1/rules")["groups"])
            if wrong:
                raise PreconditionFailed(f"Refused to keep the rules: {wrong[0]['rule']} fails: {wrong[0]['error']}.")
        good = self._keep / server.kind
        if good.is_dir() and not compare(server, good):
            self._actions.append(f"The last good files of {server.title} are kept already.")
            return
        self._changed = True
        if not self._dry_run:
            # A copy that is cut short must never pass for the last good one.
            new = self._keep / f".{server.kind}.new"
            shutil.rmtree(new, ignore_errors=True)
            for path in files:
                copy(path, new / path.relative_to(server.directory))
            old = self._keep / f".{server.kind}.old"
            shutil.rmtree(old, ignore_errors=True)
            if good.is_dir():
                good.rename(old)
            new.rename(good)
            shutil.rmtree(old, ignore_errors=True)
        self._actions.append(f"{'Would keep' if self._dry_run else 'Kept'} the files of {server.title} as last good.")

    def _restore(self, server: Server) -> None:
        try:
            fault = self._fault(server, validate(self._site, server))
        except ConnectionFailed as error:
            self._actions.append(f"Left {server.title} alone: its files are valid; its rules are not known: {error}.")
            return
        if not fault:
            self._actions.append(f"Left {server.title} alone: its files are valid and its rules can be evaluated.")
            return
        good = self._keep / server.kind
        if not good.is_dir():
            raise PreconditionFailed(
                f"Cannot restore the files of {server.title} ({fault}): no last good copy is in {good}. "
                "Correct the files by hand."
            )
        different = compare(server, good)
        if not different:
            raise PreconditionFailed(
                f"Cannot restore the files of {server.title} ({fault}): they are the last good ones. "
                "What changed is elsewhere; correct the files by hand."
            )
        self._changed = True
        aside = self._keep / "set-aside" / self._stamp() / server.kind
        names = ", ".join((*different.changed, *different.added, *different.missing))
        if self._dry_run:
            self._actions.append(f"Would put the last good files of {server.title} back ({fault}): {names}.")
            return
        live = Path(server.directory)
        for name in (*different.changed, *different.added):
            copy(live / name, aside / name)
        for name in (*different.changed, *different.missing):
            copy(good / name, live / name)
        for name in different.added:
            (live / name).unlink()
        self._actions.append(f"Set {names} of {server.title} aside in {aside} ({fault}); the last good files are back.")
        self._load_or_start(server)

    def _fault(self, server: Server, verdict: Mapping[str, Any]) -> str:
        if verdict["valid"] is False:
            return last_line(verdict["output"])
        if server.kind == "prometheus":
            wrong = wrong_rules(self._site.document(server, "/api/v1/rules")["groups"])
            if wrong:
                return f"rule {wrong[0]['rule']} fails: {wrong[0]['error']}"
        return ""

    def _load_or_start(self, server: Server) -> None:
        """Reload a server that runs; one that did not come up with the bad files is started."""
        try:
            self._reload(server)
        except ConnectionFailed:
            self._site.docker("restart", server.container)
            waited = wait_until(lambda: self._is_ready(server), bool, timeout_seconds=READY_SECONDS)
            if not waited.reached:
                raise ActionFailed(f"{server.title} is not ready {READY_SECONDS:.0f} s after its start.") from None
            self._actions.append(f"Started {server.title}: it is ready after {waited.seconds:.0f} s.")

    def _is_ready(self, server: Server) -> bool:
        try:
            return self._site.send(server, "/-/ready")[0] == OK
        except ConnectionFailed:
            return False


def copy(source: Path, target: Path) -> None:
    """Copy a file with its mode in one step, so that nobody reads half of it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    new = target.with_name(f".{target.name}.new")
    shutil.copy(source, new)
    new.replace(target)


def last_line(output: str) -> str:
    """Return the line in which a tool names the fault."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return (lines or ["no message"])[-1].rstrip(".")
