"""A controller that does what a test says: a real gRPC server on a Unix socket in a short folder below /tmp."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc

from loadproof_agent import _wire
from loadproof_agent import records as r
from loadproof_proto.v1 import agent_pb2, agent_pb2_grpc

R = TypeVar("R")


class AgentStream:
    """One stream of one agent: what it said, and what it is told."""

    def __init__(self, hello: r.Hello) -> None:
        self.hello = hello
        self.received: list[Any] = []
        self.ended = asyncio.Event()
        self._changed = asyncio.Condition()
        self._outgoing: asyncio.Queue[Any] = asyncio.Queue()
        self._seen = 0

    def say(self, *records: Any) -> None:
        """Tell the agent."""
        for record in records:
            self._outgoing.put_nowait(record)

    def drop(self) -> None:
        """End the stream from this side."""
        self._outgoing.put_nowait(None)

    async def next(self, kind: type[R], *, where: Callable[[R], bool] = lambda _: True) -> R:
        """Wait for the next record of `kind` after the last one returned; others are skipped but stay in `received`."""
        async with asyncio.timeout(30), self._changed:
            while True:
                while self._seen < len(self.received):
                    record = self.received[self._seen]
                    self._seen += 1
                    if isinstance(record, kind) and where(record):
                        return record
                await self._changed.wait()

    def all(self, kind: type[R]) -> list[R]:
        """Return everything of `kind` received so far."""
        return [record for record in self.received if isinstance(record, kind)]

    async def take(self, record: Any) -> None:
        """Note what the agent said."""
        async with self._changed:
            self.received.append(record)
            self._changed.notify_all()


class FakeController(agent_pb2_grpc.AgentServiceServicer):
    """`async with FakeController() as controller`; `await controller.attached()` is the next stream."""

    def __init__(self) -> None:
        self.bundle = b""
        self.fetched = 0
        self.greeting: Callable[[r.Hello], Any] = lambda hello: r.Welcome(1, hello.agent_id, 100, 30_000)
        self._streams: asyncio.Queue[AgentStream] = asyncio.Queue()
        self._server: grpc.aio.Server | None = None
        self.folder = Path(tempfile.mkdtemp(prefix="lpt-", dir="/tmp"))
        self.address = f"unix:{self.folder}/c"

    async def __aenter__(self) -> Self:
        await self.listen()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.hang_up()
        shutil.rmtree(self.folder, ignore_errors=True)

    async def listen(self) -> None:
        """Start to answer."""
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        agent_pb2_grpc.add_AgentServiceServicer_to_server(self, self._server)
        self._server.add_insecure_port(self.address)
        await self._server.start()

    async def hang_up(self) -> None:
        """Break every stream and stop to answer, as a killed controller does."""
        if self._server is not None:
            await self._server.stop(None)
            self._server = None

    async def attached(self) -> AgentStream:
        """Wait for the next agent's stream."""
        async with asyncio.timeout(30):
            return await self._streams.get()

    async def Attach(self, request_iterator: Any, context: Any) -> Any:  # type: ignore[override]
        """Serve one stream."""
        first = await context.read()
        if first is grpc.aio.EOF:
            return
        hello = _wire.decode_from_agent(first)
        assert isinstance(hello, r.Hello)
        stream = AgentStream(hello)
        stream.say(self.greeting(hello))
        self._streams.put_nowait(stream)
        try:
            async with asyncio.TaskGroup() as group:
                reading = group.create_task(self._read(stream, context))
                while (record := await stream._outgoing.get()) is not None:
                    await context.write(_wire.encode_from_controller(record))
                reading.cancel()
        finally:
            stream.ended.set()

    async def _read(self, stream: AgentStream, context: Any) -> None:
        while (message := await context.read()) is not grpc.aio.EOF:
            await stream.take(_wire.decode_from_agent(message))
        stream.drop()

    async def FetchBundle(self, request: Any, context: Any) -> Any:
        """Serve the bundle in small chunks."""
        self.fetched += 1
        for start in range(0, len(self.bundle), 1_000):
            yield agent_pb2.FetchBundleResponse(chunk=self.bundle[start : start + 1_000])
