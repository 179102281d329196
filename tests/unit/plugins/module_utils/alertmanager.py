"""The silences of an Alertmanager in memory, and the contract that it shares with the real one."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from ansible_collections.ops.runbooks.plugins.module_utils._alertmanager import Matcher, Silence, Silences
from typing_extensions import override

ALERT = (Matcher("alertname", "BackendDown"), Matcher("service", "back.*", is_regex=True))


def silence(owner: str = "runbook", *, minutes: float = 10, **more: object) -> Silence:
    """Return a silence from now on."""
    now = datetime.now(UTC).replace(microsecond=0)
    made = Silence("", ALERT, owner, "a restart", now, now + timedelta(minutes=minutes), "active")
    return replace(made, **more)  # type: ignore[arg-type]  # the fields of Silence


@dataclass
class FakeSilences(Silences):
    """As Alertmanager keeps them: what has ended stays, expired; a change of the matchers makes another one."""

    kept: dict[str, Silence] = field(default_factory=dict)

    @override
    def active(self) -> list[Silence]:
        return [one for one in self.kept.values() if one.state != "expired"]

    @override
    def put(self, silence: Silence) -> str:
        identity = silence.id or f"id-{len(self.kept) + 1}"
        self.kept[identity] = replace(silence, id=identity)
        return identity

    @override
    def expire(self, identity: str) -> None:
        if identity in self.kept:
            self.kept[identity] = replace(self.kept[identity], state="expired")


class SilencesContract:
    """What the module relies on; a subclass gives the fixture ``silences``."""

    def test_what_was_put_is_active_until_it_is_expired(self, silences: Silences) -> None:
        """With matchers, owner and comment as they were given."""
        asked = silence()
        identity = silences.put(asked)
        (found,) = [one for one in silences.active() if one.id == identity]
        assert (found.matchers, found.owner, found.comment) == (asked.matchers, asked.owner, asked.comment)
        assert found.ends_at == asked.ends_at
        silences.expire(identity)
        assert identity not in {one.id for one in silences.active()}

    def test_a_longer_life_keeps_it_one(self, silences: Silences) -> None:
        """Extending does not leave two."""
        identity = silences.put(silence("extender"))
        silences.put(silence("extender", minutes=20, id=identity))
        (found,) = [one for one in silences.active() if one.owner == "extender"]
        assert found.ends_at - found.starts_at > timedelta(minutes=15)
        silences.expire(found.id)

    def test_expiring_what_is_gone_is_no_error(self, silences: Silences) -> None:
        """Every way out may end it once more."""
        silences.expire("00000000-0000-0000-0000-000000000000")
        identity = silences.put(silence())
        silences.expire(identity)
        silences.expire(identity)
