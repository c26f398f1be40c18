"""Who asks, over HTTP: a token in a header for programs, a signed cookie for browsers, and what protects the cookie.

A session survives a restart of the controller: the cookie names its token's id, its end and a random number, signed
with a key in the data folder. A token that is revoked or expired ends its sessions at once.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import orjson
from aiohttp import web

from loadproof.trust import TrustError, parse_token
from loadproof_controller.errors import ServiceError
from loadproof_controller.security import Caller
from loadproof_controller.security.files import write_private

SESSION_S = 12 * 3600
COOKIE_CHARACTERS_MAX = 500
TOKEN_CHARACTERS_MAX = 400
KEY_FILE = "web.key"
KEY_BYTES = 32
BEARER = "Bearer "

CallerOf = Callable[[str], Caller | None]


@dataclass(frozen=True, slots=True)
class Session:
    """A browser that has logged in. `csrf` goes into its forms."""

    caller: Caller
    csrf: str


class Sessions:
    """Makes and reads session cookies. `caller_by_id` says whose token an id is, while it is good."""

    def __init__(
        self, folder: Path, caller_by_id: CallerOf, *, secure: bool, now: Callable[[], float] = time.time
    ) -> None:
        self._key = _key(folder / KEY_FILE)
        self._caller_by_id = caller_by_id
        self._secure = secure
        self._now = now
        self.cookie = "__Host-loadproof" if secure else "loadproof"

    def begin(self, response: web.StreamResponse, caller: Caller) -> None:
        """Let the browser that gets `response` be `caller` for 12 hours."""
        payload = orjson.dumps([caller.token_id, int(self._now()) + SESSION_S, secrets.token_hex(8)])
        body = base64.urlsafe_b64encode(payload).decode()
        value = f"{body}.{self._sign('session', body)}"
        response.set_cookie(
            self.cookie, value, max_age=SESSION_S, path="/", httponly=True, samesite="Strict", secure=self._secure
        )

    def end(self, response: web.StreamResponse) -> None:
        """Make the browser forget."""
        response.del_cookie(self.cookie, path="/", httponly=True, samesite="Strict", secure=self._secure)

    def read(self, request: web.Request) -> Session | None:
        """Return whose browser asks; None when it has no cookie of ours that is still good."""
        body, dot, signature = request.cookies.get(self.cookie, "")[:COOKIE_CHARACTERS_MAX].partition(".")
        if not dot or not hmac.compare_digest(signature.encode(), self._sign("session", body).encode()):
            return None
        try:
            token_id, end, _nonce = orjson.loads(base64.urlsafe_b64decode(body))
        except (ValueError, TypeError, binascii.Error):
            return None
        caller = self._caller_by_id(token_id) if end > self._now() else None
        return None if caller is None else Session(caller, self._sign("form", body))

    def _sign(self, purpose: str, body: str) -> str:
        return hmac.new(self._key, f"{purpose}:{body}".encode(), hashlib.sha256).hexdigest()


def _key(path: Path) -> bytes:
    try:
        key = path.read_bytes()
    except FileNotFoundError:
        key = b""
    except OSError as error:
        raise ServiceError(f"{path} cannot be read: {error.strerror}") from error
    if len(key) != KEY_BYTES:
        key = secrets.token_bytes(KEY_BYTES)
        write_private(path, key)
    return key


def secret_of(text: str) -> str:
    """Return the secret in a token's text, "" when it is none."""
    try:
        return parse_token(text.strip()[:TOKEN_CHARACTERS_MAX]).secret
    except TrustError:
        return ""


def bearer(request: web.Request) -> str | None:
    """Return the token's secret in the Authorization header, "" when it is none of ours, None without the header."""
    header = request.headers.get("Authorization")
    if header is None:
        return None
    return secret_of(header.removeprefix(BEARER)) if header.startswith(BEARER) else ""


def same_origin(request: web.Request) -> bool:
    """Say whether a form was posted by a page of ours, as far as the browser tells (Fetch Metadata, Origin)."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None and site not in {"same-origin", "none"}:
        return False
    origin = request.headers.get("Origin")
    return origin is None or origin.rpartition("//")[2] == request.host


class FailureLimit:
    """Bounds failed logins: after `free` of an address within a minute, the next have to wait for the minute's end."""

    ADDRESSES_MAX = 10_000
    WINDOW_S = 60.0

    def __init__(self, free: int = 10, clock: Callable[[], float] = time.monotonic) -> None:
        self._free = free
        self._clock = clock
        self._failures: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def wait_s(self, address: str) -> int:
        """Return how many seconds `address` has to wait, 0 when it may try."""
        since, count = self._failures.get(address, (0.0, 0))
        left = since + self.WINDOW_S - self._clock()
        return int(left) + 1 if count >= self._free and left > 0 else 0

    def failed(self, address: str) -> None:
        """Note a failure."""
        now = self._clock()
        since, count = self._failures.pop(address, (now, 0))
        if now - since > self.WINDOW_S:
            since, count = now, 0
        self._failures[address] = (since, count + 1)
        if len(self._failures) > self.ADDRESSES_MAX:
            self._failures.popitem(last=False)
