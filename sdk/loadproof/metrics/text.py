"""Names and messages made safe and few: control and bidi characters cleaned, ids and numbers folded."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

NAME_MAX: Final = 200
"""Longest name of a transaction, step, endpoint, phase, dataset or counter, in characters; longer ones are cut."""
MESSAGE_MAX: Final = 200
OTHER: Final = "(other)"
"""What folded names are counted under."""

# C0, DEL and C1 controls, line separators, bidi marks, embeddings, overrides, isolates, byte-order mark, surrogates.
_UNSAFE = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]+"
)
_RAW_MAX = 2_000

_TOKEN = re.compile(r"[0-9A-Za-z_-]+")
_UUID = re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")
_HEX = re.compile(r"0x[0-9a-fA-F]+")
_HEX_ID = re.compile(r"[0-9a-fA-F]{12,}")
_DIGITS = re.compile(r"[0-9]+")
_NUMBER = re.compile(r"<n>(?:[.,:]<n>)+")
_LONG = 20
"""A word of letters and digits this long is an id."""
_KINDS = ("status ", "HTTP ")
"""Three digits after one of these say what kind of error it is, and stay."""


def clean_name(name: str) -> str:
    """Return `name` without control, bidi and surrogate characters, at most 200 long, "?" when nothing is left."""
    if not name or (len(name) <= NAME_MAX and name.isascii() and name.isprintable()):
        return name
    return _clean(name)


@lru_cache(maxsize=8_192)
def _clean(name: str) -> str:
    return _UNSAFE.sub(" ", name[:_RAW_MAX]).strip()[:NAME_MAX] or "?"


@lru_cache(maxsize=4_096)
def fold_message(text: str) -> str:
    """Return the kind of an error message: ids, hexadecimal and numbers become `<id>`, `<hex>`, `<n>`.

    Three digits after "status" or "HTTP" stay, they are a kind. Control and bidi characters are cleaned; at most 200
    characters. "order 4711 not found" and "order 4712 not found" are one message.
    """
    folded = _TOKEN.sub(_fold_token, _UNSAFE.sub(" ", text[:_RAW_MAX]))
    if "<n>" in folded:
        folded = _NUMBER.sub("<n>", folded)
    return " ".join(folded.split())[:MESSAGE_MAX] or "(no message)"


def _fold_token(match: re.Match[str]) -> str:
    token = match[0]
    if token.isalpha() or _DIGITS.search(token) is None:
        return token
    if len(token) == 3 and token.isdigit() and match.string[: match.start()].endswith(_KINDS):
        return token
    if _HEX.fullmatch(token):
        return "<hex>"
    if _UUID.fullmatch(token) or (_HEX_ID.fullmatch(token) and not token.isdigit()):
        return "<id>"
    if len(token) >= _LONG and not token.isdigit():
        return "<id>"
    return _DIGITS.sub("<n>", token)
