"""What the loop and the kernel cost a Python program: bytes out, bytes in, nothing looked at.

python bare_loop.py URL USERS RATE SECONDS

With a RATE requests leave at that many a second, a millisecond's together, over as many connections as they need;
without one (0) each of USERS connections sends its next request when the answer is there. No client can cost less here.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import cast
from urllib.parse import urlsplit

import uvloop

TICK_S = 0.001
CONNECTIONS_MAX = 2_000


class Bare(asyncio.Protocol):
    """One connection: idle in `idle`, or waiting for an answer, which comes in one piece."""

    def __init__(self, request: bytes, idle: list[Bare] | None) -> None:
        self._request = request
        self._idle = idle

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._write = cast("asyncio.Transport", transport).write
        self.send()

    def send(self) -> None:
        self._write(self._request)

    def data_received(self, _data: bytes) -> None:
        if self._idle is None:
            self._write(self._request)
        else:
            self._idle.append(self)


async def main(url: str, users: int, rate: int, seconds: float) -> None:
    loop = asyncio.get_running_loop()
    place = urlsplit(url)
    request = f"GET {place.path} HTTP/1.1\r\nHost: {place.netloc}\r\n\r\n".encode()
    idle: list[Bare] | None = [] if rate else None

    async def connect() -> None:
        await loop.create_connection(lambda: Bare(request, idle), place.hostname or "", place.port or 80)

    if idle is None:
        for _ in range(users):
            await connect()
        await asyncio.sleep(seconds)
        return
    began, sent, opened = time.monotonic(), 0, 0
    async with asyncio.TaskGroup() as group:
        while (now := time.monotonic() - began) < seconds:
            for _ in range(int(now * rate) - sent):
                if idle:
                    idle.pop().send()
                elif opened < CONNECTIONS_MAX:
                    opened += 1
                    group.create_task(connect())
                else:
                    continue
                sent += 1
            await asyncio.sleep(TICK_S)


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], *map(int, sys.argv[2:5])))
