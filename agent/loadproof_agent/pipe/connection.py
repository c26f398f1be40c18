"""One end of the pipe as asyncio sees it: `send` messages, iterate over what comes, until the other end closes."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Self

from loadproof_agent.pipe.codec import FRAME_BYTES_MAX, Decoder, Message, PipeCutError, encode

_READ_BYTES = 256 * 1024


class PipeClosedError(ConnectionError):
    """The other end of the pipe is gone; nothing can be sent any more."""


class PipeConnection:
    """Messages over one end of a `socket.socketpair()`.

    `async with PipeConnection(end) as pipe` owns the socket: leaving closes it. Iterating ends at the peer's end of
    file and raises `PipeError` on bytes that are no message. `send` waits while the peer reads too slowly.
    """

    def __init__(self, end: socket.socket, *, limit: int = FRAME_BYTES_MAX) -> None:
        self._end = end
        self._decoder = Decoder(limit)
        self._lock = threading.Lock()
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def __aenter__(self) -> Self:
        self._end.setblocking(False)
        self._reader, self._writer = await asyncio.open_connection(sock=self._end)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def send(self, message: Message) -> None:
        """Write `message` and wait until the pipe has room for more. Raises PipeClosedError when the peer is gone."""
        self.post(message)
        assert self._writer is not None
        try:
            await self._writer.drain()
        except ConnectionError as error:
            raise PipeClosedError("the other end of the worker pipe is gone") from error

    def post(self, message: Message) -> None:
        """Write `message` without waiting for room: for small messages, as a beat. Raises PipeClosedError."""
        if self._writer is None or self._writer.is_closing():
            raise PipeClosedError("the worker pipe is closed")
        frame = encode(message)
        with self._lock:
            self._writer.write(frame)

    def post_from_thread(self, frame: bytes) -> bool:
        """Write a small encoded frame past a loop that is held up; from any thread. False when it cannot go whole.

        Frames never mix: the loop's own writes hold the same lock, and while bytes of them wait nothing is written.
        """
        with self._lock:
            if self._writer is None or self._writer.is_closing() or self.unsent_bytes:
                return False
            try:
                return os.write(self._end.fileno(), frame) == len(frame)
            except OSError:
                return False

    @property
    def unsent_bytes(self) -> int:
        """Bytes that wait because the peer reads too slowly."""
        return 0 if self._writer is None else self._writer.transport.get_write_buffer_size()

    async def __aiter__(self) -> AsyncIterator[Message]:
        assert self._reader is not None, "use the connection inside `async with`"
        while True:
            try:
                data = await self._reader.read(_READ_BYTES)
            except ConnectionError:
                data = b""
            if not data:
                if self._decoder.pending:
                    raise PipeCutError("the worker pipe ended inside a frame")
                return
            for message in self._decoder.feed(data):
                yield message

    async def close(self) -> None:
        """Close this end. The peer's iteration ends; closing twice is fine."""
        writer, self._writer = self._writer, None
        if writer is None:
            return
        writer.close()
        try:
            await writer.wait_closed()
        except ConnectionError:
            return
