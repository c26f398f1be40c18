"""The client against a scripted server: what users meet every day."""

import asyncio
import gzip

import pytest

from http_clients import client_of
from http_hostile import Hostile, reply, scripted
from loadproof.http import (
    Cookie,
    DecodeError,
    InvalidRequest,
    StageTimeouts,
    TargetPolicy,
)


async def test_plain_get_is_recorded_once():
    """One request gives one sample with its display name and a positive service time."""
    async with (
        Hostile(scripted(reply(b'{"a": 1}', headers="X-A: b"))).running() as server,
        client_of(server.url) as (client, scope),
    ):
        response = await client.get("/p/1?q=2", name="/p/{id}")
    assert (response.status, response.reason, response.body, response.text) == (200, "OK", b'{"a": 1}', '{"a": 1}')
    assert response.json() == {"a": 1}
    assert response.headers["x-a"] == "b"
    assert response.url == server.url + "/p/1?q=2"
    assert response.endpoint == "GET /p/{id}"
    assert response.request.method == "GET"
    assert [(name, status) for name, status, _ in scope.responses] == [("GET /p/{id}", 200)]
    assert scope.responses[0][2] == response.elapsed_ns > 0
    assert response.ok
    assert "GET" in repr(response)


async def test_endpoint_without_a_name_is_the_path():
    """The query never makes endpoints of its own."""
    async with Hostile(scripted(reply())).running() as server, client_of(server.url) as (client, scope):
        for url in ("/a?x=1", "/a?x=2", f"{server.url}/a?x=3"):
            await client.get(url)
        await client.get("/a", params={"x": 4})
    assert {name for name, _, _ in scope.responses} == {"GET /a"}


async def test_connection_is_reused_and_never_pipelined():
    """Requests in turn use one connection; requests at once use one each."""
    async with Hostile(scripted(reply())).running() as server, client_of(server.url) as (client, _):
        for _ in range(5):
            await client.get("/")
        assert len(server.wires) == 1
        await asyncio.gather(*(client.get("/") for _ in range(3)))
        assert len(server.wires) == 3


async def test_connection_close_and_http_1_0_are_not_reused():
    """`Connection: close` and HTTP/1.0 end the connection after the response."""
    for answer in (reply(headers="Connection: close"), b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok"):
        async with Hostile(scripted(answer)).running() as server, client_of(server.url) as (client, _):
            assert (await client.get("/")).body == b"ok"
            assert (await client.get("/")).body == b"ok"
            assert len(server.wires) == 2


async def test_default_and_own_headers():
    """Suite headers are sent with every request; a request's own win; framing headers are ours."""
    async with (
        Hostile(scripted(reply())).running() as server,
        client_of(server.url, headers={"X-Suite": "s", "Accept": "text/html"}) as (client, _),
    ):
        await client.get("/")
        await client.get("/", headers={"x-suite": "own", "X-More": "m", "Host": "other"})
    first, second = (request.decode() for request in server.requests)
    assert first.startswith(f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n")
    assert "X-Suite: s\r\n" in first
    assert "Accept: text/html\r\n" in first
    assert "Accept: */*" not in first
    assert "x-suite: own\r\n" in second
    assert "X-Suite: s" not in second
    assert "X-More: m\r\n" in second
    assert "Host: other\r\n" in second
    assert second.lower().count("host:") == 1


async def test_bodies_and_lengths():
    """JSON, form, raw and empty bodies are framed by Content-Length."""
    async with Hostile(scripted(reply())).running() as server, client_of(server.url) as (client, _):
        await client.post("/", json={"a": 1})
        await client.put("/", data={"a": "b c"})
        await client.patch("/", data=b"raw", headers={"Content-Type": "x/y"})
        await client.post("/")
        await client.delete("/")
        await client.options("/")
    sent = server.requests
    assert b"Content-Type: application/json\r\n" in sent[0]
    assert sent[0].endswith(b'\r\n\r\n{"a":1}')
    assert sent[1].endswith(b"a=b+c")
    assert b"Content-Type: x/y\r\n" in sent[2]
    assert b"octet-stream" not in sent[2]
    assert b"Content-Length: 0\r\n" in sent[3]
    assert b"content-length" not in sent[4].lower()
    assert sent[5].startswith(b"OPTIONS / ")


async def test_authentication():
    """Basic and Bearer by `auth=`, Basic from the URL's user part."""
    async with Hostile(scripted(reply())).running() as server, client_of(server.url) as (client, _):
        await client.get("/", auth=("u", "p"))
        await client.get("/", auth="token")
        await client.get(f"http://u:p@127.0.0.1:{server.port}/")
    assert b"Authorization: Basic dTpw\r\n" in server.requests[0]
    assert b"Authorization: Bearer token\r\n" in server.requests[1]
    assert b"Authorization: Basic dTpw\r\n" in server.requests[2]


async def test_trace_parent_is_sent_when_there_is_one():
    """The step's trace context travels with the quick and the slow kind of request."""
    async with Hostile(scripted(reply())).running() as server, client_of(server.url) as (client, scope):
        scope.trace_parent = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
        await client.get("/")
        await client.get("/")
        scope.trace_parent = ""
        await client.get("/")
    assert [b"traceparent: 00-aaa" in request for request in server.requests] == [True, True, False]


async def test_cookies_come_back():
    """What a response sets is sent with the next request; `cookies=` adds to it; `reset` forgets."""
    answers = (reply(headers="Set-Cookie: a=1; Path=/\r\nSet-Cookie: b=2; Secure"), reply())
    async with Hostile(scripted(*answers)).running() as server, client_of(server.url) as (client, _):
        await client.get("/")
        await client.get("/")
        await client.get("/", cookies={"c": "3"})
        client.reset()
        assert not client.cookies
        await client.get("/")
    lines = [[line for line in request.split(b"\r\n") if line.startswith(b"Cookie")] for request in server.requests]
    assert lines == [[], [b"Cookie: a=1"], [b"Cookie: a=1; c=3"], []]


async def test_cookie_put_in_by_hand_is_sent():
    """A suite may put a session's cookie in the jar."""
    async with Hostile(scripted(reply())).running() as server, client_of(server.url) as (client, _):
        client.cookies.set(Cookie("sid", "x", "127.0.0.1"), 0)
        await client.get("/")
        await client.get("/")
    assert [b"Cookie: sid=x\r\n" in request for request in server.requests] == [True, True]


async def test_head_204_and_304_have_no_body():
    """Responses without a body end with their head and keep the connection."""
    answers = (
        b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n",
        reply(b"end"),
    )
    async with Hostile(scripted(*answers)).running() as server, client_of(server.url) as (client, _):
        assert (await client.head("/")).body == b""
        assert (await client.get("/")).status == 204
        assert (await client.get("/")).status == 304
        assert (await client.get("/")).body == b"end"
        assert len(server.wires) == 1


async def test_interim_responses_are_skipped():
    """100, 102 and 103 before the final response don't count."""
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n"
    async with (
        Hostile(scripted(early + reply(b"one"), [early, reply(b"two", headers="Set-Cookie: a=b")])).running() as server,
        client_of(server.url) as (client, _),
    ):
        one = await client.get("/")
        two = await client.get("/")
        assert (one.body, two.body) == (b"one", b"two")
        assert "link" not in one.headers
        assert len(client.cookies) == 1
        assert (await client.head("/")).status == 200


async def test_expect_continue_waits_for_the_word():
    """A body behind `Expect: 100-continue` is sent after 100, and not at all after a refusal."""
    seen = []

    async def handle(wire):
        head = await wire.reader.readuntil(b"\r\n\r\n")
        seen.append(head)
        if b"/refuse" in head:
            await wire.send(reply(b"no", status="413 Too Large"))
            seen.append(await wire.reader.read())
            return
        await wire.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        seen.append(await wire.reader.readexactly(4))
        await wire.send(reply(b"yes"))
        await wire.reader.read()

    async with Hostile(handle).running() as server, client_of(server.url) as (client, _):
        expect = {"Expect": "100-continue"}
        assert (await client.post("/ok", data=b"body", headers=expect)).body == b"yes"
        client.close()
        assert (await client.post("/refuse", data=b"body", headers=expect)).status == 413
        while len(seen) < 4:  # the server sees the end of the connection
            await asyncio.sleep(0)
    assert seen[1] == b"body"
    assert seen[3] == b""


async def test_expect_without_an_answer_sends_the_body_anyway():
    """A server that ignores Expect gets the body after a while."""
    stages = StageTimeouts(expect_ns=1_000_000)
    async with (
        Hostile(scripted(reply(b"done"))).running() as server,
        client_of(server.url, stages=stages) as (client, _),
    ):
        response = await client.post("/", data=b"body", headers={"Expect": "100-continue"})
    assert response.body == b"done"
    assert server.requests[0].endswith(b"\r\n\r\nbody")


async def test_ceiling_delays_and_counts():
    """Requests over the ceiling wait their turn and are counted; none is refused."""
    async with (
        Hostile(scripted(reply())).running() as server,
        client_of(server.url, policy=TargetPolicy(None, 200.0)) as (client, scope),
    ):
        for _ in range(30):
            await client.get("/")
    assert len(server.requests) == 30
    assert scope.counts["http.throttled"] > 0


async def test_ceiling_that_comes_later_holds_for_kept_connections():
    """A ceiling set during a run is obeyed by users that already have a connection."""
    policy = TargetPolicy()
    async with Hostile(scripted(reply())).running() as server, client_of(server.url, policy=policy) as (client, scope):
        for _ in range(5):
            await client.get("/")
        assert scope.counts == {}
        policy.limit(200.0)
        for _ in range(30):
            await client.get("/")
        assert scope.counts["http.throttled"] > 0


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("/a\r\nX: y", {}),
        ("/", {"headers": {"X": "a\r\nY: b"}}),
        ("/", {"headers": {"X: y\r\n": "a"}}),
        ("/", {"cookies": {"a": "b; c=d"}}),
        ("/", {"auth": "a\r\nX: y"}),
        ("/", {"auth": ("a:b", "c")}),
        ("/", {"headers": {"Content-Length": "9"}, "data": b"x"}),
        ("/", {"headers": {"Transfer-Encoding": "chunked"}, "data": b"x"}),
        ("gopher://h/", {}),
        ("/", {"json": object()}),
    ],
)
async def test_what_may_not_be_sent_is_refused_at_once(url, options):
    """Injection and contradictions raise before anything is sent, and are recorded."""
    async with Hostile(scripted(reply())).running() as server, client_of(server.url) as (client, scope):
        with pytest.raises(InvalidRequest):
            await client.get(url, **options)
    assert server.wires == []
    assert [error.category for _, error, _ in scope.errors] == ["exception"]


async def test_unknown_options_are_a_type_error():
    """A misspelt option is the suite's mistake."""
    async with client_of("http://127.0.0.1:1") as (client, _):
        with pytest.raises(TypeError, match="parms"):
            client.get("/", parms={})  # type: ignore[call-arg]
        with pytest.raises(InvalidRequest):
            client.request("get", "/")


async def test_relative_url_needs_a_base():
    """Without base_url only absolute URLs make sense."""
    async with Hostile(scripted(reply())).running() as server, client_of("") as (client, _):
        with pytest.raises(InvalidRequest, match="base_url"):
            await client.get("/")
        assert (await client.get(server.url)).status == 200


async def test_base_url_path_is_a_prefix():
    """A base URL with a path is put before every relative URL."""
    async with Hostile(scripted(reply())).running() as server, client_of(server.url + "/api/") as (client, scope):
        await client.get("/x")
        await client.get("y")
        await client.get("/x?ä=ö")
    assert [request.split(b" ")[1] for request in server.requests] == [b"/api/x", b"/api/y", b"/api/x?%C3%A4=%C3%B6"]
    assert [name for name, _, _ in scope.responses] == ["GET /x", "GET y", "GET /x"]


async def test_scope_may_refuse_a_request():
    """What `before_request` raises is raised to the suite, and nothing is sent."""
    async with Hostile(scripted(reply())).running() as server, client_of(server.url) as (client, scope):
        await client.get("/")
        scope.refuse = RuntimeError("check first")
        with pytest.raises(RuntimeError, match="check first"):
            await client.get("/")
        scope.refuse = None
        scope.refuse_response = RuntimeError("full")
        with pytest.raises(RuntimeError, match="full"):
            await client.get("/")
        with pytest.raises(RuntimeError, match="full"):
            await client.get("/", headers={"A": "b"})
    assert len(server.requests) == 3


async def test_ipv6():
    """IPv6 literals work, with brackets in Host."""
    async with Hostile(scripted(reply())).running(host="::1") as server:
        url = f"http://[::1]:{server.port}"
        async with client_of(url) as (client, _):
            assert (await client.get("/")).status == 200
    assert f"Host: [::1]:{server.port}\r\n".encode() in server.requests[0]


async def test_compressed_body_is_decoded_when_asked_for():
    """Nothing is decoded until the suite looks; a broken body is an error then, with its stage."""
    good = reply(gzip.compress(b"hello"), headers="Content-Encoding: gzip")
    bad = reply(b"junk", headers="content-encoding: gzip")
    async with Hostile(scripted(good, bad)).running() as server, client_of(server.url) as (client, scope):
        first = await client.get("/")
        second = await client.get("/")
        assert first.text == "hello"
        assert first.raw_body != first.body
        with pytest.raises(DecodeError) as caught:
            second.json()
    assert (caught.value.category, caught.value.stage) == ("protocol", "decode")
    assert not caught.value.recorded
    assert len(scope.responses) == 2


async def test_text_uses_the_charset():
    """Text follows the charset; what doesn't fit is replaced, an unknown charset is read as UTF-8."""
    answers = (
        reply(b"\xfc", headers="Content-Type: text/plain; charset=latin-1"),
        reply(b"\xfc"),
        reply("ü".encode(), headers='Content-Type: text/plain; charset="no-such"'),
    )
    async with Hostile(scripted(*answers)).running() as server, client_of(server.url) as (client, _):
        assert [(await client.get("/")).text for _ in range(3)] == ["ü", "\ufffd", "ü"]


async def test_json_of_something_else_is_an_error():
    """`json()` of a page is a DecodeError that names the endpoint."""
    async with Hostile(scripted(reply(b"<html>"))).running() as server, client_of(server.url) as (client, _):
        response = await client.get("/page")
        with pytest.raises(DecodeError, match="GET /page"):
            response.json()


async def test_multipart_upload_arrives_whole():
    """A file and a field in one upload."""
    async with Hostile(scripted(reply())).running() as server, client_of(server.url) as (client, _):
        await client.post("/", data={"t": "x"}, files={"f": ("a.txt", b"content", "text/plain")})
    assert b'filename="a.txt"' in server.requests[0]
    assert b"\r\n\r\ncontent\r\n" in server.requests[0]
