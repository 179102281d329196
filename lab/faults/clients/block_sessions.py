"""Lock a table that everybody reads, and let clients wait for it until the server refuses more.

usage: block_sessions.py BLOCKER_NAME WAITER_NAME

The blocker works on and on inside its transaction. A waiter whose statement is answered leaves, as a request does.
"""

from __future__ import annotations

import sys
import time

import psycopg  # type: ignore[import-not-found]  # comes with the image that runs this


def connect(name: str) -> psycopg.Connection:
    """Log in as the application."""
    # The server looks for a client that has gone even while it works for it.
    gone = "-c client_connection_check_interval=1s"
    return psycopg.connect(
        host="postgres", dbname="app", user="app", application_name=name, connect_timeout=5, options=gone,
        autocommit=True,
    )  # fmt: skip


def start(session: psycopg.Connection, statement: bytes) -> psycopg.Connection:
    """Send a statement and do not wait for the answer."""
    session.pgconn.send_query(statement)
    session.pgconn.flush()
    return session


def is_answered(session: psycopg.Connection) -> bool:
    """Tell whether the statement has ended, one way or the other."""
    try:
        session.pgconn.consume_input()
        return not session.pgconn.is_busy()
    except psycopg.OperationalError:
        return True


def main(blocker_name: str, waiter_name: str) -> None:
    """Block, fill every slot with waiters, and see them leave when the lock is free."""
    blocker = connect(blocker_name)
    blocker.execute("BEGIN")
    blocker.execute("LOCK TABLE orders IN ACCESS EXCLUSIVE MODE")
    start(blocker, b"SELECT pg_sleep(86400)")
    waiting: list[psycopg.Connection] = []
    refusal = ""
    while not refusal:
        try:
            waiting.append(start(connect(waiter_name), b"SELECT count(*) FROM orders"))
        except psycopg.OperationalError as error:
            refusal = str(error).rpartition("FATAL:")[2].strip() or str(error)
    said = f"{blocker_name} holds the lock, {len(waiting)} sessions of {waiter_name} wait; then: {refusal}"
    print(f"IN EFFECT {said}", flush=True)  # noqa: T201
    while True:
        for session in [session for session in waiting if is_answered(session)]:
            waiting.remove(session)
            session.close()
        time.sleep(0.2)


main(sys.argv[1], sys.argv[2])
