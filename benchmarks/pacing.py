"""How exactly do the two timers pace, and what do they cost? In turns, at several rates.

    .venv/bin/python benchmarks/pacing.py [--seconds 2] [--rounds 3]

Prints a table (lateness of starts in microseconds, processor time per start with an empty transaction) and writes
benchmarks/results/pacing.json.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from pathlib import Path

import uvloop

from loadproof.plan import NS_PER_S, ArrivalPhase, ArrivalSchedule, Plan, TransactionPlan
from loadproof_agent.worker.arrivals import ArrivalQueue, OpenPacer
from loadproof_agent.worker.timers import PreciseTimer, TickTimer

RESULTS = Path(__file__).resolve().parent / "results" / "pacing.json"
RATES = (50, 200, 1_000, 2_000, 5_000, 10_000)


async def paced(rate: int, seconds: float, *, precise: bool) -> tuple[list[int], float]:
    """Return the lateness of each start in nanoseconds, and microseconds of processor time for each."""
    phase = ArrivalPhase("steady", rate * 1_000, rate * 1_000, int(seconds * NS_PER_S))
    queue = ArrivalQueue(ArrivalSchedule(Plan("S", "p", "open", (phase,), (TransactionPlan("A", 1),))), 1)
    queue.assign([(0, 0)])
    zero_ns = time.monotonic_ns() + 50_000_000
    pacer = OpenPacer(queue, time.monotonic_ns, zero_ns)
    pacer.lease_end_ns = zero_ns + 3_600 * NS_PER_S
    pacer.in_flight_max = 1_000_000
    timer = PreciseTimer() if precise else TickTimer()
    late: list[int] = []
    began_ns = time.process_time_ns()
    try:
        while (wait_ns := pacer.wait_ns()) is not None:
            await timer.wait(min(wait_ns, 50_000_000))
            pacer.fire(lambda _fate, arrival, now_ns: late.append(now_ns - zero_ns - arrival.at_ns), lambda: 0)
    finally:
        timer.close()
    return late, (time.process_time_ns() - began_ns) / 1_000 / max(1, len(late))


def main() -> None:
    """Measure in turns and print medians over the rounds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=3)
    wanted = parser.parse_args()
    found: dict[tuple[int, bool], list[tuple[float, ...]]] = {
        (rate, way): [] for rate in RATES for way in (False, True)
    }
    for _ in range(wanted.rounds):
        for (rate, precise), rounds in found.items():
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                late, cpu_us = runner.run(paced(rate, wanted.seconds, precise=precise))
            late.sort()
            at = [late[min(len(late) - 1, int(len(late) * q))] / 1_000 for q in (0.5, 0.99, 0.999)]
            rounds.append((*at, cpu_us))
    rows = []
    print(f"{'rate/s':>7} {'timer':8} {'late p50':>9} {'p99':>9} {'p99.9':>9} {'CPU/start':>10}")
    for (rate, precise), rounds in found.items():
        p50, p99, p999, cpu = (round(statistics.median(column), 1) for column in zip(*rounds, strict=True))
        name = "timerfd" if precise else "tick"
        print(f"{rate:7} {name:8} {p50:9.1f} {p99:9.1f} {p999:9.1f} {cpu:10.1f}")
        rows.append({"rate": rate, "timer": name, "late_us": [p50, p99, p999], "cpu_us": cpu})
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
