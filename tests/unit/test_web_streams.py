"""Event streams: encoded once for all readers, late and slow readers see everything, and a hundred cost little."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from contextlib import aclosing
from typing import Any, cast

import aiohttp
from aiohttp import web

from loadproof_controller.web import streams
from loadproof_controller.web.streams import PENDING_MAX, Topic, event


async def _next(reader: Any) -> tuple[str, Any]:
    """Return the next event's name and data."""
    name, data = (await anext(reader)).decode().rstrip("\n").split("\n")
    return name.removeprefix("event: "), json.loads(data.removeprefix("data: "))


async def test_a_late_reader_begins_with_the_whole_state() -> None:
    """What came before is in the state it gets first; then it gets what the others get."""
    state = {"n": 0}
    topic = Topic(lambda: state)
    async with aclosing(cast("Any", topic.read())) as early:
        await anext(early)
        assert await _next(early) == ("state", {"n": 0})
        state["n"] = 1
        topic.changed(event("tick", {"n": 1}))
        async with aclosing(cast("Any", topic.read())) as late:
            await anext(late)
            assert await _next(late) == ("state", {"n": 1})
            topic.changed(event("tick", {"n": 2}))
            assert [await _next(early), await _next(early)] == [("tick", {"n": 1}), ("tick", {"n": 2})]
            assert await _next(late) == ("tick", {"n": 2})
    assert topic.readers == 0


async def test_readers_share_the_bytes_of_an_update() -> None:
    """The whole state is encoded once between changes, an update once for everybody."""
    encoded = 0

    def whole() -> dict[str, int]:
        nonlocal encoded
        encoded += 1
        return {"n": encoded}

    topic = Topic(whole)
    readers = [topic.read() for _ in range(20)]
    for reader in readers:
        await anext(reader)
    first = [await anext(reader) for reader in readers]
    assert encoded == 1
    assert all(chunk is first[0] for chunk in first)
    update = event("tick", {})
    topic.changed(update)
    assert all([await anext(reader) is update for reader in readers])
    for reader in readers:
        await cast("Any", reader).aclose()


async def test_a_slow_reader_gets_the_whole_state_instead_of_a_backlog() -> None:
    """Beyond the bound its updates are dropped, and it begins anew: nothing is missing, nothing grows."""
    topic = Topic(lambda: {"whole": True})
    async with aclosing(cast("Any", topic.read())) as reader:
        await anext(reader)
        await anext(reader)
        for n in range(PENDING_MAX * 3):
            topic.changed(event("tick", {"n": n}))
        seen = [await _next(reader)]
        assert seen == [("state", {"whole": True})]
        topic.changed(event("tick", {"n": -1}))
        assert (await _next(reader))[1] == {"n": -1}


async def test_a_topic_that_ends_lets_its_readers_go_after_the_last_update() -> None:
    """Closing loses nothing that was published."""
    topic = Topic(dict)
    async with aclosing(cast("Any", topic.read())) as reader:
        await anext(reader)
        await anext(reader)
        topic.changed(event("tick", {"last": 1}))
        topic.end()
        assert [chunk async for chunk in reader] == [event("tick", {"last": 1})]


UPDATES = 20
READERS = 100


async def test_a_hundred_readers_cost_less_than_a_tenth_of_a_core() -> None:
    """At an update of 5 KB a second: CPU of the serving thread, so a busy machine changes nothing."""
    port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    server = _ServingThread(port, asyncio.get_running_loop())
    server.start()
    try:
        url = f"http://127.0.0.1:{await port}/"
        connector = aiohttp.TCPConnector(limit=READERS + 1)
        async with aiohttp.ClientSession(connector=connector) as session, asyncio.TaskGroup() as group:
            read = [group.create_task(_read(session, url)) for _ in range(READERS)]
        assert [task.result() for task in read] == [UPDATES] * READERS
    finally:
        server.leave()
        await asyncio.to_thread(server.join)
    assert server.cpu_s / UPDATES < 0.1, f"{server.cpu_s / UPDATES:.3f} s of CPU an update"


async def _read(session: aiohttp.ClientSession, url: str) -> int:
    async with session.get(url) as answer:
        return (await answer.read()).count(b"event: tick")


class _ServingThread(threading.Thread):
    """Serves a topic in a loop of its own; updates begin when all readers are there."""

    def __init__(self, port: asyncio.Future[int], there: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._port = port
        self._there = there
        self._left = threading.Event()
        self.cpu_s = 0.0

    def leave(self) -> None:
        self._left.set()

    def run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        topic, written = Topic(lambda: {"rows": ["x" * 50] * 1_000}), asyncio.Semaphore(0)

        async def handle(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
            await response.prepare(request)
            async for chunk in topic.read():
                await response.write(chunk)
                if chunk.startswith(b"event:"):
                    written.release()
            return response

        app = web.Application()
        app.router.add_get("/", handle)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, backlog=256)
        await site.start()
        self._there.call_soon_threadsafe(self._port.set_result, runner.addresses[0][1])
        for _ in range(READERS):
            await written.acquire()
        began = time.thread_time()
        for n in range(UPDATES):
            topic.changed(event("tick", {"n": n, "rows": ["y" * 50] * 100}))
            for _ in range(READERS):
                await written.acquire()
        topic.end()
        self.cpu_s = time.thread_time() - began
        await asyncio.to_thread(self._left.wait)
        await runner.cleanup()


def test_an_event_is_one_line_whatever_its_data_says() -> None:
    """Line feeds in names are escaped, so no name can begin an event of its own."""
    assert event("tick", {"name": "a\n\nevent: evil\ndata: 1\r"}).count(b"\n") == 3
    assert streams.RETRY_MS < 5_000
