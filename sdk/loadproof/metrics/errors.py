"""Errors of metrics.

MetricsError
├── CodecError: bytes that should be a delta or totals are not, or go past a limit
└── IntervalsError: a file of interval histograms is damaged or of another version
"""

from __future__ import annotations


class MetricsError(Exception):
    """Root of this package's errors."""


class CodecError(MetricsError):
    """Bytes of a delta were refused; the text says which bound they break. The sender is wrong or hostile: drop it."""


class IntervalsError(MetricsError):
    """A file of interval histograms can't be read; the text says why."""
