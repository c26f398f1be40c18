"""Which row of a dataset the n-th draw gets. A pure function of (dataset, n, seed): no cursor is shared by anybody."""

from __future__ import annotations

import zlib

from loadproof._errors import LoadproofError
from loadproof.plan.model import DatasetPlan
from loadproof.plan.seeding import Stream, mix64

_ROUNDS = 4


class RowsExhausted(LoadproofError, IndexError):
    """A `unique` dataset has no row left. `dataset` is its name, `rank` the draw (from 0) that found nothing."""

    def __init__(self, dataset: str, rank: int, rows: int) -> None:
        super().__init__(f"dataset {dataset!r} has {rows} rows and draw {rank + 1} needs another")
        self.dataset = dataset
        self.rank = rank
        self.rows = rows


def row_index(dataset: DatasetPlan, rank: int, seed: int) -> int:
    """Return the row (from 0, in file order) that draw `rank` gets.

    `circular` starts over at the end; `shuffle` goes through all rows in a new order each pass; `unique` goes through
    the file once and raises RowsExhausted after it.
    """
    rows = dataset.rows
    if dataset.order == "unique":
        if rank >= rows:
            raise RowsExhausted(dataset.name, rank, rows)
        return rank
    if dataset.order == "circular":
        return rank % rows
    number, position = divmod(rank, rows)
    return permuted(position, rows, mix64(seed, Stream.SHUFFLE, zlib.crc32(dataset.name.encode()), number))


def permuted(position: int, size: int, key: int) -> int:
    """Return where `position` goes in the permutation of range(size) that `key` names.

    A Feistel network over the next even number of bits, walked until it lands inside (at most 4 times as large, so
    about 4 steps in the worst mean): a shuffle with random access and no memory.
    """
    if size <= 1:
        return 0
    half = max(1, ((size - 1).bit_length() + 1) // 2)
    mask = (1 << half) - 1
    while True:
        left, right = position >> half, position & mask
        for number in range(_ROUNDS):
            left, right = right, left ^ (mix64(key, number, right) & mask)
        position = left << half | right
        if position < size:
            return position
