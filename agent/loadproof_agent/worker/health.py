"""How well this worker generates load: CPU, loop lag, garbage collection, memory, open files, who held up the loop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import sys
import threading
import time
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any, NamedTuple

import numpy as np
import psutil

from loadproof.metrics import counts_from_samples
from loadproof.metrics.delta import Health
from loadproof.runtime.execute import execute
from loadproof.runtime.scope import Scope

LAG_PERIOD_S = 0.01
"""The loop's lag is sampled this often."""
STALL_NS = 25_000_000
"""A loop that does nothing else for this long is held up."""
WATCH_PERIOD_S = 0.01
WATCH_AGAIN_S = 0.001
STRETCH_US_MIN = 5_000
"""User code that keeps the loop for this long in one go is named: each of the others waits as long."""
_FILES_EACH_NS = 5_000_000_000
_NS_PER_US = 1_000
_FRAMES_MAX = 200
_EXECUTE: CodeType = execute.__code__


class LoopMonitor:
    """Samples how late the loop runs a timer, and notes when it last ran one. Start it on the loop it watches."""

    def __init__(self) -> None:
        self.last_tick_ns = time.monotonic_ns()
        self._lag_ns: list[int] = []
        self._due_ns = 0
        self._handle: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Begin on the running loop."""
        self._loop = asyncio.get_running_loop()
        self._arm()

    def stop(self) -> None:
        """End."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def take(self) -> list[int]:
        """Return the lag samples since the last call, in nanoseconds."""
        taken, self._lag_ns = self._lag_ns, []
        return taken

    def _arm(self) -> None:
        assert self._loop is not None
        now_ns = self.last_tick_ns = time.monotonic_ns()
        self._due_ns = now_ns + int(LAG_PERIOD_S * 1e9)
        self._handle = self._loop.call_later(LAG_PERIOD_S, self._tick)

    def _tick(self) -> None:
        self._lag_ns.append(max(0, time.monotonic_ns() - self._due_ns))
        self._arm()


class GarbageMonitor:
    """The longest pause of the garbage collector."""

    def __init__(self) -> None:
        self._began_ns = 0
        self._longest_ns = 0

    def start(self) -> None:
        """Begin to listen to the collector."""
        gc.callbacks.append(self._note)

    def stop(self) -> None:
        """End."""
        with contextlib.suppress(ValueError):
            gc.callbacks.remove(self._note)

    def take_us(self) -> int:
        """Return the longest pause since the last call, in microseconds."""
        longest, self._longest_ns = self._longest_ns, 0
        return longest // _NS_PER_US

    def _note(self, phase: str, _info: dict[str, Any]) -> None:
        if phase == "start":
            self._began_ns = time.monotonic_ns()
        else:
            self._longest_ns = max(self._longest_ns, time.monotonic_ns() - self._began_ns)


class Watchdog:
    """A thread that names the transactions and steps that hold up the loop. Costs nothing in the hot path.

    Every `WATCH_PERIOD_S` it looks at the main thread's stack for the transaction it is in (`Stretches` measures);
    while it sees one, it looks again as soon as it can: about each 6 ms, the interpreter keeps a thread waiting for
    5 ms. `on_stall` is called from the thread, once a stall, when it lasts `report_ns`. If the parent process is gone
    while the loop is held up, nobody could end this process any more: it ends itself.
    """

    def __init__(
        self, monitor: LoopMonitor, on_stall: Callable[[str, str], None] | None = None, report_ns: int = 300_000_000
    ) -> None:
        self._monitor = monitor
        self._on_stall = on_stall
        self._report_ns = report_ns
        self._stretches = Stretches()
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._main = threading.get_ident()
        self._parent = os.getppid()
        self._thread = threading.Thread(target=self._watch, name="loadproof watchdog", daemon=True)

    def start(self) -> None:
        """Begin. Call on the loop's thread."""
        self._thread.start()

    def stop(self) -> None:
        """End, and wait for the thread."""
        self._end.set()
        self._thread.join(1.0)

    def take(self) -> dict[tuple[str, str], int]:
        """Return the longest stretch in microseconds by (transaction, step) since the last call."""
        with self._lock:
            return self._stretches.take()

    def _watch(self) -> None:
        reported_tick = 0
        wait_s = WATCH_PERIOD_S
        while True:
            if self._end.wait(wait_s):
                return
            now_ns = time.monotonic_ns()
            seen = running_in(sys._current_frames().get(self._main))
            with self._lock:
                self._stretches.look(seen, self._monitor.last_tick_ns, now_ns)
            wait_s = WATCH_PERIOD_S if seen is None else WATCH_AGAIN_S
            tick_ns = self._monitor.last_tick_ns
            held_ns = now_ns - tick_ns - int(LAG_PERIOD_S * 1e9)
            if held_ns < STALL_NS:
                continue
            if held_ns >= self._report_ns and reported_tick != tick_ns and seen is not None:
                reported_tick = tick_ns
                if self._on_stall is not None:
                    self._on_stall(seen.transaction, seen.step)
            if os.getppid() != self._parent:
                os._exit(1)


class Sight(NamedTuple):
    """What the watchdog saw on the stack: user code of `transaction`, in `step`, by user `user` in its run `k`.

    At `turned_ns` some user's step or transaction last began or ended.
    """

    transaction: str
    step: str
    user: int
    k: int
    turned_ns: int = 0


class Stretches:
    """Measures how long user code held the loop without giving it back, from looks at it. Pure: times are parameters.

    A stretch reaches from the last moment at which the loop or another user is known to have run (or the step began)
    to the last look at it. It is exact to the time between two looks (6 ms), on the short side, and to the loop's
    sampling period on the long side when there is one user only.
    """

    def __init__(self) -> None:
        self._seen: Sight | None = None
        self._began_ns = 0
        self._longest_us: dict[tuple[str, str], int] = {}

    def look(self, seen: Sight | None, free_ns: int, now_ns: int) -> None:
        """Note what a look at `now_ns` saw, when the loop last ran a timer at `free_ns`."""
        if seen is not None:
            if self._seen is None or seen[:4] != self._seen[:4]:
                self._began_ns = max(free_ns, seen.turned_ns)
            else:
                self._began_ns = max(self._began_ns, free_ns, seen.turned_ns)
            us = (now_ns - self._began_ns) // _NS_PER_US
            if us >= STRETCH_US_MIN:
                where = (seen.transaction, seen.step)
                self._longest_us[where] = max(self._longest_us.get(where, 0), us)
        self._seen = seen

    def take(self) -> dict[tuple[str, str], int]:
        """Return the longest stretch in microseconds by (transaction, step) since the last call."""
        taken, self._longest_us = self._longest_us, {}
        return taken


def running_in(frame: FrameType | None) -> Sight | None:
    """Return the transaction whose code is on the stack at `frame`, None when there is none."""
    for _ in range(_FRAMES_MAX):
        if frame is None:
            return None
        if frame.f_code is _EXECUTE:
            scope = frame.f_locals.get("scope")
            if not isinstance(scope, Scope) or scope.series is None:
                return None
            return Sight(scope.series.name, scope.step_name, id(scope), scope.k, scope.context.turned_ns)
        frame = frame.f_back
    return None


class HealthMeter:
    """Puts the readings of an interval together."""

    def __init__(self, monitor: LoopMonitor, garbage: GarbageMonitor, watchdog: Watchdog) -> None:
        self._monitor = monitor
        self._garbage = garbage
        self._watchdog = watchdog
        self._process = psutil.Process()
        self._cpu_ns = time.process_time_ns()
        self._wall_ns = time.monotonic_ns()
        self._files = 0
        self._files_ns = 0

    def fill(self, health: Health) -> None:
        """Write the readings since the last call into `health`."""
        now_ns = time.monotonic_ns()
        cpu_ns = time.process_time_ns()
        health.worker_cpu_permille = (cpu_ns - self._cpu_ns) * 1_000 // max(1, now_ns - self._wall_ns)
        self._cpu_ns, self._wall_ns = cpu_ns, now_ns
        health.memory_bytes = self.memory_bytes()
        health.open_files = self._open_files(now_ns)
        health.gc_pause_us_max = self._garbage.take_us()
        lag_ns = self._monitor.take()
        health.lag = counts_from_samples(np.array(lag_ns, dtype=np.int64) // _NS_PER_US) if lag_ns else None
        health.user_cpu_us = self._watchdog.take()

    def memory_bytes(self) -> int:
        """Return the resident memory of this process."""
        return int(self._process.memory_info().rss)

    def _open_files(self, now_ns: int) -> int:
        """Counting files takes long when there are many: not every second."""
        if now_ns - self._files_ns >= _FILES_EACH_NS:
            self._files_ns = now_ns
            self._files = int(self._process.num_fds())
        return self._files


class CpuMeter:
    """CPU of this process since the last call, in 1/1000 of a core."""

    def __init__(self) -> None:
        self._cpu_ns = time.process_time_ns()
        self._wall_ns = time.monotonic_ns()

    def take(self) -> int:
        """Return it."""
        cpu_ns, now_ns = time.process_time_ns(), time.monotonic_ns()
        permille = (cpu_ns - self._cpu_ns) * 1_000 // max(1, now_ns - self._wall_ns)
        self._cpu_ns, self._wall_ns = cpu_ns, now_ns
        return permille
