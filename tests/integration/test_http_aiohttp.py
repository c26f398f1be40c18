"""`user.aiohttp`: a real session, recorded and kept to the targets."""

import aiohttp
import pytest
from aiohttp import web

from http_fakes import RecordingScope
from http_hostile import Hostile, reply, scripted
from loadproof.http import ConnectError, DnsError, HttpEngine, TargetPolicy, TargetRefused
from loadproof.http.aiohttp_bridge import open_aiohttp_session, translate


async def test_requests_are_recorded_by_name_or_path():
    """One sample a request, with method and path; the name goes through aiohttp's own trace context."""
    scope = RecordingScope(trace_parent="00-" + "a" * 32 + "-" + "b" * 16 + "-01")
    async with (
        Hostile(scripted(reply(b"ok"))).running() as server,
        HttpEngine() as engine,
        open_aiohttp_session(engine, scope=scope, base_url=server.url, headers={"X-S": "1"}) as session,
    ):
        async with session.get("/a/1", params={"q": "1"}) as response:
            assert await response.read() == b"ok"
        async with session.post("/a/2", trace_request_ctx={"name": "/a/{id}"}, json={}):
            pass
    assert [(name, status) for name, status, _ in scope.responses] == [("GET /a/1", 200), ("POST /a/{id}", 200)]
    assert scope.started == 2
    assert all(elapsed > 0 for _, _, elapsed in scope.responses)
    assert b"traceparent: 00-aaa" in server.requests[0]
    assert b"X-S: 1" in server.requests[0]


async def test_errors_have_our_categories_and_reach_the_suite_as_aiohttps():
    """A refused connection is `connect` in the record and aiohttp's own error for the suite."""
    scope = RecordingScope()
    async with Hostile(scripted(reply())).running() as server:
        url = server.url
    async with HttpEngine() as engine, open_aiohttp_session(engine, scope=scope) as session:
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get(url)
    ((name, error, request),) = scope.errors
    assert (name, error.category, error.recorded, request.method) == ("GET /", "connect", True, "GET")
    assert isinstance(error, ConnectError)


async def test_targets_are_enforced_on_every_hop():
    """Neither a request nor a redirect reaches a host outside the targets."""
    scope = RecordingScope()
    async with Hostile(scripted(reply())).running() as other:
        moved = reply(b"", status="302 Found", headers=f"Location: {other.url}/x")
        async with Hostile(scripted(moved)).running() as server:
            policy = TargetPolicy((f"127.0.0.1:{server.port}",))
            async with HttpEngine(policy=policy) as engine, open_aiohttp_session(engine, scope=scope) as session:
                for url in (other.url, server.url, "http://name.invalid/"):
                    with pytest.raises(TargetRefused):
                        await session.get(url)
    assert other.wires == []
    assert [error.category for _, error, _ in scope.errors] == ["connect"] * 3


async def test_suite_credentials_stay_with_the_base_url():
    """The suite's Authorization header goes to its own origin only."""
    scope = RecordingScope()
    async with Hostile(scripted(reply())).running() as other, Hostile(scripted(reply())).running() as server:
        headers = {"Authorization": "secret"}
        async with (
            HttpEngine() as engine,
            open_aiohttp_session(engine, scope=scope, base_url=server.url, headers=headers) as session,
        ):
            await session.get("/")
            await session.get(other.url)
    assert b"Authorization: secret" in server.requests[0]
    assert b"secret" not in other.requests[0]


async def test_statuses_raise_for_status_and_accept():
    """An error status is a response, also when the session raises for it; `accept` marks it as expected."""
    scope = RecordingScope()
    seen = []
    scope.on_response = lambda response, endpoint, _: seen.append((endpoint, response.status, response.accepted))
    async with (
        Hostile(scripted(reply(b"", status="404 Not Found"))).running() as server,
        HttpEngine() as engine,
        open_aiohttp_session(engine, scope=scope, base_url=server.url) as session,
    ):
        await session.get("/a")
        await session.get("/b", trace_request_ctx={"accept": [404]})
        with pytest.raises(aiohttp.ClientResponseError):
            await session.get("/c", raise_for_status=True)
    assert seen == [("GET /a", 404, False), ("GET /b", 404, True), ("GET /c", 404, False)]
    assert scope.errors == []


async def test_ceiling_holds_for_both_clients():
    """The session waits under the same ceiling."""
    scope = RecordingScope()
    policy = TargetPolicy(None, 100.0)
    async with (
        Hostile(scripted(reply())).running() as server,
        HttpEngine(policy=policy) as engine,
        open_aiohttp_session(engine, scope=scope, base_url=server.url) as session,
    ):
        for _ in range(15):
            await session.get("/")
    assert scope.counts["http.throttled"] > 0


async def test_websocket():
    """What the engine does not do works through the session: a WebSocket echo."""

    async def echo(request):
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(message.data.upper())
        return socket

    app = web.Application()
    app.router.add_get("/ws", echo)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    scope = RecordingScope()
    try:
        async with HttpEngine() as engine:
            base_url = f"http://127.0.0.1:{port}"
            async with (
                open_aiohttp_session(engine, scope=scope, base_url=base_url) as session,
                session.ws_connect("/ws") as socket,
            ):
                await socket.send_str("hello")
                assert await socket.receive_str() == "HELLO"
    finally:
        await runner.cleanup()
    assert [(name, status) for name, status, _ in scope.responses] == [("GET /ws", 101)]


def test_every_error_has_a_category():
    """Timeouts, names, certificates and the unknown are all translated."""
    assert translate(TimeoutError()).category == "timeout"
    assert translate(aiohttp.ServerDisconnectedError()).category == "connect"
    assert translate(aiohttp.ClientPayloadError()).category == "protocol"
    assert translate(ConnectionResetError()).category == "connect"
    assert translate(aiohttp.InvalidURL("x")).category == "exception"
    assert translate(RuntimeError("x")).category == "exception"
    error = DnsError("x")
    assert translate(error) is error
