"""Takes what is nobody's business out of requests, responses and messages before they are kept."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

SAMPLE_BYTES_MAX = 2_048
"""Bytes of a body kept in an error's sample."""
HEADERS_MAX = 40
"""Headers kept in an error's sample."""
HIDDEN = "[redacted]"

_SENSITIVE = re.compile(
    r"authori[sz]ation|cookie|token|secret|passw(?:or)?d|passphrase|api[-_]?key|credential|signature|session[-_]?id",
    re.IGNORECASE,
)
_SENSITIVE_SHORT = frozenset({"auth", "key", "sig", "sid", "pwd"})
_STRING = r"""(?:"(?:[^"\\]|\\.)*(?:"|$)|'(?:[^'\\]|\\.)*(?:'|$))"""
_PAIR = re.compile(r"(?P<start>[?&;(,]|^|(?<=\s))(?P<name>[\w.\-\[\]]{1,60})=(?:" + _STRING + r"|[^&;#\s\"'<>]*)")
_QUOTED_PAIR = re.compile(
    r"""(?P<start>(?P<quote>["'])(?P<name>[^"'\\]{1,60})(?P=quote)\s*:\s*)(?:""" + _STRING + r"|-?\d[\d.eE+-]*)"
)
_USER_INFO = re.compile(r"(?<=://)[^/@\s]+@")
_BEARER = re.compile(r"\b(Bearer|Basic)\s+[A-Za-z0-9._~+/=-]{6,}", re.IGNORECASE)
_SECRET_LENGTH_MIN = 4


def is_sensitive(name: str) -> bool:
    """Say whether a header, query parameter or JSON key of this name holds something to hide."""
    return name.lower() in _SENSITIVE_SHORT or _SENSITIVE.search(name) is not None


class Redactor:
    """Hides secret values wherever they stand, and the values of names that sound like credentials.

    `secrets` are values by name; those under 4 characters are left alone, they would blank out half of every text.
    """

    __slots__ = ("_pattern", "_replacements")

    def __init__(self, secrets: Mapping[str, str] | None = None) -> None:
        values = {value: name for name, value in (secrets or {}).items() if len(value) >= _SECRET_LENGTH_MIN}
        self._replacements = {value: f"[redacted:{name}]" for value, name in values.items()}
        longest_first = sorted(values, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def holds_secret(self, text: str) -> bool:
        """Say whether a secret value stands in `text`."""
        return self._pattern is not None and self._pattern.search(text) is not None

    def text(self, text: str) -> str:
        """Return a line of free text, as an error message, without secrets."""
        if self._pattern is not None:
            text = self._pattern.sub(lambda match: self._replacements[match[0]], text)
        if "://" in text:
            text = _USER_INFO.sub(f"{HIDDEN}@", text)
        if "=" in text:
            text = _PAIR.sub(_hide_pair, text)
        if ":" in text:
            text = _QUOTED_PAIR.sub(_hide_quoted, text)
        return _BEARER.sub(rf"\1 {HIDDEN}", text)

    def body(self, body: bytes, content_type: str = "") -> str:
        """Return the first `SAMPLE_BYTES_MAX` of a body as text without secrets; binary bodies only by their size."""
        if not body:
            return ""
        # Cut first, with room for what is hidden at the edge: a body may be megabytes.
        start = body[: SAMPLE_BYTES_MAX * 2]
        if b"\x00" in start:
            return f"<{len(body)} bytes{f' of {content_type}' if content_type else ''}>"
        text = self.text(start.decode("utf-8", "replace"))
        if len(body) > SAMPLE_BYTES_MAX:
            text = f"{text[:SAMPLE_BYTES_MAX]}… ({len(body)} bytes)"
        return text

    def headers(self, pairs: Iterable[tuple[str, str]]) -> list[str]:
        """Return header lines, values of sensitive names hidden, at most `HEADERS_MAX`."""
        lines: list[str] = []
        for name, value in pairs:
            if len(lines) == HEADERS_MAX:
                lines.append("…")
                break
            lines.append(f"{name}: {HIDDEN if is_sensitive(name) else self.text(value[:SAMPLE_BYTES_MAX])}")
        return lines


def _hide_pair(match: re.Match[str]) -> str:
    return f"{match['start']}{match['name']}={HIDDEN}" if is_sensitive(match["name"]) else match[0]


def _hide_quoted(match: re.Match[str]) -> str:
    quote = match["quote"]
    return f"{match['start']}{quote}{HIDDEN}{quote}" if is_sensitive(match["name"]) else match[0]
