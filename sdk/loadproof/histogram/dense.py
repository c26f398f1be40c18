"""The mutable histogram that many sparse ones are added to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from loadproof.histogram.counts import Counts, counts_from_samples
from loadproof.histogram.errors import LayoutError
from loadproof.histogram.layout import COUNTERS, HIGHEST, LAYOUT_ID, MAX_US, index_of

_SPARSE_MAX = 96
"""Distinct counters kept in a dict before a window of an array is made: most failed series never need the array."""
_PAGE = 512
"""The window grows in steps of this many counters."""
_QUANTILE_SCALE = 1_000_000_000


class Histogram:
    """Counts of microseconds in the fixed layout, with exact `n`, `total_us`, minimum and maximum.

    Adding is exact, associative and commutative. Memory is at most 229 KB (28,672 counters of 8 bytes), less while the
    values span little. `layout` names the bucket layout; merging another one raises `LayoutError`.
    """

    __slots__ = ("_base", "_sparse", "_window", "clamped", "layout", "max_us", "min_us", "n", "total_us")

    def __init__(self, layout: str = LAYOUT_ID) -> None:
        if layout != LAYOUT_ID:
            raise LayoutError(layout)
        self.layout = layout
        self.n = 0
        self.total_us = 0
        self.min_us: int | None = None
        self.max_us: int | None = None
        self.clamped = 0
        self._sparse: dict[int, int] | None = {}
        self._base = 0
        self._window: NDArray[np.int64] = np.zeros(0, np.int64)

    @property
    def mean_us(self) -> float | None:
        """Return the exact mean in microseconds (no bucket error), None without samples."""
        return self.total_us / self.n if self.n else None

    def record(self, value_us: int, count: int = 1) -> None:
        """Count one value in microseconds `count` times; out of [0, 24 h] it is clamped and counted as clamped."""
        if count < 1:
            raise ValueError(f"a value is counted at least once, not {count} times")
        value = 0 if value_us < 0 else min(value_us, MAX_US)
        if value != value_us:
            self.clamped += count
        self._note(count, value * count, value, value)
        index = index_of(value)
        if self._sparse is not None and (index in self._sparse or len(self._sparse) < _SPARSE_MAX):
            self._sparse[index] = self._sparse.get(index, 0) + count
            return
        self._cover(index, index)
        self._window[index - self._base] += count

    def record_many(self, values_us: NDArray[np.int64] | Sequence[int]) -> None:
        """Count every value of an array or sequence of integer microseconds."""
        values = np.asarray(values_us, dtype=np.int64)
        if values.size:
            self.add(counts_from_samples(values))

    def add(self, other: Counts | Histogram) -> None:
        """Add another histogram exactly. Raises `LayoutError` when its layout differs."""
        if isinstance(other, Histogram):
            if other.layout != self.layout:
                raise LayoutError(other.layout)
            other = other.counts()
        if not other.n:
            return
        self._note(other.n, other.total, other.minimum, other.maximum)
        self.clamped += other.clamped
        sparse = self._sparse
        if sparse is not None and len(sparse) + len(other.indices) <= _SPARSE_MAX:
            for index, count in zip(other.indices.tolist(), other.counts.tolist(), strict=True):
                sparse[index] = sparse.get(index, 0) + count
            return
        self._cover(int(other.indices[0]), int(other.indices[-1]))
        positions = other.indices.astype(np.intp)
        positions -= self._base
        self._window[positions] += other.counts.view(np.int64)

    def _note(self, n: int, total: int, minimum: int, maximum: int) -> None:
        self.n += n
        self.total_us += total
        if self.min_us is None or minimum < self.min_us:
            self.min_us = minimum
        if self.max_us is None or maximum > self.max_us:
            self.max_us = maximum

    def _cover(self, first: int, last: int) -> None:
        """Make the window hold counters `first` to `last`, moving what is in the dict into it."""
        if self._sparse is None:
            if self._base <= first and last < self._base + len(self._window):
                return
        elif self._sparse:
            first, last = min(first, *self._sparse), max(last, *self._sparse)
        low = first // _PAGE * _PAGE
        high = (last // _PAGE + 1) * _PAGE
        if len(self._window):
            low, high = min(low, self._base), max(high, self._base + len(self._window))
        window = np.zeros(high - low, np.int64)
        if len(self._window):
            window[self._base - low : self._base - low + len(self._window)] = self._window
        for index, count in (self._sparse or {}).items():
            window[index - low] += count
        self._base, self._window, self._sparse = low, window, None

    def counts(self) -> Counts:
        """Return the sparse form, with arrays of its own. Without samples: empty arrays and zeros."""
        if self._sparse is not None:
            rising = sorted(self._sparse)
            indices = np.array(rising, dtype=np.uint16)
            counts = np.array([self._sparse[index] for index in rising], dtype=np.uint64)
        else:
            present = np.flatnonzero(self._window)
            indices = (present + self._base).astype(np.uint16)
            counts = self._window[present].astype(np.uint64)
        return Counts(indices, counts, self.n, self.total_us, self.min_us or 0, self.max_us or 0, self.clamped)

    def dense(self) -> NDArray[np.int64]:
        """Return all 28,672 counters as a new int64 array."""
        out = np.zeros(COUNTERS, np.int64)
        sparse = self.counts()
        out[sparse.indices] = sparse.counts.view(np.int64)
        return out

    def quantile(self, q: float) -> int | None:
        """Return the `q` quantile (q in [0, 1]) in microseconds, None without samples.

        Nearest rank with an integer ceiling (rank = ceil(q n), at least 1; q is taken to 9 decimals so that 0.95 of 100
        is rank 95), the upper edge of its counter, clamped to the exact maximum. Raises ValueError for another q.
        """
        return self.quantiles([q])[0]

    def quantiles(self, qs: Sequence[float]) -> list[int | None]:
        """Return `quantile` of each of `qs` in one pass."""
        for q in qs:
            if not 0 <= q <= 1:
                raise ValueError(f"a quantile lies in [0, 1], not {q}")
        if not self.n or self.max_us is None:
            return [None] * len(qs)
        sparse = self.counts()
        cumulative = np.cumsum(sparse.counts.view(np.int64))
        ranks = [rank_of(q, self.n) for q in qs]
        positions = np.searchsorted(cumulative, np.array(ranks, np.int64), side="left")
        return [min(int(HIGHEST[sparse.indices[position]]), self.max_us) for position in positions]

    def count_at_or_below(self, value_us: int) -> int:
        """Return how many samples are at or below `value_us`, at counter resolution: all of its counter are."""
        if value_us < 0 or not self.n:
            return 0
        sparse = self.counts()
        end = int(np.searchsorted(sparse.indices, index_of(value_us), side="right"))
        return int(sparse.counts[:end].sum())

    def copy(self) -> Histogram:
        """Return an equal histogram that shares nothing."""
        twin = Histogram(self.layout)
        twin.add(self)
        return twin

    def __eq__(self, other: object) -> bool:
        """Equal when layout, counts and exact fields are."""
        if not isinstance(other, Histogram):
            return NotImplemented
        return self.layout == other.layout and self.counts() == other.counts()

    __hash__ = None  # type: ignore[assignment]  # mutable

    def __repr__(self) -> str:
        return f"Histogram(n={self.n}, min_us={self.min_us}, max_us={self.max_us})"


def rank_of(q: float, n: int) -> int:
    """Return the nearest rank of quantile `q` among `n` samples: ceil(q n) in integers, within [1, n]."""
    scaled = round(q * _QUANTILE_SCALE)
    return min(max(-(-scaled * n // _QUANTILE_SCALE), 1), n)
