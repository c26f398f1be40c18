"""What the runners of both models share: series, who is in flight, and ending what does not end."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from loadproof._suite import TransactionDefinition
from loadproof._user import VirtualUser
from loadproof.metrics import Recorder, TransactionSeries
from loadproof.plan import NS_PER_S, Plan
from loadproof.runtime.context import RunContext
from loadproof.runtime.execute import abandon, close_user

ABANDON_NS = 5 * NS_PER_S
"""A cancelled transaction that goes on is counted and left alone after this long."""
SWEEP_NS = 200_000_000


@dataclass(slots=True)
class Work:
    """All a runner works with: the plan, the suite's functions and rows by name, the users' context, the recorder."""

    plan: Plan
    shard_count: int
    definitions: list[TransactionDefinition]
    rows: dict[str, list[Any]]
    context: RunContext
    recorder: Recorder
    series: list[list[TransactionSeries]] = field(init=False)
    """By transaction, then by phase."""
    rows_of: list[list[Any]] = field(init=False)
    """By transaction; empty where none are drawn."""

    def __post_init__(self) -> None:
        phases = [phase.name for phase in self.plan.phases]
        self.series = [
            [self.recorder.transaction(transaction.name, phase) for phase in phases]
            for transaction in self.plan.transactions
        ]
        self.rows_of: list[list[Any]] = [
            [] if transaction.dataset is None else self.rows[transaction.dataset]
            for transaction in self.plan.transactions
        ]


class Seat:
    """A place for one virtual user and what it runs now. `task` lives as long as the seat."""

    __slots__ = (
        "busy",
        "cancelled_ns",
        "entered",
        "intended_ns",
        "started_ns",
        "task",
        "transaction",
        "user",
    )

    def __init__(self) -> None:
        self.user: VirtualUser | None = None
        self.task: asyncio.Task[None] | None = None
        self.busy = False
        self.entered = False
        """Its task is inside the transaction, where a cancellation is counted; before that it would be lost."""
        self.transaction = 0
        self.intended_ns = 0
        self.started_ns = 0
        self.cancelled_ns: int | None = None


class Flight:
    """Who is in flight. Cancels what runs past its deadline, and gives up on what will not be cancelled.

    `total` is how many run: who sets a seat `busy` adds one, who lands it takes one away.
    """

    def __init__(self, work: Work) -> None:
        self._work = work
        self._cancelled = False
        self._swept_ns = 0
        self.total = 0
        self.seats: set[Seat] = set()

    def land(self, seat: Seat) -> None:
        """Note that `seat` has ended what it ran."""
        if seat.busy:
            seat.busy = seat.entered = False
            self.total -= 1

    def by_name(self) -> dict[str, int]:
        """Return how many of each transaction are running. Looks at every seat: for once a second."""
        names = self._work.plan.transactions
        running = Counter(seat.transaction for seat in self.seats if seat.busy)
        return {names[index].name: count for index, count in sorted(running.items())}

    def cancel(self, which: Callable[[Seat], bool], now_ns: int) -> None:
        """Cancel the seats `which` picks of those that are inside a transaction, once each."""
        for seat in list(self.seats):
            if seat.entered and seat.cancelled_ns is None and which(seat) and seat.task is not None:
                self._cancelled = True
                seat.cancelled_ns = now_ns
                seat.task.cancel()

    def sweep(self, now_ns: int, overdue: Callable[[Seat], bool] | None = None) -> list[Seat]:
        """Cancel what is `overdue`; give up on what was cancelled long ago, and return it. `now_ns` is on the clock.

        Looks at every seat, therefore at most once in `SWEEP_NS`, however often it is called.
        """
        if now_ns - self._swept_ns < SWEEP_NS:
            return []
        self._swept_ns = now_ns
        if overdue is not None:
            self.cancel(overdue, now_ns)
        if not self._cancelled:
            return []
        given_up = [
            seat
            for seat in self.seats
            if seat.busy and seat.cancelled_ns is not None and now_ns - seat.cancelled_ns > ABANDON_NS
        ]
        for seat in given_up:
            if seat.user is not None:
                abandon(seat.user, now_ns, seat.intended_ns, seat.started_ns)
            self.land(seat)
            self._work.recorder.count("transactions.abandoned")
        return given_up


async def replace_user(seat: Seat, context: RunContext, user_id: int) -> VirtualUser:
    """Close the seat's user, if any, and seat a new one."""
    if seat.user is not None:
        await close_user(seat.user)
    seat.user = VirtualUser(context, user_id)
    return seat.user
