"""Runs the closed model: each user of the shards held repeats transactions for as long as it lives."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from loadproof._user import VirtualUser
from loadproof.metrics import TransactionSeries
from loadproof.plan import NS_PER_S, UserSchedule
from loadproof.runtime.execute import close_user, execute
from loadproof_agent.worker.reservations import Reservations
from loadproof_agent.worker.runner import Flight, Seat, Work
from loadproof_agent.worker.users import Iteration, UserLife

_LEASE_POLL_S = 0.02


class _Seat(Seat):
    __slots__ = ("life", "removed", "shard")

    def __init__(self, shard: int, life: UserLife) -> None:
        super().__init__()
        self.shard = shard
        self.life = life
        self.removed = False


class ClosedRunner:
    """Lets users live. `run()` ends only when it is cancelled; then nothing runs any more.

    `reserve` asks for (user, iterations) to be put on record; without it users begin what they like.
    """

    def __init__(self, work: Work, reserve: Callable[[tuple[tuple[int, int], ...]], None] | None = None) -> None:
        self._work = work
        self._context = work.context
        self._schedule = UserSchedule(work.plan)
        self._flight = Flight(work)
        self._reserve = reserve
        self._reservations = Reservations(self._schedule) if reserve is not None else None
        self._asking = False
        self._continued: dict[int, int] = {}
        self._held: dict[int, int] = {}
        self._counted: dict[int, int] = {}
        self._alive: dict[int, int] = {}
        self._unborn: list[_Seat] = []
        self._group: asyncio.TaskGroup | None = None
        self._lease_end_ns = 0
        self._stop_ns: int | None = None
        self._halted = False
        self._fresh = work.plan.session == "new"
        self._one_phase = len(work.plan.phases) == 1

    # --- orders -------------------------------------------------------------------------------------------------------

    def assign(self, shards: tuple[tuple[int, int], ...], lease_end_ns: int, in_flight_max: int) -> None:
        """Hold the users of exactly these (shard, first iteration). There are as many as planned."""
        del in_flight_max
        self._lease_end_ns = lease_end_ns
        wanted = dict(shards)
        for shard in [shard for shard in self._held if shard not in wanted]:
            del self._held[shard], self._counted[shard]
            self._remove(shard)
        for shard, first in wanted.items():
            if shard in self._held:
                continue
            self._held[shard] = first
            self._counted[shard] = 0
            users = self._schedule.shard_users(shard, self._work.shard_count)
            self._alive[shard] = len(users)
            self._unborn += [_Seat(shard, self._life(user, first)) for user in users]
        self._bear()

    def _life(self, user: int, first: int) -> UserLife:
        first = max(first, self._continued.get(user, 0))
        if self._reservations is not None:
            self._reservations.enter(user, first)
        return UserLife(self._work.plan, self._schedule, user, first)

    def continue_from(self, points: Iterable[tuple[int, int]]) -> None:
        """Users that come with the next assignment begin with these iterations, as (user, iteration)."""
        self._continued = dict(points)

    def reserved(self, points: Iterable[tuple[int, int]]) -> None:
        """These (user, iterations) are on record now."""
        if self._reservations is not None:
            for user, iterations in points:
                self._reservations.granted(user, iterations)

    def renew(self, lease_end_ns: int) -> None:
        """The lease now ends at `lease_end_ns`."""
        self._lease_end_ns = lease_end_ns

    def stop(self, at_ns: int, *, immediate: bool) -> None:
        """Start no iteration at or after offset `at_ns`; `immediate` cancels what runs."""
        self._stop_ns = at_ns if self._stop_ns is None else min(self._stop_ns, at_ns)
        if immediate:
            self._halted = True
            self._flight.cancel(lambda _seat: True, self._context.clock())

    # --- state --------------------------------------------------------------------------------------------------------

    @property
    def in_flight(self) -> int:
        """Transactions running now."""
        return self._flight.total

    def in_flight_by_name(self) -> dict[str, int]:
        """Transactions running now, by name."""
        return self._flight.by_name()

    def accounted(self) -> tuple[tuple[int, int, int], ...]:
        """Return (shard, first iteration, iterations started) of each shard held."""
        return tuple((shard, first, self._counted[shard]) for shard, first in self._held.items())

    @property
    def finished(self) -> bool:
        """Whether no user of a shard held has anything left to do."""
        return self._flight.total == 0 and not any(self._alive.get(shard) for shard in self._held)

    def sweep(self) -> None:
        """Cancel what outlives its user by the grace time; wake nobody early. Call a few times a second."""
        now_ns = self._context.clock()
        if self._halted:
            self._flight.cancel(lambda _seat: True, now_ns)
        for given_up in self._flight.sweep(
            now_ns, lambda seat: isinstance(seat, _Seat) and now_ns >= self._deadline_ns(seat)
        ):
            if isinstance(given_up, _Seat):
                self._leave(given_up)
        if self._stop_ns is not None and now_ns - self._context.zero_ns >= self._stop_ns:
            for seat in list(self._flight.seats):
                if not seat.busy and seat.task is not None:
                    seat.task.cancel()  # asleep until an iteration that will not be

    def _deadline_ns(self, seat: _Seat) -> int:
        """Return when what `seat` runs is cancelled, on the clock: the grace time after its user's life or the stop."""
        zero_ns = self._context.zero_ns
        end_ns = seat.life.end_of_life_ns(seat.started_ns - zero_ns)
        if self._stop_ns is not None:
            end_ns = min(end_ns, self._stop_ns)
        return zero_ns + end_ns + self._work.plan.graceful_stop_ns

    # --- running ------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Let users live until cancelled."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            self._bear()
            await asyncio.get_running_loop().create_future()

    def _bear(self) -> None:
        if self._group is None:
            return
        unborn, self._unborn = self._unborn, []
        for seat in unborn:
            if not seat.removed:
                self._flight.seats.add(seat)
                seat.task = self._group.create_task(self._live(seat))

    def _remove(self, shard: int) -> None:
        """Let the users of `shard` end after what they run now."""
        self._unborn = [seat for seat in self._unborn if seat.shard != shard]
        for seat in list(self._flight.seats):
            if isinstance(seat, _Seat) and seat.shard == shard:
                seat.removed = True
                if not seat.busy and seat.task is not None:
                    seat.task.cancel()

    def _offset_ns(self) -> int:
        return self._context.clock() - self._context.zero_ns

    async def _live(self, seat: _Seat) -> None:
        """One user, from its first iteration to its last. Written out in one: calls would cost more than they do."""
        work, context, flight, life = self._work, self._context, self._flight, seat.life
        one_phase, peak = self._one_phase, self._schedule.peak
        clock, zero_ns = context.clock, context.zero_ns
        task = asyncio.current_task()
        assert task is not None
        told_to_end = task.cancelling  # what is cancelled counts that as its failure and goes no further up
        try:
            while not seat.removed and not told_to_end():
                now_ns = clock()
                offset_ns = now_ns - zero_ns
                if self._stop_ns is not None or not life.alive_from_ns <= offset_ns < life.alive_to_ns:
                    at_ns = life.next_ns(offset_ns, self._stop_ns)
                    if at_ns is None:
                        return
                    if at_ns > offset_ns:
                        await asyncio.sleep((at_ns - offset_ns) / NS_PER_S)
                        continue
                if now_ns >= self._lease_end_ns:
                    await asyncio.sleep(_LEASE_POLL_S)
                    continue
                if self._reservations is not None and not self._may_begin(self._reservations, life, now_ns):
                    await asyncio.sleep(_LEASE_POLL_S)
                    continue
                iteration = life.begin(offset_ns)
                phase = 0 if one_phase else self._schedule.phase_at(offset_ns)
                seat.transaction = index = iteration.transaction
                series, row = work.series[index][phase], None
                if iteration.exhausted:
                    self._exhausted(seat, iteration, series, offset_ns)
                    return
                if iteration.dataset is not None:
                    row = self._draw(iteration)
                user = seat.user or self._new_user(seat)
                self._count_start(seat.shard, series, offset_ns)
                seat.intended_ns = seat.started_ns = now_ns
                seat.busy = seat.entered = True
                flight.total += 1
                k = life.user + peak * iteration.number
                await execute(user, work.definitions[index], row, series, k, now_ns, now_ns, closed=True)
                flight.land(seat)
                if self._fresh or not user.started:
                    seat.user = None
                    await close_user(user)
                if not user.waited:
                    await asyncio.sleep(0)  # nothing is known to have let the other users run
        finally:
            self._leave(seat)
            if seat.user is not None:
                await close_user(seat.user)

    def _may_begin(self, reservations: Reservations, life: UserLife, now_ns: int) -> bool:
        """Ask, together for all users of this turn of the loop, before a reservation is used up."""
        allowed = reservations.may_begin(life.user, life.iteration, now_ns)
        if not self._asking and reservations.wanting:
            self._asking = True
            asyncio.get_running_loop().call_soon(self._ask)
        return allowed

    def _ask(self) -> None:
        assert self._reserve is not None
        assert self._reservations is not None
        self._asking = False
        self._reserve(self._reservations.take())

    def _leave(self, seat: _Seat) -> None:
        """Count a user out, once: what was given up leaves before its task has ended, if that ever does."""
        self._flight.land(seat)
        if seat not in self._flight.seats:
            return
        self._flight.seats.discard(seat)
        if self._held.get(seat.shard) is not None and not seat.removed:
            self._alive[seat.shard] -= 1

    def _new_user(self, seat: _Seat) -> VirtualUser:
        user = seat.user = VirtualUser(self._context, seat.life.user)
        return user

    def _draw(self, iteration: Iteration) -> Any:
        """Return the row of an iteration that draws one."""
        assert iteration.dataset is not None
        self._work.recorder.draw(iteration.dataset)
        return self._work.rows_of[iteration.transaction][iteration.row]

    def _count_start(self, shard: int, series: TransactionSeries, offset_ns: int) -> None:
        second = offset_ns // NS_PER_S
        if second != series.now_second:
            series.turn(second)
        series.started += 1
        if shard in self._counted:
            self._counted[shard] += 1

    def _exhausted(self, seat: _Seat, iteration: Iteration, series: TransactionSeries, offset_ns: int) -> None:
        """A `unique` dataset is used up: the user stops, with `on_exhausted = "fail"` after one failed iteration."""
        work = self._work
        assert iteration.dataset is not None
        work.recorder.exhausted(iteration.dataset)
        if work.plan.dataset(iteration.dataset).on_exhausted != "fail":
            return
        self._count_start(seat.shard, series, offset_ns)
        series.response_failed.append(0)
        series.service_failed.append(0)
        series.error("", "", "exception", f"dataset {iteration.dataset} has no row left", offset_ns)
