"""Sparse histograms of one message as columns: three byte strings instead of thousands of objects.

`meta` holds six int64 a histogram (length, n, total, minimum, maximum, clamped), `indices` uint16, `counts` unsigned
integers of the smallest width that fits the message. Little-endian throughout.

Dense histograms have neighbours that are close and small counts. They are written in seven columns: `meta`; of each 16
counters (of all histograms one after another) the first index, uint16; for each counter a byte, its distance from that
index; the indices that are further away (their byte is 255), uint16; counts of 1 to 15, two in a byte, the first in the
lower half; the width of the other counts (whose half is 0), and those.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from loadproof.histogram.counts import Counts
from loadproof.histogram.layout import COUNTERS, MAX_US, indices_of
from loadproof.metrics.errors import CodecError

_META: Final = 6
DENSE_COLUMNS: Final = 7
"""Columns of what is written densely; four otherwise."""
_GROUP: Final = 16
_FAR: Final = 255
_NIBBLE: Final = 15
_WIDTHS: Final = {1: "<u1", 2: "<u2", 4: "<u4", 8: "<u8"}
_ZERO, _ONE = np.zeros(1, np.int64), np.int64(1)
_NO_STARTS = np.zeros(0, np.int64)
_Arrays = tuple[NDArray[np.int64], NDArray[np.uint16], NDArray[np.unsignedinteger[Any]]]
_COUNT_MAX: Final = 1 << 40
"""Most samples of one histogram in one message."""
COUNTERS_TOGETHER_MAX: Final = 4 * 1024 * 1024
"""Most counters of all histograms in one message, so that its size bounds the memory it takes to read it."""
DENSE_COUNTERS: Final = 4_096
"""From so many counters on a message is written densely: below it is small either way, and plain is read faster."""
_SLACK: Final = 1e-9
"""Relative slack of the plausibility check of sums, which is done in floats."""


def pack(parts: Sequence[Counts], *, dense: bool = False) -> list[bytes | int]:
    """Return [meta, indices, width, counts] of non-empty histograms, or seven columns where `dense` and there are many
    counters.
    """
    if not parts:
        return [b"", b"", 1, b""]
    meta = np.array(
        [(len(p.indices), p.n, p.total, p.minimum, p.maximum, p.clamped) for p in parts], dtype="<i8"
    )  # fmt: skip
    indices = np.concatenate([part.indices for part in parts]).astype("<u2", copy=False)
    counts = np.concatenate([part.counts for part in parts])
    if not dense or len(indices) < DENSE_COUNTERS:
        return [meta.tobytes(), indices.tobytes(), *_narrow(counts)]
    bases = indices[::_GROUP]
    distances = indices - np.repeat(bases, _GROUP)[: len(indices)]  # wraps around where the next histogram begins
    far, large = distances >= _FAR, counts > _NIBBLE
    halves = np.zeros(len(counts) + len(counts) % 2, "<u1")
    halves[: len(counts)] = np.where(large, 0, counts)
    return [
        meta.tobytes(), bases.tobytes(), np.where(far, _FAR, distances).astype("<u1").tobytes(), indices[far].tobytes(),
        (halves[::2] | halves[1::2] << 4).tobytes(), *_narrow(counts[large]),
    ]  # fmt: skip


def _narrow(counts: NDArray[np.uint64]) -> tuple[int, bytes]:
    """Return the width in bytes that fits every count, and the counts so wide."""
    largest = int(counts.max(initial=0))
    width = next(width for width in _WIDTHS if largest < 1 << 8 * width)
    return width, counts.astype(_WIDTHS[width]).tobytes()


def pack_integers(numbers: Sequence[int]) -> bytes:
    """Return non-negative integers below 2**63 as bytes: their width, then the numbers."""
    largest = max(numbers, default=0)
    width = next(width for width in _WIDTHS if largest < 1 << 8 * width)
    return bytes([width]) + np.array(numbers, dtype=_WIDTHS[width]).tobytes()


def unpack_rows(data: object, columns: int, rows_max: int) -> list[tuple[int, ...]]:
    """Return the numbers of `pack_integers` in rows of `columns`; raises `CodecError` beyond `rows_max` rows."""
    return list(map(tuple, unpack_table(data, columns, rows_max).tolist()))


def unpack_table(data: object, columns: int, rows_max: int) -> NDArray[np.unsignedinteger[Any]]:
    """Return the same as an array of unsigned integers, (rows, columns)."""
    if not isinstance(data, bytes) or not data or data[0] not in _WIDTHS:
        raise CodecError("a column of numbers is missing")
    width = data[0]
    if len(data) > 1 + width * columns * rows_max or (len(data) - 1) % (width * columns):
        raise CodecError("a column of numbers is too long or torn")
    return np.frombuffer(data, _WIDTHS[width], offset=1).reshape(-1, columns)


@dataclass(frozen=True, slots=True)
class Columns:
    """The checked histograms of one message, still as columns: what a controller adds up without taking them apart.

    `meta` is int64 (histograms, 6): length, n, total, minimum, maximum, clamped. `indices` uint16 and `counts`
    (unsigned, any width) hold all counters one after another, those of histogram i from `starts[i]` on. Views of the
    message.
    """

    meta: NDArray[np.int64]
    starts: NDArray[np.int64]
    indices: NDArray[np.uint16]
    counts: NDArray[np.unsignedinteger[Any]]

    def __len__(self) -> int:
        """Return how many histograms there are."""
        return len(self.meta)

    def parts(self) -> list[Counts]:
        """Return each histogram by itself, none of them a view of the message."""
        indices, counts = self.indices.astype(np.uint16), self.counts.astype(np.uint64)
        starts = self.starts.tolist()
        return [
            Counts(indices[start:end], counts[start:end], n, total, minimum, maximum, clamped)
            for start, end, (_, n, total, minimum, maximum, clamped) in zip(
                starts, [*starts, len(indices)][1:], self.meta.tolist(), strict=True
            )
        ]


def unpack(columns: object, histograms_max: int) -> Columns:
    """Return the histograms of `pack`, all checked. Raises `CodecError`; memory is bounded as the bytes are.

    Indices rise within the layout, counts add up to n, minimum and maximum lie in the outer counters, the sum is
    possible.
    """
    return unpack_all([columns], histograms_max)[0]


def unpack_all(messages: Sequence[object], histograms_max: int) -> list[Columns]:
    """Return the histograms of several messages, checked together: for small ones at a fraction of the price.

    Raises `CodecError` when one of them is wrong.
    """
    raw = [_arrays(columns, histograms_max) for columns in messages]
    full = [arrays for arrays in raw if len(arrays[0])]
    if any(len(indices) for meta, indices, _ in raw if not len(meta)):
        raise CodecError("counters without a histogram")
    read = iter(_checked(full) if full else ())
    return [next(read) if len(meta) else Columns(meta, _NO_STARTS, indices, counts) for meta, indices, counts in raw]


def _checked(messages: Sequence[_Arrays]) -> list[Columns]:
    """Check messages of at least one histogram each, laid one after another."""
    meta, indices, counts = (
        messages[0] if len(messages) == 1 else map(np.concatenate, zip(*messages, strict=True))
    )  # counts get the widest type
    bounds = _check_shape(meta, indices, counts)
    ends = list(accumulate(len(message[0]) for message in messages))
    places = list(accumulate(len(message[1]) for message in messages))
    if bounds[np.array(ends) - 1, 1].tolist() != [place - 1 for place in places]:
        raise CodecError("histogram lengths don't add up")
    _check_sums(meta, indices, counts, bounds)
    if len(messages) == 1:
        return [Columns(meta, bounds[:, 0], indices, counts)]
    return [
        Columns(meta[start:end], bounds[start:end, 0] - first, indices[first:last], counts[first:last])
        for start, end, first, last in zip([0, *ends], ends, [0, *places], places, strict=False)
    ]


def _arrays(columns: object, histograms_max: int) -> _Arrays:
    """Return meta, indices and counts of one message; what they hold is not checked."""
    if not (isinstance(columns, list) and len(columns) in {4, DENSE_COLUMNS}):
        raise CodecError("histograms are not four columns or seven")
    *raw, width, raw_counts = columns
    if not all(isinstance(column, bytes) for column in (*raw, raw_counts)):
        raise CodecError("histogram columns are not bytes")
    if type(width) is not int or width not in _WIDTHS:
        raise CodecError("histogram counts have an unknown width")
    if len(raw[0]) % (8 * _META) or len(raw[0]) // (8 * _META) > histograms_max:
        raise CodecError(f"more than {histograms_max} histograms, or a torn column")
    meta = np.frombuffer(raw[0], "<i8").reshape(-1, _META).astype(np.int64, copy=False)
    if len(columns) == DENSE_COLUMNS:
        return meta, *_dense(*raw[1:], width=width, raw_counts=raw_counts)
    if len(raw[1]) * width != len(raw_counts) * 2:
        raise CodecError("histogram columns differ in length")
    indices = np.frombuffer(raw[1], "<u2").astype(np.uint16, copy=False)
    counts = np.frombuffer(raw_counts, _WIDTHS[width])
    return meta, indices, counts.astype(counts.dtype.newbyteorder("="), copy=False)


def _dense(
    raw_bases: bytes, raw_distances: bytes, raw_far: bytes, raw_halves: bytes, *, width: int, raw_counts: bytes
) -> tuple[NDArray[np.uint16], NDArray[np.unsignedinteger[Any]]]:
    """Return indices and counts of what was written densely."""
    size = len(raw_distances)
    if size > COUNTERS_TOGETHER_MAX:
        raise CodecError(f"more than {COUNTERS_TOGETHER_MAX} counters in one message")
    if len(raw_bases) != 2 * -(-size // _GROUP) or len(raw_halves) != -(-size // 2):
        raise CodecError("histogram columns differ in length")
    distances, halves = np.frombuffer(raw_distances, "<u1"), np.frombuffer(raw_halves, "<u1")
    indices = np.repeat(np.frombuffer(raw_bases, "<u2").astype(np.uint16, copy=False), _GROUP)[:size]
    indices += distances
    counts = np.empty(2 * len(halves), np.uint8)
    np.bitwise_and(halves, _NIBBLE, out=counts[::2])
    np.right_shift(halves, 4, out=counts[1::2])
    counts = counts[:size]
    far, large = np.flatnonzero(distances == _FAR), np.flatnonzero(counts == 0)
    if len(raw_far) != 2 * len(far) or len(raw_counts) != width * len(large):
        raise CodecError("histogram columns differ in length")
    indices[far] = np.frombuffer(raw_far, "<u2")
    wide = counts.astype(f"=u{width}", copy=False)
    wide[large] = np.frombuffer(raw_counts, _WIDTHS[width])
    return indices, wide


def _check_shape(
    meta: NDArray[np.int64], indices: NDArray[np.uint16], counts: NDArray[np.unsignedinteger[Any]]
) -> NDArray[np.int64]:
    """Return where each histogram starts and its last counter, int64 (histograms, 2).

    Lengths, index range and rise, and single counts are checked.
    """
    lengths = meta[:, 0]
    if int(lengths.min()) < 1 or int(lengths.max()) > COUNTERS or int(lengths.sum()) != len(indices):
        raise CodecError("histogram lengths don't add up")
    bounds = np.empty((len(meta), 2), np.int64)
    starts, lasts = bounds[:, 0], bounds[:, 1]
    np.cumsum(lengths, out=lasts)
    np.subtract(lasts, lengths, out=starts)
    lasts -= 1
    rises = indices[1:] > indices[:-1]
    rises[lasts[:-1]] = True
    if not rises.all():
        raise CodecError("counters don't rise")
    if int(indices[lasts].max()) >= COUNTERS:  # as they rise, the last of each is the highest
        raise CodecError("a counter lies outside the layout")
    if int(counts.min()) < 1 or int(counts.max()) > _COUNT_MAX:
        raise CodecError("a count is zero or out of range")
    return bounds


def _check_sums(
    meta: NDArray[np.int64],
    indices: NDArray[np.uint16],
    counts: NDArray[np.unsignedinteger[Any]],
    bounds: NDArray[np.int64],
) -> None:
    n, total, extremes, clamped = meta[:, 1], meta[:, 2], meta[:, 3:5], meta[:, 5]
    # Within an octave of the layout values rise linearly with the index: per stretch of one histogram and octave, the
    # number of samples and the sum of their indices give the sums of lowest and highest values. No table is looked up.
    octaves = indices >> 10
    breaks = octaves[1:] != octaves[:-1]
    breaks[bounds[:-1, 1]] = True
    stretches = np.concatenate((_ZERO, np.flatnonzero(breaks) + 1))
    firsts = stretches.searchsorted(bounds[:, 0])
    samples = np.add.reduceat(counts, stretches, dtype=np.uint64)
    if (np.add.reduceat(samples, firsts).view(np.int64) != n).any() or int(n.max()) > _COUNT_MAX:
        raise CodecError("counts don't add up to n")
    if int(extremes.min()) < 0 or int(extremes.max()) > MAX_US or (extremes[:, 0] > extremes[:, 1]).any():
        raise CodecError("minimum or maximum out of range")
    if (indices_of(extremes) != indices[bounds]).any():
        raise CodecError("minimum or maximum lies outside its counter")
    if int(clamped.min()) < 0 or (clamped > n).any():
        raise CodecError("more samples clamped than counted")
    products = np.multiply(indices, counts, dtype=np.uint32 if counts.itemsize <= 2 else np.uint64)
    weighted = np.add.reduceat(products, stretches, dtype=np.uint64).astype(np.float64)
    bucket = np.maximum(octaves[stretches], 1).astype(np.int64) - 1
    samples_f, scale = samples.astype(np.float64), (_ONE << bucket).astype(np.float64)
    lowest = (weighted - samples_f * (bucket << 10)) * scale
    least = np.add.reduceat(lowest, firsts)
    most = np.add.reduceat(lowest + (scale - 1) * samples_f, firsts)
    sums = total.astype(np.float64)
    possible = (sums >= least * (1 - _SLACK) - 1) & (sums <= most * (1 + _SLACK) + 1)
    if int(total.min()) < 0 or not possible.all():
        raise CodecError("a sum is impossible for its counts")
