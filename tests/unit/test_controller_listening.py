"""What is said of an address that cannot be listened at."""

from __future__ import annotations

import socket

import pytest

from loadproof_controller.listening import cannot_listen


def test_a_port_that_is_taken_is_said_to_be() -> None:
    """With the option that names another."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        text = str(cannot_listen(address, "--agents-port", "where agents come in"))
    assert text == (
        f"cannot listen at {address}, where agents come in: "
        "the port is in use (another controller?); choose another with --agents-port"
    )


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("192.0.2.7:7443", "192.0.2.7 is not an address of this machine; name one of its own with --listen"),
        ("[2001:db8::7]:7443", "2001:db8::7 is not an address of this machine"),
        ("no such host:7443", "the host no such host cannot be found; name an address of this machine with --listen"),
        ("127.0.0.1:0", "it is free now; start again"),
    ],
)
def test_each_cause_has_its_own_words(address: str, words: str) -> None:
    """A foreign address, a host that is none, and a port that has become free."""
    assert words in str(cannot_listen(address, "--listen", "where people come in"))


def test_a_port_for_the_administrator_only_is_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """Below 1024, most machines let nobody else listen."""

    class Forbidding(socket.socket):
        def bind(self, _address: object) -> None:
            raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket, "socket", Forbidding)
    text = str(cannot_listen("127.0.0.1:443", "--listen", "where people come in"))
    assert "this user may not listen at port 443; choose one above 1023 with --listen" in text
