"""Targets and the rate ceiling."""

import pytest

from loadproof.http.errors import TargetRefused
from loadproof.http.hosts import split_host_port
from loadproof.http.policy import TargetPolicy


@pytest.mark.parametrize(
    ("target", "host", "port"),
    [
        ("shop.example.com", "shop.example.com", 443),
        ("Shop.Example.com", "shop.example.com", 80),
        ("shop.example.com:8080", "shop.example.com", 8080),
        ("*.example.com", "a.b.example.com", 1),
        ("*.example.com:81", "a.example.com", 81),
        ("127.0.0.1", "127.0.0.1", 9),
        ("::1", "::1", 9),
        ("[::1]:9", "::1", 9),
        ("[0:0::1]", "::1", 9),
        ("10.0.0.0/8", "10.9.8.7", 1),
    ],
)
def test_allowed(target, host, port):
    """Exact hosts, suffixes, addresses, networks, each with or without a port."""
    TargetPolicy((target,)).check(host, port)


@pytest.mark.parametrize(
    ("target", "host", "port"),
    [
        ("shop.example.com", "example.com", 80),
        ("shop.example.com", "xshop.example.com", 80),
        ("shop.example.com:8080", "shop.example.com", 80),
        ("*.example.com", "example.com", 80),
        ("*.example.com", "badexample.com", 80),
        ("*.example.com:81", "a.example.com", 82),
        ("10.0.0.0/8", "11.0.0.1", 80),
        ("10.0.0.0/8", "ten.example", 80),
    ],
)
def test_refused(target, host, port):
    """Everything else is refused, and the message names what is allowed."""
    with pytest.raises(TargetRefused, match="not allowed"):
        TargetPolicy((target,)).check(host, port)


def test_no_list_allows_all_and_an_empty_list_nothing():
    """None is no list; an empty list is a list."""
    TargetPolicy(None).check("anywhere", 1)
    with pytest.raises(TargetRefused):
        TargetPolicy(()).check("anywhere", 1)


def test_international_targets_match_their_wire_form():
    """A target written with its own letters matches the name that is asked for."""
    TargetPolicy(("*.bücher.example",)).check("www.xn--bcher-kva.example", 80)


def test_ceiling_spaces_requests():
    """Above the ceiling every request waits for its own slot; no request is refused."""
    policy = TargetPolicy(None, 10.0)
    start_ns = 5_000_000_000
    waits = [policy.reserve(start_ns) for _ in range(5)]
    assert waits == [0, 0, 100_000_000, 200_000_000, 300_000_000]


def test_ceiling_is_never_passed_over_a_second():
    """Asked every millisecond, the ceiling lets through its rate and a burst of a tenth of a second at most."""
    policy = TargetPolicy(None, 50.0)
    sent_ns = [now_ns + policy.reserve(now_ns) for now_ns in range(10**9, 3 * 10**9, 10**6)]
    for start_ns in range(10**9, 3 * 10**9, 10**8):
        assert sum(start_ns <= at < start_ns + 10**9 for at in sent_ns) <= 50 + 6


def test_no_ceiling_never_waits():
    """Without a ceiling nothing is delayed."""
    assert TargetPolicy().reserve(1) == 0


@pytest.mark.parametrize("bad", ["h:0", "h:70000", "h:x"])
def test_bad_ports_are_refused(bad):
    """A target with a port that can't be is a mistake to tell about."""
    with pytest.raises(ValueError, match="port"):
        split_host_port(bad)


def test_rate_must_be_positive():
    """A ceiling of zero would stop everything silently."""
    with pytest.raises(ValueError, match="above 0"):
        TargetPolicy(None, 0.0)
