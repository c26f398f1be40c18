"""Users that think are woken together, never early, and what is cancelled is forgotten."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from loadproof.runtime.wheel import SLOT_NS, Wheel
from virtual_time import run_virtual, virtual_loop, virtual_ns

MS = 1_000_000


class CountingLoop:
    """Counts the timers that a wheel sets on the running loop."""

    def __init__(self, wheel: Wheel) -> None:
        self._loop = wheel.loop
        self.timers = 0
        wheel.loop = self  # type: ignore[assignment]  # the part of a loop that a wheel uses

    def call_later(self, delay: float, call: Any) -> asyncio.TimerHandle:
        self.timers += 1
        return self._loop.call_later(delay, call)


async def _wait(wheel: Wheel, due_ns: int, ended: dict[int, int]) -> None:
    await wheel.until(due_ns)
    ended[due_ns] = virtual_ns()


@given(st.lists(st.integers(1, 40 * MS), min_size=1, max_size=40), st.integers(0, SLOT_NS))
def test_no_wait_is_early_and_none_is_two_slots_late(waits: list[int], start_ns: int) -> None:
    """Whatever the order in which they begin, each wait ends in the slot after its time or the one behind it."""

    async def main() -> None:
        virtual_loop().advance(start_ns / 1e9)
        wheel, ended, began = Wheel(virtual_ns), dict[int, int](), virtual_ns()
        async with asyncio.TaskGroup() as group:
            for wait in waits:
                group.create_task(_wait(wheel, began + wait, ended))
        assert set(ended) == {began + wait for wait in waits}
        for due, at in ended.items():
            assert due <= at <= due + 2 * SLOT_NS

    run_virtual(main())


def test_waits_of_one_millisecond_share_a_timer() -> None:
    """A thousand users that think equally long cost the loop one timer, one that thinks longer another."""

    async def main() -> int:
        wheel, ended, began = Wheel(virtual_ns), dict[int, int](), virtual_ns()
        counting = CountingLoop(wheel)
        async with asyncio.TaskGroup() as group:
            for number in range(1_000):
                group.create_task(_wait(wheel, began + 5 * MS + number, ended))
            group.create_task(_wait(wheel, began + 50 * MS, ended))
        assert len(ended) == 1_001
        return counting.timers

    assert run_virtual(main()) <= 3  # the first wait falls on a slot's edge, the others into the slot behind it


def test_a_shorter_wait_that_begins_later_ends_first() -> None:
    """The loop's timer follows the earliest wait."""

    async def main() -> list[int]:
        wheel, ended, began = Wheel(virtual_ns), dict[int, int](), virtual_ns()
        async with asyncio.TaskGroup() as group:
            group.create_task(_wait(wheel, began + 60_000 * MS, ended))
            await asyncio.sleep(0)
            group.create_task(_wait(wheel, began + 2 * MS, ended))
        return [due - began for due in ended]

    assert run_virtual(main()) == [2 * MS, 60_000 * MS]


def test_a_cancelled_wait_is_forgotten_and_disturbs_no_other() -> None:
    """Nothing of it is kept for the hour it was to last; who waits in the same slot is woken as ever."""

    async def main() -> None:
        wheel, began = Wheel(virtual_ns), virtual_ns()
        due = began + 3_600_000 * MS
        gone = wheel.until(due)
        other = wheel.until(due)
        gone.cancel()
        wheel.forget(due, gone)
        wheel.forget(due, gone)
        assert gone not in wheel._slots[due // SLOT_NS]
        await other
        assert virtual_ns() >= due
        assert not wheel._slots

    run_virtual(main())
