"""The canonical bytes of merged numbers, and their sha256: equal for any order and any number of agents."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

from loadproof.histogram.layout import LAYOUT_ID

if TYPE_CHECKING:
    from loadproof.metrics.state import MergedState


def _line(kind: str, *fields: str | int) -> bytes:
    """Return one record: every field prefixed by its length in bytes, so that no two records read alike."""
    parts = [kind.encode()]
    for value in fields:
        text = str(value).encode("utf-8", "backslashreplace")
        parts.append(b"%d:%b" % (len(text), text))
    return b" ".join(parts) + b"\n"


def canonical_parts(state: MergedState) -> Iterable[bytes]:
    """Yield the canonical bytes of `state`: records sorted by key, integers in decimal, counts little-endian."""
    yield _line("loadproof.merged/1", LAYOUT_ID)
    for series in sorted(state.series):
        counts = state.series[series].counts()
        exact = (counts.n, counts.total, counts.minimum, counts.maximum, counts.clamped, len(counts.indices))
        yield _line("series", *series, *exact)
        yield counts.indices.astype("<u2").tobytes()
        yield counts.counts.astype("<u8").tobytes()
    for status in sorted(state.statuses):
        yield _line("status", *status, state.statuses[status])
    for error in sorted(state.errors):
        stats = state.errors[error]
        yield _line("error", *error, stats.count, stats.first_ns, stats.last_ns)
    for name, phase in sorted(state.delivery):
        sums = state.delivery[name, phase]
        counted = (sums.started, sums.completed, sums.failed, sums.late, sums.dropped, sums.missed)
        yield _line("delivery", name, phase, *counted)
    for kind, table in (("counter", state.counters), ("draws", state.draws), ("exhausted", state.exhausted)):
        for name in sorted(table):
            yield _line(kind, name, table[name])


def digest_of(state: MergedState) -> str:
    """Return the sha256 of the canonical bytes, 64 hexadecimal digits."""
    whole = hashlib.sha256()
    for part in canonical_parts(state):
        whole.update(part)
    return whole.hexdigest()
