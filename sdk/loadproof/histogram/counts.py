"""Sparse histograms: what travels between processes and is added up."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loadproof.histogram.layout import COUNTERS, MAX_US, indices_of


@dataclass(slots=True)
class Counts:
    """A sparse histogram in the product's fixed layout (see `loadproof.histogram`), microseconds.

    `indices` uint16, strictly rising; `counts` uint64, same length, never 0; `n` = their sum. `total`, `minimum` and
    `maximum` are exact, in microseconds, of the samples as recorded (clamped ones as clamped); `clamped` says how many
    were out of range. Treated as immutable once made: arrays may be shared.
    """

    indices: NDArray[np.uint16]
    counts: NDArray[np.uint64]
    n: int
    total: int
    minimum: int
    maximum: int
    clamped: int = 0

    def __eq__(self, other: object) -> bool:
        """Equal when every number is."""
        if not isinstance(other, Counts):
            return NotImplemented
        return (
            (self.n, self.total, self.minimum, self.maximum, self.clamped)
            == (other.n, other.total, other.minimum, other.maximum, other.clamped)
            and np.array_equal(self.indices, other.indices)
            and np.array_equal(self.counts, other.counts)
        )

    __hash__ = None  # type: ignore[assignment]  # holds arrays


def counts_from_samples(values_us: NDArray[np.int64]) -> Counts:
    """Count an int64 array of microseconds, any shape of length >= 1. Values outside [0, 24 h] are clamped and counted.

    Raises ValueError for no samples: an absent series is the empty one.
    """
    if values_us.size == 0:
        raise ValueError("no samples: leave the series out instead")
    minimum, maximum = int(values_us.min()), int(values_us.max())
    clamped = 0
    if minimum < 0 or maximum > MAX_US:
        clamped = int(np.count_nonzero((values_us < 0) | (values_us > MAX_US)))
        values_us = values_us.clip(0, MAX_US)
        minimum, maximum = int(values_us.min()), int(values_us.max())
    indices, counts = _tally(indices_of(values_us))
    return Counts(indices, counts, int(values_us.size), int(values_us.sum()), minimum, maximum, clamped)


def _tally(indices: NDArray[np.uint16]) -> tuple[NDArray[np.uint16], NDArray[np.uint64]]:
    if indices.size > 4_096:  # one pass over the layout is cheaper than sorting
        dense = np.bincount(indices, minlength=COUNTERS)
        present = np.flatnonzero(dense)
        return present.astype(np.uint16), dense[present].astype(np.uint64)
    ordered = np.sort(indices)
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    counts = np.diff(starts, append=ordered.size)
    return ordered[starts], counts.astype(np.uint64)


def sum_counts(parts: Iterable[Counts]) -> Counts | None:
    """Add any number of sparse histograms exactly; None for none. The result owns its arrays."""
    pieces = list(parts)
    if not pieces:
        return None
    if len(pieces) == 1:
        only = pieces[0]
        return Counts(
            only.indices.copy(), only.counts.copy(), only.n, only.total, only.minimum, only.maximum, only.clamped
        )
    indices = np.concatenate([piece.indices for piece in pieces])
    counts = np.concatenate([piece.counts for piece in pieces])
    order = np.argsort(indices, kind="stable")
    indices, counts = indices[order], counts[order]
    starts = np.flatnonzero(np.concatenate(([True], indices[1:] != indices[:-1])))
    return Counts(
        indices[starts],
        np.add.reduceat(counts, starts),
        sum(piece.n for piece in pieces),
        sum(piece.total for piece in pieces),
        min(piece.minimum for piece in pieces),
        max(piece.maximum for piece in pieces),
        sum(piece.clamped for piece in pieces),
    )


def merge_counts(a: Counts, b: Counts) -> Counts:
    """Add two sparse histograms exactly; neither is changed."""
    merged = sum_counts((a, b))
    assert merged is not None
    return merged


def _spread() -> NDArray[np.uint64]:
    """Return one fixed pseudo-random 64-bit number for each counter (the finaliser of splitmix64)."""
    x = (np.arange(1, COUNTERS + 1, dtype=np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


_SPREAD = _spread()


def checksum(counts: Counts) -> int:
    """Return an additive 64-bit checksum of the counted multiset: that of a sum is the sum of both, modulo 2**64."""
    return int(np.dot(_SPREAD[counts.indices], counts.counts))


def checksums(parts: Sequence[Counts]) -> list[int]:
    """Return `checksum` of each of `parts`, none of them empty, in one pass."""
    if not parts:
        return []
    starts = np.zeros(len(parts), np.int64)
    np.cumsum([len(part.indices) for part in parts[:-1]], out=starts[1:])
    indices = np.concatenate([part.indices for part in parts])
    sums: list[int] = column_checksums(indices, np.concatenate([part.counts for part in parts]), starts).tolist()
    return sums


def column_checksums(
    indices: NDArray[np.uint16], counts: NDArray[np.unsignedinteger[Any]], starts: NDArray[np.int64]
) -> NDArray[np.uint64]:
    """Return `checksum` of each stretch of counters that begins at one of `starts`, at least one."""
    spread = _SPREAD.take(indices.astype(np.intp), mode="clip")  # twice as fast; indices lie within the layout
    spread *= counts.astype(np.uint64, copy=False)
    return np.add.reduceat(spread, starts)
