"""A client with its engine and scope in one `async with`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from http_fakes import RecordingScope
from loadproof.http import HttpClient, HttpEngine


@asynccontextmanager
async def client_of(
    base_url: str, *, headers: dict[str, str] | None = None, **engine_options: Any
) -> AsyncIterator[tuple[HttpClient, RecordingScope]]:
    """One virtual user of a new engine, with 10 s to answer unless told otherwise."""
    scope = RecordingScope()
    engine_options.setdefault("timeout_ns", 10_000_000_000)
    async with HttpEngine(**engine_options) as engine:
        client = HttpClient(engine, base_url=base_url, headers=headers, scope=scope)
        yield client, scope
        client.close()
        assert not engine.connections
