"""Who holds up the loop, and how late it runs."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
from typing import Any

from loadproof import Suite, VirtualUser
from loadproof.metrics import Health, Recorder
from loadproof.runtime.context import RunContext
from loadproof.runtime.execute import execute
from loadproof_agent.worker.health import (
    GarbageMonitor,
    HealthMeter,
    LoopMonitor,
    Sight,
    Stretches,
    Watchdog,
    running_in,
)


def run_body(body: Any) -> Any:
    """Return a coroutine that runs `body` as transaction "T"."""
    suite = Suite("S")
    suite.transaction("T")(body)
    engine: Any = None
    context = RunContext(engine=engine)
    series = Recorder(1, "a").transaction("T", "p")
    return execute(VirtualUser(context, 0), suite.transactions["T"], None, series, 0, 0, 0)


async def test_the_stack_tells_transaction_and_step() -> None:
    """Whatever user code has called, the transaction it is in is found below it."""
    seen: list[Any] = []

    def deep(levels: int) -> None:
        if levels:
            deep(levels - 1)
        else:
            seen.append(running_in(sys._getframe()))

    async def body(user: VirtualUser) -> None:
        deep(3)
        async with user.step("Compute"):
            deep(3)

    await run_body(body)
    assert [(sight.transaction, sight.step) for sight in seen] == [("T", ""), ("T", "Compute")]
    assert seen[0][2:4] == seen[1][2:4]  # of one user, in one run
    assert running_in(sys._getframe()) is None


async def test_a_blocking_step_is_named_from_another_thread() -> None:
    """The watchdog names the step while it blocks, once."""
    named = threading.Event()
    stalls: list[tuple[str, str]] = []

    def on_stall(transaction: str, step: str) -> None:
        stalls.append((transaction, step))
        named.set()

    monitor = LoopMonitor()
    watchdog = Watchdog(monitor, on_stall, report_ns=300_000_000)

    async def body(user: VirtualUser) -> None:
        async with user.step("Block"):
            assert named.wait(20)  # holds the loop until the watchdog has seen it

    monitor.start()
    watchdog.start()
    try:
        await run_body(body)
        meter = HealthMeter(monitor, GarbageMonitor(), watchdog)
        await asyncio.to_thread(lambda: None)
        health = Health()
        meter.fill(health)
    finally:
        watchdog.stop()
        monitor.stop()
    assert stalls[0] == ("T", "Block")
    assert health.user_cpu_us["T", "Block"] >= 25_000
    assert health.memory_bytes > 1_000_000
    assert health.open_files > 0


MS = 1_000_000
ME = Sight("T", "Search", 1, 7)


def measured(*looks: tuple[Sight | None, float, float]) -> dict[str, int]:
    """Return each step's longest stretch in milliseconds, from looks of (seen, when the loop last ran, now)."""
    stretches = Stretches()
    for seen, free_ms, now_ms in looks:
        stretches.look(seen, int(free_ms * MS), int(now_ms * MS))
    taken = stretches.take()
    assert stretches.take() == {}
    return {step: us // 1_000 for (_, step), us in taken.items()}


def test_a_stretch_reaches_from_when_the_loop_was_free_to_the_last_look() -> None:
    """Neither what lies before a timer of the loop nor what lies after the last look is claimed."""
    assert measured((None, 0, 5), (ME, 10, 15), (ME, 10, 21), (ME, 10, 27), (None, 28, 28)) == {"Search": 17}
    assert measured((None, 0, 0), (ME, 10, 48), (None, 49, 49)) == {"Search": 38}  # C code that never lets go
    assert measured((None, 0, 0), (ME, 10, 11), (None, 12, 12)) == {}  # under 5 ms nothing is named
    assert measured((ME, 10, 16), (ME, 20, 26)) == {"Search": 6}  # the loop ran in between


def test_a_stretch_begins_after_what_another_user_did() -> None:
    """On a worker that is always busy, the many short turns before are not added to one user's."""
    late = ME._replace(turned_ns=50 * MS)
    assert measured((None, 0, 5), (late, 10, 58)) == {"Search": 8}
    other, again = ME._replace(user=2, turned_ns=50 * MS), ME._replace(k=8, turned_ns=53 * MS)
    assert measured((ME, 10, 12), (other, 10, 52), (again, 10, 55)) == {}


async def test_garbage_collections_are_timed() -> None:
    """A collection leaves a pause, and only once."""
    garbage = GarbageMonitor()
    garbage.start()
    try:
        gc.collect()
    finally:
        garbage.stop()
    assert garbage.take_us() > 0
    assert garbage.take_us() == 0
