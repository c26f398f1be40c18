"""The closed model: which users live when, what they do and which rows they draw. User u belongs to shard u mod N."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter

import numpy as np
import numpy.typing as npt

from loadproof.plan.mix import Mix
from loadproof.plan.model import DatasetPlan, Plan, UserPhase
from loadproof.plan.rows import row_index
from loadproof.plan.seeding import Stream, mix64

FOREVER_NS = (1 << 63) - 1
"""End of a lifetime that only a number of iterations ends."""

_CELLS_MAX = 1 << 24
"""Cells of users' current blocks kept at once, 2 bytes each; beyond it the oldest is worked out again when needed."""


class UserSchedule:
    """All users of a closed plan. User u lives while u < users(t). Raises ValueError on an open plan."""

    def __init__(self, plan: Plan) -> None:
        if plan.model != "closed":
            raise ValueError(f"profile {plan.profile!r} has arrivals, not users")
        self.plan = plan
        self._phases = tuple(phase for phase in plan.phases if isinstance(phase, UserPhase))
        self._starts: list[int] = []
        time = 0
        for phase in self._phases:
            self._starts.append(time)
            time += FOREVER_NS - time if phase.duration_ns is None else phase.duration_ns
        self.peak = max(max(phase.users_from, phase.users_to) for phase in self._phases)
        """The greatest number of users alive at once; also the stride of their rows."""
        self._mix = Mix(plan)
        self._blocks: dict[int, tuple[int, npt.NDArray[np.uint16]]] = {}

    def lifetimes(self, user: int) -> list[tuple[int, int]]:
        """Return when `user` lives, as [from, to) in ns, in order and not touching one another."""
        lives: list[tuple[int, int]] = []
        for start, phase in zip(self._starts, self._phases, strict=True):
            span = _alive(phase, user)
            if span is None:
                continue
            begin, end = start + span[0], min(start + span[1], FOREVER_NS)
            if lives and lives[-1][1] == begin:
                lives[-1] = (lives[-1][0], end)
            else:
                lives.append((begin, end))
        return lives

    def shard_users(self, index: int, count: int) -> range:
        """Return the users u with u mod `count` = `index`."""
        if not 0 <= index < count:
            raise ValueError(f"shard {index} of {count}")
        return range(index, self.peak, count)

    def iterations_of(self, user: int) -> int | None:
        """Return how many iterations `user` runs: j with j mod users = user. None where only time ends the profile."""
        wanted = self._phases[0].iterations
        if wanted is None:
            return None
        return max(0, -(-(wanted - user) // self.peak))

    def phase_at(self, t_ns: int) -> int:
        """Return the phase at `t_ns`; after the end, the last one."""
        return max(0, bisect_right(self._starts, t_ns) - 1)

    def users_at(self, t_ns: int) -> int:
        """Return how many users live at `t_ns`."""
        phase = self._phases[index := self.phase_at(t_ns)]
        if phase.duration_ns is None:
            return phase.users_from
        tau = t_ns - self._starts[index]
        if not 0 <= tau < phase.duration_ns:
            return 0
        change = phase.users_to - phase.users_from
        return -((-phase.users_from * phase.duration_ns - change * tau) // phase.duration_ns)

    def transaction(self, user: int, iteration: int) -> int:
        """Return the transaction (index in the plan) of a user's iteration: blocks of the mix, shuffled per user."""
        number, offset = divmod(iteration, self._mix.length)
        cached = self._blocks.get(user)
        if cached is None or cached[0] != number:
            stream = mix64(self.plan.seed, Stream.USER_MIX, user)
            block = self._mix.blocks(np.array([number], dtype=np.int64), stream)[0].astype(np.uint16)
            if cached is None and len(self._blocks) >= max(1, _CELLS_MAX // self._mix.length):
                del self._blocks[next(iter(self._blocks))]
            self._blocks[user] = cached = (number, block)
        return int(cached[1][offset])

    def draws_before(self, user: int, iteration: int) -> Counter[str]:
        """Return how many rows of each dataset `user` draws in its iterations before that one."""
        blocks, rest = divmod(iteration, self._mix.length)
        draws: Counter[str] = Counter()
        for transaction, weight in zip(self.plan.transactions, self._mix.weights, strict=True):
            if transaction.dataset is not None:
                draws[transaction.dataset] += blocks * weight
        for number in range(iteration - rest, iteration):
            dataset = self.plan.transactions[self.transaction(user, number)].dataset
            if dataset is not None:
                draws[dataset] += 1
        return draws

    def row(self, user: int, draw: int, dataset: DatasetPlan | str) -> int:
        """Return the row that the `draw`-th draw (from 0) of `user` from `dataset` gets: number user + peak * draw.

        Raises RowsExhausted when a `unique` dataset has no such row.
        """
        plan = self.plan.dataset(dataset) if isinstance(dataset, str) else dataset
        return row_index(plan, user + self.peak * draw, self.plan.seed)


def _alive(phase: UserPhase, user: int) -> tuple[int, int] | None:
    """Return the part [from, to) of a phase in which `user` < users(t), in ns from its start, or None."""
    low, high = phase.users_from, phase.users_to
    if phase.duration_ns is None:
        return (0, FOREVER_NS) if user < low else None
    length = phase.duration_ns
    if user >= max(low, high):
        return None
    begin = 0 if user < low else (user - low) * length // (high - low)
    end = length if user < high else -(-(low - user) * length // (low - high))
    return (begin, end) if begin < end else None
