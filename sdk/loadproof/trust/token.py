"""A token's text: `lp1.<pin>.<secret>`. The pin names the controller's authority, the secret is what it remembers.

TrustError    a token or an address cannot be read, or the controller is not the one the token was made by
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import re
from dataclasses import dataclass, field
from typing import Literal

PREFIX = "lp1"
INSECURE_PIN = "insecure"
"""Stands where the pin would be in tokens of a controller that speaks plaintext on loopback."""
PORT_MAX = 65_535

_TOKEN = re.compile(rf"{PREFIX}\.([A-Za-z0-9_-]{{43}}|{INSECURE_PIN})\.([A-Za-z0-9_-]{{32,64}})")

TrustCode = Literal["token", "address", "unreachable", "plaintext", "authority", "clock"]


class TrustError(Exception):
    """`code` says what; only "unreachable" and "clock" can mend themselves. The text never holds a secret."""

    def __init__(self, code: TrustCode, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


@dataclass(frozen=True, slots=True)
class Token:
    """A parsed token. `pin` is empty where the controller speaks plaintext."""

    pin: str
    secret: str = field(repr=False)

    @property
    def text(self) -> str:
        """Return the token as it is handed over."""
        return f"{PREFIX}.{self.pin or INSECURE_PIN}.{self.secret}"


def authority_pin(certificate_der: bytes) -> str:
    """Return what tokens call an authority: base64url of the SHA-256 of its certificate (DER), without padding."""
    return base64.urlsafe_b64encode(hashlib.sha256(certificate_der).digest()).rstrip(b"=").decode()


def parse_token(text: str) -> Token:
    """Return the token in `text`. Raises `TrustError`, which never repeats the text."""
    match = _TOKEN.fullmatch(text.strip())
    if match is None:
        raise TrustError(
            "token",
            "this is not a token: one looks like lp1.HASH.SECRET; copy the whole of what the controller printed",
        )
    pin = match[1]
    return Token("" if pin == INSECURE_PIN else pin, match[2])


def split_address(address: str) -> tuple[str, int]:
    """Return host and port of `HOST:PORT`; IPv6 in brackets. Raises `TrustError`."""
    host, _, port = address.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    if not bare or not port.isascii() or not port.isdigit() or not 0 <= int(port) <= PORT_MAX:
        raise TrustError("address", f"{address}: not an address; it takes HOST:PORT, for example load.example.com:7443")
    if ":" in bare:
        try:
            ipaddress.IPv6Address(bare)
        except ValueError as error:
            raise TrustError("address", f"{address}: not an address; IPv6 goes in brackets, [::1]:7443") from error
    return bare, int(port)
