"""TLS of the client, with certificates made in the test; on asyncio's loop and on uvloop."""

import asyncio

import pytest
import uvloop

from http_certificates import Authority
from http_clients import client_of
from http_hostile import Hostile, reply, scripted
from loadproof.http import ConnectError, DnsError, HttpError, Resolver, StageTimeouts, TlsError, TlsOptions
from loadproof.http import RequestTimeout as Late


@pytest.fixture(name="authority")
def _authority(tmp_path):
    return Authority(tmp_path)


@pytest.fixture(name="loop_kind", params=["asyncio", "uvloop"])
def _loop_kind(request):
    return request.param


def run_on(kind, coroutine):
    """Run on a loop of its own, because the loop's kind is what is tested."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop if kind == "uvloop" else None) as runner:
        return runner.run(coroutine)


def resolver_to(*addresses):
    async def lookup(_host, _port):
        return list(addresses)

    return Resolver(lookup)


def test_custom_authority_sni_and_keep_alive(authority, loop_kind):
    """A server of a private CA is verified by name, told the name (SNI), and its connection is reused."""
    asked = []

    async def main():
        context = authority.server("shop.test")
        context.sni_callback = lambda _socket, name, _context: asked.append(name)
        async with Hostile(scripted(reply(b"secret"))).running(ssl=context) as server:
            url = f"https://shop.test:{server.port}"
            options = {"tls": TlsOptions(ca_file=authority.ca_file), "resolver": resolver_to("127.0.0.1")}
            async with client_of(url, **options) as (client, scope):
                for _ in range(3):
                    assert (await client.get("/")).body == b"secret"
                assert len(server.wires) == 1
            return scope

    scope = run_on(loop_kind, main())
    assert asked == ["shop.test"]
    assert len(scope.responses) == 3


def test_untrusted_certificates_are_tls_errors(authority, loop_kind):
    """An unknown CA and a wrong name are refused unless `verify=False` says otherwise."""

    async def main():
        async with Hostile(scripted(reply(b"ok"))).running(ssl=authority.server("other.test")) as server:
            url = f"https://127.0.0.1:{server.port}"
            for options in (TlsOptions(), TlsOptions(ca_file=authority.ca_file)):
                async with client_of(url, tls=options) as (client, scope):
                    with pytest.raises(TlsError) as caught:
                        await client.get("/")
                assert (caught.value.category, caught.value.stage) == ("tls", "tls")
                assert len(scope.errors) == 1
            async with client_of(url, tls=TlsOptions(verify=False)) as (client, _):
                assert (await client.get("/")).body == b"ok"
            named = TlsOptions(ca_file=authority.ca_file, server_name="other.test")
            async with client_of(url, tls=named) as (client, _):
                assert (await client.get("/")).body == b"ok"

    run_on(loop_kind, main())


def test_client_certificates(authority, loop_kind):
    """A server that asks for a certificate gets ours; without one the connection fails."""

    async def main():
        async with Hostile(scripted(reply(b"ok"))).running(ssl=authority.server("127.0.0.1", clients=True)) as server:
            url = f"https://127.0.0.1:{server.port}"
            cert_file, key_file = authority.issue("client.test")
            shown = TlsOptions(ca_file=authority.ca_file, cert_file=cert_file, key_file=key_file)
            async with client_of(url, tls=shown) as (client, _):
                assert (await client.get("/")).body == b"ok"
            async with client_of(url, tls=TlsOptions(ca_file=authority.ca_file)) as (client, _):
                with pytest.raises(HttpError) as caught:
                    await client.get("/")
            assert caught.value.category in {"tls", "connect"}

    run_on(loop_kind, main())


def test_plain_server_on_a_tls_port(loop_kind):
    """A peer that speaks no TLS is a TLS error."""

    async def handle(wire):
        await wire.reader.read(10)
        await wire.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async def main():
        async with (
            Hostile(handle).running() as server,
            client_of(f"https://127.0.0.1:{server.port}") as (client, _),
        ):
            with pytest.raises(TlsError):
                await client.get("/")

    run_on(loop_kind, main())


def test_silent_tls_peer_times_out_in_its_stage(loop_kind):
    """A handshake that never ends is a timeout of the stage tls."""

    async def handle(wire):
        await wire.reader.read()

    async def main():
        stages = StageTimeouts(tls_ns=100_000_000)
        async with (
            Hostile(handle).running() as server,
            client_of(f"https://127.0.0.1:{server.port}", stages=stages) as (client, scope),
        ):
            with pytest.raises(Late) as caught:
                await client.get("/")
        assert caught.value.stage == "tls"
        assert len(scope.errors) == 1

    run_on(loop_kind, main())


def test_missing_certificate_files_are_tls_errors(tmp_path):
    """Files that can't be read are told as such."""

    async def main():
        async with Hostile(scripted(reply())).running() as server:
            tls = TlsOptions(ca_file=str(tmp_path / "none.pem"))
            async with client_of(f"https://127.0.0.1:{server.port}", tls=tls) as (client, _):
                with pytest.raises(TlsError, match="can't be used"):
                    await client.get("/")

    run_on("asyncio", main())


def test_whole_exchange_on_uvloop():
    """Redirects, cookies, chunks, closed bodies and resets work the same on uvloop."""
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nSet-Cookie: a=b\r\n\r\n2\r\nok\r\n0\r\n\r\n"
    answers = (
        reply(b"", status="302 Found", headers="Location: /x"),
        [chunked[:50], chunked[50:]],
        reply(b"end", headers="Connection: close"),
    )

    async def main():
        async with Hostile(scripted(*answers)).running() as server, client_of(server.url) as (client, scope):
            first = await client.get("/")
            assert (first.body, len(first.history)) == (b"ok", 1)
            assert (await client.get("/")).body == b"end"
            assert b"Cookie: a=b" in server.requests[2]
        async with client_of(server.url) as (client, scope):
            with pytest.raises(ConnectError):
                await client.get("/")
            assert len(scope.errors) == 1

    run_on("uvloop", main())


async def test_addresses_are_spread_over_users_and_tried_in_turn():
    """Each user starts at another address of a name, and goes on to the next when one refuses."""
    asked = []

    async def lookup(host, port):
        asked.append((host, port))
        return ["127.0.0.1", "127.0.0.9"]

    resolver = Resolver(lookup)
    turns = [await resolver.resolve("shop.test", 80, turn) for turn in range(3)]
    assert turns == [["127.0.0.1", "127.0.0.9"], ["127.0.0.9", "127.0.0.1"], ["127.0.0.1", "127.0.0.9"]]
    assert asked == [("shop.test", 80)]
    async with (
        Hostile(scripted(reply())).running() as server,
        client_of(f"http://shop.test:{server.port}", resolver=Resolver(lookup)) as (client, _),
    ):
        client.number = 1
        assert (await client.get("/")).status == 200


async def test_concurrent_lookups_are_one():
    """A thousand users that start at once ask the resolver once; a failure is a DNS error for all of them."""
    gate = asyncio.Event()
    asked = []

    async def lookup(host, _port):
        asked.append(host)
        await gate.wait()
        if host == "bad.test":
            raise OSError("no such name")
        return ["127.0.0.1"]

    resolver = Resolver(lookup)
    for host in ("good.test", "bad.test"):
        gate.clear()
        waiting = [asyncio.ensure_future(resolver.resolve(host, 80, turn)) for turn in range(10)]
        await asyncio.sleep(0)
        gate.set()
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert asked.count(host) == 1
        if host == "good.test":
            assert results == [["127.0.0.1"]] * 10
        else:
            assert all(isinstance(result, DnsError) for result in results)


async def test_unknown_host_is_a_dns_error():
    """The resolver's failure has its own category."""

    async def lookup(_host, _port):
        raise OSError("no such name")

    async with client_of("http://nowhere.invalid", resolver=Resolver(lookup)) as (client, scope):
        with pytest.raises(DnsError) as caught:
            await client.get("/")
    assert caught.value.category == "dns"
    assert len(scope.errors) == 1
