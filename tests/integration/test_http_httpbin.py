"""httpbin's documented endpoints through our client, on loopback.

Its own requirements contradict ours (it wants greenlet below 3, Playwright above), so it is installed without them.
"""

import contextlib
import logging
import threading
from collections.abc import Iterator

import pytest

from http_clients import client_of
from loadproof.http import RequestTimeout as Late

pytest.importorskip("httpbin", reason="`make test` installs it: pip install --no-deps httpbin")


@pytest.fixture(name="url", scope="module")
def _url() -> Iterator[str]:
    """The address of a httpbin in a thread of its own."""
    with contextlib.ExitStack() as stack:
        logging.getLogger("httpbin.core").setLevel(logging.ERROR)  # says once that its API pages are not installed
        from httpbin import app
        from werkzeug.serving import make_server

        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        server = make_server("127.0.0.1", 0, app, threaded=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        stack.callback(server.server_close)
        stack.callback(thread.join)
        stack.callback(server.shutdown)
        yield f"http://127.0.0.1:{server.server_port}"


@pytest.fixture(name="user")
async def _user(url):
    async with client_of(url) as (client, _):
        yield client


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
async def test_methods_and_anything(user, method):
    """Each method arrives with its query and headers."""
    for path in (f"/{method.lower()}", "/anything/x"):
        response = await user.request(method, path, params={"a": "ü b"}, headers={"X-A": "1"})
        answer = response.json()
        assert answer["args"] == {"a": "ü b"}
        assert answer["headers"]["X-A"] == "1"


async def test_bodies(user):
    """JSON, form, raw text and files arrive as what they are."""
    assert (await user.post("/post", json={"a": [1, None]})).json()["json"] == {"a": [1, None]}
    assert (await user.post("/post", data={"a": ["1", "2"], "b": "ü"})).json()["form"] == {"a": ["1", "2"], "b": "ü"}
    assert (await user.put("/put", data="text")).json()["data"] == "text"
    upload = await user.post("/post", data={"t": "x"}, files={"f": ("a.txt", "content", "text/plain")})
    assert upload.json()["files"] == {"f": "content"}
    assert upload.json()["form"] == {"t": "x"}


@pytest.mark.parametrize("code", [200, 201, 204, 304, 400, 404, 418, 500, 503])
async def test_statuses(user, code):
    """Every status is a response."""
    assert (await user.get(f"/status/{code}")).status == code


@pytest.mark.parametrize("path", ["/redirect/3", "/relative-redirect/3", "/absolute-redirect/3"])
async def test_redirects(user, path):
    """Three hops, relative and absolute."""
    response = await user.get(path)
    assert (response.status, len(response.history)) == (200, 3)
    assert response.url.endswith("/get")


async def test_redirect_to(user):
    """`/redirect-to` with a status of choice repeats the body for 307."""
    response = await user.post("/redirect-to", params={"url": "/post", "status_code": 307}, data={"a": "b"})
    assert response.json()["form"] == {"a": "b"}


async def test_cookies(user):
    """Set, send and delete."""
    assert (await user.get("/cookies/set", params={"a": "1", "b": "2"})).json()["cookies"] == {"a": "1", "b": "2"}
    assert (await user.get("/cookies/delete", params={"a": ""})).json()["cookies"] == {"b": "2"}
    assert (await user.get("/cookies/set/c/3")).json()["cookies"] == {"b": "2", "c": "3"}


async def test_authentication(user):
    """Basic, hidden basic and bearer."""
    assert (await user.get("/basic-auth/u/p", auth=("u", "p"))).json()["user"] == "u"
    assert (await user.get("/basic-auth/u/p", auth=("u", "wrong"))).status == 401
    assert (await user.get("/hidden-basic-auth/u/p", auth=("u", "p"))).status == 200
    assert (await user.get("/bearer", auth="token")).json()["token"] == "token"


@pytest.mark.parametrize(("path", "key"), [("/gzip", "gzipped"), ("/deflate", "deflated"), ("/brotli", "brotli")])
async def test_compressed(user, path, key):
    """Compressed bodies are undone."""
    assert (await user.get(path)).json()[key] is True


async def test_streams_and_bytes(user):
    """Chunked streams, binary bodies, ranges."""
    lines = (await user.get("/stream/5")).text.splitlines()
    assert len(lines) == 5
    assert len((await user.get("/stream-bytes/5000", params={"seed": 1, "chunk_size": 700})).body) == 5000
    assert len((await user.get("/bytes/1024")).body) == 1024
    part = await user.get("/range/100", headers={"Range": "bytes=10-19"})
    assert (part.status, part.text) == (206, "klmnopqrst")
    assert (await user.get("/drip", params={"numbytes": 5, "duration": 0, "delay": 0})).body == b"*****"


async def test_formats(user):
    """HTML, JSON, XML, UTF-8 text, images and base64."""
    assert "Moby-Dick" in (await user.get("/html")).text
    assert "slideshow" in (await user.get("/json")).json()
    assert (await user.get("/xml")).text.startswith("<?xml")
    assert "∮ E⋅da = Q" in (await user.get("/encoding/utf8")).text
    assert (await user.get("/image/png")).body.startswith(b"\x89PNG")
    assert (await user.get("/base64/aGVsbG8=")).text == "hello"
    assert (await user.get("/robots.txt")).headers["content-type"].startswith("text/plain")
    assert len((await user.get("/uuid")).json()["uuid"]) == 36


async def test_caching_headers(user):
    """Conditional requests get their 304 and keep the connection."""
    assert (await user.get("/cache")).status == 200
    assert (await user.get("/cache", headers={"If-Modified-Since": "x"})).status == 304
    assert (await user.get("/etag/abc", headers={"If-None-Match": "abc"})).status == 304
    assert (await user.get("/cache/60")).headers["cache-control"] == "public, max-age=60"


async def test_inspection(user):
    """What we say of ourselves, and repeated response headers."""
    assert (await user.get("/user-agent")).json()["user-agent"].startswith("loadproof/")
    assert (await user.get("/ip")).json()["origin"] == "127.0.0.1"
    assert "Accept-Encoding" in (await user.get("/headers")).json()["headers"]
    response = await user.get("/response-headers", params={"X-A": ["1", "2"]})
    assert response.headers.getall("x-a") == ["1", "2"]
    head = await user.head("/get")
    assert (head.status, head.body) == (200, b"")
    assert "GET" in (await user.options("/get")).headers["allow"]


async def test_delay_meets_the_timeout(user):
    """A slow answer ends at the request's own timeout."""
    with pytest.raises(Late):
        await user.get("/delay/1", timeout=0.05)
