"""Open connections to Redis until so much of its limit is taken, and leave them idle.

usage: hold_redis_clients.py NAME SHARE

A connection that the server closes stays closed: a leak knows nothing of what it has lost.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

import redis


def main(name: str, share: float) -> None:
    """Take what is to be taken."""
    server: dict[str, Any] = {"host": "redis", "password": os.environ["REDIS_PASSWORD"], "client_name": name}
    asking = redis.Redis(**server)
    held: list[Any] = []
    while True:
        clients: Any = asking.info("clients")
        if clients["connected_clients"] >= share * clients["maxclients"]:
            break
        connection: Any = redis.Connection(**server)  # type: ignore[no-untyped-call]
        connection.connect()
        held.append(connection)
    print(f"IN EFFECT {name} holds {len(held)} of {clients['maxclients']} connections", flush=True)  # noqa: T201
    signal.pause()


main(sys.argv[1], float(sys.argv[2]))
