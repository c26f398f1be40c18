"""What can be wrong with a bundle."""

from __future__ import annotations

from typing import Literal

from loadproof._errors import LoadproofError

BundleCode = Literal[
    "empty",
    "too_large",
    "too_many",
    "unreadable",
    "unwritable",
    "hash",
    "not_a_zip",
    "bad_name",
    "bad_kind",
    "duplicate",
    "bomb",
    "exists",
]


class BundleError(LoadproofError):
    """A bundle cannot be made or must not be unpacked. `code` is for programs, `text` for people."""

    def __init__(self, code: BundleCode, text: str) -> None:
        super().__init__(text)
        self.code: BundleCode = code
        self.text = text
