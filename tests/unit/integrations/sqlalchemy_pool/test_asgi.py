"""Expectations of the address that tells the state of the pools and resets them."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from sqlalchemy import Engine, QueuePool, create_engine
from sqlalchemy_pool import PoolAdmin, Pools

if TYPE_CHECKING:
    from collections.abc import Iterator

PATH = "/admin/pool/reset"
TOKEN = "s3cret-token"
RIGHT = {"Authorization": f"Bearer {TOKEN}"}


async def application(scope: Any, _receive: Any, send: Any) -> None:
    """Stand for the application: tell which request has reached it."""
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 299, "headers": []})
    await send({"type": "http.response.body", "body": scope["path"].encode()})


@pytest.fixture
def engine() -> Iterator[Engine]:
    opened = create_engine("sqlite://", poolclass=QueuePool, pool_size=2, max_overflow=1)
    yield opened
    opened.dispose()


@pytest.fixture
def app(engine: Engine) -> PoolAdmin:
    return PoolAdmin(application, pools=Pools(db=engine, other=create_engine("sqlite://")), token=TOKEN)


def request(app: Any, method: str, path: str = PATH, **options: Any) -> httpx.Response:
    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://app.example") as client:
            return await client.request(method, path, **{"headers": RIGHT, **options})

    return asyncio.run(send())


def test_other_requests_reach_the_application(app: PoolAdmin) -> None:
    """One path is taken; nothing else is touched, without a token too."""
    response = request(app, "GET", "/orders", headers={})
    assert (response.status_code, response.text) == (299, "/orders")


def test_other_protocols_reach_the_application(engine: Engine) -> None:
    """Start and stop of the application and web sockets pass through."""
    seen: list[str] = []

    async def records(scope: Any, _receive: Any, _send: Any) -> None:
        seen.append(scope["type"])

    app = PoolAdmin(records, pools=Pools(db=engine), token=TOKEN)
    for scope in ({"type": "lifespan"}, {"type": "websocket", "path": PATH}):
        asyncio.run(app(scope, None, None))  # type: ignore[arg-type]  # neither is used
    assert seen == ["lifespan", "websocket"]


def test_the_path_is_the_applications_choice(engine: Engine) -> None:
    """A configured path replaces the default."""
    app = PoolAdmin(application, pools=Pools(db=engine), token=TOKEN, path="/internal/pools")
    assert request(app, "GET", "/internal/pools").status_code == 200
    assert request(app, "GET", PATH).status_code == 299


def test_an_empty_token_stops_the_start(engine: Engine) -> None:
    """An address without a lock is never opened by mistake."""
    with pytest.raises(ValueError, match="needs a token"):
        PoolAdmin(application, pools=Pools(db=engine), token="")


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="none"),
        pytest.param({"Authorization": TOKEN}, id="no scheme"),
        pytest.param({"Authorization": f"Basic {TOKEN}"}, id="another scheme"),
        pytest.param({"Authorization": f"Bearer {TOKEN[:-1]}"}, id="too short"),
        pytest.param({"Authorization": "Bearer "}, id="empty"),
        pytest.param({"Authorization": "Bearer tökèn".encode()}, id="not ASCII"),
    ],
)
def test_without_the_token_nothing_is_told_or_done(
    app: PoolAdmin, engine: Engine, method: str, headers: dict[str, str]
) -> None:
    """Only the right bearer token opens, for reading too."""
    before = engine.pool
    response = request(app, method, headers=headers)
    assert (response.status_code, response.headers["www-authenticate"]) == (401, "Bearer")
    assert set(response.json()) == {"instance", "error"}
    assert engine.pool is before


def test_the_state_of_every_pool_is_told(app: PoolAdmin, engine: Engine) -> None:
    """GET reads, and answers are never cached."""
    with engine.connect():
        response = request(app, "GET")
    assert response.headers["cache-control"] == "no-store"
    assert response.json()["engines"]["db"] == {
        "kind": "QueuePool",
        "size": 2,
        "capacity": 3,
        "checked_in": 0,
        "checked_out": 1,
        "overflow": 0,
        "abandoned": 0,
    }
    assert response.json()["engines"]["other"]["capacity"] is None


def test_an_empty_body_is_a_soft_reset_of_every_engine(app: PoolAdmin, engine: Engine) -> None:
    """The safe way is the default: nothing is closed, every connection is marked."""
    pool = engine.pool
    with engine.connect():
        answer = request(app, "POST").json()
    assert (answer["mode"], set(answer["engines"])) == ("soft", {"db", "other"})
    assert answer["engines"]["db"]["marked"] == 1
    assert answer["engines"]["db"]["before"] == answer["engines"]["db"]["after"]
    assert engine.pool is pool


def test_dispose_closes_the_idle_and_admits_what_it_does_not_free(app: PoolAdmin, engine: Engine) -> None:
    """With room on the server the pool is replaced; the connection in use is told as abandoned, not as freed."""
    held, idle = engine.connect(), engine.connect()
    idle.close()
    body = {"mode": "dispose", "engines": ["db"], "server_headroom": 1}
    answer = request(app, "POST", json=body).json()
    assert set(answer["engines"]) == {"db"}
    result = answer["engines"]["db"]
    assert result["closed"] == 1
    assert (result["before"]["checked_out"], result["before"]["checked_in"]) == (1, 1)
    assert (result["after"]["checked_out"], result["after"]["checked_in"], result["after"]["abandoned"]) == (0, 0, 1)
    held.close()


def test_dispose_is_refused_without_room_on_the_server(app: PoolAdmin, engine: Engine) -> None:
    """Held connections stay on the server: a new pool beside them could exhaust it."""
    pool = engine.pool
    with engine.connect(), engine.connect():
        response = request(app, "POST", json={"mode": "dispose", "server_headroom": 1})
    assert response.status_code == 409
    assert response.json()["error"] == (
        "2 connections are in use and stay open, and the server has room for 1 more. "
        "Use mode soft, or end the sessions on the server first."
    )
    assert response.json()["engines"]["db"]["checked_out"] == 2
    assert engine.pool is pool


@pytest.mark.parametrize(
    ("body", "error"),
    [
        pytest.param(b"{", "The body is not JSON", id="not JSON"),
        pytest.param(b"\xff", "The body is not JSON", id="not text"),
        pytest.param(b"[]", "The body must be an object", id="not an object"),
        pytest.param(b'{"moed": "soft"}', "The body must be an object with mode", id="unknown key"),
        pytest.param(b'{"mode": "hard"}', "mode must be soft or dispose", id="unknown mode"),
        pytest.param(b'{"mode": ["soft"]}', "mode must be soft or dispose", id="mode of a wrong type"),
        pytest.param(b'{"engines": "db"}', "engines must be a list out of: db, other", id="engines not a list"),
        pytest.param(b'{"engines": []}', "engines must be a list", id="no engine"),
        pytest.param(b'{"engines": [{}]}', "engines must be a list", id="engine of a wrong type"),
        pytest.param(b'{"engines": ["db", "x"]}', "engines must be a list", id="unknown engine"),
        pytest.param(b'{"mode": "dispose"}', "mode dispose needs server_headroom", id="no head-room"),
        pytest.param(b'{"mode": "dispose", "server_headroom": -1}', "needs server_headroom", id="negative head-room"),
        pytest.param(b'{"mode": "dispose", "server_headroom": true}', "needs server_headroom", id="head-room a truth"),
        pytest.param(
            b'{"mode": "dispose", "server_headroom": 1.5}', "needs server_headroom", id="head-room a fraction"
        ),
    ],
)
def test_an_order_that_is_not_understood_does_nothing(app: PoolAdmin, engine: Engine, body: bytes, error: str) -> None:
    """Each mistake is a 400 that says which."""
    pool = engine.pool
    response = request(app, "POST", content=body)
    assert response.status_code == 400
    assert error in response.json()["error"]
    assert engine.pool is pool


def test_a_large_body_is_refused(app: PoolAdmin) -> None:
    """No caller can make the application read without end."""
    response = request(app, "POST", content=b" " * 5000)
    assert response.status_code == 413


def test_another_method_is_refused(app: PoolAdmin) -> None:
    """The answer names what is allowed."""
    response = request(app, "PUT")
    assert (response.status_code, response.headers["allow"]) == (405, "GET, POST")


def test_a_caller_that_leaves_half_way_resets_nothing(app: PoolAdmin, engine: Engine) -> None:
    """Half an order is not taken for an empty one, which would be a reset."""
    sent: list[dict[str, Any]] = []
    messages = iter(
        [{"type": "http.request", "body": b'{"mode"', "more_body": True}, {"type": "http.disconnect"}],
    )

    async def receive() -> Any:
        return next(messages)

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": PATH,
        "headers": [(b"authorization", RIGHT["Authorization"].encode())],
    }
    asyncio.run(app(scope, receive, send))
    assert sent[0]["status"] == 400
    assert json.loads(sent[1]["body"])["error"] == "The body is not complete."


def test_a_body_in_pieces_is_one_order(app: PoolAdmin) -> None:
    """Servers may hand a body over in several messages."""

    async def pieces() -> Any:
        for piece in (b'{"engines": ', b'["db"]}'):
            yield piece

    assert set(request(app, "POST", content=pieces()).json()["engines"]) == {"db"}


def test_two_processes_have_two_names(engine: Engine) -> None:
    """A caller can tell whether two addresses lead to the same process."""
    pools = Pools(db=engine)
    first, second = (PoolAdmin(application, pools=pools, token=TOKEN) for _ in range(2))
    names = {request(app, "GET").json()["instance"] for app in (first, second, first)}
    assert len(names) == 2
