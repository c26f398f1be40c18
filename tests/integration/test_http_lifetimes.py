"""Races, timeouts, cancellation and the end of the engine."""

import asyncio

import pytest

from http_clients import client_of
from http_fakes import RecordingScope
from http_hostile import Hostile, reply, scripted
from loadproof.http import (
    ConnectError,
    HttpClient,
    HttpEngine,
    ServerDisconnected,
    StageTimeouts,
)
from loadproof.http import RequestTimeout as Late


async def test_keep_alive_race_is_retried_once_and_counted():
    """A reused connection that ends before the first byte is tried again on a new one, for idempotent methods."""

    async def handle(wire):
        await wire.request()
        await wire.send(reply(b"first"))
        if await wire.request():
            if wire.number in (0, 2):
                wire.abort()  # the race: the server had decided to close
                return
            await wire.send(reply(b"again"))
            await wire.reader.read()

    async with Hostile(handle).running() as server, client_of(server.url) as (client, scope):
        await client.get("/")
        assert (await client.get("/")).body == b"first"
        assert scope.counts == {"http.retried": 1}
        client.close()
        await client.get("/")
        with pytest.raises(ServerDisconnected):
            await client.post("/", data=b"x")
    assert scope.counts == {"http.retried": 1}
    assert len(scope.responses) == 3
    assert len(scope.errors) == 1


async def test_new_connection_that_ends_is_not_retried():
    """A server that never answers is an error at once, not a loop."""

    async def handle(wire):
        await wire.request()
        wire.abort()

    async with Hostile(handle).running() as server, client_of(server.url) as (client, scope):
        with pytest.raises(ServerDisconnected) as caught:
            await client.get("/")
    assert caught.value.category == "connect"
    assert len(server.wires) == 1
    assert scope.counts == {}


async def test_first_byte_and_body_timeouts():
    """A silent and a stalling server end as timeouts that name their stage."""

    async def handle(wire):
        request = await wire.request()
        if b"/stall" in request:
            await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
        await wire.reader.read()

    async with Hostile(handle).running() as server, client_of(server.url) as (client, scope):
        with pytest.raises(Late) as silent:
            await client.get("/silent", timeout=0.05)
        with pytest.raises(Late) as stalled:
            await client.get("/stall", timeout=0.05)
    assert (silent.value.stage, stalled.value.stage) == ("first byte", "body")
    assert [error.category for _, error, _ in scope.errors] == ["timeout", "timeout"]


async def test_stage_timeout_for_the_first_byte():
    """The first byte may have a bound of its own."""

    async def handle(wire):
        await wire.request()
        await wire.reader.read()

    stages = StageTimeouts(first_byte_ns=50_000_000)
    async with Hostile(handle).running() as server, client_of(server.url, stages=stages) as (client, _):
        with pytest.raises(Late) as silent:
            await client.get("/")
    assert silent.value.stage == "first byte"


async def test_total_timeout_covers_the_chain():
    """A chain of redirects has one total."""

    async def handle(wire):
        while request := await wire.request():
            if b"/last" in request:
                await wire.reader.read()
                return
            await wire.send(reply(b"", status="302 Found", headers="Location: /last"))

    async with Hostile(handle).running() as server, client_of(server.url) as (client, scope):
        with pytest.raises(Late):
            await client.get("/", timeout=0.1)
    assert len(scope.errors) == 1


async def test_cancelled_request_frees_the_user():
    """A cancelled request is not recorded, and its connection is not used for the next."""
    gate = asyncio.Event()

    async def handle(wire):
        while request := await wire.request():
            if b"/slow" in request:
                gate.set()
                await wire.reader.read()
                return
            await wire.send(reply())

    async with Hostile(handle).running() as server, client_of(server.url) as (client, scope):
        await client.get("/")

        async def slow():
            await client.get("/slow")

        async with asyncio.TaskGroup() as group:
            task = group.create_task(slow())
            await gate.wait()
            task.cancel()
        assert (await client.get("/")).status == 200
    assert [name for name, _, _ in scope.responses] == ["GET /", "GET /"]
    assert scope.errors == []


async def test_engine_close_ends_everything():
    """Closing the engine cancels what is in flight and leaves no connection."""
    gate = asyncio.Event()

    async def handle(wire):
        await wire.request()
        gate.set()
        await wire.reader.read()

    async with Hostile(handle).running() as server:
        engine = await HttpEngine().start()
        client = HttpClient(engine, base_url=server.url, scope=RecordingScope())

        async def ask():
            await client.get("/")

        async with asyncio.TaskGroup() as group:
            task = group.create_task(ask())
            await gate.wait()
            await engine.close()
        assert task.cancelled()
        assert not engine.connections


async def test_engine_that_was_closed_opens_nothing():
    """A user that outlives its engine gets an error and leaves no connection."""
    async with Hostile(scripted(reply())).running() as server:
        engine = await HttpEngine().start()
        client = HttpClient(engine, base_url=server.url, scope=RecordingScope())
        await engine.close()
        with pytest.raises(ConnectError, match="not running"):
            await client.get("/")
        assert not engine.connections
