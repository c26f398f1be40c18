"""A decoded delta whose histograms stay in columns, and the sum of many: what a controller does for each message.

Taking a delta of 50 series apart and adding it up series by series costs some milliseconds, in columns a tenth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from loadproof.histogram.counts import Counts, merge_counts
from loadproof.histogram.layout import COUNTERS, indices_of
from loadproof.metrics.columns import Columns
from loadproof.metrics.delta import Delta, SeriesKey
from loadproof.metrics.merge import merge_deltas, merge_optional

COUNTERS_MAX: Final = 4_000_000
"""Counters that a sum may span in one array (32 MB); where they span more, series are added one at a time."""
_LAG: Final = "lag"
_Name = SeriesKey | tuple[int, str] | str
_LOW_BITS: Final = np.int64((1 << 32) - 1)


@dataclass(frozen=True, slots=True)
class Block:
    """One delta: `rest` is everything but histograms; not to be changed.

    `columns` has the histograms of the series `keys`, then those of the seconds `measured`, then, if `lag`, that of the
    loop lag. A name may come twice: its histograms count together.
    """

    rest: Delta
    keys: tuple[SeriesKey, ...]
    measured: tuple[tuple[int, str], ...]
    lag: bool
    columns: Columns

    @property
    def size_bytes(self) -> int:
        """Return how much memory its histograms take."""
        columns = self.columns
        return columns.meta.nbytes + columns.indices.nbytes + columns.counts.nbytes

    def lag_counts(self) -> Counts | None:
        """Return the histogram of the loop lag alone."""
        if not self.lag:
            return None
        columns = self.columns
        start, exact = int(columns.starts[-1]), columns.meta[-1, 1:].tolist()
        return Counts(columns.indices[start:].astype(np.uint16), columns.counts[start:].astype(np.uint64), *exact)

    def delta(self) -> Delta:
        """Return it in its general form."""
        out = replace(
            self.rest, series={}, step_order=dict(self.rest.step_order), seconds=dict(self.rest.seconds),
            health=replace(self.rest.health),
        )  # fmt: skip
        parts = iter(self.columns.parts())
        for key, counts in zip(self.keys, parts, strict=False):  # the keys end first
            known = out.series.get(key)
            out.series[key] = counts if known is None else merge_counts(known, counts)
        for second, counts in zip(self.measured, parts, strict=False):
            stats = out.seconds[second]
            out.seconds[second] = replace(stats, response=merge_optional(stats.response, counts))
        out.health.lag = next(parts) if self.lag else None
        return out


def merge_blocks(blocks: Sequence[Block], counters_max: int = COUNTERS_MAX) -> Delta:
    """Return the sum of one or more blocks: what `merge_deltas` makes of them, bit for bit."""
    names: dict[_Name, int] = {}
    rows = _rows(blocks, names)
    meta = np.concatenate([block.columns.meta for block in blocks])
    low = np.full(len(names), COUNTERS, np.int64)
    high = np.full(len(names), -1, np.int64)
    np.minimum.at(low, rows, indices_of(meta[:, 3]).astype(np.int64))
    np.maximum.at(high, rows, indices_of(meta[:, 4]).astype(np.int64))
    width = high - low + 1
    if int(width.sum()) > counters_max:
        return merge_deltas([block.delta() for block in blocks])
    ends = width.cumsum()
    counters = np.zeros(int(width.sum()), np.int64)
    shift = (ends - width - low)[rows]  # where counter 0 of each histogram would be
    done = 0
    for block in blocks:
        columns, first = block.columns, done
        done += len(columns)
        where = np.repeat(shift[first:done], columns.meta[:, 0])
        where += columns.indices
        np.add.at(counters, where, columns.counts.astype(np.int64))
    sums = [
        Counts(indices, counts, *exact)
        for (indices, counts), exact in zip(_sparse(counters, low, ends), _exact(rows, meta, len(names)), strict=True)
    ]
    out = merge_deltas([block.rest for block in blocks])
    for name, counts in zip(names, sums, strict=True):
        if isinstance(name, SeriesKey):
            out.series[name] = counts
        elif isinstance(name, tuple):
            out.seconds[name] = replace(out.seconds[name], response=counts)
        else:
            out.health.lag = counts
    return out


def _rows(blocks: Sequence[Block], names: dict[_Name, int]) -> NDArray[np.intp]:
    """Return for each histogram of each block the number of its name, giving new names numbers."""
    rows: list[int] = []
    known: dict[int, list[int]] = {}
    for block in blocks:
        of_keys = known.get(id(block.keys))  # mostly the very same tuple: see `decode_block`
        if of_keys is None:
            of_keys = known[id(block.keys)] = [names.setdefault(key, len(names)) for key in block.keys]
        rows += of_keys
        rows += [names.setdefault(second, len(names)) for second in block.measured]
        if block.lag:
            rows.append(names.setdefault(_LAG, len(names)))
    return np.array(rows, np.intp)


def _exact(rows: NDArray[np.intp], meta: NDArray[np.int64], count: int) -> list[tuple[int, ...]]:
    """Return (n, total, minimum, maximum, clamped) for each of `count` rows."""
    n, high, low, clamped, maximum = (np.zeros(count, np.int64) for _ in range(5))
    minimum = np.full(count, np.iinfo(np.int64).max)
    np.add.at(n, rows, meta[:, 1])
    np.add.at(high, rows, meta[:, 2] >> 32)  # in halves: a sum of totals may need more than 63 bits
    np.add.at(low, rows, meta[:, 2] & _LOW_BITS)
    np.minimum.at(minimum, rows, meta[:, 3])
    np.maximum.at(maximum, rows, meta[:, 4])
    np.add.at(clamped, rows, meta[:, 5])
    totals = [(top << 32) + bottom for top, bottom in zip(high.tolist(), low.tolist(), strict=True)]
    return list(zip(n.tolist(), totals, minimum.tolist(), maximum.tolist(), clamped.tolist(), strict=True))


def _sparse(
    counters: NDArray[np.int64],
    low: NDArray[np.int64],
    ends: NDArray[np.int64],
) -> list[tuple[NDArray[np.uint16], NDArray[np.uint64]]]:
    """Return (indices, counts) of the non-zero counters of each row; rows lie one after another in `counters`."""
    out = []
    start = 0
    for lowest, end in zip(low.tolist(), ends.tolist(), strict=True):
        row = counters[start:end]
        present = np.flatnonzero(row)
        out.append(((present + lowest).astype(np.uint16), row[present].astype(np.uint64)))
        start = end
    return out
