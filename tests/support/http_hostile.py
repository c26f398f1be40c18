"""A server that answers each connection with scripted bytes: whatever a hostile or broken server might send."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

Handler = Callable[["Wire"], Awaitable[None]]


@dataclass
class Wire:
    """One connection seen from the server."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    number: int
    requests: list[bytes] = field(default_factory=list)

    async def request(self) -> bytes:
        """The next request as sent, head and body; empty when the client has closed."""
        try:
            head = await self.reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return b""
        body = b""
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                body = await self.reader.readexactly(int(line.partition(b":")[2]))
        self.requests.append(head + body)
        return head + body

    async def send(self, *pieces: bytes) -> None:
        """Write pieces so that they arrive as reads of their own."""
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()
            if len(pieces) > 1:
                for _ in range(3):
                    await asyncio.sleep(0)

    def abort(self) -> None:
        """Reset the connection."""
        self.writer.transport.abort()


class Hostile:
    """Runs one handler per connection; `wires` are all connections so far."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self.wires: list[Wire] = []
        self.port = 0
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def requests(self) -> list[bytes]:
        """Every request of every connection, in order of connections."""
        return [request for wire in self.wires for request in wire.requests]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        wire = Wire(reader, writer, len(self.wires))
        self.wires.append(wire)
        try:
            await self._handler(wire)
            if writer.can_write_eof() and not writer.transport.is_closing():
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        except asyncio.CancelledError:
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    @asynccontextmanager
    async def running(self, *, ssl: Any = None, host: str = "127.0.0.1") -> AsyncIterator["Hostile"]:
        server = await asyncio.start_server(self._serve, host, 0, ssl=ssl)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in tuple(self._tasks):
                task.cancel()
            for wire in self.wires:
                wire.writer.transport.abort()
            if self._tasks:
                await asyncio.wait(tuple(self._tasks))
            await server.wait_closed()


def scripted(*answers: bytes | Sequence[bytes], close: bool = False) -> Handler:
    """A handler that gives one answer per request on each connection, repeating the last; `close` ends after one."""

    async def handle(wire: Wire) -> None:
        served = 0
        while await wire.request():
            answer = answers[min(served, len(answers) - 1)]
            await wire.send(*([answer] if isinstance(answer, bytes) else answer))
            served += 1
            if close:
                return

    return handle


def by_path(answers: dict[str, bytes]) -> Handler:
    """A handler that answers by path, 404 for others."""

    async def handle(wire: Wire) -> None:
        while request := await wire.request():
            path = request.split(b" ", 2)[1].decode().partition("?")[0]
            await wire.send(answers.get(path, b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"))

    return handle


def reply(body: bytes = b"ok", status: str = "200 OK", headers: str = "") -> bytes:
    """A plain response with Content-Length; `headers` are lines without the last CRLF."""
    lines = f"{headers}\r\n" if headers else ""
    return f"HTTP/1.1 {status}\r\n{lines}Content-Length: {len(body)}\r\n\r\n".encode() + body
