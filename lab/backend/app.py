"""The lab's backend: orders in PostgreSQL, read through a Redis cache, reports through PgBouncer."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import socket
from typing import TYPE_CHECKING, Any

import redis

# Neither is a dependency of this repository: they come with the image.
from fastapi import FastAPI, Request, Response  # type: ignore[import-not-found]
from fastapi.responses import JSONResponse  # type: ignore[import-not-found]
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, generate_latest
from pydantic import BaseModel, Field
from sqlalchemy import Engine, NullPool, create_engine, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy_pool import PoolAdmin, Pools

from .metrics import Measure, cache_requests
from .tokens import claims_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

log = logging.getLogger("uvicorn.error")

POOL_SIZE, MAX_OVERFLOW, POOL_TIMEOUT_SECONDS = 5, 5, 3
PAGE, CACHE_SECONDS, KEPT_ORDERS = 20, 5, 10_000
INSTANCE = socket.gethostname()

# Replicas start together; CREATE ... IF NOT EXISTS alone can collide.
SCHEMA = """
SELECT pg_advisory_xact_lock(726001);
CREATE TABLE IF NOT EXISTS orders (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    customer text NOT NULL,
    item text NOT NULL,
    quantity integer NOT NULL CHECK (quantity > 0),
    created_at timestamptz NOT NULL DEFAULT now()
);
"""


def connect(address: str, options: dict[str, Any] | None = None, **pool: Any) -> Engine:
    """Open an engine whose sessions carry the application's name, so that they can be told apart on the server."""
    url = f"postgresql+psycopg://app:{os.environ['APP_DB_PASSWORD']}@{address}/app"
    arguments = {"application_name": "backend", "connect_timeout": 3, **(options or {})}
    return create_engine(url, pool_pre_ping=True, connect_args=arguments, **pool)


database = connect("postgres:5432", pool_size=POOL_SIZE, max_overflow=MAX_OVERFLOW, pool_timeout=POOL_TIMEOUT_SECONDS)
# PgBouncer keeps the pool here; in transaction mode a prepared statement may meet another server session.
pooled = connect("pgbouncer:6432", {"prepare_threshold": None}, poolclass=NullPool)
cache = redis.Redis("redis", password=os.environ["REDIS_PASSWORD"], socket_timeout=1, socket_connect_timeout=1)
pools = Pools(database=database, pooled=pooled)
REGISTRY.register(pools)


async def create_schema() -> None:
    """Try until the database lets us in: a backend that starts before its database is still a live backend."""
    while True:
        try:
            await asyncio.to_thread(_create_schema)
        except (OperationalError, PoolTimeout) as error:
            log.warning("Cannot create the schema yet: %s", error)
            await asyncio.sleep(1)
        else:
            return


def _create_schema() -> None:
    with database.begin() as connection:
        connection.execute(text(SCHEMA))


@contextlib.asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    """Prepare the database beside the first requests; give the sessions back at the end."""
    preparing = asyncio.create_task(create_schema())
    yield
    preparing.cancel()
    database.dispose()


async def on_pool_timeout(_request: Request, error: PoolTimeout) -> JSONResponse:
    """Say that the pool is exhausted; the drop-in counts these."""
    return JSONResponse({"detail": "No database connection became free in time.", "error": str(error)}, 503)


async def on_database_error(_request: Request, error: OperationalError) -> JSONResponse:
    """Say that the database is to blame."""
    return JSONResponse({"detail": "The database refused.", "error": str(error.orig)}, 503)


async def health(response: Response) -> dict[str, str]:
    """Tell that this process serves; shallow on purpose, and on the event loop, so that a full pool cannot hide it."""
    response.status_code = 503 if app.state.draining else 200
    return {"status": "draining" if app.state.draining else "ok", "instance": INSTANCE}


def ready() -> dict[str, str]:
    """Tell that a request which needs the database would be served."""
    with database.connect() as connection:
        connection.execute(text("SELECT 1"))
    return {"status": "ok", "instance": INSTANCE}


def cache_ready() -> JSONResponse:
    """Tell that the cache takes and gives back what the application writes; it is no part of ``ready``."""
    key, value = f"ready:{INSTANCE}", os.urandom(8)
    try:
        cache.set(key, value, ex=CACHE_SECONDS)
        kept = cache.get(key) == value
    except redis.RedisError as error:
        return JSONResponse({"detail": "The cache refused.", "error": str(error)}, 503)
    return JSONResponse({"status": "ok" if kept else "lost", "instance": INSTANCE}, 200 if kept else 503)


async def metrics() -> Response:
    """Return the metrics of this process."""
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


class Order(BaseModel):
    """What a customer asks for."""

    customer: str = Field(min_length=1, max_length=100)
    item: str = Field(min_length=1, max_length=100)
    quantity: int = Field(gt=0, le=1000)


def list_orders(page: int = 0) -> list[dict[str, Any]]:
    """Return a page of orders, from the cache while it is fresh; a cache that fails costs speed, not answers."""
    key = f"orders:page:{page}"
    try:
        found = cache.get(key)
    except redis.RedisError:
        cache_requests.labels("error").inc()
        return _read_orders(page)
    cache_requests.labels("hit" if found else "miss").inc()
    if found:
        orders: list[dict[str, Any]] = json.loads(found)
        return orders
    orders = _read_orders(page)
    with contextlib.suppress(redis.RedisError):
        cache.setex(key, CACHE_SECONDS, json.dumps(orders))
    return orders


def _read_orders(page: int) -> list[dict[str, Any]]:
    statement = "SELECT id, customer, item, quantity FROM orders ORDER BY id DESC LIMIT :size OFFSET :start"
    with database.connect() as connection:
        rows = connection.execute(text(statement), {"size": PAGE, "start": page * PAGE})
        return [dict(row._mapping) for row in rows]  # noqa: SLF001 - SQLAlchemy's public name


def create_order(order: Order) -> dict[str, int]:
    """Store an order and let the oldest ones go, so that a lab left alone does not fill the disk."""
    with database.begin() as connection:
        statement = "INSERT INTO orders (customer, item, quantity) VALUES (:customer, :item, :quantity) RETURNING id"
        identity: int = connection.execute(text(statement), order.model_dump()).scalar_one()
        if identity % 1000 == 0:
            connection.execute(text("DELETE FROM orders WHERE id <= :last"), {"last": identity - KEPT_ORDERS})
    with contextlib.suppress(redis.RedisError):
        cache.delete("orders:page:0")
        # Kept in Redis alone, without an expiry: no eviction may take it.
        cache.incr(f"customer:{order.customer}:orders")
    return {"id": identity}


def report() -> dict[str, int]:
    """Sum the orders by item, through PgBouncer."""
    with pooled.connect() as connection:
        rows = connection.execute(text("SELECT item, sum(quantity) FROM orders GROUP BY item ORDER BY item"))
        return {row[0]: row[1] for row in rows}


def account(request: Request) -> dict[str, str]:
    """Tell a caller with a token of the realm who it is."""
    claims = claims_of(request)
    return {"client": claims["azp"], "subject": claims["sub"]}


app = FastAPI(lifespan=lifespan)
app.state.draining = False
# Added later means asked earlier: Measure counts what PoolAdmin answers too.
app.add_middleware(PoolAdmin, pools=pools, token=os.environ["POOL_RESET_TOKEN"])
app.add_middleware(Measure)
app.add_exception_handler(PoolTimeout, on_pool_timeout)
app.add_exception_handler(OperationalError, on_database_error)
app.add_api_route("/health", health)
app.add_api_route("/ready", ready)
app.add_api_route("/ready/cache", cache_ready)
app.add_api_route("/metrics", metrics)
app.add_api_route("/orders", list_orders)
app.add_api_route("/orders", create_order, methods=["POST"], status_code=201)
app.add_api_route("/reports", report)
app.add_api_route("/account", account)
