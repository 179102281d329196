"""A hundred thousand spoilt requests: each is answered, none with a 5xx, and nothing grows."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import random
import socket
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.integration.responder.fuzzer import Fuzzer
from tests.integration.responder.inside import Inside
from tests.integration.responder.resources import Held, held_by
from tests.integration.responder.service import TOKEN, Service

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(900)]

PAYLOADS, AT_ONCE, OVER_A_SOCKET = 100_000, 50, 3000


@pytest.fixture
def quiet() -> Iterator[None]:
    """Keep pytest from collecting a line for each request in memory."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def test_a_hundred_thousand_payloads(quiet: None, tmp_path: Path) -> None:
    """What is whole is taken whole, all else is a 400 of one shape, and nothing grows after the first fifth."""
    fuzzer, told, inside = Fuzzer(100_000), Counter[int](), Inside(tmp_path)

    async def one(body: bytes, alerts: int | None) -> None:
        status, answer = await inside.post(body, path=random.choice(["/", "/api/v1/alerts"]))
        told[status] += 1
        document = json.loads(answer)
        if status == 200:
            assert document.keys() == {"alerts"}
            assert alerts in (None, len(document["alerts"]))
        else:
            assert (status, alerts, document.keys()) == (400, None, {"error"}), (status, body)
            assert document["error"].keys() == {"status", "message"}

    async def many(count: int) -> Held:
        for _ in range(count // AT_ONCE):
            await asyncio.gather(*(one(*fuzzer.body()) for _ in range(AT_ONCE)))
        gc.collect()
        return held_by()

    async def every() -> tuple[Held, Held]:
        return await many(PAYLOADS // 5), await many(PAYLOADS * 4 // 5)

    before, after = asyncio.run(every())
    inside.close()

    assert told.total() == PAYLOADS
    assert min(told[200], told[400]) > PAYLOADS // 5
    assert after.megabytes - before.megabytes < 20
    assert after.files <= before.files
    assert after.threads <= before.threads + 4  # of the pool that waits for the disk


def test_payloads_and_broken_requests_over_a_socket(service: Service) -> None:
    """The real process answers, or closes the connection; it lives on, and holds no more than before."""
    service.settings["most_requests_per_second"] = 1e6
    service.start(keep_log=True)
    chance, fuzzer, told = random.Random(1), Fuzzer(1), Counter[str]()
    before = Held(0, 0, 0)
    for number in range(OVER_A_SOCKET):
        if number == OVER_A_SOCKET // 5:
            before = held_by(service.pid)
        body, alerts = fuzzer.body()
        broken = chance.random() < 0.4
        status = _answered(service, _break(_request(body), chance) if broken else _request(body), ends=broken)
        told[status] += 1
        assert status in ("200", "400", *(("", "401", "404", "405", "413", "429") if broken else ())), (status, body)
        assert broken or alerts is None or status == "200", (status, body)

    assert told["200"] > OVER_A_SOCKET // 5
    service.until(lambda: held_by(service.pid).files <= before.files, seconds=60)
    after = held_by(service.pid)
    assert after.megabytes - before.megabytes < 20
    assert after.threads <= before.threads + 4  # of the pool that waits for the disk
    assert service.client.get("/readyz").status_code == 200
    assert service.stop() == 0
    assert "Traceback" not in service.log.read_text()


def _request(body: bytes) -> bytes:
    head = f"POST / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nConnection: close\r\n"
    return head.encode() + f"Content-Length: {len(body)}\r\n\r\n".encode() + body


def _break(request: bytes, chance: random.Random) -> bytes:
    """Spoil the request itself: its first line, a header, its lengths, or its bytes."""
    head, _, body = request.partition(b"\r\n\r\n")
    first, *headers = head.split(b"\r\n")
    kind = chance.randrange(9)
    if kind == 0:
        first = chance.choice(
            [b"", b"POST", b"GET / HTTP/9.9", b"\x16\x03\x01\x02\0", b"PRI * HTTP/2.0", b"POST /%00%ff/../ HTTP/1.1"]
        )
    elif kind == 1:
        headers.append(b"X-Long: " + b"x" * 200_000)
    elif kind == 2:
        headers[-1] = chance.choice(
            [b"Content-Length: -1", b"Content-Length: 99999999999999999999", b"Content-Length: x"]
        )
    elif kind == 3:
        headers[-1] = b"Transfer-Encoding: chunked"
        body = chance.choice([b"zz\r\n" + body, b"ffffffffffffffff\r\n" + body, b"5\r\n{}\r\n0\r\n\r\n"])
    elif kind == 4:
        headers[1] = chance.choice([b"Authorization: Bearer \xff\xfe", b"Authorization: Basic \0", b"Authorization:"])
    elif kind == 5:
        headers.append(
            chance.choice([b"X: a\0b", b"X y: z", b": x", b"X: \r\nY: z", b"Expect: 100-continue", b"Upgrade: h2c"])
        )
    elif kind == 6:
        return request[: chance.randrange(len(request))]
    elif kind == 7:
        return chance.randbytes(chance.randrange(1, 400)) + b"\r\n\r\n"
    else:
        return request.replace(b"Connection: close\r\n", b"", 1) + request
    return b"\r\n".join([first, *headers]) + b"\r\n\r\n" + body


def _answered(service: Service, request: bytes, *, ends: bool) -> str:
    """Return the status of the first answer; empty if the connection was closed without one.

    A sender that ``ends`` says that nothing follows: the rest of a broken request would be waited for.
    """
    host, _, port = service.addresses[0].rpartition(":")
    answer = b""
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        try:
            connection.sendall(request)
            if ends:
                connection.shutdown(socket.SHUT_WR)
            while part := connection.recv(65536):
                answer += part
        except TimeoutError:
            raise
        except OSError:
            # It was closed while there was more to say, or to hear.
            pass
    answer = answer.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
    return answer.split(b" ", 2)[1].decode() if answer.startswith(b"HTTP/1.1 ") else answer.decode(errors="replace")
