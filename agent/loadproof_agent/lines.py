"""Lines that user code logs or prints, on their way to the controller: cleaned, redacted, bounded."""

from __future__ import annotations

import re
from collections import deque

from loadproof_agent.config import Limits

_UNSAFE = re.compile(
    "[\x00-\x08\x0a-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]+"
)
REDACTED = "[redacted]"


class Lines:
    """Collects lines; `take` returns at most `log_lines_max` of them and says how many more there were."""

    def __init__(self, limits: Limits, secrets: tuple[str, ...]) -> None:
        self._limits = limits
        self._secrets = tuple(sorted((secret for secret in secrets if secret), key=len, reverse=True))
        self._waiting: deque[str] = deque()
        self._dropped = 0

    def add(self, line: str) -> None:
        """Add one line; beyond the limit it is counted and forgotten."""
        if len(self._waiting) >= self._limits.log_lines_max - 1:
            self._dropped += 1
            return
        self._waiting.append(self.clean(line))

    def take(self) -> tuple[str, ...]:
        """Return what was added since the last call."""
        lines = list(self._waiting)
        if self._dropped:
            lines.append(f"({self._dropped} more lines were printed and not kept)")
        self._waiting.clear()
        self._dropped = 0
        return tuple(lines)

    def clean(self, text: str) -> str:
        """Return `text` redacted, on one line, without control or bidi characters, cut to the limit."""
        limit = self._limits.log_line_characters_max
        return _UNSAFE.sub(" ", self.redact(text))[:limit]

    def redact(self, text: str) -> str:
        """Return `text` without the values of the run's secrets."""
        for secret in self._secrets:
            text = text.replace(secret, REDACTED)
        return text
