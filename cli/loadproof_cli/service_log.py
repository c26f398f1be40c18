"""The log of a process that runs as a service: one line of JSON for each thing, fit for terminals and collectors."""

from __future__ import annotations

import logging
import unicodedata
from datetime import UTC, datetime
from typing import TextIO

import orjson

TEXT_CHARACTERS_MAX = 4_000
_UNSAFE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


class JsonLines(logging.Formatter):
    """Formats a record as `{"at", "level", "where", "text"}` and `"error"` where there is one. Never a line break."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "where": record.name,
            "text": one_line(record.getMessage()),
        }
        if record.exc_info:
            line["error"] = one_line(self.formatException(record.exc_info))
        return orjson.dumps(line).decode()


def one_line(text: str) -> str:
    """Return `text` without control, direction and separator characters, cut to 4,000 characters."""
    cut = text[:TEXT_CHARACTERS_MAX]
    if cut.isprintable() and cut.isascii():
        return cut
    return "".join(" | " if c == "\n" else "?" if unicodedata.category(c) in _UNSAFE else c for c in cut)


def log_to(stream: TextIO) -> None:
    """Send the log of this process to `stream`."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    logging.getLogger("grpc").setLevel(logging.ERROR)
