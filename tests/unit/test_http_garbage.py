"""What a plain request leaves behind: nothing that only the garbage collector can free."""

from __future__ import annotations

import asyncio
import gc
from types import SimpleNamespace

from loadproof.http import HttpClient, HttpEngine

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class _Server(asyncio.Protocol):
    def connection_made(self, transport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(ANSWER)


async def test_requests_leave_no_circles_of_references() -> None:
    """Call, future and response are freed as soon as the user lets go: a collection after 50 requests finds nothing."""
    scope = SimpleNamespace(
        pending=None, head_end=lambda: b"\r\n", before_request=lambda: None, on_response=lambda *_: None,
        on_error=lambda *_: None, count=lambda _name: None,
    )  # fmt: skip
    loop = asyncio.get_running_loop()
    server = await loop.create_server(_Server, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with HttpEngine() as engine:
        client = HttpClient(engine, base_url=f"http://127.0.0.1:{port}", scope=scope)
        for _ in range(2):
            assert (await client.get("/")).status == 200  # the first opens the connection, the second warms up
        gc.collect()
        gc.disable()
        try:
            for _ in range(50):
                assert (await client.get("/")).body == b"ok"
                assert (await client.post("/", json={})).body == b"ok"
            assert gc.collect() < 10
        finally:
            gc.enable()
        client.close()
    server.close()
    await server.wait_closed()
