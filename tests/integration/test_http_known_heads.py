"""A response head that was read before is looked up, not parsed: nothing else about a response changes by that."""

from __future__ import annotations

import gzip

from http_clients import client_of
from http_hostile import Hostile, reply, scripted

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"


async def test_equal_heads_have_bodies_of_their_own() -> None:
    """The body is this response's, in one read or in several."""
    answers = [
        HEAD + b"first",
        HEAD + b"secon",
        (HEAD + b"th", b"ird"),
        (HEAD[:20], HEAD[20:], b"forth"),
        HEAD + b"fifth",
    ]
    async with Hostile(scripted(*answers)).running() as server, client_of(server.url) as (client, scope):
        bodies = [(await client.get("/")).body for _ in answers]
        assert len(server.wires) == 1
    assert bodies == [b"first", b"secon", b"third", b"forth", b"fifth"]
    assert len(scope.responses) == 5


async def test_bytes_beyond_a_known_body_end_the_connection() -> None:
    """A server that says more than it announced is read as before: the response counts, its connection is dropped."""
    answers = [HEAD + b"first", HEAD + b"firstHTTP/1.1 200 OK\r\n", HEAD + b"third"]
    async with Hostile(scripted(*answers)).running() as server, client_of(server.url) as (client, _scope):
        assert [(await client.get("/")).body for _ in range(3)] == [b"first", b"first", b"first"]
        assert len(server.wires) == 2


async def test_heads_that_ask_for_something_are_never_only_looked_up() -> None:
    """Cookies of equal heads are stored again, encodings undone again, and a closing server's connection not reused."""
    setting = reply(b"ok", headers="Set-Cookie: a=1")
    async with Hostile(scripted(setting)).running() as server, client_of(server.url) as (client, _scope):
        for _ in range(3):
            client.cookies.clear()
            await client.get("/")
            assert [cookie.name for cookie in client.cookies] == ["a"]
    packed = reply(gzip.compress(b"text"), headers="Content-Encoding: gzip")
    async with Hostile(scripted(packed)).running() as server, client_of(server.url) as (client, _scope):
        assert [(await client.get("/")).body for _ in range(3)] == [b"text"] * 3
    closing = reply(b"bye", headers="Connection: close")
    async with Hostile(scripted(closing)).running() as server, client_of(server.url) as (client, _scope):
        assert [(await client.get("/")).body for _ in range(3)] == [b"bye"] * 3
        assert len(server.wires) == 3


async def test_a_head_request_with_a_known_head_has_no_body() -> None:
    """HEAD answers with the head of a GET and nothing after it."""
    async with (
        Hostile(scripted(HEAD + b"first", HEAD, HEAD + b"third")).running() as server,
        client_of(server.url) as (client, _scope),
    ):
        assert (await client.get("/")).body == b"first"
        assert (await client.head("/")).body == b""
        assert (await client.get("/")).body == b"third"


async def test_bad_statuses_are_as_bad_the_second_time() -> None:
    """Only good statuses are remembered; a known head never makes a failure good."""
    answers = [HEAD + b"first", reply(b"no", "500 Internal Server Error"), HEAD + b"third", reply(b"", "404 Not Found")]
    async with Hostile(scripted(*answers)).running() as server, client_of(server.url) as (client, _scope):
        assert [(await client.get("/")).status for _ in answers] == [200, 500, 200, 404]
