"""Which iterations a user may begin: those that the controller has on record. Pure: time is a parameter.

Only profiles whose users must not do anything twice reserve: those that count iterations or draw from a `unique`
dataset. Whoever takes such a user over goes on behind its reservation, so what was reserved and not run is lost. Blocks
are therefore as large as a user needs and no larger: up to 100 iterations for one that uses a block within a second,
down to one. Two blocks at most are reserved ahead.
"""

from __future__ import annotations

from dataclasses import dataclass

from loadproof.plan import NS_PER_S, UserSchedule

BLOCK_FIRST = 4
BLOCK_MAX = 100
FAST_NS = NS_PER_S
SLOW_NS = 5 * NS_PER_S


@dataclass(slots=True)
class _User:
    """`granted` and `asked` are numbers of iterations from the user's first; equal unless a request is under way."""

    granted: int
    asked: int
    block: int = BLOCK_FIRST
    asked_ns: int | None = None


class Reservations:
    """The reservations of one worker's users."""

    def __init__(self, schedule: UserSchedule) -> None:
        self._schedule = schedule
        self._users: dict[int, _User] = {}
        self._wanted: dict[int, int] = {}

    def enter(self, user: int, first: int) -> None:
        """`user` begins with iteration `first`; all before it are an earlier holder's."""
        self._users[user] = _User(first, first)

    def may_begin(self, user: int, iteration: int, now_ns: int) -> bool:
        """Say whether `user` may begin `iteration` now; asks for more while there is still a block left."""
        known = self._users[user]
        if known.asked == known.granted and known.asked - iteration <= known.block:
            self._ask(user, known, now_ns)
        return iteration < known.granted

    def _ask(self, user: int, known: _User, now_ns: int) -> None:
        if known.asked_ns is not None:
            lasted_ns = now_ns - known.asked_ns
            if lasted_ns < FAST_NS:
                known.block = min(2 * known.block, BLOCK_MAX)
            elif lasted_ns > SLOW_NS:
                known.block = max(known.block // 2, 1)
        limit = self._schedule.iterations_of(user)
        wanted = known.asked + known.block if limit is None else min(known.asked + known.block, limit)
        if wanted > known.asked:
            known.asked, known.asked_ns = wanted, now_ns
            self._wanted[user] = wanted

    def granted(self, user: int, iterations: int) -> None:
        """The first `iterations` of `user` are on record."""
        known = self._users.get(user)
        if known is not None:
            known.granted = max(known.granted, min(iterations, known.asked))

    @property
    def wanting(self) -> bool:
        """Return whether there is something to ask for."""
        return bool(self._wanted)

    def take(self) -> tuple[tuple[int, int], ...]:
        """Return what is to be asked for, as (user, iterations), each once."""
        wanted, self._wanted = self._wanted, {}
        return tuple(wanted.items())
