"""Names a bundle may hold, judged alike where it is made and where it is unpacked."""

from __future__ import annotations

import unicodedata

NAME_LENGTH_MAX = 240
"""Longest name in UTF-8 bytes."""

DEPTH_MAX = 32
"""Most folders in one another."""


def name_problem(name: str) -> str | None:
    """Return what is wrong with a name, or None. Good on every file system: relative, plain, printable."""
    if not name or len(name.encode("utf-8", "surrogatepass")) > NAME_LENGTH_MAX:
        return f"is empty or longer than {NAME_LENGTH_MAX} bytes"
    if any(character in name for character in "\\:\0") or not name.isprintable():
        return "has a character that no name in a bundle has"
    parts = name.split("/")
    if any(part in {"", ".", ".."} for part in parts) or len(parts) > DEPTH_MAX:
        return "leads out of the bundle, or is no plain file"
    if any(part != part.strip(" ") or part.endswith(".") for part in parts):
        return "has a part that begins or ends with a space or ends with a dot"
    return None


def folded(name: str) -> str:
    """Return what a file system that ignores case and composition takes the name for."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
