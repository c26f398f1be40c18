"""The closed model's decisions: when a user may start its next iteration, and with what. Pure: time is a parameter."""

from __future__ import annotations

from dataclasses import dataclass

from loadproof.plan import Plan, RowsExhausted, UserSchedule


@dataclass(slots=True)
class Iteration:
    """What a user does next. `row` -1: none is drawn. `exhausted`: no row is left, it cannot run.

    A user has one, which `UserLife.begin` fills anew each time.
    """

    number: int = -1
    transaction: int = 0
    row: int = -1
    dataset: str | None = None
    exhausted: bool = False


class UserLife:
    """One user: its lifetimes, how many iterations, how often. All offsets in nanoseconds since the run's start."""

    def __init__(self, plan: Plan, schedule: UserSchedule, user: int, first_iteration: int = 0) -> None:
        self.user = user
        self.iteration = first_iteration
        self._plan = plan
        self._schedule = schedule
        self._lives = schedule.lifetimes(user)
        self._iterations = schedule.iterations_of(user)
        self._draws = schedule.draws_before(user, first_iteration)
        self._datasets = {dataset.name: dataset for dataset in plan.datasets}
        self._free = self._iterations is None and not plan.pace_ns  # only the lifetime says when an iteration may start
        self.alive_from_ns = self.alive_to_ns = 0  # the lifetime found last, of a free user: it may start at any time
        self._last_ns: int | None = None
        self._only = len(plan.transactions) == 1
        self._plain = self._only and plan.transactions[0].dataset is None  # then nothing has to be drawn
        self._now = Iteration()

    def next_ns(self, now_ns: int, stop_ns: int | None) -> int | None:
        """Return when the next iteration may start (`now_ns` or later), None when there is none any more."""
        if self.alive_from_ns <= now_ns < self.alive_to_ns and stop_ns is None:
            return now_ns
        if self._iterations is not None and self.iteration >= self._iterations:
            return None
        at_ns = now_ns
        if self._last_ns is not None:
            at_ns = max(at_ns, self._last_ns + self._plan.pace_ns)
        for from_ns, to_ns in self._lives:
            at_ns = max(at_ns, from_ns)
            if at_ns < to_ns:
                if self._free:
                    self.alive_from_ns, self.alive_to_ns = from_ns, to_ns
                return at_ns if stop_ns is None or at_ns < stop_ns else None
        return None

    def end_of_life_ns(self, at_ns: int) -> int:
        """Return the end of the lifetime that `at_ns` is in (or `at_ns`): what runs then gets the grace time."""
        if self.alive_from_ns <= at_ns < self.alive_to_ns:
            return self.alive_to_ns
        for from_ns, to_ns in self._lives:
            if from_ns <= at_ns < to_ns:
                return to_ns
        return at_ns

    def begin(self, at_ns: int) -> Iteration:
        """Start the next iteration at `at_ns`: draw its transaction and its row."""
        now = self._now
        now.number = number = self.iteration
        self.iteration = number + 1
        self._last_ns = at_ns
        if self._plain:
            return now
        now.transaction = index = 0 if self._only else self._schedule.transaction(self.user, number)
        now.dataset = dataset = self._plan.transactions[index].dataset
        now.row = -1
        if dataset is None:
            return now
        try:
            now.row = self._schedule.row(self.user, self._draws[dataset], self._datasets[dataset])
        except RowsExhausted:
            now.exhausted = True
            return now
        self._draws[dataset] += 1
        return now
