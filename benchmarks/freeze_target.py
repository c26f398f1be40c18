"""A target that freezes once: it answers each request after 5 ms, but what comes within a certain two seconds waits.

    python -m benchmarks.freeze_target

Prints its port. The freeze begins a fixed time after the first request; what comes meanwhile is answered 5 ms after its
end. When standard input ends it prints a JSON object: `arrived_ns` and `answered_ns` of all requests, in their order of
arrival and counted from the first one.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from array import array
from typing import ClassVar, cast

import uvloop

FREEZE_AT_S, FREEZE_S, SERVICE_S = 4.0, 2.0, 0.005
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 17\r\n\r\n" + b'{"sku":"CH-1189"}'
_REQUESTS_MAX = 1_000_000


class FreezingTarget(asyncio.Protocol):
    """Answers each request head that ends; bodies are not understood."""

    arrived_ns: ClassVar[array[int]] = array("q")
    answered_ns: ClassVar[array[int]] = array("q")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.rest = b""

    def data_received(self, data: bytes) -> None:
        data = self.rest + data
        asked = data.count(b"\r\n\r\n")
        self.rest = data[data.rfind(b"\r\n\r\n") + 4 :] if asked else data
        for _ in range(asked):
            self._take(time.monotonic_ns())

    def _take(self, now_ns: int) -> None:
        if len(self.arrived_ns) >= _REQUESTS_MAX:
            self.transport.abort()
            return
        number = len(self.arrived_ns)
        self.arrived_ns.append(now_ns)
        self.answered_ns.append(0)
        left_s = FREEZE_AT_S + FREEZE_S - (now_ns - self.arrived_ns[0]) / 1e9
        frozen_s = left_s if 0 < left_s <= FREEZE_S else 0.0
        asyncio.get_running_loop().call_later(frozen_s + SERVICE_S, self._answer, number)

    def _answer(self, number: int) -> None:
        self.answered_ns[number] = time.monotonic_ns()
        if not self.transport.is_closing():
            self.transport.write(_ANSWER)


async def main() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(FreezingTarget, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    ended = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), ended.set)
    await ended.wait()
    server.close()
    arrived, answered = FreezingTarget.arrived_ns, FreezingTarget.answered_ns
    first = arrived[0] if arrived else 0
    log = {
        "arrived_ns": [at - first for at in arrived],
        "answered_ns": [at - first if at else None for at in answered],
    }
    print(json.dumps(log), flush=True)


if __name__ == "__main__":
    uvloop.run(main())
