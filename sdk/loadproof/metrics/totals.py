"""Totals of a series that say whether two parties counted the same samples, without keeping a histogram for each."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple

import msgpack
import numpy as np
from numpy.typing import NDArray

from loadproof.histogram.counts import checksums, column_checksums
from loadproof.metrics.block import Block
from loadproof.metrics.delta import Delta, SeriesKey
from loadproof.metrics.errors import CodecError
from loadproof.metrics.text import clean_name

_MASK = (1 << 64) - 1
_VERSION: Final = 1
SERIES_MAX: Final = 40_000
"""Series in one agent's totals. A Final with more is refused, so that no more need be kept to compare it with."""
_FRESH_MAX: Final = 8
"""Lists of names whose totals are kept in arrays; an agent that says more different ones has them added up."""
_HALF: Final = np.uint64(32)
_LOW_BITS: Final = np.uint64((1 << 32) - 1)
_KEPT_CHARS: Final = 1_000
"""Longer names are not remembered."""
_OUTCOMES = ("ok", "failed")
_MEASURES = ("response", "service", "lateness")


class SeriesTotals(NamedTuple):
    """Number of samples, their sum in microseconds, and an additive 64-bit checksum of the counted multiset."""

    n: int
    total: int
    checksum: int


def series_totals(delta: Delta) -> dict[SeriesKey, SeriesTotals]:
    """Return the totals of every series of a delta."""
    counted = [(key, counts) for key, counts in delta.series.items() if counts.n]
    checks = checksums([counts for _, counts in counted])
    return {
        key: SeriesTotals(counts.n, counts.total, check) for (key, counts), check in zip(counted, checks, strict=True)
    }


def add_totals(
    a: Mapping[SeriesKey, SeriesTotals], b: Mapping[SeriesKey, SeriesTotals]
) -> dict[SeriesKey, SeriesTotals]:
    """Return the sum of both; totals of a sum of deltas are the sum of their totals."""
    out = dict(a)
    for key, more in b.items():
        known = out.get(key)
        if known is None:
            out[key] = more
        else:
            total_checksum = (known.checksum + more.checksum) & _MASK
            out[key] = SeriesTotals(known.n + more.n, known.total + more.total, total_checksum)
    return out


_NOTHING: Final = SeriesTotals(0, 0, 0)


class RunningTotals:
    """Totals of one agent's series, added block by block at the price of one array operation each.

    `totals` is what was counted before. Series beyond `SERIES_MAX` are left out.
    """

    __slots__ = ("_fresh", "_totals")

    def __init__(self, totals: Mapping[SeriesKey, SeriesTotals] | None = None) -> None:
        self._totals: dict[SeriesKey, SeriesTotals] = dict(totals or {})
        self._fresh: dict[int, tuple[tuple[SeriesKey, ...], NDArray[np.uint64]]] = {}

    def add(self, block: Block) -> None:
        """Add the series of one block."""
        size = len(block.keys)
        if not size:
            return
        columns = block.columns
        end = columns.starts[size] if size < len(columns) else len(columns.indices)
        n, total = columns.meta[:size, 1].view(np.uint64), columns.meta[:size, 2].view(np.uint64)
        checks = column_checksums(columns.indices[:end], columns.counts[:end], columns.starts[:size])
        known = self._fresh.get(id(block.keys))
        if known is not None:
            sums = known[1]  # checksums are meant to wrap, the rest can't
            sums[0] += n
            sums[1] += total >> _HALF
            sums[2] += total & _LOW_BITS
            sums[3] += checks
            return
        more = np.stack((n, total >> _HALF, total & _LOW_BITS, checks))
        if len(self._fresh) >= _FRESH_MAX:
            self._settle()
        self._fresh[id(block.keys)] = (block.keys, more)

    def add_delta(self, delta: Delta) -> None:
        """Add the series of one delta."""
        self._totals = add_totals(self._totals, series_totals(delta))

    def _settle(self) -> None:
        for keys, sums in self._fresh.values():
            for key, n, top, bottom, check in zip(keys, *sums.tolist(), strict=True):
                known = self._totals.get(key)
                if known is None:
                    if len(self._totals) >= SERIES_MAX:
                        continue
                    known = _NOTHING
                self._totals[key] = SeriesTotals(
                    known.n + n, known.total + (top << 32) + bottom, (known.checksum + check) & _MASK
                )
        self._fresh = {}

    def totals(self) -> dict[SeriesKey, SeriesTotals]:
        """Return the totals so far, by series."""
        self._settle()
        return self._totals


def encode_totals(totals: Mapping[SeriesKey, SeriesTotals]) -> bytes:
    """Return totals as bytes, rows sorted by key, so that equal totals have equal bytes."""
    rows = [[*key, entry.n, str(entry.total), entry.checksum] for key, entry in sorted(totals.items())]
    packed: bytes = msgpack.packb([_VERSION, rows])
    return packed


def decode_totals(data: bytes) -> dict[SeriesKey, SeriesTotals]:
    """Read what `encode_totals` wrote; raises `CodecError` on anything else."""
    try:
        version, rows = msgpack.unpackb(data, max_ext_len=0, max_map_len=0, max_bin_len=0, max_array_len=SERIES_MAX)
        if version != _VERSION or len(rows) > SERIES_MAX:
            raise CodecError(f"totals of version {version!r} or of too many series")
        return dict(_row(row) for row in rows)
    except CodecError:
        raise
    except Exception as error:
        raise CodecError(f"not totals: {error!r:.100}") from None


def _row(row: Any) -> tuple[SeriesKey, SeriesTotals]:
    *names, n, total, check = row
    if len(total) > 40 or not total.isascii():
        raise CodecError("totals hold a sum out of range")
    if not (type(n) is int and type(check) is int and n >= 0 and check >= 0):
        raise CodecError("totals hold something else than counts")
    key = _key if sum(map(len, names)) <= _KEPT_CHARS else _key.__wrapped__
    return key(*names), SeriesTotals(n, int(total), check)


@lru_cache(maxsize=8_192)
def _key(transaction: str, step: str, endpoint: str, phase: str, outcome: Any, measure: Any) -> SeriesKey:
    """Return a series' name; those of a fleet are the same again and again."""
    if outcome not in _OUTCOMES or measure not in _MEASURES:
        raise CodecError("totals name an unknown outcome or measure")
    return SeriesKey(
        clean_name(transaction), clean_name(step), clean_name(endpoint), clean_name(phase), outcome, measure
    )
