"""Runs the open model: one pacer starts all that is due when its timer wakes it; idle users go before new ones."""

from __future__ import annotations

import asyncio

from loadproof._user import VirtualUser
from loadproof.plan import NS_PER_S, Arrival, ArrivalSchedule
from loadproof.runtime.execute import close_user, execute
from loadproof_agent.worker.arrivals import LATE_NS, ArrivalQueue, Fate, OpenPacer
from loadproof_agent.worker.runner import Flight, Seat, Work
from loadproof_agent.worker.timers import TickTimer, Timer

_IDLE_NS_MAX = 50_000_000


class _Seat(Seat):
    __slots__ = ("arrival", "wake")

    def __init__(self) -> None:
        super().__init__()
        self.arrival: Arrival | None = None
        self.wake: asyncio.Future[None] | None = None


class OpenRunner:
    """Offers the arrivals of the shards held. `run()` ends only when it is cancelled; then nothing runs any more."""

    def __init__(self, work: Work, timer: Timer | None = None) -> None:
        self._work = work
        self._timer = timer or TickTimer()
        self._context = work.context
        self._zero_ns = work.context.zero_ns
        self._queue = ArrivalQueue(ArrivalSchedule(work.plan), work.shard_count)
        self._pacer = OpenPacer(self._queue, work.context.clock, work.context.zero_ns)
        self._flight = Flight(work)
        self._idle: list[_Seat] = []
        self._group: asyncio.TaskGroup | None = None
        self._fresh = work.plan.session == "new"
        self._end_ns = work.plan.duration_ns
        self._halted = False

    # --- orders -------------------------------------------------------------------------------------------------------

    def assign(self, shards: tuple[tuple[int, int], ...], lease_end_ns: int, in_flight_max: int) -> None:
        """Hold exactly these (shard, first_k) until `lease_end_ns` on the clock."""
        self._queue.assign(shards)
        self._pacer.lease_end_ns = lease_end_ns
        self._pacer.in_flight_max = max(1, in_flight_max)

    def renew(self, lease_end_ns: int) -> None:
        """The lease now ends at `lease_end_ns`."""
        self._pacer.renew(lease_end_ns)

    def stop(self, at_ns: int, *, immediate: bool) -> None:
        """Start nothing intended at or after offset `at_ns`; `immediate` cancels what runs."""
        known = self._pacer.stop_ns
        self._pacer.stop_ns = at_ns if known is None else min(known, at_ns)
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
        """Return (shard, first_k, accounted) of each shard held."""
        return self._queue.accounted()

    @property
    def finished(self) -> bool:
        """Whether everything is decided and nothing runs."""
        return self._pacer.over and self._flight.total == 0

    def sweep(self) -> None:
        """Cancel what runs longer than the grace time after the end. Call a few times a second."""
        now_ns = self._context.clock()
        ends = [end for end in (self._end_ns, self._pacer.stop_ns) if end is not None]
        if self._halted or (ends and now_ns >= self._context.zero_ns + min(ends) + self._work.plan.graceful_stop_ns):
            self._flight.cancel(lambda _seat: True, now_ns)
        self._flight.sweep(now_ns)

    # --- running ------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Pace until cancelled."""
        pacer, wait = self._pacer, self._timer.wait
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                while True:
                    pacer.fire(self._decide, self._in_flight)
                    wait_ns = pacer.wait_ns()
                    await wait(_IDLE_NS_MAX if wait_ns is None else min(wait_ns, _IDLE_NS_MAX))
        finally:
            self._timer.close()

    def _in_flight(self) -> int:
        return self._flight.total

    def _decide(self, fate: Fate, arrival: Arrival, now_ns: int) -> None:
        _, at_ns, transaction, row, phase = arrival
        series = self._work.series[transaction][phase]
        if fate != "start":
            tally = series.second(at_ns // NS_PER_S)
            if fate == "missed":
                series.missed += 1
                tally.missed += 1
            else:
                series.dropped += 1
                tally.dropped += 1
            return
        intended_ns = self._zero_ns + at_ns
        second = (now_ns - self._zero_ns) // NS_PER_S
        if second != series.now_second:
            series.turn(second)
        series.started += 1
        late_ns = now_ns - intended_ns
        series.lateness.append(late_ns)
        if late_ns > LATE_NS:
            series.late += 1
            series.second(at_ns // NS_PER_S).late += 1
        if row >= 0:
            dataset = self._work.plan.transactions[transaction].dataset
            assert dataset is not None
            self._work.recorder.draw(dataset)
        self._start(arrival, intended_ns, now_ns)

    def _start(self, arrival: Arrival, intended_ns: int, now_ns: int) -> None:
        """Seat the arrival: with a user that is idle, else with a new one."""
        idle = self._idle
        seat = idle.pop() if idle else _Seat()
        seat.arrival = arrival
        seat.busy = True
        seat.transaction = arrival[2]
        seat.intended_ns = intended_ns
        seat.started_ns = now_ns
        self._flight.total += 1
        wake = seat.wake
        if wake is not None:
            if not wake.done():
                wake.set_result(None)
            return
        self._flight.seats.add(seat)
        assert self._group is not None
        seat.task = self._group.create_task(self._live(seat))

    async def _live(self, seat: _Seat) -> None:
        """Run one arrival after another for the user in `seat`, parked in between."""
        task = asyncio.current_task()
        assert task is not None
        told_to_end, new_future = task.cancelling, task.get_loop().create_future
        context, work, idle, flight = self._context, self._work, self._idle, self._flight
        definitions, series_of, rows_of = work.definitions, work.series, work.rows_of
        try:
            while True:
                arrival = seat.arrival
                assert arrival is not None
                k, _, index, row, phase = arrival
                user = seat.user
                if user is None:
                    user = seat.user = VirtualUser(context, k)
                seat.entered = True
                await execute(
                    user, definitions[index], rows_of[index][row] if row >= 0 else None, series_of[index][phase], k,
                    seat.intended_ns, seat.started_ns,
                )  # fmt: skip
                if seat.busy:
                    seat.busy = seat.entered = False
                    flight.total -= 1
                if told_to_end():
                    return
                if self._fresh or not user.started:
                    seat.user = None
                    await close_user(user)
                seat.arrival = None
                wake = seat.wake = new_future()
                idle.append(seat)
                await wake
        finally:
            flight.land(seat)
            flight.seats.discard(seat)
            if seat.user is not None:
                await close_user(seat.user)
