"""What can go wrong in this room.

ReportError
└── ResultError   a stored run cannot be read: `path`, `reason`, `remedy`
"""

from __future__ import annotations

from pathlib import Path


class ReportError(Exception):
    """Root of this room's errors."""


class ResultError(ReportError):
    """A stored run cannot be used. `reason` says what is wrong with it, `remedy` what to do."""

    def __init__(self, path: Path | str, reason: str, remedy: str) -> None:
        super().__init__(f"{path}: {reason}. {remedy}")
        self.path = str(path)
        self.reason = reason
        self.remedy = remedy
