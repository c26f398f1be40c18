"""How busy the machine was with other things while a reading was taken."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from benchmarks.machine import PROC, cpu_ns

OTHERS_MAX = 0.15
"""Cores that something else may use; the kernel counts its part in ticks, which is exact to some hundredths."""
STEAL_MAX = 0.02
"""Share of the machine's time that its host may take away."""


@dataclass(frozen=True, slots=True)
class Noise:
    """`load` of the last minute, cores that `others` used during the reading, share of time the host did `steal`."""

    load: float
    others: float
    steal: float

    @property
    def busy(self) -> bool:
        """Whether the reading is to be flagged."""
        return self.others > OTHERS_MAX or self.steal > STEAL_MAX


@dataclass(frozen=True, slots=True)
class Clocks:
    """What the machine and the measurement had used at an instant, in seconds."""

    at_s: float
    busy_s: float
    idle_s: float
    steal_s: float
    own_s: float

    @classmethod
    def read(cls, pids: Sequence[int]) -> Self:
        """Read them; the measurement is the trees of `pids` and this process."""
        ticks = os.sysconf("SC_CLK_TCK")
        line = (PROC / "stat").read_text().split("\n", 1)[0]
        # user, nice, system, idle, iowait, irq, softirq, steal; guests are in user already (proc_stat(5))
        user, nice, system, idle, iowait, irq, softirq, steal = (int(part) / ticks for part in line.split()[1:9])
        own = sum(map(cpu_ns, pids)) / 1e9 + time.process_time()
        return cls(time.monotonic(), user + nice + system + irq + softirq, idle + iowait, steal, own)


def noise_between(before: Clocks, after: Clocks, load: float) -> Noise:
    """Return how busy the machine was with what is not the measurement."""
    took = max(1e-9, after.at_s - before.at_s)
    others = max(0.0, (after.busy_s - before.busy_s) - (after.own_s - before.own_s)) / took
    stolen = after.steal_s - before.steal_s
    whole = stolen + after.busy_s - before.busy_s + after.idle_s - before.idle_s
    return Noise(round(load, 2), round(others, 3), round(stolen / whole, 4) if whole > 0 else 0.0)
