"""A TCP proxy on loopback that can be a bad network: silent, resetting, half open, slow or late.

What it forwards keeps its order, as TCP does. Faults act at once on the connections there are and on those to come;
`pass_on()` heals, and what a silent network held back then arrives late, as it does when a link comes back.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

CHUNK_BYTES = 16 * 1024
HELD_BYTES_MAX = 1024 * 1024
"""A silent direction takes this much from its sender, like the buffers of a network, and then nothing more."""
ABORT = struct.pack("ii", 1, 0)
"""SO_LINGER that turns a close into a reset."""


@dataclass(slots=True)
class Direction:
    """How one direction behaves: whether anything comes through, how fast (0: at once) and how late."""

    open: asyncio.Event = field(default_factory=asyncio.Event)
    bytes_per_s: int = 0
    delay_s: float = 0.0
    carried: int = 0


class ChaosProxy:
    """Forwards connections to `target`, the first one to `first` if named. `async with` listens; leaving closes all.

    `address` is where to dial. `up` carries from the dialling side to the target, `down` the other way; both begin
    open.
    """

    def __init__(self, target: str, *, first: str = "", host: str = "127.0.0.1") -> None:
        self._target = target
        self._first = first or target
        self._host = host
        self.address = ""
        self.up = Direction()
        self.down = Direction()
        self.connections = 0
        self._refusing = False
        self._dialled = asyncio.Condition()
        self._links: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()
        self._server: asyncio.Server | None = None
        self.pass_on()

    async def __aenter__(self) -> Self:
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._serve, self._host, 0)
        port = self._server.sockets[0].getsockname()[1]
        self.address = f"{self._host}:{port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for link in list(self._links):
            _abort(*link)
        await self._server.wait_closed()

    async def dialled(self, connections: int) -> None:
        """Wait until so many connections in all have been attempted."""
        async with asyncio.timeout(30), self._dialled:
            await self._dialled.wait_for(lambda: self.connections >= connections)

    # --- faults -------------------------------------------------------------------------------------------------------

    def pass_on(self) -> None:
        """Be a good network again."""
        self._refusing = False
        for direction in (self.up, self.down):
            direction.open.set()
            direction.bytes_per_s, direction.delay_s = 0, 0.0

    def blackhole(self) -> None:
        """Say nothing any more, in both directions, and let new connections hang."""
        self.up.open.clear()
        self.down.open.clear()

    def half_open(self) -> None:
        """Let nothing back: the dialling side still talks, and never hears an answer."""
        self.down.open.clear()

    def reset(self) -> None:
        """Break every connection with a reset; new ones work."""
        for link in list(self._links):
            _abort(*link)

    def refuse(self) -> None:
        """Break every connection and each new one at once."""
        self._refusing = True
        self.reset()

    def slow(self, bytes_per_s: int) -> None:
        """Carry at most so many bytes a second each way."""
        self.up.bytes_per_s = self.down.bytes_per_s = bytes_per_s

    def delay(self, seconds: float) -> None:
        """Carry everything this much later, each way."""
        self.up.delay_s = self.down.delay_s = seconds

    # --- forwarding ---------------------------------------------------------------------------------------------------

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with self._dialled:
            self.connections += 1
            self._dialled.notify_all()
        if self._refusing:
            _abort(writer)
            return
        await self.up.open.wait()
        place, self._first = self._first, self._target
        host, _, port = place.rpartition(":")
        try:
            far_reader, far_writer = await asyncio.open_connection(host, int(port))
        except OSError:
            _abort(writer)
            return
        link = (writer, far_writer)
        self._links.add(link)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_carry(reader, far_writer, self.up))
                group.create_task(_carry(far_reader, writer, self.down))
        finally:
            self._links.discard(link)
            writer.close()
            far_writer.close()


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, direction: Direction) -> None:
    """Carry until either end closes."""
    loop = asyncio.get_running_loop()
    with contextlib.suppress(OSError):
        while data := await reader.read(CHUNK_BYTES):
            arrived = loop.time()
            if direction.bytes_per_s:
                await asyncio.sleep(len(data) / direction.bytes_per_s)
            if direction.delay_s:
                await asyncio.sleep(max(0.0, arrived + direction.delay_s - loop.time()))
            await direction.open.wait()
            writer.write(data)
            await writer.drain()
            direction.carried += len(data)
        if writer.can_write_eof():
            writer.write_eof()


def _abort(*writers: asyncio.StreamWriter) -> None:
    for writer in writers:
        raw = writer.get_extra_info("socket")
        if raw is not None:
            with contextlib.suppress(OSError):
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
        writer.transport.abort()
