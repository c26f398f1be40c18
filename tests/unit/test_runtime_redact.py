"""What is taken out of samples, messages and logs before they are kept."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadproof.runtime.redact import HEADERS_MAX, SAMPLE_BYTES_MAX, Redactor


@pytest.mark.parametrize(
    "name",
    [
        "Authorization", "Cookie", "Set-Cookie", "Proxy-Authorization", "X-Api-Key", "x-auth-token", "client_secret",
        "access_token", "password", "passwd", "session_id", "X-Amz-Signature", "sig", "apikey", "X-CSRF-Token",
    ],
)  # fmt: skip
def test_names_that_sound_like_credentials_are_hidden_everywhere(name: str) -> None:
    """Headers, query parameters, forms and JSON keys of such names lose their values and keep their names."""
    redactor = Redactor()
    assert redactor.headers([(name, "v4lue")]) == [f"{name}: [redacted]"]
    assert redactor.text(f"GET http://h/p?a=1&{name}=v4lue&b=2") == f"GET http://h/p?a=1&{name}=[redacted]&b=2"
    assert "v4lue" not in redactor.body(f"{name}=v4lue&a=1".encode())
    assert "v4lue" not in redactor.body(f'{{"{name}": "v4lue\\" and more", "a": 1}}'.encode())
    assert "4711" not in redactor.body(f'{{"{name}": 4711}}'.encode())


@pytest.mark.parametrize("name", ["Accept", "Content-Type", "q", "page", "author", "monkey", "X-Request-Id"])
def test_ordinary_names_keep_their_values(name: str) -> None:
    """What helps to find the cause stays readable."""
    assert Redactor().headers([(name, "v4lue")]) == [f"{name}: v4lue"]
    assert "v4lue" in Redactor().text(f"http://h/p?{name}=v4lue")


@given(st.text(min_size=4, max_size=12), st.text(max_size=30), st.text(max_size=30))
def test_a_secret_value_is_found_wherever_it_stands(secret: str, before: str, after: str) -> None:
    """No text that was redacted holds a secret's value, unless the replacement itself happens to."""
    found = Redactor({"KEY": secret}).text(before + secret + after)
    assert (
        secret not in found.replace("[redacted:KEY]", "\x00").replace("[redacted]", "\x00")
        or secret in "[redacted:KEY]"
    )


def test_the_longer_of_two_secrets_is_hidden_whole() -> None:
    """A secret that begins with another leaves no tail."""
    redactor = Redactor({"A": "hunter", "B": "hunter2000"})
    assert redactor.text("hunter2000 hunter") == "[redacted:B] [redacted:A]"


def test_short_secrets_do_not_blank_out_everything() -> None:
    """A value of under four characters would be found all over the place."""
    assert Redactor({"A": "1"}).text("11 of 100") == "11 of 100"


def test_passwords_in_urls_and_bearer_tokens_are_hidden() -> None:
    """Credentials that have no name are known by their form."""
    assert Redactor().text("http://user:pw@host/p") == "http://[redacted]@host/p"
    assert Redactor().text("sent Bearer abc.def-123 there") == "sent Bearer [redacted] there"


def test_bodies_are_cut_and_binary_ones_only_measured() -> None:
    """At most 2 KB are kept, and the full size is told."""
    text = Redactor().body(b"x" * 10_000)
    assert text == "x" * SAMPLE_BYTES_MAX + "… (10000 bytes)"
    assert Redactor().body(b"\x89PNG\x00\x01", "image/png") == "<6 bytes of image/png>"
    assert Redactor().body(b"") == ""


def test_headers_are_bounded() -> None:
    """A response with endless headers fills no report."""
    assert len(Redactor().headers([(f"x-{n}", "v") for n in range(1000)])) == HEADERS_MAX + 1


@pytest.mark.parametrize(
    "text",
    [
        "Customer(name='ada', password='v4lue x', age=3)",
        "Customer(name='ada', password=\"v4'lue x\")",
        "{'name': 'ada', 'password': 'v4lue x'}",
        'KeyError: {"password": "v4lue x"}',
        "password='v4lue x",
    ],
)
def test_values_in_the_repr_of_an_object_are_hidden(text: str) -> None:
    """Error messages often print rows and dictionaries."""
    hidden = Redactor().text(text)
    assert "lue" not in hidden
    assert "password" in hidden
    assert "ada" in hidden or "ada" not in text
