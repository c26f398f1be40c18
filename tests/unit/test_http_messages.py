"""Headers, bodies and encodings."""

import contextlib
import gzip
import zlib

import brotli
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from loadproof.http.decoding import decode_body
from loadproof.http.errors import DecodeError, InvalidRequest
from loadproof.http.headers import Headers, header_line, header_lines
from loadproof.http.payload import build_payload


def raw_deflate(data):
    squeezer = zlib.compressobj(wbits=-15)
    return squeezer.compress(data) + squeezer.flush()


ENCODERS = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstandard.compress,
}


@given(st.binary(max_size=5000), st.sampled_from(sorted(ENCODERS)))
def test_every_encoding_is_undone(data, name):
    """gzip, deflate, br and zstd come back as they were."""
    assert decode_body(ENCODERS[name](data), name.upper(), 10_000) == data


@given(st.binary(max_size=2000))
def test_raw_deflate_is_undone(data):
    """`deflate` without its zlib wrapper is accepted, as browsers do."""
    assert decode_body(raw_deflate(data), "deflate", 10_000) == data


def test_stacked_encodings_are_undone_last_first():
    """Two encodings come off in reverse order."""
    assert decode_body(gzip.compress(brotli.compress(b"hello")), "br, gzip", 100) == b"hello"


@pytest.mark.parametrize("name", ["gzip", "deflate", "br", "zstd"])
def test_bombs_end_at_the_limit(name):
    """A body that decodes to more than the limit is an error, whatever its size on the wire."""
    bomb = ENCODERS[name](bytes(3_000_000))
    with pytest.raises(DecodeError, match="more than"):
        decode_body(bomb, name, 1_000_000)


@pytest.mark.parametrize("name", ["gzip", "deflate", "br", "zstd"])
def test_truncated_bodies_are_errors(name):
    """A body cut in the middle is an error and not a short answer."""
    whole = ENCODERS[name](bytes(range(256)) * 40)
    with pytest.raises(DecodeError):
        decode_body(whole[: len(whole) // 2], name, 1_000_000)


@given(st.binary(min_size=1, max_size=300), st.sampled_from(sorted(ENCODERS)))
def test_junk_is_an_error_or_some_bytes(data, name):
    """Junk under an encoding never raises anything but DecodeError and never passes the limit."""
    with contextlib.suppress(DecodeError):
        assert len(decode_body(data, name, 1000)) <= 1000


def test_unknown_encodings_leave_the_body():
    """What we can't undo is handed over as it is."""
    assert decode_body(b"x", "rot13", 10) == b"x"
    assert decode_body(b"x", "identity", 10) == b"x"


def test_towers_of_encodings_are_refused():
    """More than four layers are an attack."""
    with pytest.raises(DecodeError, match="layers"):
        decode_body(b"x", "gzip," * 5, 10)


def test_several_gzip_members_are_one_body():
    """Members follow each other as in files."""
    assert decode_body(gzip.compress(b"a") + gzip.compress(b"b"), "gzip", 10) == b"ab"


def test_headers_are_a_case_insensitive_multi_mapping():
    """First value by name, all by `getall`, repeats in order."""
    headers = Headers.parse(b"HTTP/1.1 200 OK\r\nA: 1\r\nb:2 \r\nA:  3\r\nEmpty:\r\nfolded: x\r\n  y")
    assert headers["a"] == headers["A"] == "1"
    assert headers.getall("a") == ["1", "3"]
    assert headers.get("empty") == ""
    assert "B" in headers
    assert 1 not in headers
    assert headers["folded"] == "x y"
    assert list(headers) == ["A", "b", "Empty", "folded"]
    assert len(headers) == 4
    assert headers.getall("none") == []
    assert headers.multi_items()[1] == ("b", "2")
    with pytest.raises(KeyError):
        headers["none"]


def test_headers_compare_with_mappings():
    """Names compare without case."""
    assert Headers([("A", "1")]) == {"a": "1"}
    assert Headers([("A", "1")]) == Headers([("a", "1")])
    assert Headers([("A", "1")]) != Headers([("a", "2")])
    assert Headers() != 3
    assert "A" in repr(Headers([("A", "1")]))


@given(st.binary(max_size=300))
def test_any_head_is_parsed(head):
    """No head raises."""
    Headers.parse(head)


@pytest.mark.parametrize("value", ["a\r\nX: y", "a\nb", "a\rb", "a\x00b", "\x7f"])
def test_header_injection_is_refused(value):
    """A value with a control character is never sent."""
    with pytest.raises(InvalidRequest, match="control"):
        header_line("X-A", value)


@pytest.mark.parametrize("name", ["", "a b", "a:b", "a\r\nb", "ä"])
def test_bad_header_names_are_refused(name):
    """A name that is no token is never sent."""
    with pytest.raises(InvalidRequest, match="token"):
        header_line(name, "x")


def test_header_lines_keep_repeats():
    """Two headers of one name are two lines."""
    assert header_lines([("A", 1), ("a", "2")]) == {"a": b"A: 1\r\na: 2\r\n"}


def test_json_body():
    """`json=` is compact JSON."""
    assert build_payload({"a": [1, "ü"]}, None, None) == ('{"a":[1,"ü"]}'.encode(), "application/json")


def test_form_body():
    """`data=` of a mapping is a form; lists repeat, None is left out."""
    payload = build_payload(None, {"a": "x y", "b": ["1", 2], "c": None, "d": True}, None)
    assert payload == (b"a=x+y&b=1&b=2&d=true", "application/x-www-form-urlencoded")


def test_raw_bodies():
    """Bytes and text are sent as they are."""
    assert build_payload(None, b"\x00", None) == (b"\x00", "application/octet-stream")
    assert build_payload(None, "ü", None) == ("ü".encode(), "text/plain; charset=utf-8")
    assert build_payload(None, None, None) is None


def test_multipart_body():
    """Fields and files become parts; names can't break out of their header."""
    payload = build_payload(None, {"title": "T"}, {"doc": ('../x"\r\n.txt', "body", "text/plain"), "raw": b"\x01"})
    assert payload is not None
    boundary = payload.content_type.partition("boundary=")[2].encode()
    assert payload.body.count(b"--" + boundary) == 4
    assert b'name="doc"; filename="x%22%0D%0A.txt"\r\nContent-Type: text/plain\r\n\r\nbody\r\n' in payload.body
    assert b'name="title"\r\n\r\nT\r\n' in payload.body


@pytest.mark.parametrize(
    ("json", "data", "files"),
    [
        ({}, b"x", None),
        (object(), None, None),
        (None, 3, None),
        (None, [1], None),
        (None, None, {"a": 3}),
        (None, None, {"a": ("n", b"", "a/b\r\nX: y")}),
        (None, None, {"a": bytes(17 << 20)}),
    ],
)
def test_bad_bodies_are_refused(json, data, files):
    """Contradictions, wrong types and huge uploads are told before anything is sent."""
    with pytest.raises(InvalidRequest):
        build_payload(json, data, files)
