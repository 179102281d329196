"""How the service listens."""

from __future__ import annotations

import asyncio
import socket

from alert_responder.serve import _listening


def test_a_small_answer_leaves_at_once() -> None:
    """What is answered in two parts does not wait for the sender to acknowledge the first."""

    async def accepted_without_delay() -> int:
        found: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        async def accept(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            found.set_result(writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        with _listening(("127.0.0.1:0",)) as [one]:
            async with await asyncio.start_server(accept, sock=one):
                _, writer = await asyncio.open_connection(*one.getsockname())
                writer.close()
                return await found

    assert asyncio.run(accepted_without_delay()) == 1
