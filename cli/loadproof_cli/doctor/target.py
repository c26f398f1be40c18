"""The target of `loadproof doctor --calibrate`, a process of its own: prints its port, ends with its standard input."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

ANSWER = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 22\r\n\r\n{"sku":"A1","price":1}'


class Answering(asyncio.Protocol):
    """Answers each packet: on loopback that is a request."""

    def connection_made(self, transport: Any) -> None:
        """Keep the transport."""
        self._transport = transport

    def data_received(self, _data: bytes) -> None:
        """Answer."""
        self._transport.write(ANSWER)


async def serve() -> None:
    """Serve until standard input ends."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Answering, "127.0.0.1", 0)
    async with server:
        sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.read)


def main() -> None:
    """Run the target on the fastest loop there is."""
    from loadproof_cli.loops import fast_loop

    with asyncio.Runner(loop_factory=fast_loop()) as runner:
        runner.run(serve())


if __name__ == "__main__":
    main()
