"""Open sessions as the application until the server refuses, and hold them: a real leak, in a process of its own.

usage: hold_sessions.py APPLICATION_NAME leaked|busy

leaked: every session idles in its transaction. busy: only the first few do, all others run an endless statement.
"""

from __future__ import annotations

import signal
import sys

import psycopg  # type: ignore[import-not-found]  # comes with the image that runs this

LEAKED_BEFORE_BUSY = 5


def open_session(name: str, *, busy: bool) -> psycopg.Connection:
    """Open a transaction and leave it idle, or busy with a statement that does not end."""
    # The server looks for a client that has gone even while it works for it.
    gone = "-c client_connection_check_interval=1s"
    session = psycopg.connect(
        host="postgres", dbname="app", user="app", application_name=name, connect_timeout=5, options=gone
    )
    session.execute("SELECT count(*) FROM pg_class")
    if busy:
        session.pgconn.send_query(b"SELECT pg_sleep(86400)")
        session.pgconn.flush()
    return session


def main(name: str, kind: str) -> None:
    """Take every slot there is; retry nothing, give nothing back."""
    held: list[psycopg.Connection] = []
    while True:
        try:
            held.append(open_session(name, busy=kind == "busy" and len(held) >= LEAKED_BEFORE_BUSY))
        except psycopg.OperationalError as error:
            if not held:
                raise
            refusal = str(error).rpartition("FATAL:")[2].strip()
            break
    print(f"IN EFFECT {name} holds {len(held)} sessions ({kind}); then: {refusal}", flush=True)  # noqa: T201
    signal.pause()


main(sys.argv[1], sys.argv[2])
