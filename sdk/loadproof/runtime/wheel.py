"""Wakes waiting users together: all whose wait ends in the same millisecond share one timer of the loop's.

A timer of its own for each wait costs more than all else about it, and uvloop fires no finer than a millisecond anyway.
A wait never ends early; it ends at most a millisecond late (two, on asyncio's own loop), the loop's lag aside.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from heapq import heappop, heappush

SLOT_NS = 1_000_000
_SLOT_S = 0.001


class Wheel:
    """Waits by the slot (of 1 ms on `clock`) in which they end. For the loop that runs when it is made."""

    __slots__ = ("_armed", "_clock", "_handle", "_new_future", "_order", "_slots", "loop")

    def __init__(self, clock: Callable[[], int]) -> None:
        self.loop = asyncio.get_running_loop()
        self._clock = clock
        self._new_future = self.loop.create_future
        self._slots: dict[int, dict[asyncio.Future[None], None]] = {}
        self._order: list[int] = []  # the slots, as a heap
        self._armed = 0  # the slot the loop's timer is set for
        self._handle: asyncio.TimerHandle | None = None

    def until(self, due_ns: int) -> asyncio.Future[None]:
        """Return a future that is done once `clock` has reached `due_ns`. Cancel it through `forget`, or await it."""
        slot = -(-due_ns // SLOT_NS)
        future: asyncio.Future[None] = self._new_future()
        waits = self._slots.get(slot)
        if waits is not None:
            waits[future] = None
            return future
        self._slots[slot] = {future: None}
        heappush(self._order, slot)
        if self._handle is None or slot < self._armed:
            self._arm()
        return future

    def forget(self, due_ns: int, future: asyncio.Future[None]) -> None:
        """Drop a wait that nobody waits for any more: a long one would be kept until it ends."""
        waits = self._slots.get(-(-due_ns // SLOT_NS))
        if waits is not None:
            waits.pop(future, None)

    def _arm(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._armed = slot = self._order[0]
        ahead = slot - self._clock() // SLOT_NS
        self._handle = self.loop.call_later(max(0, ahead) * _SLOT_S, self._turn)

    def _turn(self) -> None:
        self._handle = None
        order, now = self._order, self._clock() // SLOT_NS
        while order and order[0] <= now:
            for future in self._slots.pop(heappop(order)):
                if not future.done():
                    future.set_result(None)
        if order:
            self._arm()
