"""A cookie jar of one virtual user, after RFC 6265bis: domain, path, Secure, Max-Age, Expires; no public suffixes.

Source: draft-ietf-httpbis-rfc6265bis, sections 5.5 to 5.7. Wall-clock seconds are a parameter: tests use their own.
"""

import datetime as dt
import functools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from publicsuffixlist import PublicSuffixList

from loadproof.http.hosts import is_address

_COOKIES_MAX = 1000  # of a jar; the oldest goes. Browsers keep 180 of one domain
_COOKIE_BYTES_MAX = 4096  # of name and value together, as in browsers
_HEADERS_MAX = 64  # answers remembered per jar
_FOREVER = float("inf")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]").search


@dataclass(frozen=True, slots=True)
class Cookie:
    """One stored cookie. `domain` has no leading dot; `expires_s` is wall clock, infinite for a session cookie."""

    name: str
    value: str
    domain: str
    path: str = "/"
    host_only: bool = True
    secure: bool = False
    expires_s: float = _FOREVER


class CookieJar:
    """Cookies of one user. `header(host, path, secure, now_s)` is what to send; the empty string for nothing."""

    __slots__ = ("_headers", "_headers_until_s", "stored")

    def __init__(self) -> None:
        self.stored: dict[tuple[str, str, str], Cookie] = {}  # by domain, path and name; always the same object
        self._headers: dict[tuple[str, str, bool], str] = {}  # what `header` has answered since the last change
        self._headers_until_s = _FOREVER  # when the first cookie expires

    def __len__(self) -> int:
        return len(self.stored)

    def __iter__(self) -> Iterator[Cookie]:
        return iter(tuple(self.stored.values()))

    def clear(self) -> None:
        """Forget every cookie."""
        self.stored.clear()
        self._headers.clear()

    def set(self, cookie: Cookie, now_s: float) -> None:
        """Store, replace, or (when it has expired) remove a cookie."""
        key = (cookie.domain, cookie.path, cookie.name)
        self._headers.clear()
        if cookie.expires_s <= now_s:
            self.stored.pop(key, None)
            return
        self.stored[key] = cookie
        if len(self.stored) > _COOKIES_MAX:
            del self.stored[next(iter(self.stored))]

    def store(self, lines: Iterable[str], host: str, path: str, *, secure: bool, now_s: float) -> None:
        """Take the Set-Cookie values of a response of `host`; what may not be set is ignored, as browsers do."""
        for line in lines:
            cookie = parse_set_cookie(line, host, path, secure=secure, now_s=now_s)
            if cookie is not None:
                self.set(cookie, now_s)

    def header(self, host: str, path: str, *, secure: bool, now_s: float) -> str:
        """The Cookie header for a request, longest path first."""
        known = self._headers.get((host, path, secure))
        if known is not None and now_s < self._headers_until_s:
            return known
        for key in [key for key, cookie in self.stored.items() if cookie.expires_s <= now_s]:
            del self.stored[key]
        if now_s >= self._headers_until_s or len(self._headers) >= _HEADERS_MAX or not self._headers:
            self._headers.clear()
            self._headers_until_s = min((cookie.expires_s for cookie in self.stored.values()), default=_FOREVER)
        text = self._headers[host, path, secure] = self._select(host, path, secure=secure)
        return text

    def _select(self, host: str, path: str, *, secure: bool) -> str:
        found = [
            cookie
            for cookie in self.stored.values()
            if (secure or not cookie.secure)
            and (host == cookie.domain or (not cookie.host_only and domain_matches(host, cookie.domain)))
            and path_matches(path, cookie.path)
        ]
        if len(found) > 1:
            found.sort(key=lambda cookie: -len(cookie.path))
        return "; ".join(f"{cookie.name}={cookie.value}" if cookie.name else cookie.value for cookie in found)


def parse_set_cookie(line: str, host: str, path: str, *, secure: bool, now_s: float) -> Cookie | None:
    """The cookie a Set-Cookie line of `host` asks for, or None when it may not be set."""
    pair, *attributes = line.split(";")
    name, equals, value = pair.partition("=")
    if not equals:
        name, value = "", name
    name, value = name.strip(" \t"), value.strip(" \t")
    if (not name and not value) or _CONTROL(line) or len(name) + len(value) > _COOKIE_BYTES_MAX:
        return None
    domain, cookie_path, secure_only = "", "", False
    max_age: float | None = None
    expires: float | None = None
    for attribute in attributes:
        key, _, text = attribute.partition("=")
        key, text = key.strip(" \t").lower(), text.strip(" \t")
        if key == "domain":
            domain = text.removeprefix(".").lower()
        elif key == "path":
            cookie_path = text if text.startswith("/") else ""
        elif key == "secure":
            secure_only = True
        elif key == "max-age" and re.fullmatch(r"-?[0-9]{1,18}", text):
            max_age = float(text)
        elif key == "expires":
            expires = parse_date(text)
    if (secure_only and not secure) or not _prefix_allowed(name, secure_only, domain, cookie_path):
        return None
    if max_age is not None:
        expires_s = now_s + max_age if max_age > 0 else -_FOREVER
    else:
        expires_s = _FOREVER if expires is None else expires
    home = _domain_of(domain, host)
    if home is None:
        return None
    return Cookie(name, value, home[0], cookie_path or default_path(path), home[1], secure_only, expires_s)


def _prefix_allowed(name: str, secure_only: bool, domain: str, path: str) -> bool:
    lowered = name.lower()
    if lowered.startswith("__host-"):
        return secure_only and not domain and path == "/"
    return secure_only or not lowered.startswith("__secure-")


def _domain_of(domain: str, host: str) -> tuple[str, bool] | None:
    """(stored domain, host-only), or None: foreign domains and public suffixes are refused."""
    if not domain or domain == host:
        return host, not domain or is_address(host) or is_public_suffix(host)
    if not domain_matches(host, domain) or is_public_suffix(domain):
        return None
    return domain, False


def domain_matches(host: str, domain: str) -> bool:
    """RFC 6265bis 5.1.3: equal, or a sub-domain of; never for addresses."""
    return host == domain or (host.endswith("." + domain) and not is_address(host))


def path_matches(path: str, cookie_path: str) -> bool:
    """RFC 6265bis 5.1.4."""
    if not path.startswith(cookie_path):
        return False
    return len(path) == len(cookie_path) or cookie_path.endswith("/") or path[len(cookie_path)] == "/"


def default_path(path: str) -> str:
    """RFC 6265bis 5.1.4: the request path up to its last slash."""
    cut = path.rfind("/")
    return path[:cut] if cut > 0 else "/"


def is_public_suffix(domain: str) -> bool:
    """Whether anyone may register below `domain` (`com`, `co.uk`), by Mozilla's list; single labels always."""
    return "." not in domain or bool(_suffixes().is_public(domain))


@functools.cache
def _suffixes() -> "PublicSuffixList":
    return PublicSuffixList()


def preload_suffixes() -> None:
    """Read the list of public suffixes (about 0.1 s) before any load, so that no request waits for it."""
    _suffixes()


def parse_date(text: str) -> float | None:
    """Cookie dates as RFC 6265bis 5.1.1 reads them: any order, several separators. Wall-clock seconds or None."""
    time_of_day: tuple[int, int, int] | None = None
    day = month = year = None
    for token in re.split(r"[\t \x20-\x2f\x3b-\x40\x5b-\x60\x7b-\x7e]+", text):
        clock = re.match(r"(\d{1,2}):(\d{1,2}):(\d{1,2})(?:\D|$)", token, re.ASCII)
        if time_of_day is None and clock:
            time_of_day = (int(clock[1]), int(clock[2]), int(clock[3]))
        elif day is None and re.match(r"\d{1,2}(?:\D|$)", token, re.ASCII):
            day = int(re.split(r"\D", token, maxsplit=1)[0])
        elif month is None and token[:3].lower() in _MONTHS:
            month = _MONTHS.index(token[:3].lower()) + 1
        elif year is None and re.match(r"\d{2,4}(?:\D|$)", token, re.ASCII):
            year = int(re.split(r"\D", token, maxsplit=1)[0])
    if time_of_day is None or day is None or month is None or year is None:
        return None
    if year < 100:
        year += 1900 if year >= 70 else 2000
    if year < 1601:
        return None
    try:
        moment = dt.datetime(year, month, day, *time_of_day, tzinfo=dt.UTC)
    except ValueError:
        return None
    return moment.timestamp()
