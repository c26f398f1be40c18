"""The cookie jar of one virtual user."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadproof.http.cookies import Cookie, CookieJar, default_path, parse_date, parse_set_cookie, path_matches

NOW_S = 1_800_000_000.0


def jar_with(*lines, host="shop.example.com", path="/a/b", secure=True):
    jar = CookieJar()
    jar.store(lines, host, path, secure=secure, now_s=NOW_S)
    return jar


def sent(jar, host="shop.example.com", path="/a/c", *, secure=True, now_s=NOW_S):
    return jar.header(host, path, secure=secure, now_s=now_s)


def test_host_only_cookie_goes_back_to_its_host_only():
    """Without Domain a cookie is for exactly the host that set it."""
    jar = jar_with("a=1")
    assert sent(jar) == "a=1"
    assert sent(jar, "www.shop.example.com") == sent(jar, "example.com") == ""


def test_domain_cookie_goes_to_sub_domains():
    """With Domain a cookie is for the domain and everything below it."""
    jar = jar_with("a=1; Domain=.Example.com")
    assert sent(jar, "example.com") == sent(jar, "x.y.example.com") == "a=1"
    assert sent(jar, "badexample.com") == ""


@pytest.mark.parametrize(
    ("host", "domain"),
    [
        ("shop.example.com", "com"),
        ("shop.example.co.uk", "co.uk"),
        ("me.github.io", "github.io"),
        ("shop.example.com", "other.com"),
        ("shop.example.com", "sub.shop.example.com"),
        ("shop.local", "local"),
        ("10.0.0.1", "0.0.1"),
    ],
)
def test_foreign_and_public_suffix_domains_are_refused(host, domain):
    """Nobody sets cookies for domains that others share."""
    assert len(jar_with(f"a=1; Domain={domain}", host=host)) == 0


def test_public_suffix_that_is_the_host_itself_becomes_host_only():
    """A site on a public suffix may set cookies for itself."""
    jar = jar_with("a=1; Domain=localhost", host="localhost")
    assert sent(jar, "localhost") == "a=1"
    assert sent(jar, "x.localhost") == ""


def test_address_with_its_own_domain_is_kept():
    """An IP address may name itself."""
    jar = jar_with("a=1; Domain=127.0.0.1", host="127.0.0.1")
    assert sent(jar, "127.0.0.1") == "a=1"


def test_secure_cookies_need_a_secure_request_both_ways():
    """Secure cookies are neither set nor sent without TLS."""
    assert len(jar_with("a=1; Secure", secure=False)) == 0
    assert sent(jar_with("a=1; Secure"), secure=False) == ""


def test_paths_select_and_order():
    """Only cookies of a prefix path are sent, the longest path first."""
    jar = jar_with("a=1; Path=/", "b=2; Path=/a", "c=3", "d=4; Path=/x")
    assert sent(jar, path="/a/c") == "b=2; c=3; a=1"
    assert sent(jar, path="/abc") == "a=1"


def test_max_age_wins_over_expires_and_ends():
    """Max-Age counts from the response; Expires is ignored beside it."""
    jar = jar_with("a=1; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=10")
    assert sent(jar, now_s=NOW_S + 9) == "a=1"
    assert sent(jar, now_s=NOW_S + 10) == ""
    assert len(jar) == 0


def test_expired_cookie_removes_the_one_that_is_there():
    """Servers delete by sending an old date."""
    jar = jar_with("a=1")
    jar.store(["a=; Expires=Thu, 01 Jan 1970 00:00:00 GMT"], "shop.example.com", "/a/b", secure=True, now_s=NOW_S)
    assert len(jar) == 0


def test_later_cookie_replaces():
    """Same name, domain and path: the value changes, also in what is sent."""
    jar = jar_with("a=1")
    assert sent(jar) == "a=1"
    jar.store(["a=2"], "shop.example.com", "/a/b", secure=True, now_s=NOW_S)
    assert sent(jar) == "a=2"


def test_prefixes_are_kept():
    """`__Host-` and `__Secure-` names have to be what they say."""
    assert len(jar_with("__Host-a=1; Secure; Path=/")) == 1
    assert len(jar_with("__Host-a=1; Secure; Path=/; Domain=shop.example.com")) == 0
    assert len(jar_with("__Host-a=1; Path=/")) == 0
    assert len(jar_with("__Secure-a=1")) == 0


@pytest.mark.parametrize("line", ["", ";", "=", "a=\x00b", "a=" + "x" * 5000])
def test_hostile_lines_are_ignored(line):
    """Empty, controlled and huge cookies are dropped."""
    assert len(jar_with(line)) == 0


def test_jar_has_a_bound():
    """A server can't grow a jar without end."""
    jar = jar_with(*(f"c{n}=1" for n in range(1500)))
    assert len(jar) == 1000


@given(st.text(max_size=200), st.text(max_size=30), st.text(max_size=30))
def test_any_line_is_parsed_or_refused(line, host, path):
    """No Set-Cookie line raises, and none can inject a header."""
    cookie = parse_set_cookie(line, host, path, secure=True, now_s=NOW_S)
    assert cookie is None or not set(cookie.name + cookie.value) & set("\r\n\x00;")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("Sun, 06 Nov 1994 08:49:37 GMT", 784111777.0),
        ("Sunday, 06-Nov-94 08:49:37 GMT", 784111777.0),
        ("Sun Nov  6 08:49:37 1994", 784111777.0),
        ("06 Nov 2068 08:49:37", 3119417377.0),
        ("tomorrow", None),
        ("31 Feb 2020 00:00:00", None),
        ("1 Jan 1600 00:00:00", None),
        ("1 Jan 2020 25:00:00", None),
    ],
)
def test_cookie_dates(text, seconds):
    """The three date forms in use are read; others count as absent."""
    assert parse_date(text) == seconds


def test_paths():
    """Default paths and path matching after RFC 6265bis."""
    assert [default_path(p) for p in ("/", "/a", "/a/b", "")] == ["/", "/", "/a", "/"]
    assert path_matches("/a/b", "/a/")
    assert not path_matches("/ab", "/a")


def test_set_and_clear():
    """Cookies can be put in by hand and forgotten."""
    jar = CookieJar()
    jar.set(Cookie("a", "1", "h"), NOW_S)
    assert sent(jar, "h", "/") == "a=1"
    assert [cookie.name for cookie in jar] == ["a"]
    jar.clear()
    assert sent(jar, "h", "/") == ""
