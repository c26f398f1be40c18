"""How the pacer waits for the next arrival: a tick of 1 ms, or on Linux a timerfd that is exact to some 0.1 ms.

uvloop's timers have a resolution of 1 ms, and a sleep under half of that spins. A timerfd wakes the loop once for each
arrival, so it is the better way while arrivals are rare, and the tick when they are many (benchmarks/pacing.py).
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import sys
import time
from typing import Protocol

TICK_S = 0.001
"""The tick's period; uvloop's timers have a resolution of 1 ms."""
RARE_NS = 500_000
"""The next arrival is so far away at least for the timerfd to be armed: about 2,000 arrivals a second and worker."""
_AHEAD_NS = 1_500_000
_EARLY_NS = 500_000
_NS_PER_S = 1_000_000_000


class Timer(Protocol):
    """Waits about so many nanoseconds; never much longer, maybe shorter. Close it when nothing waits any more."""

    async def wait(self, wait_ns: int) -> None: ...  # noqa: D102
    def close(self) -> None: ...  # noqa: D102


class TickTimer:
    """Sleeps for a tick, or until shortly before the time when that is far away."""

    async def wait(self, wait_ns: int) -> None:
        """Wait at most `wait_ns` and at least a tick."""
        await asyncio.sleep(TICK_S if wait_ns < _AHEAD_NS else (wait_ns - _EARLY_NS) / _NS_PER_S)

    def close(self) -> None:
        """There is nothing to close."""


class _Spec(ctypes.Structure):
    _fields_ = [(name, ctypes.c_long) for name in ("interval_s", "interval_ns", "value_s", "value_ns")]


class PreciseTimer:
    """A timerfd on the running loop. Raises OSError or AttributeError where there is none."""

    def __init__(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._settime = libc.timerfd_settime
        self._settime.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]
        self._fd = libc.timerfd_create(time.CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        self._spec = _Spec()
        self._at = ctypes.addressof(self._spec)
        self._due: asyncio.Future[None] | None = None
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._fd, self._expired)

    async def wait(self, wait_ns: int) -> None:
        """Wait `wait_ns`; a tick when that is under `RARE_NS`."""
        if wait_ns < RARE_NS:
            await asyncio.sleep(TICK_S)
            return
        self._spec.value_s, self._spec.value_ns = divmod(wait_ns, _NS_PER_S)
        self._due = self._loop.create_future()
        if self._settime(self._fd, 0, self._at, None) != 0:
            await asyncio.sleep(TICK_S)
            return
        await self._due

    def close(self) -> None:
        """Give the descriptor back."""
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _expired(self) -> None:
        try:
            os.read(self._fd, 8)
        except BlockingIOError:
            return  # armed again meanwhile
        if self._due is not None and not self._due.done():
            self._due.set_result(None)


def best_timer() -> Timer:
    """Return the most exact timer that this system has, for the running loop."""
    if sys.platform == "linux":
        try:
            return PreciseTimer()
        except (OSError, AttributeError):
            pass
    return TickTimer()
