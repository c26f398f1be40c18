"""Headers: reading a response's raw head, and writing a request's lines without letting anything be injected."""

import re
from collections.abc import Iterable, Iterator, Mapping

from loadproof.http.errors import InvalidRequest

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
_LAST_CHUNK = re.compile(rb"0+[ \t]*(?:;.*)?").fullmatch
_FIELD_LINE = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+[ \t]*:|[ \t]").match
_FORBIDDEN = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]").search


class Headers(Mapping[str, str]):
    """Case-insensitive, ordered, with repeats. `[name]` is the first value; `getall(name)` has all of them."""

    __slots__ = ("_pairs",)

    def __init__(self, pairs: Iterable[tuple[str, str]] = ()) -> None:
        self._pairs = tuple(pairs)

    @classmethod
    def parse(cls, head: bytes) -> "Headers":
        """Read the lines below the start line of a raw head. Bytes outside UTF-8 survive as surrogates."""
        pairs: list[tuple[str, str]] = []
        for line in head.decode("utf-8", "surrogateescape").split("\r\n")[1:]:
            if line[:1] in (" ", "\t") and pairs:
                name, value = pairs[-1]
                pairs[-1] = (name, f"{value} {line.strip()}")
                continue
            name, colon, value = line.partition(":")
            if colon:
                pairs.append((name.strip(), value.strip(" \t")))
        return cls(pairs)

    @classmethod
    def parse_trailers(cls, tail: bytes) -> "Headers":
        """Read the fields behind a chunked body (RFC 9112 7.1.2), where `tail` is the end of its message.

        Found from the end: no field line reads as a last chunk, whose line is the only one without a field's colon.
        Empty where there are none, or where `tail` does not reach back to the last chunk.
        """
        if not tail.endswith(b"\r\n\r\n"):
            return cls()
        end = len(tail) - 2  # behind the CRLF of the last line, before the empty one
        lines: list[bytes] = []
        while (start := tail.rfind(b"\r\n", 0, end - 2) + 2) >= 2:
            line = tail[start : end - 2]
            if _LAST_CHUNK(line):
                return cls.parse(b"\r\n".join((b"", *reversed(lines))))
            if not _FIELD_LINE(line):
                break
            lines.append(line)
            end = start
        return cls()

    def __getitem__(self, name: str) -> str:
        wanted = name.lower()
        for key, value in self._pairs:
            if key.lower() == wanted:
                return value
        raise KeyError(name)

    def getall(self, name: str) -> list[str]:
        """Every value of `name` in order; an empty list when there is none."""
        wanted = name.lower()
        return [value for key, value in self._pairs if key.lower() == wanted]

    def multi_items(self) -> tuple[tuple[str, str], ...]:
        """Every (name, value) as received, repeats included."""
        return self._pairs

    def __iter__(self) -> Iterator[str]:
        seen: set[str] = set()
        for key, _ in self._pairs:
            lowered = key.lower()
            if lowered not in seen:
                seen.add(lowered)
                yield key

    def __len__(self) -> int:
        return len({key.lower() for key, _ in self._pairs})

    def __contains__(self, name: object) -> bool:
        if not isinstance(name, str):
            return False
        wanted = name.lower()
        return any(key.lower() == wanted for key, _ in self._pairs)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Headers):
            return [(k.lower(), v) for k, v in self._pairs] == [(k.lower(), v) for k, v in other._pairs]
        if isinstance(other, Mapping):
            return {k.lower(): v for k, v in self.items()} == {str(k).lower(): v for k, v in other.items()}
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]  # equal to mappings, which have no hash

    def __repr__(self) -> str:
        return f"Headers({list(self._pairs)!r})"


def header_line(name: str, value: object) -> bytes:
    """One encoded `Name: value` line with its CRLF. Raises InvalidRequest on anything that could start another line."""
    text = value if isinstance(value, str) else str(value)
    if not _TOKEN(name):
        raise InvalidRequest(f"header name {name!r} is not a token; use letters, digits and dashes")
    if _FORBIDDEN(text):
        raise InvalidRequest(f"header {name!r} has a control character in its value; it was not sent")
    return f"{name}: {text}\r\n".encode("utf-8", "surrogateescape")


def header_lines(headers: Iterable[tuple[str, object]]) -> dict[str, bytes]:
    """Encoded lines by lower-case name; a repeated name keeps all its lines under the one key."""
    lines: dict[str, bytes] = {}
    for name, value in headers:
        key = name.lower()
        lines[key] = lines.get(key, b"") + header_line(name, value)
    return lines
