"""The event streams: one run, and the overview of runs and fleet."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import aclosing
from typing import Any, cast

from aiohttp import web

from loadproof_controller.security import Caller
from loadproof_controller.web.guard import CALLER
from loadproof_controller.web.hub import Hub
from loadproof_controller.web.problems import refuse
from loadproof_controller.web.streams import Topic

RECHECK_S = 5.0
"""How long after its token was revoked a reader may still be told something."""
STREAM_HEADERS = {"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"}


class Following:
    """Handlers that stay open. `caller_by_id` says whether a reader's token is still good."""

    def __init__(self, hub: Hub, caller_by_id: Callable[[str], Caller | None]) -> None:
        self._hub = hub
        self._caller_by_id = caller_by_id

    async def run(self, request: web.Request) -> web.StreamResponse:
        """Follow one run: its whole state, then what changes."""
        page = await self._hub.page(request.match_info["run_id"])
        if page is None:
            refuse(404, "this controller has no such run")
        return await self._stream(request, page.topic)

    async def overview(self, request: web.Request) -> web.StreamResponse:
        """Follow the list of runs and the fleet."""
        return await self._stream(request, self._hub.overview)

    async def _stream(self, request: web.Request, topic: Topic) -> web.StreamResponse:
        caller = request[CALLER]
        events = topic.read()
        response = web.StreamResponse(headers=STREAM_HEADERS)
        checked = time.monotonic()
        async with aclosing(cast("Any", events)):
            first = await anext(events)  # may refuse, so before the head is sent
            await response.prepare(request)
            await response.write(first)
            async for update in events:
                if time.monotonic() - checked > RECHECK_S:
                    checked = time.monotonic()
                    if self._caller_by_id(caller.token_id) is None:
                        break
                try:
                    await response.write(update)
                except ConnectionError:
                    break  # the reader has left
        return response
