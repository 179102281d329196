# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to the ops.runbooks collection: may change without notice.
"""Silences of Alertmanager: narrow, owned, short."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ansible_collections.ops.runbooks.plugins.module_utils._arguments import ArgumentSpec
from ansible_collections.ops.runbooks.plugins.module_utils._errors import (
    ActionFailed,
    ConnectionFailed,
    PreconditionFailed,
)
from ansible_collections.ops.runbooks.plugins.module_utils._http import Http, cause, http_options

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

OK = 200
LONGEST_SECONDS = 4 * 3600
# A silence that has at least this share of the asked time left is long enough: a second run changes nothing.
LONG_ENOUGH = 0.5


@dataclass(frozen=True, order=True)
class Matcher:
    """One condition on a label."""

    name: str
    value: str
    is_regex: bool = False
    is_equal: bool = True

    @classmethod
    def from_mapping(cls, given: Mapping[str, Any]) -> Matcher:
        """Build from an option, or from what Alertmanager answers (``isRegex``, ``isEqual``)."""
        is_regex = given.get("is_regex", given.get("isRegex", False))
        return cls(given["name"], given["value"], is_regex, given.get("is_equal", given.get("isEqual", True)))

    def as_api(self) -> dict[str, Any]:
        """Return what Alertmanager takes."""
        return {"name": self.name, "value": self.value, "isRegex": self.is_regex, "isEqual": self.is_equal}

    @property
    def narrows(self) -> bool:
        """Whether it excludes anything worth the name: an alert without the label does not pass it."""
        if not self.is_equal:
            return False
        if self.is_regex:
            return not re.fullmatch(self.value, "") and self.value not in (".+", "(.+)")
        return bool(self.value)


@dataclass(frozen=True)
class Silence:
    """A silence as Alertmanager keeps it."""

    id: str
    matchers: tuple[Matcher, ...]
    owner: str
    comment: str
    starts_at: datetime
    ends_at: datetime
    state: str

    def as_return(self) -> dict[str, Any]:
        """Return what a reader needs."""
        return {
            "id": self.id,
            "owner": self.owner,
            "comment": self.comment,
            "starts_at": self.starts_at.isoformat(),
            "ends_at": self.ends_at.isoformat(),
            "state": self.state,
            "matchers": [matcher.as_api() for matcher in self.matchers],
        }


class Silences(ABC):
    """The silences of one Alertmanager, or of a cluster of them."""

    @abstractmethod
    def active(self) -> list[Silence]:
        """Return those that are in force or to come."""

    @abstractmethod
    def put(self, silence: Silence) -> str:
        """Create one, or change the one whose ``id`` it has; return its identity, which a change may replace."""

    @abstractmethod
    def expire(self, identity: str) -> None:
        """End one; one that has ended is no error."""


class HttpSilences(Silences):
    """Through the API, version 2."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def active(self) -> list[Silence]:
        """List the silences that have not ended."""
        return [silence for silence in map(_silence, self._call("GET", "/silences")) if silence.state != "expired"]

    def put(self, silence: Silence) -> str:
        """Post one."""
        document: dict[str, Any] = {
            "matchers": [matcher.as_api() for matcher in silence.matchers],
            "createdBy": silence.owner,
            "comment": silence.comment,
            "startsAt": silence.starts_at.isoformat(),
            "endsAt": silence.ends_at.isoformat(),
        }
        if silence.id:
            document["id"] = silence.id
        identity: str = self._call("POST", "/silences", document)["silenceID"]
        return identity

    def expire(self, identity: str) -> None:
        """Delete one."""
        self._call("DELETE", f"/silence/{quote(identity, safe='')}", missing_is_fine=True)

    def _call(
        self, method: str, path: str, document: Mapping[str, Any] | None = None, *, missing_is_fine: bool = False
    ) -> Any:
        data = None if document is None else json.dumps(document)
        try:
            status, body = self._http.send(f"/api/v2{path}", method=method, data=data)
        except (OSError, ValueError) as error:
            raise ConnectionFailed(
                f"No answer from Alertmanager {self._http.url}: {cause(error)}. Check url, and that it runs."
            ) from error
        if status in (404, 410) and missing_is_fine:
            return None
        if status != OK:
            raise ActionFailed(f"Alertmanager {self._http.url} answered {status}: {' '.join(body.split())[:300]}")
        try:
            return json.loads(body) if body.strip() else None
        except ValueError as error:
            raise ActionFailed(f"What answers at {self._http.url} is not Alertmanager. Check url.") from error


def _silence(found: Mapping[str, Any]) -> Silence:
    return Silence(
        id=found["id"],
        matchers=tuple(sorted(map(Matcher.from_mapping, found["matchers"]))),
        owner=found["createdBy"],
        comment=found["comment"],
        starts_at=_moment(found["startsAt"]),
        ends_at=_moment(found["endsAt"]),
        state=found["status"]["state"],
    )


def _moment(stamp: str) -> datetime:
    """Read a time stamp of RFC 3339; Go prints as many digits of a second as it needs."""
    return datetime.strptime(f"{stamp[:19]}+0000", "%Y-%m-%dT%H:%M:%S%z")


def silence_spec() -> ArgumentSpec:
    """Return the options of alertmanager_silence."""
    matcher = {
        "name": {"type": "str", "required": True},
        "value": {"type": "str", "required": True},
        "is_regex": {"type": "bool", "default": False},
        "is_equal": {"type": "bool", "default": True},
    }
    own = ArgumentSpec(
        options={
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "matchers": {"type": "list", "elements": "dict", "options": matcher},
            "id": {"type": "str"},
            "owner": {"type": "str", "required": True},
            "comment": {"type": "str"},
            "duration_seconds": {"type": "int", "default": 600},
        },
        mutually_exclusive=[["matchers", "id"]],
        required_one_of=[["matchers", "id"]],
        required_if=[["state", "present", ["matchers", "comment"]]],
    )
    return http_options(10.0) + own


@dataclass(frozen=True)
class SilenceRequest:
    """What alertmanager_silence is asked to do."""

    matchers: tuple[Matcher, ...]
    id: str | None
    owner: str
    comment: str
    duration: timedelta

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> SilenceRequest:
        """Build the request; raises ValueError for a silence that nobody should want."""
        matchers = tuple(sorted(map(Matcher.from_mapping, params["matchers"] or [])))
        if not params["owner"].strip():
            raise ValueError("owner must say who answers for the silence.")
        if params["matchers"] is not None and not any(matcher.narrows for matcher in matchers):
            raise ValueError(
                "Refused: these matchers silence nearly everything. Give a label with a value that is meant."
            )
        if not 0 < params["duration_seconds"] <= LONGEST_SECONDS:
            raise ValueError(
                f"duration_seconds is {params['duration_seconds']}, expected 1 to {LONGEST_SECONDS}: "
                "a silence that outlives its reason hides the next alert."
            )
        duration = timedelta(seconds=params["duration_seconds"])
        return cls(matchers, params["id"], params["owner"], params["comment"] or "", duration)


def utc_now() -> datetime:
    """Return the time now, in UTC."""
    return datetime.now(timezone.utc)


def ensure_present(
    silences: Silences, request: SilenceRequest, *, dry_run: bool, now: Callable[[], datetime] = utc_now
) -> dict[str, Any]:
    """Have one silence of this owner with these matchers that lasts long enough."""
    moment = now()
    mine = _mine(silences, request)
    before = [silence.as_return() for silence in mine]
    longest = max(mine, key=lambda silence: silence.ends_at, default=None)
    wanted = Silence(
        longest.id if longest else "",
        request.matchers,
        request.owner,
        request.comment,
        longest.starts_at if longest else moment,
        moment + request.duration,
        "active",
    )
    if longest and longest.ends_at - moment >= request.duration * LONG_ENOUGH:
        return {"changed": False, "id": longest.id, "actions": ["Nothing to change: it is silenced."], "before": before,
                "after": before}  # fmt: skip
    verb = "Extended" if longest else "Created"
    identity = wanted.id
    if not dry_run:
        identity = silences.put(wanted)
    action = f"{'Would have ' + verb.lower() if dry_run else verb} a silence until {wanted.ends_at:%H:%M:%S} UTC."
    after = before if dry_run else [silence.as_return() for silence in _mine(silences, request)]
    return {"changed": True, "id": identity, "actions": [action], "before": before, "after": after}


def ensure_absent(silences: Silences, request: SilenceRequest, *, dry_run: bool) -> dict[str, Any]:
    """End the silences of this owner that are meant.

    Raises PreconditionFailed for one of somebody else, which is named by its identity.
    """
    mine = _mine(silences, request)
    before = [silence.as_return() for silence in mine]
    foreign = sorted({silence.owner for silence in mine if silence.owner != request.owner})
    if foreign:
        raise PreconditionFailed(
            f"Cannot end silence {request.id}: it belongs to {', '.join(foreign)}, not to {request.owner}. "
            "Ask its owner, or give the owner's name."
        )
    if not dry_run:
        for silence in mine:
            silences.expire(silence.id)
    verb = "Would end" if dry_run else "Ended"
    actions = [f"{verb} silence {silence.id} of {silence.owner}." for silence in mine]
    return {
        "changed": bool(mine),
        "id": mine[0].id if mine else None,
        "actions": actions or ["Nothing to end: there is no such silence."],
        "before": before,
        "after": before if dry_run else [],
    }


def _mine(silences: Silences, request: SilenceRequest) -> Sequence[Silence]:
    """Return the silences that are meant: the one named, or those of this owner with the same matchers."""
    active = silences.active()
    if request.id is not None:
        return [silence for silence in active if silence.id == request.id]
    return [one for one in active if one.owner == request.owner and one.matchers == request.matchers]
