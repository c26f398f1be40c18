"""Which transaction an arrival is: integer weights form a block, and each block is shuffled by itself.

A shuffle, not a smooth round-robin: any regular pattern aliases with "k mod N" and leaves shards without some
transaction (docs/explanation/shards.md has the counter-example). Block b of the plan is the same on every machine.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from loadproof.plan.model import Plan
from loadproof.plan.seeding import Stream, mix64, mix64_into

BLOCK_LENGTH_MAX = 10_000
"""Longest block a configuration may ask for: the sum of the weights after division by their common factor."""

_CELLS_MAX = 1 << 18
"""Cells of shuffled blocks computed at once; bounds memory to a few MB."""

IntArray = npt.NDArray[np.int64]


def reduced_weights(weights: Sequence[int]) -> tuple[int, ...]:
    """Return the weights divided by their greatest common divisor. Raises ValueError unless some weight is positive."""
    divisor = math.gcd(*weights)
    if divisor == 0 or min(weights) < 0:
        raise ValueError(f"weights must be whole numbers, not negative and not all zero: {list(weights)}")
    return tuple(weight // divisor for weight in weights)


class Mix:
    """The plan's transactions in shuffled blocks. Position p is offset p mod `length` of block p div `length`."""

    __slots__ = ("_base", "_columns", "_draws", "_stream", "datasets", "length", "transaction_datasets", "weights")

    def __init__(self, plan: Plan) -> None:
        self.weights = reduced_weights([transaction.weight for transaction in plan.transactions])
        self.length = sum(self.weights)
        self.datasets = tuple(dataset.name for dataset in plan.datasets)
        index = {name: position for position, name in enumerate(self.datasets)}
        self.transaction_datasets = tuple(
            -1 if transaction.dataset is None else index[transaction.dataset] for transaction in plan.transactions
        )
        self._base = np.repeat(np.arange(len(self.weights), dtype=np.int64), self.weights)
        self._columns = np.arange(self.length, dtype=np.uint64)
        self._stream = mix64(plan.seed, Stream.MIX)
        self._draws = np.array([self._per_block(position) for position in range(len(self.datasets))], dtype=np.int64)

    def _per_block(self, dataset: int) -> int:
        return sum(w for w, d in zip(self.weights, self.transaction_datasets, strict=True) if d == dataset)

    @property
    def batch(self) -> int:
        """Return how many blocks fit the memory bound of one call of `blocks`."""
        return max(1, _CELLS_MAX // self.length)

    def blocks(self, numbers: IntArray, stream: int | None = None) -> IntArray:
        """Return the shuffled blocks of these numbers, shape (len(numbers), length): transaction indices.

        `stream` is another key than the plan's own, for shuffles of somebody's own.
        """
        if len(self.weights) == 1:
            return np.zeros((len(numbers), self.length), dtype=np.int64)
        seeds = mix64_into(
            np.full(len(numbers), self._stream if stream is None else stream, dtype=np.uint64),
            numbers.astype(np.uint64),
        )
        keys = mix64_into(seeds[:, np.newaxis], self._columns[np.newaxis, :])
        return self._base[np.argsort(keys, axis=1, kind="stable")]

    def select(self, positions: IntArray) -> tuple[IntArray, IntArray]:
        """Return (transaction, rank) of each position; rank counts earlier draws of its dataset, -1 without one."""
        transactions = np.empty(len(positions), dtype=np.int64)
        ranks = np.full(len(positions), -1, dtype=np.int64)
        if len(self.weights) == 1 and not self.datasets:
            transactions.fill(0)
            return transactions, ranks
        numbers, offsets = np.divmod(positions, self.length)
        for start, end in self._spans(numbers):
            unique, inverse = np.unique(numbers[start:end], return_inverse=True)
            shuffled = self.blocks(unique)
            chosen = shuffled[inverse, offsets[start:end]]
            transactions[start:end] = chosen
            drawn = np.asarray(self.transaction_datasets, dtype=np.int64)
            datasets = drawn[chosen]
            for dataset in range(len(self.datasets)):
                mine = np.flatnonzero(datasets == dataset)
                if len(mine):
                    before = np.cumsum(drawn[shuffled] == dataset, axis=1)[inverse[mine], offsets[start:end][mine]] - 1
                    ranks[start:end][mine] = numbers[start:end][mine] * self._draws[dataset] + before
        return transactions, ranks

    def _spans(self, numbers: IntArray) -> list[tuple[int, int]]:
        step = self.batch
        return [(start, min(start + step, len(numbers))) for start in range(0, len(numbers), step)]

    def before(self, positions: IntArray) -> IntArray:
        """Return how often each transaction comes before each position, shape (len(positions), transactions)."""
        numbers, offsets = np.divmod(positions, self.length)
        counts = numbers[:, np.newaxis] * np.asarray(self.weights, dtype=np.int64)[np.newaxis, :]
        for start, end in self._spans(numbers):
            unique, inverse = np.unique(numbers[start:end], return_inverse=True)
            shuffled = self.blocks(unique)[inverse]
            inside = self._columns[np.newaxis, :] < offsets[start:end, np.newaxis].astype(np.uint64)
            for transaction in range(len(self.weights)):
                counts[start:end, transaction] += np.count_nonzero((shuffled == transaction) & inside, axis=1)
        return counts

    def draws(self, positions: int) -> dict[str, int]:
        """Return how many rows of each dataset the first `positions` positions draw."""
        counts = self.before(np.array([positions], dtype=np.int64))[0]
        total = dict.fromkeys(self.datasets, 0)
        for count, dataset in zip(counts.tolist(), self.transaction_datasets, strict=True):
            if dataset >= 0:
                total[self.datasets[dataset]] += count
        return total
