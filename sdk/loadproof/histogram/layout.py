"""The product's one bucket layout: HDR buckets, unit 1 microsecond, 3 significant digits, up to 24 hours.

2,048 sub-buckets: values below 2,048 µs have a counter each, above that a counter is at most 1/1,024 of its value wide
(relative error below 0.1 %). 28,672 counters in all, so an index fits in 16 bits. Source of the layout: Gil Tene's
HdrHistogram; ours is the same as its (lowest 1, highest 86,400,000,000, 3 digits), so its tools read our exports.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

LAYOUT_ID: Final = "hdr-us-3-24h"
SUB_BUCKETS: Final = 2_048
HALF: Final = SUB_BUCKETS // 2
COUNTERS: Final = 28_672
MAX_US: Final = 24 * 3_600 * 1_000_000
"""Longest value recorded as it is; a longer one is clamped to this and counted in `clamped`."""
MIN_US: Final = 0


def index_of(value_us: int) -> int:
    """Return the counter of `value_us` (microseconds, clamped into [0, 24 h])."""
    value = 0 if value_us < 0 else min(value_us, MAX_US)
    bucket = max(value.bit_length() - 11, 0)
    return (bucket << 10) + (value >> bucket)


def indices_of(values_us: NDArray[np.int64]) -> NDArray[np.uint16]:
    """Return the counters of an int64 array of microseconds that lies within [0, 24 h] (clip first).

    The exponent of a float64 gives an exact bit length below 2**53, so the result equals `index_of` for every value.
    It is read from the float's bits: `np.frexp` takes twenty times as long.
    """
    bits = (values_us | (SUB_BUCKETS - 1)).astype(np.float64).view(np.int64)
    bucket = (bits >> 52) - 1033  # bias 1023, and 10 bits that the first bucket has besides its leading one
    return ((bucket << 10) + (values_us >> bucket)).astype(np.uint16)


def lowest(index: int) -> int:
    """Return the smallest value (µs) that counter `index` holds; IndexError outside [0, 28,672)."""
    if not 0 <= index < COUNTERS:
        raise IndexError(f"counter {index} is outside the layout's {COUNTERS}")
    bucket = max((index >> 10) - 1, 0)
    return (index - (bucket << 10)) << bucket


def highest(index: int) -> int:
    """Return the largest value (µs) that counter `index` holds; IndexError outside [0, 28,672)."""
    bucket = max((index >> 10) - 1, 0)
    return lowest(index) + (1 << bucket) - 1


def _edges() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    indices = np.arange(COUNTERS, dtype=np.int64)
    buckets = np.maximum((indices >> 10) - 1, 0)
    low = (indices - (buckets << 10)) << buckets
    return low, low + (np.int64(1) << buckets) - 1


LOWEST, HIGHEST = _edges()
"""`lowest` and `highest` of every counter, int64 arrays of 28,672 (read only)."""
LOWEST.setflags(write=False)
HIGHEST.setflags(write=False)
