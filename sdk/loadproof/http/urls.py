"""URLs as they go on the wire: percent-encoding, params, IDN and IPv6 hosts, and references resolved against a base."""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple
from urllib.parse import quote, quote_plus, unquote, urljoin, urlsplit

from loadproof.http.errors import InvalidRequest
from loadproof.http.hosts import ascii_host

_CONTROL = re.compile(r"[\x00-\x1f\x7f]").search
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_SAFE = (
    "/:@!$&'()*+,;=-._~%?"  # what RFC 3986 allows in a path and query, and the percent sign of what is encoded already
)
_DEFAULT_PORTS = {"http": 80, "https": 443}

Scalar = str | int | float | bool
Params = Mapping[str, Scalar | Iterable[Scalar]] | Iterable[tuple[str, Scalar]] | str


class Address(NamedTuple):
    """Where a request goes: `host` is ASCII, lower case and without brackets."""

    scheme: str
    host: str
    port: int

    @property
    def authority(self) -> str:
        """The `Host` header: brackets around IPv6, no port where it is the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The origin as text, without a final slash."""
        return f"{self.scheme}://{self.authority}"


class Location(NamedTuple):
    """A parsed absolute URL: address, request target (path and query, encoded), and user:password if it had them."""

    address: Address
    target: str
    userinfo: tuple[str, str] | None


def refuse_control(url: str) -> None:
    """Raise InvalidRequest for characters that could end the request line."""
    if _CONTROL(url):
        raise InvalidRequest(f"URL {url!r} has a control character; it was not sent")


def encode_target(text: str) -> str:
    """Path and query as sent: percent-encoded UTF-8, valid escapes kept, the fragment dropped, never empty."""
    refuse_control(text)
    text = text.partition("#")[0]
    if not text.startswith("/"):
        text = "/" + text
    try:
        return quote(_BAD_ESCAPE.sub("%25", text), safe=_SAFE)
    except UnicodeEncodeError as error:
        raise InvalidRequest(f"URL {text!r} is not valid text; it was not sent") from error


def parse_url(url: str) -> Location:
    """Take an absolute http(s) URL apart. Raises InvalidRequest for anything else."""
    refuse_control(url)
    try:
        parts = urlsplit(url.strip())
        port = parts.port
    except ValueError as error:
        raise InvalidRequest(f"URL {url!r} can't be parsed: {error}") from error
    scheme = parts.scheme.lower()
    if scheme not in _DEFAULT_PORTS:
        raise InvalidRequest(f"URL {url!r} is not http or https; for other protocols use their own client")
    if port == 0:
        raise InvalidRequest(f"URL {url!r} has port 0")
    host = ascii_host(parts.hostname or "")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    userinfo = None
    if parts.username is not None:
        userinfo = (unquote(parts.username), unquote(parts.password or ""))
    return Location(Address(scheme, host, port or _DEFAULT_PORTS[scheme]), encode_target(target), userinfo)


def resolve_reference(base: str, reference: str) -> str:
    """The absolute URL that `reference` (a Location header) means on a page at `base`."""
    try:
        return urljoin(base, reference.strip())
    except ValueError as error:
        raise InvalidRequest(f"redirect to {reference!r} can't be parsed: {error}") from error


def encode_query(params: Params) -> str:
    """`a=1&b=2`; lists repeat their key, True is `true`, None is left out by being absent. Text is used as it is."""
    if isinstance(params, str):
        return encode_target("/?" + params.removeprefix("?"))[2:]
    pairs = params.items() if isinstance(params, Mapping) else params
    parts: list[str] = []
    for key, value in pairs:
        name = key if key.isidentifier() and key.isascii() else quote_plus(str(key))
        if isinstance(value, str):
            parts.append(f"{name}={value if value.isalnum() and value.isascii() else quote_plus(value)}")
        elif isinstance(value, (bool, int, float)):
            parts.append(f"{name}={quote_plus(scalar_text(value))}")
        elif value is not None:
            parts.extend(f"{name}={quote_plus(scalar_text(item))}" for item in value)
    return "&".join(parts)


def scalar_text(value: object) -> str:
    """Text of one parameter or form value; booleans as `true` and `false`."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def with_query(target: str, params: Params) -> str:
    """`target` with `params` added after what query it already has."""
    query = encode_query(params)
    if not query:
        return target
    return f"{target}{'&' if '?' in target else '?'}{query}"
