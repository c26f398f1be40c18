"""Latency histograms in one fixed layout: exact to merge, within 0.1 % to read. Microseconds."""

from loadproof.histogram.counts import Counts, checksum, counts_from_samples, merge_counts, sum_counts
from loadproof.histogram.dense import Histogram, rank_of
from loadproof.histogram.errors import HistogramError, LayoutError
from loadproof.histogram.layout import (
    COUNTERS,
    HIGHEST,
    LAYOUT_ID,
    LOWEST,
    MAX_US,
    highest,
    index_of,
    indices_of,
    lowest,
)

__all__ = [
    "COUNTERS",
    "HIGHEST",
    "LAYOUT_ID",
    "LOWEST",
    "MAX_US",
    "Counts",
    "Histogram",
    "HistogramError",
    "LayoutError",
    "checksum",
    "counts_from_samples",
    "highest",
    "index_of",
    "indices_of",
    "lowest",
    "merge_counts",
    "rank_of",
    "sum_counts",
]
