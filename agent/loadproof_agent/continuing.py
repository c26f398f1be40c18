"""Where users of the closed model go on when another process takes them over. Pure.

What users had reserved is used up, whether it was run or not; see `worker.reservations`.
"""

from __future__ import annotations

from collections.abc import Iterable

from loadproof_agent.records import UserDraws


class Continuations:
    """The reservations of one run's users on this agent, as numbers of iterations.

    On the wire a reservation names a dataset; the number after the last one of the plan stands for iterations, from
    which every draw follows. `shard_count`: user u belongs to shard u mod that.
    """

    def __init__(self, iterations_index: int, shard_count: int) -> None:
        self._index = iterations_index
        self._count = shard_count
        self._reserved: dict[int, int] = {}
        self._begun: dict[int, int] = {}

    def granted(self, draws: Iterable[UserDraws]) -> None:
        """An earlier holder on another agent had reserved these."""
        for draw in draws:
            if draw.dataset == self._index and draw.draws > self._reserved.get(draw.user, 0):
                self._reserved[draw.user] = self._begun[draw.user] = draw.draws

    def asked(self, points: Iterable[tuple[int, int]]) -> tuple[UserDraws, ...]:
        """A worker wants the first so many iterations of these users; returns how to say that."""
        known = tuple(points)
        for user, iterations in known:
            self._reserved[user] = max(iterations, self._reserved.get(user, 0))
        return tuple(UserDraws(user, self._index, iterations) for user, iterations in known)

    def points(self, draws: Iterable[UserDraws]) -> tuple[tuple[int, int], ...]:
        """Return what `asked` was told, from what it said."""
        return tuple((draw.user, draw.draws) for draw in draws)

    def of(self, shards: Iterable[int]) -> tuple[tuple[int, int], ...]:
        """Return where the users of `shards` go on, as (user, iteration), without those that begin at 0."""
        wanted = set(shards)
        return tuple((user, n) for user, n in sorted(self._reserved.items()) if user % self._count in wanted)

    def died(self, shards: Iterable[int]) -> int:
        """The holder of `shards` is gone: return how many iterations its users had reserved since it took them."""
        used = 0
        for user, reserved in self.of(shards):
            used += reserved - self._begun.get(user, 0)
            self._begun[user] = reserved
        return used
