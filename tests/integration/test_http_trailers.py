"""Fields behind a chunked body, held against llhttp's own reading of the same bytes, however the network cuts them."""

from __future__ import annotations

from itertools import pairwise

import httptools
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from http_clients import client_of
from http_hostile import Hostile, reply, scripted
from loadproof.http.headers import Headers

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Sum: of the head\r\n\r\n"
NAMES = st.sampled_from(["X-Sum", "x-sum", "Server-Timing", "0", "00", "f"])
VALUES = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x17F, exclude_characters="\x7f"), max_size=20)
BODIES = st.sampled_from([
    b"", b"hello", b"0\r\n\r\n", b"\r\n0\r\nX-Sum: of the body\r\n\r\n", b"0\r\nX: y\r\n", b"a" * 300,
])  # fmt: skip


class Oracle:
    """What llhttp calls out while it reads: the fields that come after the head."""

    def __init__(self, wire: bytes) -> None:
        self.fields: list[tuple[str, str]] = []
        self._in_body = False
        httptools.HttpResponseParser(self).feed_data(wire)

    def on_headers_complete(self) -> None:
        """The head is over."""
        self._in_body = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field, of the head or a trailer."""
        if self._in_body:
            self.fields.append((name.decode(), value.decode("utf-8", "surrogateescape").strip(" \t")))


@st.composite
def chunked_messages(draw):
    """Return a response's bytes: chunks of any sizes, extensions, and trailers."""
    body, wire = draw(BODIES), HEAD
    while body:
        size = draw(st.integers(1, len(body)))
        extension = draw(st.sampled_from([b"", b";a=b", b";q=1"]))
        wire += b"%x%b\r\n%b\r\n" % (size, extension, body[:size])
        body = body[size:]
    fields = draw(st.lists(st.tuples(NAMES, VALUES), max_size=4))
    last = draw(st.sampled_from([b"0", b"000", b"0;done=yes"]))
    return wire + last + b"\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields).encode() + b"\r\n"


def pieces(wire: bytes, cuts: list[int]) -> list[bytes]:
    """Return `wire` cut at the places of `cuts` that it has."""
    places = sorted({cut % (len(wire) + 1) for cut in cuts} | {0, len(wire)})
    return [wire[start:end] for start, end in pairwise(places)]


async def trailers_of(*sent: bytes, method: str = "GET") -> tuple[Headers, Headers]:
    """Return the trailers of a response that arrives in these pieces, and of the one after it on the connection."""
    async with Hostile(scripted([*sent], reply(b"plain"))).running() as server, client_of(server.url) as (client, _):
        first = await client.request(method, "/")
        second = await client.get("/")
        assert second.body == b"plain"
        return first.trailers, second.trailers


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(chunked_messages(), st.lists(st.integers(0, 800), max_size=5))
async def test_trailers_are_those_llhttp_finds(wire, cuts) -> None:
    """Any chunks, any body that looks like trailers, cut anywhere: the same fields, and none for the next response."""
    ours, after = await trailers_of(*pieces(wire, cuts))
    assert list(ours.multi_items()) == Oracle(wire).fields
    assert len(after) == 0


async def test_a_cut_at_every_byte_finds_the_trailers() -> None:
    """The end of the head, the last chunk and each field may come in reads of their own."""
    wire = HEAD + b"5\r\nhello\r\n0\r\nX-Sum: 1\r\nx-sum: 2\r\n\r\n"
    for cut in range(len(wire) + 1):
        ours, _ = await trailers_of(*pieces(wire, [cut]))
        assert ours.getall("X-SUM") == ["1", "2"], cut
        assert ours["x-sum"] == "1"


async def test_headers_and_trailers_stay_apart() -> None:
    """A trailer never becomes a header (RFC 9110 6.5.1): no cookie is stored from one."""
    wire = HEAD + b"0\r\nX-Sum: 1\r\nSet-Cookie: a=b\r\n\r\n"
    async with Hostile(scripted([wire])).running() as server, client_of(server.url) as (client, _):
        response = await client.get("/")
        assert response.headers["x-sum"] == "of the head"
        assert response.trailers["set-cookie"] == "a=b"
        assert not list(client.cookies)
        assert response.trailers is response.trailers


@pytest.mark.parametrize("sent", [reply(b"plain"), reply(b"0\r\nX: y\r\n\r\n"), HEAD + b"0\r\n\r\n"])
async def test_other_responses_have_none(sent: bytes) -> None:
    """A body with a length that looks like trailers has none; nor has an empty chunked one."""
    ours, _ = await trailers_of(sent)
    assert ours == Headers()


async def test_trailers_beyond_the_limit_are_not_kept() -> None:
    """16 KiB of them are; more are read over, as before."""
    few = b"".join(b"X-%d: %b\r\n" % (n, b"v" * 100) for n in range(100))
    many = few * 2
    kept, _ = await trailers_of(HEAD + b"5\r\nhello\r\n0\r\n", few, b"\r\n")
    assert len(kept) == 100
    lost, _ = await trailers_of(HEAD + b"5\r\nhello\r\n0\r\n", many, b"\r\n")
    assert lost == Headers()
