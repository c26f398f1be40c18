"""Server-sent events to many readers: each update is made into bytes once, and all are handed the same bytes."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any

import orjson

from loadproof_controller.errors import RunRefused

PENDING_MAX = 30
"""Updates that wait for one reader; a slower one gets the whole state again instead."""
READERS_MAX = 500
IDLE_S = 15.0
"""After this long without news a comment is sent, so that proxies keep the connection and lost readers are noticed."""
HEARTBEAT = b": still here\n\n"
RETRY_MS = 1_000


def event(name: str, data: Any) -> bytes:
    """Return one server-sent event; JSON has no line feeds, so `data` is one line."""
    return b"event: " + name.encode() + b"\ndata: " + orjson.dumps(data) + b"\n\n"


class Topic:
    """One stream. `whole` returns the state that a new reader begins with; updates follow in order."""

    def __init__(self, whole: Callable[[], Any]) -> None:
        self._whole = whole
        self._encoded: bytes | None = None
        self._readers: set[_Reader] = set()
        self._ended = False

    @property
    def readers(self) -> int:
        """Return how many read now."""
        return len(self._readers)

    def changed(self, update: bytes | None) -> None:
        """Hand `update` to every reader; None: everything changed, all begin anew."""
        self._encoded = None
        for reader in self._readers:
            reader.put(update)

    def end(self) -> None:
        """Let every reader go after what is waiting for it."""
        self._ended = True
        for reader in self._readers:
            reader.wake()

    async def read(self) -> AsyncIterator[bytes]:
        """Yield events for one reader, the whole state first. Raises `RunRefused` over the limit."""
        if len(self._readers) >= READERS_MAX:
            raise RunRefused(f"{READERS_MAX} watch that already")
        reader = _Reader()
        self._readers.add(reader)
        try:
            yield f"retry: {RETRY_MS}\n\n".encode()
            while True:
                updates = reader.take()
                for update in updates:
                    yield self.whole() if update is None else update
                if updates:
                    continue  # more may have come while those were written
                if self._ended:
                    return
                if not await reader.wait():
                    yield HEARTBEAT
        finally:
            self._readers.discard(reader)

    def whole(self) -> bytes:
        """Return the event with the whole state, encoded once until the next change."""
        if self._encoded is None:
            self._encoded = event("state", self._whole())
        return self._encoded


class _Reader:
    def __init__(self) -> None:
        self._pending: deque[bytes | None] = deque([None])
        self._ready = asyncio.Event()

    def put(self, update: bytes | None) -> None:
        if update is None or len(self._pending) >= PENDING_MAX:
            self._pending.clear()
            update = None
        if not self._pending or self._pending[0] is not None:  # else it begins with the whole state, this included
            self._pending.append(update)
        self._ready.set()

    def wake(self) -> None:
        self._ready.set()

    def take(self) -> list[bytes | None]:
        taken = list(self._pending)
        self._pending.clear()
        self._ready.clear()
        return taken

    async def wait(self) -> bool:
        try:
            async with asyncio.timeout(IDLE_S):
                await self._ready.wait()
        except TimeoutError:
            return False
        return True
