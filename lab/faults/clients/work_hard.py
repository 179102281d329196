"""Be a busy application that needs some sessions more than the server has: each at work, opened again when it is lost.

usage: work_hard.py APPLICATION_NAME SESSIONS_MORE
"""

from __future__ import annotations

import sys
import time

import psycopg  # type: ignore[import-not-found]  # comes with the image that runs this


def connect(name: str) -> psycopg.Connection:
    """Log in and send a statement that takes longer than anybody watches."""
    # The server looks for a client that has gone even while it works for it.
    gone = "-c client_connection_check_interval=1s"
    session = psycopg.connect(
        host="postgres", dbname="app", user="app", application_name=name, connect_timeout=5, options=gone,
        autocommit=True,
    )  # fmt: skip
    session.pgconn.send_query(b"SELECT pg_sleep(86400)")
    session.pgconn.flush()
    return session


def is_lost(session: psycopg.Connection) -> bool:
    """Tell whether the server has ended a session; no statement of ours ends by itself."""
    try:
        session.pgconn.consume_input()
        return not session.pgconn.is_busy()
    except psycopg.OperationalError:
        return True


def main(name: str, more: int) -> None:
    """Take every slot, then keep asking for as many sessions as the work needs."""
    working: list[psycopg.Connection] = []
    wanted = 0
    while True:
        working = [session for session in working if not is_lost(session)]
        try:
            while not wanted or len(working) < wanted:
                working.append(connect(name))
        except psycopg.OperationalError as error:
            if not wanted:
                wanted = len(working) + more
                refusal = str(error).rpartition("FATAL:")[2].strip() or str(error)
                print(f"IN EFFECT {name} has {len(working)} of {wanted} sessions; then: {refusal}", flush=True)  # noqa: T201
        time.sleep(0.5)


main(sys.argv[1], int(sys.argv[2]))
