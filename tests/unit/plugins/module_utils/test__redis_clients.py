"""Expectations of choosing and disconnecting clients, against a server in memory."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.ops.runbooks.plugins.module_utils._errors import (
    ActionFailed,
    ConnectionFailed,
    PreconditionFailed,
    TimedOut,
)
from ansible_collections.ops.runbooks.plugins.module_utils._redis_clients import (
    BLOCKED,
    KINDS,
    NORMAL,
    PUBSUB,
    REPLICATION,
    Client,
    DisconnectRequest,
    disconnect,
    disconnect_spec,
)
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import override

from tests.unit.plugins.module_utils.redis_clients import (
    OWN,
    ClientSourceContract,
    ClientWorld,
    FakeClients,
    client,
)

DEFAULTS = {name: option.get("default") for name, option in disconnect_spec().options.items()}


def run(*sources: FakeClients, dry_run: bool = False, **given: Any) -> dict[str, Any]:
    request = DisconnectRequest.from_params({**DEFAULTS, **given})
    return disconnect(sources, request, instance="cache1:6379", dry_run=dry_run, clock=sources[0].clock())


class FakeClientWorld(ClientWorld):
    """Clients of the server in memory."""

    def __init__(self) -> None:
        self.fake = FakeClients()
        self.source = self.fake

    @override
    def connect(self, name: str, kind: str = NORMAL) -> int:
        number = 100 + len(self.fake.known)
        self.fake.known.append(client(number, kind, 0, name=name))
        return number

    @override
    def subscribe(self, number: int) -> None:
        self.fake.change(number, kind=PUBSUB)

    @override
    def ids(self) -> set[int]:
        return {one.id for one in self.fake.known}


class TestFakeClients(ClientSourceContract):
    """The fake keeps the contract that a real server keeps in the integration tests."""

    @pytest.fixture
    def clients(self) -> ClientWorld:
        return FakeClientWorld()


CLIENTS = st.lists(
    st.builds(
        client,
        st.integers(2, 60),
        st.sampled_from([*KINDS, REPLICATION]),
        st.integers(0, 100),
        name=st.sampled_from(["", "shop", "worker", "sentinel-1f2e-cmd"]),
        user=st.sampled_from(["default", "app", "admin"]),
        address=st.sampled_from(["192.0.2.7:5000", "192.0.2.8:5000", "[2001:db8::1]:5000"]),
    ),
    max_size=20,
    unique_by=lambda one: one.id,
)
ASKED = st.fixed_dictionaries(
    {
        "minimum_idle_seconds": st.integers(0, 100),
        "names": st.sampled_from([[], ["shop"], ["sentinel-1f2e-cmd"]]),
        "addresses": st.sampled_from([[], ["192.0.2.7"], ["192.0.2.8:5000"], ["2001:db8::1"]]),
        "users": st.sampled_from([[], ["app"]]),
        "exclude_names": st.sampled_from([[], ["worker"]]),
        "exclude_users": st.sampled_from([[], ["admin"]]),
        "kinds": st.sampled_from([[NORMAL], [NORMAL, BLOCKED], KINDS]),
    }
)


@given(CLIENTS, ASKED)
def test_nobody_innocent_is_disconnected(found: list[Client], asked: dict[str, Any]) -> None:
    """Own, replication, sentinels, other kinds: never; and all the rest that matches is gone."""
    source = FakeClients(list(found))
    told = run(source, **asked, dry_run=True)
    assert source.ended == []
    done = run(source, **asked)
    assert (told["selected_count"], told["changed"]) == (done["disconnected"], done["changed"])
    gone = [one for one in found if one.id in source.ended]
    assert OWN.id not in source.ended
    for one in gone:
        assert one.kind in asked["kinds"]
        assert one.kind != REPLICATION
        assert one.idle_seconds >= asked["minimum_idle_seconds"]
        assert not one.name.startswith("sentinel-") or one.name in asked["names"]
        assert one.name not in asked["exclude_names"]
        assert one.user not in asked["exclude_users"]
        assert not asked["names"] or one.name in asked["names"]
        assert not asked["users"] or one.user in asked["users"]
        assert not asked["addresses"] or one.address in asked["addresses"] or one.host in asked["addresses"]
    assert run(source, **asked)["changed"] is False


def test_an_account_says_who_went_and_who_stayed() -> None:
    """Groups by name, reasons of those that were left."""
    source = FakeClients([client(2), client(3), client(4, name=""), client(5, BLOCKED), client(6, REPLICATION)])
    result = run(source, minimum_idle_seconds=60)
    assert result["actions"] == [
        "Disconnected 3 clients of shop (2), 192.0.2.7 (1).",
        "Left 1 client alone: blocked.",
        "Left 1 client alone: replication.",
    ]
    assert result["before"] == {"connected": 6, "maximum": 100, "used_ratio": 0.06}
    assert result["after"]["connected"] == 3
    assert result["selected"][0]["id"] == 2
    assert run(FakeClients(), minimum_idle_seconds=1)["actions"] == ["Nothing to disconnect: no client matches."]
    told = run(FakeClients([client(2)]), minimum_idle_seconds=1, dry_run=True)
    assert told["actions"] == ["Would disconnect 1 client of shop (1)."]


def test_who_works_again_is_spared() -> None:
    """Looked at again just before; gone by itself and subscribed meanwhile count as spared too."""

    def between(source: FakeClients) -> None:
        source.change(2, idle_seconds=0)
        source.change(3, kind=BLOCKED)
        source.known = [one for one in source.known if one.id != 4]

    source = FakeClients([client(number) for number in range(2, 7)], between=between)
    result = run(source, minimum_idle_seconds=60)
    assert source.ended == [5, 6]
    assert (result["disconnected"], result["spared"]) == (2, 3)
    assert "Spared 3 clients: they worked or left by themselves meanwhile." in result["actions"]


@pytest.mark.parametrize("dry_run", [False, True])
def test_more_than_the_limit_refuses_and_ends_none(dry_run: bool) -> None:
    """In check mode as well."""
    source = FakeClients([client(number) for number in range(2, 7)])
    with pytest.raises(PreconditionFailed, match="5 match and limit is 4"):
        run(source, minimum_idle_seconds=0, limit=4, dry_run=dry_run)
    assert source.ended == []


def test_below_the_precondition_nothing_happens_unless_it_is_a_warning() -> None:
    """As the person chose."""
    asked: dict[str, Any] = {"minimum_idle_seconds": 0, "only_above": 0.5}
    with pytest.raises(PreconditionFailed, match="2% of maxclients are connected to cache1:6379, below the 50%"):
        run(FakeClients([client(2)]), **asked)
    skipped = run(FakeClients([client(2)]), **asked, precondition_reaction="skip")
    assert (skipped["changed"], skipped["actions"][0][:21]) == (False, "Left everything alone")
    warned = run(FakeClients([client(2)]), **asked, precondition_reaction="warn")
    assert (warned["disconnected"], len(warned["warnings"])) == (1, 1)
    assert run(FakeClients([client(2)], limit=3), **asked)["disconnected"] == 1


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_missing_permission_is_found_before_anybody_goes(dry_run: bool) -> None:
    """In check mode as well; where nobody matches, none is needed."""
    source = FakeClients([client(2)], forbidden=True)
    with pytest.raises(ActionFailed):
        run(source, minimum_idle_seconds=0, dry_run=dry_run)
    assert source.ended == []
    assert run(source, names=["nobody"], dry_run=dry_run)["changed"] is False


def test_every_node_is_worked_on() -> None:
    """One limit for all, and one account."""
    one, two = FakeClients([client(2)]), FakeClients([client(3), client(4)], name="cache2:6379")
    result = run(one, two, minimum_idle_seconds=0)
    assert (one.ended, two.ended) == ([2], [3, 4])
    assert result["disconnected"] == 3
    assert result["before"] == {"connected": 5, "maximum": 200, "used_ratio": 0.025}


def test_who_does_not_go_is_told() -> None:
    """After the limit, with the account."""
    source = FakeClients([client(2), client(3)], stubborn={3})
    with pytest.raises(
        TimedOut, match="Told 2 clients of cache1:6379 to go, and 1 are still there after 5 s"
    ) as raised:
        run(source, minimum_idle_seconds=0)
    assert raised.value.details["disconnected"] == 2


def test_a_connection_lost_half_way_carries_what_was_done() -> None:
    """To the client."""
    source = FakeClients([client(number) for number in range(2, 9)], lost_after=3)
    with pytest.raises(ConnectionFailed, match="Before that, 3 clients were disconnected") as raised:
        run(source, minimum_idle_seconds=0)
    assert (raised.value.details["disconnected"], raised.value.details["changed"]) == (3, True)


@pytest.mark.parametrize(
    ("given_options", "message"),
    [
        ({}, "These criteria mean every client"),
        ({"exclude_names": ["a"]}, "These criteria mean every client"),
        ({"minimum_idle_seconds": -1}, "must not be negative"),
        ({"names": ["a"], "kinds": []}, "kinds is empty"),
        ({"names": ["a"], "limit": 0}, "limit is 0"),
        ({"names": ["a"], "only_above": 2}, "only_above is 2"),
    ],
)
def test_what_must_not_be_asked_is_refused(given_options: dict[str, Any], message: str) -> None:
    """Nobody disconnects everybody by leaving something out."""
    with pytest.raises(ValueError, match=message):
        run(FakeClients(), **given_options)


@pytest.mark.parametrize("given_options", [{"names": ["shop"]}, {"addresses": ["192.0.2.7"]}, {"users": ["default"]}])
def test_one_name_is_enough(given_options: dict[str, Any]) -> None:
    """Each way of narrowing counts."""
    assert run(FakeClients([client(2)]), **given_options)["disconnected"] == 1
