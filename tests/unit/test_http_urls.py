"""URLs, hosts and parameters as they go on the wire."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadproof.http.errors import InvalidRequest
from loadproof.http.hosts import ascii_host
from loadproof.http.urls import Address, encode_query, encode_target, parse_url, resolve_reference, with_query


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("/a b", "/a%20b"),
        ("/ä", "/%C3%A4"),
        ("/a%20b", "/a%20b"),
        ("/100%", "/100%25"),
        ("/a#part", "/a"),
        ("", "/"),
        ("/a?q=x|y", "/a?q=x%7Cy"),
        ("/{id}", "/%7Bid%7D"),
    ],
)
def test_target_is_encoded_once(text, sent):
    """Unsafe characters are escaped, escapes that are there stay, fragments are not sent."""
    assert encode_target(text) == sent


@given(st.text())
def test_any_text_becomes_a_safe_target_or_is_refused(text):
    """No text can put a space or a line break into the request line."""
    try:
        target = encode_target(text)
    except InvalidRequest:
        return
    assert target.isascii()
    assert target.startswith("/")
    assert not set(target) & set(" \r\n\t#")
    assert encode_target(target) == target


@pytest.mark.parametrize("url", ["/a\r\nX: y", "/a\nb", "/\x00", "http://h/\r\n", "http://h\r\n/", "/\x7f"])
def test_control_characters_are_refused(url):
    """A URL with a control character is an error, not cleaned up and sent."""
    with pytest.raises(InvalidRequest):
        parse_url(url) if "://" in url else encode_target(url)


@pytest.mark.parametrize(
    ("url", "address", "target"),
    [
        ("http://h", Address("http", "h", 80), "/"),
        ("HTTPS://Ex.Com:8443/A?b", Address("https", "ex.com", 8443), "/A?b"),
        ("http://[::1]:81/x", Address("http", "::1", 81), "/x"),
        ("http://[0:0::1]/", Address("http", "::1", 80), "/"),
        ("http://bücher.example/", Address("http", "xn--bcher-kva.example", 80), "/"),
        ("http://faß.example/", Address("http", "xn--fa-hia.example", 80), "/"),
    ],
)
def test_absolute_urls_are_taken_apart(url, address, target):
    """Scheme and host are normal, names are IDNA, addresses compressed."""
    location = parse_url(url)
    assert (location.address, location.target) == (address, target)


def test_user_and_password_are_decoded():
    """Percent escapes in the user part are undone."""
    assert parse_url("http://u%40x:p%3Aq@h/").userinfo == ("u@x", "p:q")


@pytest.mark.parametrize(
    "url", ["ftp://h/", "http://", "http://h:99999/", "http://h:0/", "http://[::1/", "http://a b/"]
)
def test_bad_urls_are_refused(url):
    """What can't be a request is refused with a typed error."""
    with pytest.raises(InvalidRequest):
        parse_url(url)


def test_host_header_has_brackets_and_no_default_port():
    """`Host` is written as RFC 9112 wants it."""
    assert Address("http", "::1", 80).authority == "[::1]"
    assert Address("https", "h", 443).authority == "h"
    assert Address("https", "h", 80).url == "https://h:80"


def test_bad_international_names_are_refused():
    """A name IDNA doesn't know is an error before DNS is asked."""
    with pytest.raises(InvalidRequest):
        ascii_host("ａ" * 80 + "é.example")


@pytest.mark.parametrize(
    ("params", "query"),
    [
        ({"q": "a b&c"}, "q=a+b%26c"),
        ({"n": 1, "ok": True}, "n=1&ok=true"),
        ({"k": ["a", "b"]}, "k=a&k=b"),
        ([("a", "1"), ("a", "2")], "a=1&a=2"),
        ("?raw=a%20b&ü", "raw=a%20b&%C3%BC"),
        ({}, ""),
    ],
)
def test_params_are_encoded(params, query):
    """Mappings, lists of pairs and text all become a query."""
    assert encode_query(params) == query


def test_params_follow_a_query_that_is_there():
    """`params=` adds to the URL's own query."""
    assert with_query("/a?x=1", {"y": 2}) == "/a?x=1&y=2"
    assert with_query("/a", {}) == "/a"


def test_references_are_resolved_against_the_page():
    """Relative, absolute-path and absolute Locations all resolve."""
    base = "http://h/a/b?c"
    assert resolve_reference(base, "d") == "http://h/a/d"
    assert resolve_reference(base, "//k/x") == "http://k/x"
    assert resolve_reference(base, " /x ") == "http://h/x"
