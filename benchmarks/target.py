"""The target where nginx is missing: one fixed answer of about 200 bytes over keep-alive, as cheap as Python gets.

    python benchmarks/target.py

Prints its port and serves until standard input ends. `GET /requests` answers how many requests there were before it.
"""

from __future__ import annotations

import asyncio
import sys
from typing import cast

import uvloop

BODY = (
    b'{"sku":"CH-1189","name":"Red chair","price":14.99,"stock":25,"tags":["red","chair"],'
    b'"description":"A red chair of beech wood, oiled, with a woven seat; it is delivered in two parcels."}'
)
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nServer: bench\r\nContent-Length: %d\r\n\r\n"
ANSWER = HEAD % len(BODY) + BODY


class Target(asyncio.Protocol):
    """Answers each request head that ends; bodies are not understood."""

    answered = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.rest = b""

    def data_received(self, data: bytes) -> None:
        data = self.rest + data
        asked = data.count(b"\r\n\r\n")
        self.rest = data[data.rfind(b"\r\n\r\n") + 4 :] if asked else data
        if data.startswith(b"GET /requests "):
            text = b"%d" % Target.answered
            self.transport.write(HEAD % len(text) + text)
            return
        Target.answered += asked
        self.transport.write(ANSWER * asked)


async def main() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Target, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    ended = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), ended.set)
    await ended.wait()
    server.close()


if __name__ == "__main__":
    uvloop.run(main())
