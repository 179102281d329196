"""Open sessions until the server refuses, and hold them: a real leak, in a process of its own.

usage: hold_sessions.py APPLICATION_NAME USER

Every session idles in its transaction.
"""

from __future__ import annotations

import os
import signal
import sys

import psycopg  # type: ignore[import-not-found]  # comes with the image that runs this


def open_session(name: str, user: str) -> psycopg.Connection:
    """Open a transaction and leave it idle."""
    password = os.environ["SUPERUSER_PASSWORD" if user == "postgres" else "PGPASSWORD"]
    session = psycopg.connect(
        host="postgres", dbname="app", user=user, password=password, application_name=name, connect_timeout=5
    )
    session.execute("SELECT count(*) FROM pg_class")
    return session


def main(name: str, user: str) -> None:
    """Take every slot there is; retry nothing, give nothing back."""
    held: list[psycopg.Connection] = []
    while True:
        try:
            held.append(open_session(name, user))
        except psycopg.OperationalError as error:
            if not held:
                raise
            refusal = str(error).rpartition("FATAL:")[2].strip()
            break
    print(f"IN EFFECT {name} holds {len(held)} sessions of {user}; then: {refusal}", flush=True)  # noqa: T201
    signal.pause()


main(sys.argv[1], sys.argv[2])
