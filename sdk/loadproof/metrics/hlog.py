"""Exports for the HdrHistogram tools: interval logs (`.hlog`) and percentile distributions (`.hgrm`)."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from loadproof.histogram.counts import Counts, sum_counts
from loadproof.histogram.dense import Histogram
from loadproof.histogram.layout import HIGHEST, LOWEST
from loadproof.metrics.hdrformat import encode_v2
from loadproof.metrics.state import MergedState

_US_PER_MS: Final = 1_000
_TICKS_PER_HALF_DISTANCE: Final = 5
_LEVELS_MAX: Final = 2_000
_UNFIT = re.compile(r"[^A-Za-z0-9_.:/{}()-]+")


def write_hlog(path: Path, merged: MergedState, *, started_at_s: float = 0.0) -> None:
    """Write response times per interval, in microseconds, one tag for each transaction.

    The tag is the transaction's name with anything unfit for a tag as "_": ok transactions; failed ones have the tag
    with "/failed" added. `started_at_s` is the run's start in seconds since the epoch. The column Interval_Max is in
    milliseconds. Written to a temporary name, then renamed.
    """
    rows = _rows(merged)
    tags = _tags(sorted({transaction for _, transaction, _ in rows}))
    started = datetime.fromtimestamp(started_at_s, tz=UTC).isoformat()
    lines = [
        "#[Histogram log format version 1.3]",
        "#[Values are response times in microseconds; Interval_Max is in milliseconds]",
        f"#[StartTime: {started_at_s:.3f} (seconds since epoch), {started}]",
        f"#[BaseTime: {started_at_s:.3f} (seconds since epoch)]",
        '"StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram"',
    ]
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("w", encoding="ascii", newline="\n") as out:
        out.write("\n".join(lines) + "\n")
        width = merged.intervals_width_s
        for (second, transaction, outcome), counts in sorted(rows.items()):
            tag = tags[transaction] + ("" if outcome == "ok" else "/failed")
            peak = counts.maximum / _US_PER_MS
            out.write(f"Tag={tag},{second:.3f},{width:.3f},{peak:.3f},{encode_v2(counts)}\n")
    temporary.replace(path)


def _rows(merged: MergedState) -> dict[tuple[int, str, str], Counts]:
    parts: dict[tuple[int, str, str], list[Counts]] = {}
    for key, cells in merged.intervals.items():
        if key.step or key.measure != "response":
            continue
        for second, counts in cells.items():
            parts.setdefault((second, key.transaction, key.outcome), []).append(counts)
    rows: dict[tuple[int, str, str], Counts] = {}
    for where, pieces in parts.items():
        whole = sum_counts(pieces)
        if whole is not None:
            rows[where] = whole
    return rows


def _tags(names: list[str]) -> dict[str, str]:
    """Return a distinct tag for each name: commas, blanks and line breaks can't be in one."""
    tags: dict[str, str] = {}
    for name in names:
        base = _UNFIT.sub("_", name).strip("_") or "transaction"
        tag, number = base, 2
        while tag in tags.values():
            tag, number = f"{base}_{number}", number + 1
        tags[name] = tag
    return tags


def write_hgrm(path: Path, histogram: Histogram) -> None:
    """Write a percentile distribution as the HdrHistogram plotter reads it, values in milliseconds.

    Levels come closer by half each time (5 to a half distance). Written to a temporary name, then renamed.
    """
    lines = [f"{'Value':>12} {'Percentile':>14} {'TotalCount':>10} {'1/(1-Percentile)':>14}", ""]
    n = histogram.n
    for level in _levels(n):
        value = histogram.quantile(level) or 0
        count = histogram.count_at_or_below(value)
        lines.append(f"{value / _US_PER_MS:12.3f} {level:2.12f} {count:10d} {1 / (1 - level):14.2f}")
    peak = (histogram.max_us or 0) / _US_PER_MS
    if n:
        lines.append(f"{peak:12.3f} {1.0:2.12f} {n:10d}")
    lines.append(
        f"#[Mean    = {(histogram.mean_us or 0) / _US_PER_MS:12.3f}, StdDeviation   = {_deviation_ms(histogram):12.3f}]"
    )
    lines.append(f"#[Max     = {peak:12.3f}, Total count    = {n:12d}]")
    lines.append(f"#[Buckets = {27:12d}, SubBuckets     = {2048:12d}]")
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text("\n".join(lines) + "\n", encoding="ascii")
    temporary.replace(path)


def _levels(n: int) -> list[float]:
    """Return the levels below 1 at which at least one of `n` samples still lies above."""
    levels: list[float] = []
    level = 0.0
    while level < 1 and math.ceil(level * n) < n and len(levels) < _LEVELS_MAX:
        levels.append(level)
        half_distance = 2.0 ** (math.floor(math.log2(1 / (1 - level))) + 1)
        level += 1 / (_TICKS_PER_HALF_DISTANCE * half_distance)
    return levels


def _deviation_ms(histogram: Histogram) -> float:
    if not histogram.n:
        return 0.0
    counts = histogram.counts()
    middle = (LOWEST[counts.indices] + HIGHEST[counts.indices]) / 2
    spread = (middle - (histogram.mean_us or 0)) ** 2
    return math.sqrt(float((spread * counts.counts).sum()) / histogram.n) / _US_PER_MS
