"""Which events are kept where there are too many: lines of logs are left out before anything else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from loadproof_report.text import plural

LOG = "log"


class _Event(Protocol):
    @property
    def kind(self) -> str: ...


E = TypeVar("E", bound=_Event)


def chosen(events: Sequence[E], limit: int) -> Sequence[E]:
    """Return at most `limit` events in their order: the first ones that are no lines of logs, then lines of logs."""
    if len(events) <= limit:
        return events
    ranked = sorted(range(len(events)), key=lambda index: events[index].kind == LOG)
    return [events[index] for index in sorted(ranked[:limit])]


def left_out(shown: int, kept: int, total: int) -> str:
    """Return the sentence about events that a page does not show, "" where it shows all; `kept` are in run.json."""
    total = max(total, kept)
    if shown >= total:
        return ""
    more = plural(total - shown, "more event is", "more events are")
    where = "all of them" if kept == total else f"{kept:,} of all {total:,}"
    return f"{more} not shown here, lines of logs before others; run.json and events.jsonl have {where}."
