"""Errors of histograms.

HistogramError
└── LayoutError: counts of another bucket layout were to be added; adding them would lose precision
"""

from __future__ import annotations

from loadproof.histogram.layout import LAYOUT_ID


class HistogramError(Exception):
    """Root of this package's errors."""


class LayoutError(HistogramError):
    """Counts in layout `theirs` can't be added to ours: the buckets differ. Run one Loadproof version everywhere."""

    def __init__(self, theirs: str) -> None:
        super().__init__(
            f"histogram layout {theirs!r} can't be merged with {LAYOUT_ID!r}: run the same Loadproof version everywhere"
        )
        self.theirs = theirs
        self.ours = LAYOUT_ID
