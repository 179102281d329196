"""A way to a server that a test can cut, at a place that does not depend on how fast anything is."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CHUNK = 65536


@dataclass
class Gate:
    """Passes connections on to a port of this machine, until the one with number ``at`` is cut.

    It is cut once the client has sent ``after_bytes`` of it; with none, before the server hears of it. ``then`` is
    called at that moment. Later connections pass, and end at once where nobody listens any more.
    """

    target: int
    at: int
    then: Callable[[], object]
    after_bytes: int = 0
    passed: int = 0
    _threads: list[threading.Thread] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @contextmanager
    def open(self) -> Iterator[Gate]:
        """Listen until the block ends."""
        listening = threading.Thread(target=self._listen)
        listening.start()
        try:
            yield self
        finally:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            for one in (listening, *self._threads):
                one.join(60)

    def _listen(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.passed += 1
            left = self.after_bytes if self.passed == self.at else None
            if left == 0:
                self.then()
            passing = threading.Thread(target=self._pass, args=(client, left or None))
            passing.start()
            self._threads.append(passing)

    def _pass(self, client: socket.socket, left: int | None) -> None:
        with client:
            try:
                server = socket.create_connection(("127.0.0.1", self.target), 10)
            except OSError:
                return  # the client sees that its connection ends
            server.settimeout(None)
            with server:
                back = threading.Thread(target=_copy, args=(server, client))
                back.start()
                if not _copy(client, server, left):
                    self.then()
                    for one in (client, server):
                        with suppress(OSError):
                            one.shutdown(socket.SHUT_RDWR)
                back.join()


def _copy(source: socket.socket, target: socket.socket, left: int | None = None) -> bool:
    """Copy to the end, or so many bytes; tell whether the end was reached."""
    with suppress(OSError):
        while chunk := source.recv(CHUNK if left is None else min(CHUNK, left)):
            target.sendall(chunk)
            if left is not None:
                left -= len(chunk)
                if left == 0:
                    return False
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)
    return True
