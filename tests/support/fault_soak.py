"""`make soak`: load for minutes or hours through connections that break all the time; no process may grow.

The first half is many short runs, the second one long one; every few seconds an agent's connections are reset. At the
end of every run its counts must be the target's. The memory of each process is sampled each second, and a line is
fitted through what comes after the first third of each half, when caches and histograms have been filled.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from fault_scene import MS, Scene, fault_scene

MIB = 1 << 20
GROWTH_MIB_MAX = 16.0
"""What a process may be larger at the end of a half than after the first third of it."""
WARM_SHARE = 1 / 3
RATE = 100
SHORT_RUN_S = 12
RESET_S = 3.0
AGENTS = ("a1", "a2")


@dataclass(frozen=True, slots=True)
class Fitted:
    """The memory of one process in one half: at its warm start and end in MiB, and the slope of the line between."""

    half: str
    process: str
    warm_mib: float
    end_mib: float
    slope_mib_per_h: float

    @property
    def growth_mib(self) -> float:
        """End minus warm start."""
        return self.end_mib - self.warm_mib

    def __str__(self) -> str:
        return (
            f"{self.half:10} {self.process:14} {self.warm_mib:8.1f} {self.end_mib:8.1f} "
            f"{self.growth_mib:+8.1f} {self.slope_mib_per_h:+10.1f}"
        )


@dataclass(slots=True)
class Soak:
    """Samples of every process, and what the runs came to."""

    scene: Scene
    half: str = ""
    runs: int = 0
    requests: int = 0
    resets: int = 0
    samples: dict[tuple[str, str], list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))

    async def watch(self) -> None:
        """Sample every process each second; workers only in the long run, they live for one run each."""
        watched = {"controller": psutil.Process(os.getpid())}
        watched |= {f"supervisor {name}": psutil.Process(agent.pid) for name, agent in self.scene.agents.items()}
        while True:
            await asyncio.sleep(1.0)
            processes = dict(watched)
            if self.half == "one run":
                for name, agent in self.scene.agents.items():
                    processes |= {f"worker of {name}": worker for worker in agent.workers()}
            for name, process in processes.items():
                self.samples[self.half, name].append((time.monotonic(), process.memory_info().rss / MIB))

    async def disturb(self) -> None:
        """Reset the connections of one agent after the other."""
        for name in itertools.cycle(AGENTS):
            await asyncio.sleep(RESET_S)
            if self.scene.target.count:  # an agent that is cut off while it prepares ends the run, by design
                self.scene.agents[name].proxy.reset()
                self.resets += 1

    async def one_run(self, seconds: float) -> None:
        """Run for so long; every count must be the target's."""
        outcome = await self.scene.run(seconds=seconds, rate=f"{RATE}/s", lease_s=15.0)
        merged, received = outcome.requests(), self.scene.target.count
        if not 0 < merged == received == outcome.completed or outcome.events("final_mismatch"):
            why = outcome.data.abort_reason
            raise AssertionError(f"the target got {received} requests, {merged} were merged: {why}")
        self.scene.target.clear()
        self.runs += 1
        self.requests += received

    def fitted(self) -> list[Fitted]:
        """Return a line through the samples of each process in each half."""
        out = []
        for (half, process), samples in self.samples.items():
            warm = samples[int(len(samples) * WARM_SHARE) :]
            if len(warm) < 10:
                continue
            tenth = max(3, len(warm) // 10)
            slope = statistics.linear_regression([at for at, _ in warm], [mib for _, mib in warm]).slope
            first = statistics.median(mib for _, mib in warm[:tenth])
            last = statistics.median(mib for _, mib in warm[-tenth:])
            out.append(Fitted(half, process, first, last, slope * 3_600))
        return out


async def soak(folder: Path, minutes: float) -> Soak:
    """Soak for about `minutes`."""
    async with fault_scene(folder, *AGENTS, reconnect_ms=[50, 500], tick_ns=250 * MS) as scene:
        scene.target.keep = False
        done = Soak(scene)
        async with asyncio.TaskGroup() as group:
            attendants = [group.create_task(done.watch()), group.create_task(done.disturb())]
            begun = time.monotonic()
            done.half = "short runs"
            while time.monotonic() - begun < minutes * 30:
                await done.one_run(SHORT_RUN_S)
            done.half = "one run"
            await done.one_run(max(SHORT_RUN_S, round(minutes * 30)))
            for attendant in attendants:
                attendant.cancel()
        return done


def report(done: Soak) -> str:
    """Return the figures as lines."""
    head = f"{'half':10} {'process':14} {'warm MiB':>8} {'end MiB':>8} {'growth':>8} {'MiB/h':>10}"
    facts = f"{done.runs} runs, {done.requests} requests, all counts the target's; {done.resets} resets"
    return "\n".join([facts, head, *map(str, done.fitted())])


def grown(done: Soak) -> list[Fitted]:
    """Return the processes that grew beyond the bound."""
    return [fitted for fitted in done.fitted() if fitted.growth_mib > GROWTH_MIB_MAX]


def main() -> int:
    """Soak as long as asked; 0 when nothing grew beyond the bound."""
    parser = argparse.ArgumentParser(description="load for long, look for growth")
    parser.add_argument("--minutes", type=float, default=30.0)
    minutes = parser.parse_args().minutes
    with tempfile.TemporaryDirectory(prefix="loadproof-soak-") as folder:
        done = asyncio.run(soak(Path(folder), minutes))
    sys.stdout.write(report(done) + "\n")
    for fitted in grown(done):
        sys.stdout.write(f"{fitted.process} grew by {fitted.growth_mib:.1f} MiB, over {GROWTH_MIB_MAX:.0f}\n")
    return 1 if grown(done) else 0


if __name__ == "__main__":
    sys.exit(main())
