"""Servers that break HTTP: each is a typed error with a category, and nothing hangs, grows or crashes."""

import asyncio
import contextlib
import gzip
import socket
import struct

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from http_clients import client_of
from http_hostile import Hostile, reply, scripted
from loadproof.http import (
    ConnectError,
    DecodeError,
    HttpError,
    HttpLimits,
    ProtocolError,
    ResponseTooLarge,
    ServerDisconnected,
)

SMALL = HttpLimits(head_bytes_max=2_000, body_bytes_max=10_000, decoded_bytes_max=20_000)
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

WHOLE = {
    "content-length": reply(b"hello"),
    "chunked": CHUNKED + b"2\r\nhe\r\n3;ext=1\r\nllo\r\n0\r\n\r\n",
    "trailers": CHUNKED + b"5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n",
    "interim": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nA: b\r\n\r\n" + reply(b"hello"),
    "gzip": reply(gzip.compress(b"hello"), headers="Content-Encoding: gzip"),
    "cookies": reply(b"hello", headers="Set-Cookie: a=b"),
    "no reason": b"HTTP/1.1 200\r\nContent-Length: 5\r\n\r\nhello",
    "leading lines": b"\r\n\r\n" + reply(b"hello"),
}


@pytest.mark.parametrize("name", WHOLE)
async def test_split_at_every_byte(name):
    """Where reads end changes nothing: not the result, not the reuse of the connection."""
    answer = WHOLE[name]
    answers = [(answer[:cut], answer[cut:]) for cut in range(1, len(answer))]
    answers.append(tuple(answer[at : at + 1] for at in range(len(answer))))
    async with Hostile(scripted(*answers)).running() as server, client_of(server.url) as (client, _):
        for _ in answers:
            response = await client.get("/")
            assert (response.status, response.body) == (200, b"hello")
        assert len(server.wires) == 1


@pytest.mark.parametrize("cut", [1, 30, 60])
async def test_body_until_the_end_of_the_connection(cut):
    """Without a length the body ends with the connection."""
    answer = b"HTTP/1.1 200 OK\r\nServer: old\r\n\r\n" + b"x" * 50
    handler = scripted((answer[:cut], answer[cut:]), close=True)
    async with Hostile(handler).running() as server, client_of(server.url) as (client, _):
        for _ in range(2):
            assert (await client.get("/")).body == b"x" * 50
        assert len(server.wires) == 2


BROKEN = {
    "not http": b"SSH-2.0-OpenSSH_9.2\r\n",
    "http/2 preface": b"\x00\x00\x12\x04\x00\x00\x00\x00\x00",
    "bare line feeds": b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
    "bad status": b"HTTP/1.1 2x0 OK\r\n\r\n",
    "status below 100": b"HTTP/1.1 099 Odd\r\nContent-Length: 0\r\n\r\n",
    "status of four digits": b"HTTP/1.1 2000 OK\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "length and chunked": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
    "length is text": b"HTTP/1.1 200 OK\r\nContent-Length: ten\r\n\r\n",
    "huge length": b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\n",
    "space in header name": b"HTTP/1.1 200 OK\r\nBad Header: x\r\n\r\n",
    "zero byte in value": b"HTTP/1.1 200 OK\r\nA: b\x00c\r\n\r\n",
    "chunk size is text": CHUNKED + b"zz\r\nab\r\n0\r\n\r\n",
    "chunk too long for its size": CHUNKED + b"2\r\nabc\r\n0\r\n\r\n",
    "huge chunk size": CHUNKED + b"fffffffffffffffff\r\na",
    "cut in the body": b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
    "cut in a chunk": CHUNKED + b"a\r\nabc",
    "cut before the last chunk": CHUNKED + b"3\r\nabc\r\n",
    "cut in the trailers": CHUNKED + b"0\r\nX: y\r\n",
}


@pytest.mark.parametrize("name", BROKEN)
async def test_malformed_and_truncated(name):
    """Every malformed or truncated response is one protocol error."""
    async with (
        Hostile(scripted(BROKEN[name], close=True)).running() as server,
        client_of(server.url) as (client, scope),
    ):
        with pytest.raises(ProtocolError) as caught:
            await client.get("/")
    assert caught.value.category == "protocol"
    assert len(scope.errors) == 1
    assert scope.responses == []


@pytest.mark.parametrize("start", [b"", b"HTTP/1.1 200 OK\r\nContent-", b"HTTP/1.1 100 Continue\r\n\r\n"])
async def test_closed_without_a_whole_head(start):
    """A close before the head is whole is a connect error of the first-byte stage."""
    async with Hostile(scripted(start, close=True)).running() as server, client_of(server.url) as (client, _):
        with pytest.raises(ServerDisconnected) as caught:
            await client.get("/")
    assert (caught.value.category, caught.value.stage) == ("connect", "first byte")


async def test_reset_in_the_body():
    """A reset is the connection's failure, not a short body."""

    async def handle(wire):
        await wire.request()
        await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
        sock = wire.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closing sends a reset
        wire.abort()

    async with Hostile(handle).running() as server, client_of(server.url) as (client, scope):
        with pytest.raises((ConnectError, ProtocolError)):
            await client.get("/")
    assert len(scope.errors) == 1


async def test_refused_connection():
    """Nobody listening is a connect error that names the address."""
    async with Hostile(scripted(reply())).running() as server:
        url = server.url
    async with client_of(url) as (client, scope):
        with pytest.raises(ConnectError, match=r"127\.0\.0\.1 port") as caught:
            await client.get("/")
    assert caught.value.stage == "connect"
    assert scope.errors[0][2].url == url + "/"


def endless(first, piece):
    """A server that goes on for as long as the client reads, which must not be long."""

    async def handle(wire):
        await wire.request()
        await wire.send(first)
        for _ in range(100_000):
            await wire.send(piece)
            await asyncio.sleep(0)

    return handle


ENDLESS = {
    "headers": (b"HTTP/1.1 200 OK\r\n", b"X-More: yes and yes and yes\r\n"),
    "one header": (b"HTTP/1.1 200 OK\r\nX: ", b"a" * 500),
    "interim responses": (b"", b"HTTP/1.1 103 Hints\r\n\r\n"),
    "body": (b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 1000),
    "long body": (b"HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n", b"x" * 1000),
    "chunks": (CHUNKED, b"3e8\r\n" + b"x" * 1000 + b"\r\n"),
    "chunk extensions": (CHUNKED + b"1;", b"x" * 500),
    "trailers": (CHUNKED + b"0\r\n", b"X-Trailer: and more\r\n"),
    "line breaks": (b"", b"\r\n" * 100),
}


@pytest.mark.parametrize("name", ENDLESS)
async def test_endless_responses_meet_a_limit(name):
    """Whatever goes on for ever ends at a named limit, long before the timeout."""
    async with (
        Hostile(endless(*ENDLESS[name])).running() as server,
        client_of(server.url, limits=SMALL) as (client, scope),
    ):
        with pytest.raises(ResponseTooLarge):
            await client.get("/")
    assert len(scope.errors) == 1


async def test_endless_head_of_a_head_request():
    """HEAD has the same limit on heads."""
    async with (
        Hostile(endless(*ENDLESS["headers"])).running() as server,
        client_of(server.url, limits=SMALL) as (client, _),
    ):
        with pytest.raises(ResponseTooLarge):
            await client.head("/")


async def test_body_over_the_limit_in_one_read():
    """A body that arrives at once is held to the limit too."""
    async with (
        Hostile(scripted(reply(b"x" * 10_001))).running() as server,
        client_of(server.url, limits=SMALL) as (client, _),
    ):
        with pytest.raises(ResponseTooLarge):
            await client.get("/")


async def test_bytes_nobody_asked_for_end_the_connection():
    """Data after a response or on an idle connection never becomes the answer to the next request."""
    for extra in (reply(b"poison"), b"HTTP/1.1 200 OK\r\nContent-", b"junk"):
        async with (
            Hostile(scripted(reply(b"good") + extra)).running() as server,
            client_of(server.url) as (client, scope),
        ):
            assert (await client.get("/")).body == b"good"
            assert (await client.get("/")).body == b"good"
            assert len(server.wires) == 2
            assert scope.errors == []


async def test_late_bytes_on_an_idle_connection_end_it():
    """A second answer that comes late is not taken for the next response."""
    gate = asyncio.Event()

    async def handle(wire):
        while await wire.request():
            await wire.send(reply(b"good"))
            if wire.number == 0:
                await gate.wait()
                await wire.send(reply(b"poison"))

    async with Hostile(handle).running() as server, client_of(server.url) as (client, _):
        await client.get("/")
        (connection,) = client.engine.connections
        gate.set()
        while connection.transport is not None:
            await asyncio.sleep(0)
        assert (await client.get("/")).body == b"good"


async def test_idle_connection_closed_by_the_server_is_not_used():
    """A server that closes idle connections costs a new connection, not an error."""
    async with Hostile(scripted(reply(), close=True)).running() as server, client_of(server.url) as (client, scope):
        for _ in range(3):
            await client.get("/")
            (connection,) = client.engine.connections
            while connection.transport is not None:
                await asyncio.sleep(0)
    assert scope.counts == {}


async def test_unasked_upgrade_is_a_response_of_a_closed_connection():
    """101 that nobody asked for ends the connection."""
    answer = b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\njunk"
    async with Hostile(scripted(answer)).running() as server, client_of(server.url) as (client, _):
        assert (await client.get("/")).status == 101
        assert not client.engine.connections


async def test_answer_before_the_body_was_sent():
    """An early refusal of a large upload is the response; the connection is not used again."""

    async def handle(wire):
        await wire.reader.readuntil(b"\r\n\r\n")
        await wire.send(reply(b"too much", status="413 Too Large"))
        await wire.reader.read()

    async with Hostile(handle).running() as server, client_of(server.url) as (client, _):
        response = await client.post("/", data=bytes(12 << 20))
        assert (response.status, response.body) == (413, b"too much")
        assert not client.engine.connections


async def test_memory_of_connections_stays_bounded_under_cookies():
    """A server that sets endless cookies fills the jar to its bound only."""
    lines = "\r\n".join(f"Set-Cookie: c{n}={'v' * 10}" for n in range(1_100))
    async with Hostile(scripted(reply(headers=lines))).running() as server, client_of(server.url) as (client, _):
        await client.get("/")
        assert len(client.cookies) == 1_000


STARTS = (
    b"",
    b"HTTP/1.1 200 OK\r\n",
    CHUNKED,
    b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n",
    b"HTTP/1.1 100 C\r\n\r\n",
)
LINES = st.sampled_from([b"\r\n", b"\r\n\r\n", b"0\r\n\r\n", b"A: b\r\n"])


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(STARTS),
    st.lists(st.binary(max_size=60) | LINES, max_size=6),
    st.sampled_from(["GET", "HEAD", "POST"]),
)
async def test_any_bytes_are_a_response_or_an_error(start, junk, method):
    """Whatever a server sends before it closes ends as one response or one typed error, and leaves no connection."""
    async with (
        Hostile(scripted([start, *junk], close=True)).running() as server,
        client_of(server.url, limits=SMALL) as (client, scope),
    ):
        with contextlib.suppress(HttpError):
            response = await client.request(method, "/")
            with contextlib.suppress(DecodeError):
                assert response.text is not None
            assert response.headers is not None
        assert len(scope.responses) + len(scope.errors) == 1
