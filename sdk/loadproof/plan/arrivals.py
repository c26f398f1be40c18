"""The open model: when each arrival comes, which transaction it is and which row it draws; dealt into shards like
cards.

Arrival k (k = 0, 1, 2, ...) comes at the last nanosecond at which the integral of the rate is still at most k: the
first at the first instant of load, and a phase of rate r and length d holds exactly r * d of them. Nothing here
depends on the number of shards.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat
from typing import NamedTuple

import numpy as np

from loadproof.plan.curve import RateCurve
from loadproof.plan.mix import Mix
from loadproof.plan.model import NS_PER_S, ArrivalPhase, Plan
from loadproof.plan.rows import row_index
from loadproof.plan.spacing import spacing_for

_BATCH = 256
"""Arrivals of a shard worked out at once."""


class Arrival(NamedTuple):
    """One planned start. Times in ns since the run's start; `transaction` and `phase` index the plan; `row` -1 =
    none.
    """

    k: int
    at_ns: int
    transaction: int
    row: int
    phase: int


class ArrivalSchedule:
    """All arrivals of an open plan, worked out on demand; holds no list of them. Raises ValueError on a closed plan."""

    def __init__(self, plan: Plan) -> None:
        if plan.model != "open":
            raise ValueError(f"profile {plan.profile!r} has users, not arrivals")
        self.plan = plan
        self._phases = tuple(phase for phase in plan.phases if isinstance(phase, ArrivalPhase))
        self._curve = RateCurve(self._phases)
        self._spacing = spacing_for(plan.spacing, plan.seed)
        self._mix = Mix(plan)
        self._total: int | None = None

    @property
    def total(self) -> int:
        """Return the number of arrivals. Poisson: of this seed, found by adding up the gaps."""
        if self._total is None:
            self._total = self._spacing.below(self._curve.area)
        return self._total

    def count_until(self, t_ns: int) -> int:
        """Return how many arrivals come before `t_ns`."""
        return self._spacing.below(self._curve.area_until(t_ns))

    def time_ns(self, k: int) -> int:
        """Return when arrival `k` comes. Raises IndexError outside 0 <= k < total."""
        return self._curve.time_ns(self._position(k))

    def phase_of(self, k: int) -> int:
        """Return the phase arrival `k` comes in. Raises IndexError outside 0 <= k < total."""
        return self._curve.phase_of(self._position(k))

    def _position(self, k: int) -> int:
        if k >= 0:
            position = self._spacing.position(k)
            if position < self._curve.area:
                return position
        raise IndexError(f"arrival {k} of {self.total}")

    def shard(self, index: int, count: int, first_k: int = 0) -> Iterator[Arrival]:
        """Yield the arrivals k with k mod `count` = `index` and k >= `first_k`, in order of time, a batch at a time."""
        if not 0 <= index < count:
            raise ValueError(f"shard {index} of {count}")
        k = first_k + (index - first_k) % count
        size = max(1, min(_BATCH, self._mix.batch))
        position_of, area = self._spacing.position, self._curve.area
        while True:
            numbers: list[int] = []
            positions: list[int] = []
            for number in range(k, k + size * count, count):
                position = position_of(number)
                if position >= area:
                    break
                numbers.append(number)
                positions.append(position)
            yield from self._resolve(numbers, positions)
            if len(numbers) < size:
                return
            k += size * count

    def _resolve(self, numbers: list[int], positions: list[int]) -> Iterator[Arrival]:
        if not numbers:
            return
        transactions, ranks = self._mix.select(np.array(numbers, dtype=np.int64))
        times, phases = self._curve.places(positions)
        rows = self._rows(transactions.tolist(), ranks.tolist()) if self.plan.datasets else repeat(-1, len(numbers))
        for fields in zip(numbers, times, transactions.tolist(), rows, phases, strict=True):
            yield Arrival._make(fields)

    def _rows(self, transactions: list[int], ranks: list[int]) -> Iterator[int]:
        datasets = [self.plan.datasets[d] if d >= 0 else None for d in self._mix.transaction_datasets]
        seed = self.plan.seed
        for transaction, rank in zip(transactions, ranks, strict=True):
            dataset = datasets[transaction]
            yield -1 if dataset is None else row_index(dataset, rank, seed)

    def draws(self) -> dict[str, int]:
        """Return how many rows of each dataset the whole plan draws."""
        return self._mix.draws(self.total)

    def planned(self, until_ns: int | None = None) -> dict[tuple[str, str], int]:
        """Return the number of arrivals by (transaction, phase), of those before `until_ns`; zeros included."""
        limit = self.total if until_ns is None else self.count_until(until_ns)
        edges = [self._spacing.below(self._curve.area_start(index)) for index in range(len(self._phases) + 1)]
        before = self._mix.before(np.minimum(np.array(edges, dtype=np.int64), limit))
        counts: dict[tuple[str, str], int] = {}
        for index, phase in enumerate(self._phases):
            for number, transaction in enumerate(self.plan.transactions):
                counts[transaction.name, phase.name] = int(before[index + 1, number] - before[index, number])
        return counts

    def planned_seconds(self, until_ns: int | None = None) -> dict[tuple[int, str], int]:
        """Return the number of arrivals by (second, transaction), of those before `until_ns`; zeros left out."""
        end = self._curve.duration_ns if until_ns is None else min(until_ns, self._curve.duration_ns)
        seconds = -(-end // NS_PER_S)
        edges = [self.count_until(min(second * NS_PER_S, end)) for second in range(seconds + 1)]
        counts = np.diff(self._mix.before(np.array(edges, dtype=np.int64)), axis=0)
        names = [transaction.name for transaction in self.plan.transactions]
        rows, columns = np.nonzero(counts)
        return {(int(row), names[column]): int(counts[row, column]) for row, column in zip(rows, columns, strict=True)}
