"""One run in one worker: from the start signal to the end of the shards held, and again when more are assigned."""

from __future__ import annotations

import asyncio
from typing import Protocol

from loadproof.plan import NS_PER_S
from loadproof_agent.pipe.connection import PipeConnection
from loadproof_agent.pipe.messages import Assign, Finished, Reserve, Reserved
from loadproof_agent.worker.closed_model import ClosedRunner
from loadproof_agent.worker.open_model import OpenRunner
from loadproof_agent.worker.reporting import Snapshots
from loadproof_agent.worker.runner import Work
from loadproof_agent.worker.timers import best_timer

SWEEP_S = 0.05
"""How often deadlines, ends and snapshot boundaries are looked at."""


class Runner(Protocol):
    """What both models offer."""

    def assign(self, shards: tuple[tuple[int, int], ...], lease_end_ns: int, in_flight_max: int) -> None: ...  # noqa: D102
    def renew(self, lease_end_ns: int) -> None: ...  # noqa: D102
    def stop(self, at_ns: int, *, immediate: bool) -> None: ...  # noqa: D102
    def sweep(self) -> None: ...  # noqa: D102
    async def run(self) -> None: ...  # noqa: D102
    def in_flight_by_name(self) -> dict[str, int]: ...  # noqa: D102
    def accounted(self) -> tuple[tuple[int, int, int], ...]: ...  # noqa: D102
    @property
    def in_flight(self) -> int: ...  # noqa: D102
    @property
    def finished(self) -> bool: ...  # noqa: D102


class LoadRun:
    """Drives a runner and reports. `run()` ends only when cancelled.

    A snapshot goes out at every boundary, even when nothing happened, until all shards held are run out or stopped;
    then one last snapshot and `Finished`. A new assignment wakes it up again. `began_ns` is the moment, on the clock,
    at which this process really began: the run's zero and whatever kept the loop from it; 0 before.
    """

    def __init__(self, work: Work, pipe: PipeConnection, snapshots: Snapshots) -> None:
        self.runner: Runner
        self._closed: ClosedRunner | None = None
        if work.plan.model == "open":
            self.runner = OpenRunner(work, best_timer())
        else:
            self.runner = self._closed = ClosedRunner(work, self._reserve if work.plan.once_only else None)
        self._context = work.context
        self._pipe = pipe
        self._snapshots = snapshots
        self._fence = -1
        self._reported = -1
        self._wake = asyncio.Event()
        self.began_ns = 0

    def assign(self, order: Assign) -> None:
        """Hold what `order` says; an order with an older fence is ignored."""
        if order.fence < self._fence:
            return
        if self._reported == self._fence:
            self._snapshots.skip_to(self._offset_ns())
        self._fence = order.fence
        self._reported = -1
        if self._closed is not None:
            self._closed.continue_from(order.continued)
        self.runner.assign(order.shards, order.lease_end_ns, order.in_flight_max)
        self._wake.set()

    def reserved(self, order: Reserved) -> None:
        """What was asked for is on record."""
        if self._closed is not None:
            self._closed.reserved(order.points)

    def _reserve(self, points: tuple[tuple[int, int], ...]) -> None:
        self._pipe.post(Reserve(points))

    def stop(self, at_ns: int, *, immediate: bool) -> None:
        """Start nothing intended at or after offset `at_ns` (0 = now)."""
        self.runner.stop(at_ns or max(0, self._offset_ns()), immediate=immediate)
        self._wake.set()

    @property
    def resting(self) -> bool:
        """Whether the end of the newest assignment is reported, or there is none yet."""
        return self._reported == self._fence

    async def run(self) -> None:
        """Run until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.runner.run(), name="runner")
            group.create_task(self._begin(), name="begin")
            while True:
                await self._step()

    async def _begin(self) -> None:
        while (ahead_ns := -self._offset_ns()) > 0:
            await asyncio.sleep(ahead_ns / NS_PER_S)
        self.began_ns = self._context.clock()

    async def _step(self) -> None:
        offset_ns = self._offset_ns()
        if self.resting:
            self._wake.clear()
            await self._wake.wait()
            return
        self.runner.sweep()
        if offset_ns >= 0 and self.runner.finished:
            self._snapshots.take(offset_ns, self.runner, final=True)
            self._pipe.post(Finished(self._fence, self.runner.accounted()))
            self._reported = self._fence
            return
        if offset_ns >= self._snapshots.next_ns:
            self._snapshots.take(offset_ns, self.runner)
        ahead_s = (self._snapshots.next_ns - self._offset_ns()) / NS_PER_S
        await asyncio.sleep(max(0.001, min(SWEEP_S, ahead_s)))

    def _offset_ns(self) -> int:
        return self._context.clock() - self._context.zero_ns
