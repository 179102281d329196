"""Expectations of resetting the pools of every replica, against replicas in memory and one real drop-in over HTTP."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy
import uvicorn
from ansible_collections.ops.runbooks.plugins.module_utils._errors import (
    ActionFailed,
    ConnectionFailed,
    OpsError,
    PreconditionFailed,
)
from ansible_collections.ops.runbooks.plugins.module_utils._sqlalchemy_adapters import GivenUrls, HttpPoolApi
from ansible_collections.ops.runbooks.plugins.module_utils._sqlalchemy_pools import (
    Replica,
    parse_pools,
    parse_reset,
)
from ansible_collections.ops.runbooks.plugins.module_utils._sqlalchemy_ports import PoolApi
from ansible_collections.ops.runbooks.plugins.module_utils._sqlalchemy_reset import (
    ResetRequest,
    reset_pools,
    reset_spec,
)
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy_pool import PoolAdmin, Pools
from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

DEFAULTS = {name: option.get("default") for name, option in reset_spec().options.items()}


@dataclass
class FakeReplica:
    """One process with one pool; ``fails`` is what it answers instead of doing what it is told."""

    checked_in: int = 0
    checked_out: int = 0
    capacity: int | None = 10
    instance: str = ""
    fails: OpsError | None = None
    fails_reset: OpsError | None = None

    def pools(self) -> dict[str, Any]:
        numbers = {"capacity": self.capacity, "checked_in": self.checked_in, "checked_out": self.checked_out}
        return {"database": {**numbers, "abandoned": 0}}


@dataclass
class FakeApi(PoolApi):
    """Replicas by address, and what each was told."""

    replicas: dict[str, FakeReplica]
    orders: dict[str, Mapping[str, object]] = field(default_factory=dict)

    @override
    def read(self, url: str) -> object:
        found = self.replicas[url]
        if found.fails:
            raise found.fails
        return {"instance": found.instance or url, "engines": found.pools()}

    @override
    def reset(self, url: str, order: Mapping[str, object]) -> object:
        found = self.replicas[url]
        if found.fails_reset:
            raise found.fails_reset
        self.orders[url] = order
        before = found.pools()["database"]
        if order["mode"] == "dispose":
            found.checked_in = 0
        after = {"before": before, "after": found.pools()["database"]}
        return {"instance": found.instance or url, "mode": order["mode"], "engines": {"database": after}}


class Run:
    """One reset of some replicas; keeps what it warned about."""

    def __init__(self, *replicas: FakeReplica, dry_run: bool = False, **asked: Any) -> None:
        self.api = FakeApi({f"http://10.0.0.{number}": one for number, one in enumerate(replicas, 1)})
        self.warnings: list[str] = []
        self.asked = asked
        self.dry_run = dry_run

    def __call__(self) -> dict[str, Any]:
        found = [Replica(f"shop-web-{number}", url) for number, url in enumerate(self.api.replicas, 1)]
        request = ResetRequest.from_params({**DEFAULTS, "token": "t", **self.asked})
        return reset_pools(request, found, self.api, warn=self.warnings.append, dry_run=self.dry_run)


def test_every_replica_with_a_connection_open_is_reset() -> None:
    """One that has none is left alone, and each is reported."""
    run = Run(FakeReplica(2, 3), FakeReplica(0, 0), FakeReplica(1, 0))
    result = run()
    assert run.api.orders == {"http://10.0.0.1": {"mode": "soft"}, "http://10.0.0.3": {"mode": "soft"}}
    assert result["changed"] is True
    assert result["actions"] == [
        "Reset shop-web-1: 5 connections are replaced at their next checkout.",
        "Reset shop-web-3: 1 connections are replaced at their next checkout.",
        "Left shop-web-2 alone: it has no connection open.",
    ]
    assert [one["name"] for one in result["replicas"]] == ["shop-web-1", "shop-web-2", "shop-web-3"]
    assert (result["before"]["checked_in"], result["before"]["checked_out"]) == (3, 3)


def test_nothing_open_is_nothing_to_do() -> None:
    """A second look at an idle application changes nothing."""
    assert Run(FakeReplica(), FakeReplica())()["changed"] is False


def test_a_dry_run_tells_and_orders_nothing() -> None:
    """Check mode reads only."""
    run = Run(FakeReplica(2, 3), dry_run=True)
    result = run()
    assert (result["changed"], run.api.orders) == (True, {})
    assert result["actions"][0].startswith("Would reset shop-web-1: ")


SILENT = ConnectionFailed("no answer (timed out)")


@pytest.mark.parametrize("silent", [FakeReplica(1, 1, fails=SILENT), FakeReplica(1, 1, fails_reset=SILENT)])
def test_a_silent_replica_keeps_nobody_else_waiting(silent: FakeReplica) -> None:
    """The others are reset, the whole fails and names the one that was missed."""
    run = Run(FakeReplica(1, 1), silent)
    with pytest.raises(ActionFailed, match=r"1 of 2 replicas: shop-web-2: no answer \(timed out\)") as error:
        run()
    assert list(run.api.orders) == ["http://10.0.0.1"]
    assert error.value.details["changed"] is True
    replicas: Any = error.value.details["replicas"]
    assert replicas[1]["error"] == "no answer (timed out)"


def test_no_answer_at_all_is_a_failed_connection() -> None:
    """Nothing is reset on hearsay."""
    with pytest.raises(ConnectionFailed, match="any of 1 replicas"):
        Run(FakeReplica(fails=ConnectionFailed("no answer (refused)")))()


def test_a_load_balancer_is_recognised() -> None:
    """Two addresses of one process mean that another process is missed."""
    with pytest.raises(PreconditionFailed, match="the same process"):
        Run(FakeReplica(1, instance="p1"), FakeReplica(1, instance="p1"))()


def test_disposing_needs_room_on_the_server() -> None:
    """What is in use stays open beside the new pools: it must fit a second time, over all replicas together."""
    asked: dict[str, Any] = {"mode": "dispose", "server_headroom": 5}
    with pytest.raises(PreconditionFailed, match=r"6 connections are in use .*, and the server has room for 5"):
        Run(FakeReplica(1, 3), FakeReplica(1, 3), **asked)()
    run = Run(FakeReplica(1, 3), FakeReplica(1, 1), **asked)
    assert run()["after"]["checked_in"] == 0
    # Each is told what is left once the other has taken its part.
    assert [order["server_headroom"] for order in run.api.orders.values()] == [4, 2]


def test_disposing_waits_for_everybody() -> None:
    """With one replica silent nobody knows how many connections are in use."""
    silent = FakeReplica(fails=ConnectionFailed("no answer (refused)"))
    run = Run(FakeReplica(1, 1), silent, mode="dispose", server_headroom=50)
    with pytest.raises(PreconditionFailed, match="nobody knows how many"):
        run()
    assert run.api.orders == {}


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"only_above": 0.9}, "The fullest pool is 30% in use, below 90%."),
        ({"expected_replicas": 3}, "1 replicas were found and 3 expected."),
    ],
)
def test_a_precondition_that_does_not_hold_is_answered_as_asked(asked: dict[str, Any], reason: str) -> None:
    """Fail, skip or warn."""
    with pytest.raises(PreconditionFailed, match=reason):
        Run(FakeReplica(1, 3), **asked)()
    skipped = Run(FakeReplica(1, 3), **asked, precondition_reaction="skip")()
    assert (skipped["changed"], skipped["actions"]) == (False, [f"Left every replica alone: {reason}"])
    run = Run(FakeReplica(1, 3), **asked, precondition_reaction="warn")
    assert (run()["changed"], run.warnings) == (True, [f"Reset all the same: {reason}"])


def test_a_pool_without_a_limit_cannot_be_full() -> None:
    """The precondition says so."""
    with pytest.raises(PreconditionFailed, match="No pool has a limit"):
        Run(FakeReplica(1, 3, capacity=None), only_above=0.5)()


def test_an_engine_that_the_application_does_not_have_is_named() -> None:
    """With the names that it has."""
    with pytest.raises(PreconditionFailed, match="the application has database"):
        Run(FakeReplica(1), engines=["nosuch"])()


@pytest.mark.parametrize(
    "asked", [{"only_above": 1.5}, {"server_headroom": -1}, {"expected_replicas": -1}, {"engines": []}]
)
def test_numbers_that_cannot_be_are_refused(asked: dict[str, Any]) -> None:
    """The option is named in the message."""
    with pytest.raises(ValueError, match=next(iter(asked))):
        Run(FakeReplica(1), **asked)()


@pytest.mark.parametrize("urls", [[], ["http://a", "http://a"], ["ftp://a"]])
def test_addresses_that_make_no_sense_are_refused(urls: list[str]) -> None:
    """None, twice, or no HTTP."""
    with pytest.raises(ValueError, match="urls must"):
        GivenUrls(urls).find()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["instance", "engines", "a"]), inner),
)


@given(JSON)
def test_whatever_answers_is_read_or_refused(document: object) -> None:
    """A page of something else is a sentence, never a traceback."""
    for parse in (parse_pools, parse_reset):
        with suppress(ValueError):
            instance, found = parse(document)
            assert isinstance(instance, str)
            assert isinstance(found, dict)


class PoolApiContract:
    """What the module relies on; a subclass gives the fixtures ``api``, ``url`` and ``held`` (connections in use)."""

    def test_reading_gives_the_numbers(self, api: PoolApi, url: str, held: int) -> None:
        """As the parser wants them."""
        _instance, pools = parse_pools(api.read(url))
        assert pools["database"]["checked_out"] == held

    def test_a_soft_reset_keeps_what_is_in_use(self, api: PoolApi, url: str, held: int) -> None:
        """The same process answers, with the numbers afterwards."""
        instance, _pools = parse_pools(api.read(url))
        again, pools = parse_reset(api.reset(url, {"mode": "soft"}))
        assert (again, pools["database"]["checked_out"]) == (instance, held)

    def test_disposing_closes_what_idles(self, api: PoolApi, url: str, held: int) -> None:
        """With room for what stays open."""
        _instance, pools = parse_reset(api.reset(url, {"mode": "dispose", "server_headroom": held}))
        assert pools["database"]["checked_in"] == 0


class TestFakeApi(PoolApiContract):
    """The replicas in memory keep the contract."""

    held = pytest.fixture(lambda self: 2)

    @pytest.fixture
    def url(self) -> str:
        return "http://10.0.0.1"

    @pytest.fixture
    def api(self, url: str) -> PoolApi:
        return FakeApi({url: FakeReplica(1, 2)})


@pytest.fixture(scope="module")
def drop_in() -> Iterator[tuple[str, sqlalchemy.Engine]]:
    """Serve the real drop-in, with a real pool, over real HTTP."""
    engine = sqlalchemy.create_engine("sqlite://", poolclass=sqlalchemy.QueuePool, pool_size=3)

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 302, "headers": [(b"location", b"http://127.0.0.1:1/")]})
        await send({"type": "http.response.body", "body": b"<html>"})

    with socket.create_server(("127.0.0.1", 0)) as listener:
        admin: Any = PoolAdmin(application, pools=Pools(database=engine), token="right")
        server = uvicorn.Server(uvicorn.Config(admin, log_level="critical", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", engine
        server.should_exit = True
        thread.join(10)
    engine.dispose()


class TestHttpPoolApi(PoolApiContract):
    """The real adapter and the real drop-in keep the contract."""

    @pytest.fixture
    def url(self, drop_in: tuple[str, sqlalchemy.Engine]) -> str:
        return f"{drop_in[0]}/admin/pool/reset"

    @pytest.fixture
    def api(self) -> PoolApi:
        return HttpPoolApi("right", timeout_seconds=5)

    @pytest.fixture
    def held(self, drop_in: tuple[str, sqlalchemy.Engine]) -> Iterator[int]:
        with drop_in[1].connect(), drop_in[1].connect():
            yield 2

    def test_a_wrong_token_is_told_with_what_to_do(self, url: str) -> None:
        """And the token is not repeated."""
        with pytest.raises(ActionFailed, match=r"HTTP 401: .* Give the token that the application") as error:
            HttpPoolApi("wrong-secret", timeout_seconds=5).read(url)
        assert "wrong-secret" not in str(error.value)

    def test_the_token_follows_no_redirect(self, api: PoolApi, drop_in: tuple[str, sqlalchemy.Engine]) -> None:
        """Another address is another party."""
        with pytest.raises(ActionFailed, match="HTTP 302"):
            api.read(f"{drop_in[0]}/elsewhere")

    def test_nobody_there_is_a_failed_connection(self, api: PoolApi) -> None:
        """With the cause."""
        with pytest.raises(ConnectionFailed, match=r"no answer \(.*refused"):
            api.read("http://127.0.0.1:1/")

    def test_certificates_that_cannot_be_read_are_named(self) -> None:
        """Before anything is sent."""
        with pytest.raises(ValueError, match="ca_path /nosuch"):
            HttpPoolApi("t", timeout_seconds=5, ca_path="/nosuch")


POPULATION = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.booleans()), min_size=1, max_size=5)


@given(POPULATION)
def test_check_mode_names_whom_a_run_resets_and_a_second_run_finishes(found: list[tuple[int, int, bool]]) -> None:
    """Whoever has a connection open, and nobody else; of those that go away in the middle the second run."""
    replicas = [FakeReplica(idle, used) for idle, used, _lost in found]
    reset = Run(*replicas)
    urls = list(reset.api.replicas)
    meant = {url for url, (idle, used, _lost) in zip(urls, found, strict=True) if idle + used}
    reset.dry_run = True
    planned = reset()
    assert (planned["changed"], reset.api.orders) == (bool(meant), {})
    reset.dry_run = False
    for one, (_idle, _used, lost) in zip(replicas, found, strict=True):
        one.fails_reset = ConnectionFailed("no answer") if lost else None
    missed = {url for url, (_idle, _used, lost) in zip(urls, found, strict=True) if lost} & meant
    if missed:
        with pytest.raises(OpsError):
            reset()
    else:
        assert reset()["changed"] is bool(meant)
    assert set(reset.api.orders) == meant - missed
    for one in replicas:
        one.fails_reset = None
    reset()
    assert set(reset.api.orders) == meant
