"""`user.think(...)`: waiting as a person does. It is in no latency."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable, Coroutine
from typing import Any

from loadproof.runtime.scope import Scope
from loadproof.runtime.wheel import Wheel

THINK_S_MAX = 3_600.0
"""The longest single wait; a drawn one is cut to it."""


class Think:
    """`await user.think(2.0)` waits two seconds, `think(1.0, 3.0)` between one and three; drawn waits are seeded."""

    __slots__ = ("_random", "_scope")

    def __init__(self, scope: Scope, source: Callable[[], random.Random]) -> None:
        self._scope = scope
        self._random = source

    def __call__(self, seconds: float, most: float | None = None) -> Coroutine[Any, Any, None]:
        """Wait `seconds`, or uniformly between `seconds` and `most`. Raises ValueError below 0 or above an hour."""
        if most is None:
            return self._wait(_allowed(seconds))
        if most < seconds:
            raise ValueError(f"think({seconds}, {most}): the second number is the longer wait")
        return self._wait(self._random().uniform(_allowed(seconds), _allowed(most)))

    def lognormal(self, median: float, sigma: float = 0.5) -> Coroutine[Any, Any, None]:
        """Wait a lognormal time: half of the waits are below `median` seconds; `sigma` is the logarithm's deviation."""
        if sigma < 0 or not median > 0:
            raise ValueError("think.lognormal needs a median above 0 s and a sigma of at least 0")
        return self._wait(min(self._random().lognormvariate(math.log(_allowed(median)), sigma), THINK_S_MAX))

    def exponential(self, mean: float) -> Coroutine[Any, Any, None]:
        """Wait an exponential time of `mean` seconds."""
        if not mean > 0:
            raise ValueError("think.exponential needs a mean above 0 s")
        return self._wait(min(self._random().expovariate(1 / _allowed(mean)), THINK_S_MAX))

    async def _wait(self, seconds: float) -> None:
        scope = self._scope
        context = scope.context
        clock = context.clock
        began = clock()
        try:
            if seconds > 0:
                due_ns = began + int(seconds * 1e9)
                wheel = context.wheel
                if wheel is None or wheel.loop is not asyncio.get_running_loop():
                    wheel = context.wheel = Wheel(clock)
                future = wheel.until(due_ns)
                try:
                    await future
                except asyncio.CancelledError:
                    wheel.forget(due_ns, future)
                    raise
            else:
                await asyncio.sleep(0)
        finally:
            scope.think_ns += clock() - began


def _allowed(seconds: float) -> float:
    if not 0 <= seconds <= THINK_S_MAX:
        raise ValueError(f"think time of {seconds} s is not between 0 and {THINK_S_MAX:.0f} s")
    return seconds
