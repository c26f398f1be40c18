"""An event loop whose time jumps to the next timer: ten seconds of load in milliseconds, the same on every machine."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar, cast

ResultT = TypeVar("ResultT")
NS_PER_S = 1_000_000_000


class _Selector(selectors.DefaultSelector):
    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if not ready and timeout:
            self._loop.advance(timeout)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """Waits for nothing: where a real loop would sleep, its clock moves."""

    def __init__(self) -> None:
        self.offset_s = 1_000.0
        super().__init__(_Selector(self))

    def time(self) -> float:
        return self.offset_s

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass, as code that blocks the loop does."""
        self.offset_s += seconds


def virtual_loop() -> VirtualLoop:
    """Return the running loop of `run_virtual`."""
    return cast("VirtualLoop", asyncio.get_running_loop())


def virtual_ns() -> int:
    """Return the running virtual loop's time, as `time.monotonic_ns` would."""
    return round(virtual_loop().offset_s * NS_PER_S)


def run_virtual(main: Coroutine[Any, Any, ResultT]) -> ResultT:
    """Run `main` on a loop with virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
