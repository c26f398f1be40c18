"""Redirects: methods, limits, what is left behind, and the targets that hold on every hop."""

import time

import pytest

from http_clients import client_of
from http_hostile import Hostile, by_path, reply, scripted
from loadproof.http import (
    InvalidRequest,
    ProtocolError,
    TargetPolicy,
    TargetRefused,
    TooManyRedirects,
)
from loadproof.runtime.redact import Redactor
from loadproof.runtime.sample import response_text


@pytest.mark.parametrize(
    ("status", "method", "then", "keeps_body"),
    [
        (301, "POST", "GET", False),
        (302, "POST", "GET", False),
        (303, "PUT", "GET", False),
        (307, "POST", "POST", True),
        (308, "POST", "POST", True),
        (302, "PUT", "PUT", True),
        (301, "GET", "GET", False),
    ],
)
async def test_redirect_methods(status, method, then, keeps_body):
    """301, 302 and 303 turn into GET as browsers do; 307 and 308 repeat method and body."""
    moved = reply(b"", status=f"{status} Moved", headers="Location: /there?x=1")
    async with (
        Hostile(by_path({"/here": moved, "/there": reply(b"there")})).running() as server,
        client_of(server.url) as (client, scope),
    ):
        options = {} if method == "GET" else {"data": b"body"}
        response = await client.request(method, "/here", params={"p": "1"}, **options)
    assert response.body == b"there"
    assert [hop.status for hop in response.history] == [status]
    assert response.url.endswith("/there?x=1")
    second = server.requests[1]
    assert second.startswith(f"{then} /there?x=1 ".encode())
    assert second.endswith(b"body") is keeps_body
    assert [(name, code) for name, code, _ in scope.responses] == [(f"{method} /here", 200)]


async def test_redirects_not_followed_when_told():
    """`allow_redirects=False` gives the redirect itself; HEAD follows only when told."""
    moved = reply(b"", status="302 Found", headers="Location: /there")
    async with (
        Hostile(by_path({"/here": moved, "/there": reply()})).running() as server,
        client_of(server.url) as (client, _),
    ):
        assert (await client.get("/here", allow_redirects=False)).status == 302
        assert (await client.head("/here")).status == 302
        assert (await client.head("/here", allow_redirects=True)).status == 404 - 204


async def test_redirect_without_location_is_the_response():
    """A 302 that names no place is handed over as it is."""
    async with (
        Hostile(scripted(reply(b"", status="302 Found"))).running() as server,
        client_of(server.url) as (client, _),
    ):
        response = await client.get("/")
    assert response.status == 302
    assert response.history == ()


async def test_redirect_loop_ends_at_the_limit():
    """A loop is an error after ten hops, recorded once."""
    moved = reply(b"", status="302 Found", headers="Location: /")
    async with Hostile(scripted(moved)).running() as server, client_of(server.url) as (client, scope):
        with pytest.raises(TooManyRedirects):
            await client.get("/")
    assert len(server.requests) == 11
    assert [name for name, _, _ in scope.errors] == ["GET /"]


async def test_credentials_stay_with_their_origin():
    """Authorization and cookies of a request and of the suite are not taken to another origin."""
    async with Hostile(scripted(reply(b"other"))).running() as other:
        moved = reply(b"", status="302 Found", headers=f"Location: {other.url}/x")
        async with (
            Hostile(scripted(moved)).running() as server,
            client_of(server.url, headers={"Authorization": "suite", "X-Suite": "1"}) as (client, _),
        ):
            response = await client.get("/", auth=("u", "p"), cookies={"a": "b"}, headers={"X-Own": "1"})
    assert response.body == b"other"
    assert b"Basic" in server.requests[0]
    there = other.requests[0]
    assert b"authorization" not in there.lower()
    assert b"cookie" not in there.lower()
    assert b"X-Own: 1" in there
    assert b"X-Suite: 1" in there


@pytest.mark.parametrize("place", ["ftp://h/", "http://[::1/", "javascript:x", "http://"])
async def test_bad_redirects_are_protocol_errors(place):
    """A Location that can't be followed is the server's fault."""
    moved = reply(b"", status="302 Found", headers=f"Location: {place}")
    async with Hostile(scripted(moved)).running() as server, client_of(server.url) as (client, scope):
        with pytest.raises(ProtocolError) as caught:
            await client.get("/")
    assert caught.value.stage == "redirect"
    assert len(scope.errors) == 1


async def test_targets_are_enforced_before_a_byte_is_sent():
    """Refused hosts see no connection, whether asked directly or by a redirect."""
    async with Hostile(scripted(reply())).running() as other:
        moved = reply(b"", status="302 Found", headers=f"Location: {other.url}/x")
        async with Hostile(scripted(moved)).running() as server:
            policy = TargetPolicy((f"127.0.0.1:{server.port}",))
            async with client_of(server.url, policy=policy) as (client, scope):
                with pytest.raises(TargetRefused):
                    await client.get(other.url)
                with pytest.raises(TargetRefused):
                    await client.get("/")
                with pytest.raises(TargetRefused):
                    await client.get("http://unresolvable.invalid/")
    assert other.wires == []
    assert [error.category for _, error, _ in scope.errors] == ["connect"] * 3
    assert all(error.recorded for _, error, _ in scope.errors)


async def test_base_url_outside_the_targets_is_refused():
    """The suite's own base URL is held to the list too."""
    async with (
        Hostile(scripted(reply())).running() as server,
        client_of(server.url, policy=TargetPolicy(("shop.example.com",))) as (client, _),
    ):
        for _ in range(2):
            with pytest.raises(TargetRefused):
                await client.get("/")
    assert server.wires == []


async def test_a_header_that_holds_a_secret_stays_with_its_origin():
    """Neither the suite's own headers nor a request's take a secret value along to where a redirect points."""
    async with Hostile(scripted(reply(b"there"), reply(b"there"))).running() as other:
        moved = reply(b"", status="307 Moved", headers=f"Location: {other.url}/there")
        headers = {"X-Api-Key": "canary-1", "X-Plain": "seen"}
        async with (
            Hostile(scripted(moved, moved)).running() as server,
            client_of(server.url, headers=headers, holds_secret=lambda text: "canary" in text) as (client, _),
        ):
            await client.get("/here", headers={"X-Trace": "canary-2", "X-Own": "seen too"})
        assert b"canary-1" in server.requests[0]
        assert b"canary-2" in server.requests[0]
        assert b"canary" not in other.requests[0]
        assert b"X-Plain: seen" in other.requests[0]
        assert b"X-Own: seen too" in other.requests[0]


async def test_bytes_of_a_location_that_are_no_text_are_sent_back_encoded():
    """A server that names a place in Latin-1 gets its own bytes, percent-encoded."""
    moved = b"HTTP/1.1 302 Found\r\nLocation: /caf\xe9\r\nContent-Length: 0\r\n\r\n"
    async with (
        Hostile(scripted(moved, reply(b"there"))).running() as server,
        client_of(server.url) as (client, _),
    ):
        assert (await client.get("/here")).body == b"there"
    assert server.requests[1].startswith(b"GET /caf%E9 ")


async def test_each_hop_has_its_own_record_and_time():
    """The chain's time is the response's, those of its hops add up to no more; an error's sample shows the hops."""
    moved = reply(b"", status="302 Found", headers="Location: /there")
    async with (
        Hostile(scripted(moved, moved, reply(b"there"))).running() as server,
        client_of(server.url) as (client, _),
    ):
        response = await client.get("/here")
    assert len(response.history) == 2
    assert all(hop.elapsed_ns > 0 for hop in response.history)
    assert sum(hop.elapsed_ns for hop in response.history) <= response.elapsed_ns
    shown = response_text(response, Redactor({"PLACE": "there"})).splitlines()
    assert [line.partition(", ")[0] for line in shown[:2]] == [
        f"302 {server.url}/here", f"302 {server.url}/[redacted:PLACE]",
    ]  # fmt: skip
    assert shown[2] == "200 OK"


async def test_setting_the_clock_logs_nobody_out(monkeypatch):
    """A cookie of half an hour is sent after the wall clock has jumped by a day."""
    async with (
        Hostile(scripted(reply(headers="Set-Cookie: sid=1; Max-Age=1800"), reply())).running() as server,
        client_of(server.url) as (client, _),
    ):
        await client.get("/sign-in")
        tomorrow = time.time() + 86_400
        monkeypatch.setattr(time, "time", lambda: tomorrow)
        for module in ("client", "build", "clock", "cookies"):
            monkeypatch.setattr(f"loadproof.http.{module}.time", lambda: tomorrow, raising=False)
        await client.get("/page")
    assert b"Cookie: sid=1" in server.requests[1]


@pytest.mark.parametrize("timeout", ["5", 0, -1, float("nan")])
async def test_a_timeout_that_is_none_is_refused_in_words(timeout):
    """What is not a number of seconds above 0 fails that request, and nothing is sent."""
    async with Hostile(scripted(reply())).running() as server, client_of(server.url) as (client, _):
        with pytest.raises(InvalidRequest, match="is not a number of seconds above 0"):
            await client.get("/", timeout=timeout)
        assert not server.requests
