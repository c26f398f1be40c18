"""Measures what one worker of this machine can do: the processor time of a transaction through the real client.

The target is another process; only the load's own thread is counted, so what the target costs, and what others on the
machine take, changes the result by little.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from dataclasses import dataclass

from loadproof import Suite, VirtualUser
from loadproof.http import HttpEngine
from loadproof.metrics import Recorder
from loadproof.runtime.context import RunContext
from loadproof.runtime.execute import close_user, execute
from loadproof_cli.doctor import target
from loadproof_cli.loops import fast_loop

USERS = 64
WARM_S = 0.5
MEASURE_S = 2.0
ROUNDS = 3
CPU_SHARE = 0.7
"""A worker is planned to this share of its core; from 90 % on evidence is unsound."""
SCALING = 0.9
"""What each of several workers gets done compared with a single one: they share caches and the kernel."""
START_LIMIT_S = 20.0


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a machine can generate: `cpu_us` of a simple transaction, and whole transactions a second at `CPU_SHARE`."""

    cpu_us: float
    workers: int
    per_worker_per_s: int
    per_s: int


def capacity_of(cpu_us: float, workers: int) -> Capacity:
    """Return the capacity that follows from the processor time of one transaction."""
    each = CPU_SHARE * 1e6 / cpu_us
    return Capacity(cpu_us, workers, int(each), int(each if workers == 1 else each * workers * SCALING))


def calibrate(workers: int, *, measure_s: float = MEASURE_S) -> Capacity:
    """Measure this machine; takes about 8 s of one core. Raises OSError when its own target does not answer."""
    try:
        with asyncio.Runner(loop_factory=fast_loop()) as runner:
            return capacity_of(runner.run(_measured(measure_s)), workers)
    except ExceptionGroup as group:
        raise OSError("a transaction of the calibration failed") from group


async def _measured(measure_s: float) -> float:
    """Return the processor time of one transaction in microseconds, the median of some rounds."""
    rounds: list[float] = []
    async with _target() as url, HttpEngine(timeout_ns=10_000_000_000) as engine:
        load = _Load(RunContext(engine=engine, base_url=url))
        async with asyncio.TaskGroup() as group:
            for number in range(USERS):
                group.create_task(load.live(number))
            await asyncio.sleep(min(WARM_S, measure_s))
            for _ in range(ROUNDS):
                count, cpu_ns = load.count, time.thread_time_ns()
                await asyncio.sleep(measure_s)
                rounds.append((time.thread_time_ns() - cpu_ns) / max(1, load.count - count) / 1_000)
            load.over = True
    return sorted(rounds)[ROUNDS // 2]


class _Load:
    """Users that run one transaction after the other until `over`."""

    def __init__(self, context: RunContext) -> None:
        self.count = 0
        self.over = False
        self._context = context
        self._recorder = Recorder(1, "doctor")
        suite = Suite("Doctor")
        suite.transaction("Get")(_transaction)
        self._definition = suite.transactions["Get"]
        context.count = self._recorder.count

    async def live(self, number: int) -> None:
        user = VirtualUser(self._context, number)
        series = self._recorder.transaction("Get", "load")
        try:
            while not self.over:
                now_ns = self._context.clock()
                if not await execute(user, self._definition, None, series, self.count, now_ns, now_ns):
                    raise OSError("a transaction of the calibration failed")
                self.count += 1
                if self.count % 10_000 == 0:
                    self._recorder.take(0, 1, {})  # what the tick costs belongs to it
        finally:
            await close_user(user)


async def _transaction(user: VirtualUser) -> None:
    async with user.step("Get"):
        (await user.http.get("/products/A1", name="/products/{sku}")).check(status=200, json={"sku": "A1"})


@contextlib.asynccontextmanager
async def _target() -> AsyncIterator[str]:
    """Give the URL of a target in a process of its own, which ends with its standard input."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", target.__name__, stdin=PIPE, stdout=PIPE)
    assert process.stdin
    assert process.stdout
    try:
        async with asyncio.timeout(START_LIMIT_S):
            port = await process.stdout.readline()
        if not port:
            raise OSError("its target did not start")
        yield f"http://127.0.0.1:{int(port)}"
    finally:
        process.stdin.close()
        await process.wait()


def cores() -> int:
    """Return the processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
