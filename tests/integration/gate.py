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
    """Passes connections on to a port of this machine or to a socket, until it is cut.

    That is the connection with number ``at``, once its client has sent ``after_bytes``; with none, before the server
    hears of it. Later connections pass, and end at once where nobody listens any more. Or it is every connection, for
    good, before something that ``refuse`` is true of goes to the server. ``then`` is called at that moment.
    """

    target: int | str
    at: int = 0
    then: Callable[[], object] = lambda: None
    after_bytes: int = 0
    refuse: Callable[[bytes], bool] = lambda _sent: False
    passed: int = 0
    shut: bool = False
    _open: list[socket.socket] = field(default_factory=list)
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
            listening.join(60)
            self._end(self._open)  # a client may keep its connections for later
            for one in self._threads:
                one.join(60)

    def _listen(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.shut:
                client.close()
                continue
            self.passed += 1
            left = self.after_bytes if self.passed == self.at else None
            if left == 0:
                self.then()
            passing = threading.Thread(target=self._pass, args=(client, left or None))
            passing.start()
            self._threads.append(passing)

    def _connect(self) -> socket.socket:
        if isinstance(self.target, int):
            server = socket.create_connection(("127.0.0.1", self.target), 10)
            server.settimeout(None)
            return server
        server = socket.socket(socket.AF_UNIX)
        server.connect(self.target)
        return server

    def _pass(self, client: socket.socket, left: int | None) -> None:
        with client:
            try:
                server = self._connect()
            except OSError:
                return  # the client sees that its connection ends
            with server:
                self._open += [client, server]
                back = threading.Thread(target=_copy, args=(server, client))
                back.start()
                if not _copy(client, server, left, self.refuse):
                    self.then()
                    self.shut = left is None
                    self._end(self._open if self.shut else [client, server])
                back.join()

    @staticmethod
    def _end(connections: list[socket.socket]) -> None:
        for one in connections:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


def on_occurrence(text: bytes, number: int) -> Callable[[bytes], bool]:
    """Return what is true when a text is sent for the ``number``th time."""
    seen = 0

    def is_it(sent: bytes) -> bool:
        nonlocal seen
        seen += text in sent
        return seen >= number

    return is_it


def _copy(
    source: socket.socket,
    target: socket.socket,
    left: int | None = None,
    refuse: Callable[[bytes], bool] = lambda _sent: False,
) -> bool:
    """Copy to the end, or so many bytes, or until something is refused; tell whether the end was reached."""
    with suppress(OSError):
        while chunk := source.recv(CHUNK if left is None else min(CHUNK, left)):
            if refuse(chunk):
                return False
            target.sendall(chunk)
            if left is not None:
                left -= len(chunk)
                if left == 0:
                    return False
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)
    return True
