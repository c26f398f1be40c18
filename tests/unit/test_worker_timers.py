"""The pacer's timers: never early, rearmed after a cancellation, leaving nothing behind."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from loadproof_agent.worker.timers import RARE_NS, PreciseTimer, TickTimer, Timer, best_timer

MS = 1_000_000
KINDS: list[Callable[[], Timer]] = [TickTimer, best_timer]
only_linux = pytest.mark.skipif(sys.platform != "linux", reason="timerfd is Linux's")


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("kind", KINDS)
async def test_a_timer_wakes_about_when_it_should(kind: Callable[[], Timer]) -> None:
    """At most half a tick early, so that the pacer finds the arrival due at the next look; closing twice is fine."""
    timer = kind()
    try:
        for wait_ns in (0, RARE_NS, 2 * MS, 5 * MS):
            began = time.monotonic_ns()
            await timer.wait(wait_ns)
            assert time.monotonic_ns() - began >= wait_ns - MS // 2 - MS  # loops round timers to a millisecond
    finally:
        timer.close()
        timer.close()


@only_linux
async def test_a_precise_timer_is_never_early_and_gives_its_descriptor_back() -> None:
    """A timerfd fires at the time or after it."""
    before = open_files()
    timer = PreciseTimer()
    began = time.monotonic_ns()
    await timer.wait(3 * MS)
    assert time.monotonic_ns() - began >= 3 * MS
    timer.close()
    assert open_files() == before


@only_linux
async def test_a_cancelled_wait_does_not_disturb_the_next() -> None:
    """The old expiry is replaced, and nobody is woken by it."""
    timer = PreciseTimer()
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(timer.wait(60_000 * MS))
        await asyncio.sleep(0)
        waiting.cancel()
    assert waiting.cancelled()
    began = time.monotonic_ns()
    await timer.wait(2 * MS)
    assert 2 * MS <= time.monotonic_ns() - began < 30_000 * MS
    timer.close()
