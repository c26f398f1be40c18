"""The same requests through our client and through aiohttp: same status, headers, body, cookies and kind of error.

What differs is meant, and is either named in `MEANT` or one of two: ours takes no Secure cookie over plain HTTP (RFC
6265bis 5.7), and a compressed body that is cut is an error and not a shorter body.
"""

import gzip
import zlib
from dataclasses import dataclass, field
from itertools import pairwise

import aiohttp
import brotli
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from http_clients import client_of
from http_hostile import Hostile, reply, scripted
from loadproof.http import HttpError
from loadproof.http.aiohttp_bridge import translate


@dataclass
class Outcome:
    """What a client made of an exchange."""

    status: int = 0
    reason: str = ""
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    cookies: dict[tuple[str, str], str] = field(default_factory=dict)
    hops: list[int] = field(default_factory=list)
    category: str = ""


async def through_ours(url, method="GET", **options):
    async with client_of(url) as (client, _):
        try:
            response = await client.request(method, "/", **options)
            return Outcome(
                response.status,
                response.reason,
                list(response.headers.multi_items()),
                response.body,
                {(cookie.name, cookie.path): cookie.value for cookie in client.cookies},
                [hop.status for hop in response.history],
            )
        except HttpError as error:
            return Outcome(category=error.category)


async def through_aiohttp(url, method="GET", **options):
    jar = aiohttp.CookieJar(unsafe=True, quote_cookie=False)
    options.setdefault("allow_redirects", True)
    async with aiohttp.ClientSession(cookie_jar=jar, timeout=aiohttp.ClientTimeout(total=10)) as session:
        try:
            async with session.request(method, url + "/", **options) as response:
                body = await response.read()
                return Outcome(
                    response.status,
                    response.reason or "",
                    [(k.decode(), v.decode("utf-8", "surrogateescape")) for k, v in response.raw_headers],
                    body,
                    {(cookie.key, cookie["path"]): cookie.value for cookie in jar},
                    [hop.status for hop in response.history],
                )
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            return Outcome(category=translate(error).category)


async def both(handler, **options):
    """Each client against a server of its own with the same script."""
    async with Hostile(handler).running() as server:
        ours = await through_ours(server.url, **options)
    async with Hostile(handler).running() as server:
        theirs = await through_aiohttp(server.url, **options)
    return ours, theirs


names = st.sampled_from(["X-A", "x-b", "Content-Type", "ETag", "Link", "Server", "Vary"])
values = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x17F, exclude_characters="\x7f"), max_size=30)
cookie_lines = st.builds(
    "{}={}{}".format,
    st.sampled_from(["sid", "theme", "a.b"]),
    st.text("abcXYZ019-_", max_size=8),
    st.sampled_from(["", "; Path=/", "; HttpOnly", "; Max-Age=100", "; Max-Age=0", "; Path=/deep"]),
)
ENCODINGS = {"": bytes, "gzip": gzip.compress, "deflate": zlib.compress, "br": brotli.compress}


@st.composite
def responses(draw):
    """Bytes of one response, cut into pieces, and whether the server closes after them."""
    status = draw(st.sampled_from([200, 201, 203, 204, 304, 400, 404, 418, 500, 503]))
    reason = draw(st.sampled_from(["OK", "Not Found", "", "A longer reason"]))
    headers = draw(st.lists(st.tuples(names, values), max_size=6))
    headers += [("Set-Cookie", line) for line in draw(st.lists(cookie_lines, max_size=3))]
    body = draw(st.binary(max_size=400))
    encoding = draw(st.sampled_from(sorted(ENCODINGS)))
    body = ENCODINGS[encoding](body)
    if encoding:
        headers.append(("Content-Encoding", encoding))
    framing = draw(st.sampled_from(["length", "chunked", "close"]))
    if status in (204, 304):
        framing, body = "none", b""
        headers = [(name, value) for name, value in headers if name != "Content-Encoding"]
    if framing == "length":
        headers.append(("Content-Length", str(len(body))))
    elif framing == "chunked":
        headers.append(("Transfer-Encoding", "chunked"))
        sizes = draw(st.lists(st.integers(1, 200), max_size=5))
        body = chunked(body, sizes, draw(st.sampled_from([b"", b"X-Trailer: t\r\n"])))
    version = draw(st.sampled_from(["1.1", "1.1", "1.0"])) if framing != "chunked" else "1.1"
    interim = draw(st.sampled_from([b"", b"", b"HTTP/1.1 103 Hints\r\nLink: x\r\n\r\n"])) if version == "1.1" else b""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
    wire = interim + f"HTTP/{version} {status} {reason}\r\n{lines}\r\n".encode() + body
    return wire, framing == "close" or draw(st.booleans())


def chunked(body, sizes, trailer):
    """`body` in chunks of `sizes`, the rest in one."""
    wire = b""
    for size in sizes:
        piece, body = body[:size], body[size:]
        if piece:
            wire += b"%x\r\n%b\r\n" % (len(piece), piece)
    if body:
        wire += b"%X;ext\r\n%b\r\n" % (len(body), body)
    return wire + b"0\r\n" + trailer + b"\r\n"


def pieces(wire, cuts):
    """`wire` cut at the places of `cuts` that it has."""
    places = sorted({cut % (len(wire) + 1) for cut in cuts} | {0, len(wire)})
    return [wire[start:end] for start, end in pairwise(places)]


QUIET = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@QUIET
@given(responses(), st.lists(st.integers(0, 2000), max_size=4))
async def test_whole_responses_are_the_same(response, cuts):
    """Any valid response, cut anywhere, means the same to both."""
    wire, close = response
    ours, theirs = await both(scripted(pieces(wire, cuts), close=close))
    assert ours.category == ""
    assert ours == theirs


@QUIET
@given(responses(), st.integers(0, 2000), st.lists(st.integers(0, 2000), max_size=2))
async def test_cut_responses_are_the_same(response, end, cuts):
    """Any valid response that ends too early is the same error, or the same shorter body."""
    wire, _ = response
    wire = wire[: end % (len(wire) + 1)]
    ours, theirs = await both(scripted(pieces(wire, cuts), close=True))
    if theirs.category == "" and ours.category == "protocol":
        assert b"Content-Encoding: " in wire
    else:
        assert ours == theirs


MALFORMED = {
    "junk": b"\x16\x03\x01\x02\x00\x01",
    "bad status": b"HTTP/1.1 abc OK\r\n\r\n",
    "bad version": b"HTTP/x 200 OK\r\n\r\n",
    "bad name": b"HTTP/1.1 200 OK\r\nA B: c\r\n\r\n",
    "bad length": b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
    "negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "bad chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "chunk without its end": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabcd\r\n0\r\n\r\n",
    "bad gzip": reply(b"not gzip at all", headers="Content-Encoding: gzip"),
    "bad br": reply(b"\xff\xff\xff\xff", headers="Content-Encoding: br"),
    "bad deflate": reply(b"\xff\xff\xff\xff", headers="Content-Encoding: deflate"),
}


@pytest.mark.parametrize("name", MALFORMED)
async def test_malformed_responses_are_the_same_error(name):
    """What breaks HTTP breaks it for both."""
    ours, theirs = await both(scripted(MALFORMED[name], close=True))
    assert ours.category == theirs.category == "protocol"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "HEAD"])
async def test_redirects_send_the_same_requests(status, method):
    """Method, body and cookies of the second request are the same."""
    sent = []

    def handler(log):
        moved = reply(b"", status=f"{status} Moved", headers="Location: /next?x=1#part\r\nSet-Cookie: a=b")

        async def handle(wire):
            while request := await wire.request():
                head, _, body = request.partition(b"\r\n\r\n")
                line, *lines = head.decode().split("\r\n")
                picked = sorted(text.lower() for text in lines if text.lower().startswith(("cookie:", "content-type:")))
                log.append((line, picked, body))
                last = reply(b"" if line.startswith("HEAD") else b"end")
                await wire.send(last if "/next" in line else moved)

        return handle

    options = {"method": method, "allow_redirects": True}
    if method not in ("GET", "HEAD"):
        options["data"] = {"k": "v"}
    outcomes = []
    for through in (through_ours, through_aiohttp):
        log = []
        async with Hostile(handler(log)).running() as server:
            outcomes.append(await through(server.url, **options))
        sent.append([(line, [x for x in picked if x.startswith("cookie")], body) for line, picked, body in log])
    assert outcomes[0].hops == [status]
    assert outcomes[0] == outcomes[1]
    assert sent[0] == sent[1]


@pytest.mark.parametrize(
    "params",
    [{"q": "a b&c=d"}, {"n": 1}, {"x": "ü/?#"}, [("a", "1"), ("a", "2")], {"e": ""}, {"plus": "1+1"}],
)
async def test_params_mean_the_same(params):
    """Both clients' queries decode to the same pairs."""
    from urllib.parse import parse_qsl

    queries = []
    for through in (through_ours, through_aiohttp):
        async with Hostile(scripted(reply())).running() as server:
            await through(server.url, params=params)
            target = server.requests[0].split(b" ")[1].decode()
            queries.append(parse_qsl(target.partition("?")[2], keep_blank_values=True))
    assert queries[0] == queries[1]


async def test_forms_are_the_same_bytes():
    """A form body is encoded alike."""
    bodies = []
    for through in (through_ours, through_aiohttp):
        async with Hostile(scripted(reply())).running() as server:
            await through(server.url, method="POST", data={"a": "x y", "b": "ü&=+", "c": ""})
            bodies.append(server.requests[0].partition(b"\r\n\r\n")[2])
    assert bodies[0] == bodies[1]


PLAIN = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"
ZIPPED = gzip.compress(b"zipped")


def encoded(encoding: bytes, body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Encoding: %b\r\nContent-Length: %d\r\n\r\n%b" % (encoding, len(body), body)


SAME = {
    "an empty Location": reply(b"", status="302 Found", headers="Location: "),
    "a header of 6 KB": PLAIN + b"X-Long: " + b"x" * 6_000 + b"\r\n\r\nok",
    "a head that never ends": b"HTTP/1.1 200 OK\r\n" + b"X-Endless: 1\r\n" * 20_000,
    "a name that is no token": b"HTTP/1.1 200 OK\r\nBad Name: x\r\nContent-Length: 0\r\n\r\n",
}
MEANT: dict[str, tuple[bytes, tuple[int, str], tuple[int, str]]] = {
    # Strict where RFC 9112 lets a client refuse: what is smuggled past proxies begins with leniency.
    "bare line feeds": (b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok", (0, "protocol"), (200, "")),
    "a folded header": (PLAIN + b"X-Fold: a\r\n b\r\n\r\nok", (0, "protocol"), (200, "")),
    "a chunk size with a space": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2 \r\nok\r\n0\r\n\r\n", (0, "protocol"), (200, ""),
    ),
    "a status below 100": (b"HTTP/1.1 099 Odd\r\nContent-Length: 0\r\n\r\n", (0, "protocol"), (99, "")),
    # Ours has room where aiohttp has a smaller default.
    "a header of 20 KB": (PLAIN + b"X-Long: " + b"x" * 20_000 + b"\r\n\r\nok", (200, ""), (0, "protocol")),
    # The data is whole; what follows it is the server's litter.
    "litter behind gzip": (encoded(b"gzip", ZIPPED + b"litter"), (200, ""), (0, "protocol")),
}  # fmt: skip


@pytest.mark.parametrize("name", SAME)
async def test_odd_responses_mean_the_same(name: str) -> None:
    """Status, body and kind of error agree."""
    ours, theirs = await both(scripted(SAME[name], close=True))
    assert (ours.status, ours.body, ours.category) == (theirs.status, theirs.body, theirs.category)


@pytest.mark.parametrize("name", MEANT)
async def test_what_differs_is_meant(name: str) -> None:
    """Each client answers as is written down here."""
    answer, mine, other = MEANT[name]
    ours, theirs = await both(scripted(answer, close=True))
    assert ((ours.status, ours.category), (theirs.status, theirs.category)) == (mine, other)


async def test_x_gzip_is_gzip_and_quotes_belong_to_a_cookie() -> None:
    """RFC 9110 8.4.1.3 and RFC 6265bis 5.6, where aiohttp hands over the raw body and takes the quotes away."""
    ours, theirs = await both(scripted(encoded(b"x-gzip", ZIPPED)))
    assert (ours.body, theirs.body) == (b"zipped", ZIPPED)
    ours, theirs = await both(scripted(reply(headers='Set-Cookie: a="b"')))
    assert (ours.cookies, theirs.cookies) == ({("a", "/"): '"b"'}, {("a", "/"): "b"})
