"""Texts from agents are hostile: cut to length, without control or direction characters."""

from __future__ import annotations

import unicodedata

_UNSAFE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def clean(text: str, limit: int, *, lines: bool = False) -> str:
    """Return `text` cut to `limit` characters; control, format and surrogate characters become "?".

    With `lines`, line feeds stay (tracebacks).
    """
    cut = text if len(text) <= limit else text[: max(limit - 1, 0)] + "…"
    if cut.isascii() and cut.isprintable():
        return cut
    return "".join(
        character
        if (lines and character == "\n") or unicodedata.category(character) not in _UNSAFE
        else ("    " if lines and character == "\t" else "?")
        for character in cut
    )
