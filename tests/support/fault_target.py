"""A target that counts and time-stamps what it really gets, and that can reset, stay silent or talk nonsense."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal, Self

Manner = Literal["answer", "reset", "silent", "garbage"]

ABORT = struct.pack("ii", 1, 0)
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
GARBAGE = b"\x16\x03\x01 this is no HTTP\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Got:
    """One request: when it was received (monotonic ns), its path, and the trace id, which names the arrival."""

    at_ns: int
    path: str
    trace: str


@dataclass(slots=True)
class CountingTarget:
    """Serves HTTP; `async with` listens. `got` is its own log, the oracle for every count;
    without `keep` it only counts."""

    manner: Manner = "answer"
    sock: socket.socket | None = None
    url: str = ""
    got: list[Got] = field(default_factory=list)
    count: int = 0
    keep: bool = True
    _server: asyncio.Server | None = None
    _waiting: list[tuple[int, asyncio.Event]] = field(default_factory=list)
    _open: set[asyncio.StreamWriter] = field(default_factory=set)

    async def __aenter__(self) -> Self:
        """Listen on a free port of loopback, or on `sock`."""
        listening = self.sock or socket.create_server(("127.0.0.1", 0))
        self._server = await asyncio.start_server(self._serve, sock=listening)
        host, port = listening.getsockname()
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for writer in list(self._open):
            writer.transport.abort()
        await self._server.wait_closed()

    async def received(self, count: int) -> None:
        """Wait until `count` requests in all have been received."""
        if len(self.got) >= count:
            return
        event = asyncio.Event()
        self._waiting.append((count, event))
        async with asyncio.timeout(30):
            await event.wait()

    def clear(self) -> None:
        """Forget what was received."""
        self.got.clear()
        self.count = 0

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                while True:
                    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                    self._note(head)
                    if self.manner == "reset":
                        raw: socket.socket = writer.get_extra_info("socket")
                        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
                        writer.transport.abort()
                        return
                    if self.manner != "silent":
                        writer.write(ANSWER if self.manner == "answer" else GARBAGE)
        finally:
            self._open.discard(writer)
            writer.close()

    def _note(self, head: str) -> None:
        self.count += 1
        if not self.keep:
            return
        first, *lines = head.split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        self.got.append(Got(time.monotonic_ns(), first.split(" ")[1], headers.get("traceparent", "")))
        for count, event in self._waiting:
            if len(self.got) >= count:
                event.set()
