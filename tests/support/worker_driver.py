"""Drives one real worker process over a socketpair, as a supervisor does, and a target it may load."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, TypeVar

from aiohttp import web

from loadproof.metrics import Delta, MergedState, decode_delta
from loadproof.plan import NS_PER_S, Plan
from loadproof.plan.spec import RunSpec
from loadproof_agent.pipe import messages as m
from loadproof_agent.pipe.connection import PipeConnection

MessageT = TypeVar("MessageT")
LIMIT_S = 90.0


class WorkerDriver:
    """A running worker. Every message it sends is kept in `heard`, in order."""

    def __init__(self, pipe: PipeConnection, process: asyncio.subprocess.Process) -> None:
        self.pipe = pipe
        self.process = process
        self.heard: list[Any] = []
        self.changed = asyncio.Condition()
        self.start_at_ns = 0
        self.ended = False

    async def listen(self) -> None:
        async for message in self.pipe:
            async with self.changed:
                self.heard.append(message)
                self.changed.notify_all()
            if isinstance(message, m.Reserve):
                await self.pipe.send(m.Reserved(message.points))
        async with self.changed:
            self.ended = True
            self.changed.notify_all()

    async def until(self, kind: type[MessageT], where: Callable[[MessageT], bool] = lambda _message: True) -> MessageT:
        """Wait for a message of `kind` that fits `where`; one heard already counts."""

        def found() -> MessageT | None:
            return next((one for one in self.heard if isinstance(one, kind) and where(one)), None)

        async with asyncio.timeout(LIMIT_S), self.changed:
            await self.changed.wait_for(lambda: found() is not None or self.ended)
        message = found()
        assert message is not None, f"the worker ended without {kind.__name__}: {self.heard[-3:]}"
        return message

    async def prepare(
        self, folder: Path, plan: Plan, *, shard_count: int = 1, spec: RunSpec | None = None, **fields: Any
    ) -> m.Prepared:
        """Send Prepare for the suite in `folder` and return the answer."""
        spec = spec or RunSpec("suite.py")
        order = m.Prepare(
            "run-1", "agent-1", str(folder), plan.to_dict(), spec.to_dict(), shard_count, NS_PER_S, **fields
        )
        await self.pipe.send(order)
        return await self.until(m.Prepared)

    async def start(
        self,
        shards: tuple[tuple[int, int], ...] = ((0, 0),),
        *,
        lease_s: float = 60.0,
        in_flight_max: int = 1000,
        delay_s: float = 0.1,
        shared: bytes = b"null",
    ) -> None:
        """Assign `shards` and start the run `delay_s` from now."""
        self.start_at_ns = time.monotonic_ns() + int(delay_s * NS_PER_S)
        lease_end_ns = self.start_at_ns + int(lease_s * NS_PER_S)
        await self.pipe.send(m.Assign(1, shards, lease_end_ns, in_flight_max))
        await self.pipe.send(m.Start(self.start_at_ns, shared))

    def deltas(self) -> list[Delta]:
        return [decode_delta(one.delta) for one in self.heard if isinstance(one, m.Snapshot)]

    def merged(self) -> MergedState:
        """Return all snapshots so far, merged."""
        state = MergedState()
        for delta in self.deltas():
            state.apply(delta)
        return state


@contextlib.asynccontextmanager
async def running_worker() -> AsyncIterator[WorkerDriver]:
    """Start a worker process, and end it by closing the pipe."""
    ours, theirs = socket.socketpair()
    with theirs:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "loadproof_agent.worker", str(theirs.fileno()),
            pass_fds=(theirs.fileno(),), env={**os.environ, "PYTHONWARNINGS": "error"},
        )  # fmt: skip
    try:
        async with PipeConnection(ours) as pipe, asyncio.TaskGroup() as group:
            driver = WorkerDriver(pipe, process)
            listening = group.create_task(driver.listen())
            try:
                yield driver
            finally:
                listening.cancel()
    finally:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LIMIT_S):
                await process.wait()
        if process.returncode is None:
            process.kill()
            await process.wait()


class LocalTarget:
    """A web server on loopback that keeps what it was sent."""

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.hold = asyncio.Event()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((request.method, request.path_qs, dict(request.headers)))
        if request.path == "/hang":
            await self.hold.wait()
        if request.path.startswith("/status/"):
            return web.json_response({"error": "as asked"}, status=int(request.path.rpartition("/")[2]))
        return web.json_response({"path": request.path, "price": 5})


@contextlib.asynccontextmanager
async def local_target() -> AsyncIterator[LocalTarget]:
    """Serve a `LocalTarget` on a free port of loopback."""
    target = LocalTarget()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", target.handle)
    runner = web.AppRunner(app, handle_signals=False, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    host, port = site._server.sockets[0].getsockname()[:2]  # type: ignore[attr-defined]
    target.url = f"http://{host}:{port}"
    try:
        yield target
    finally:
        target.hold.set()
        await runner.cleanup()
