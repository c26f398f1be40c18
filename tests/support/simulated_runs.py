"""Runs that never ran: interval histograms with the noise of real ones. Seeded, numpy only.

Latency of a transaction in interval t is log-normal around base x load(t) x AR(1) noise x the run's own effect. The
effect of a run differs from run to run and is the same all through it: what resampling within a run can't see.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loadproof.histogram import COUNTERS, Counts, indices_of
from loadproof.metrics import IntervalKey, Measure, Outcome
from loadproof_report.comparison import ComparisonInput


@dataclass(frozen=True, slots=True)
class World:
    """What all runs of a simulation share. `run_spread` is the standard deviation of a run's effect (log scale).

    In the first `ramp_s` seconds, a phase of their own, the load rises from a fifth to the whole.
    """

    seconds: int = 300
    transactions: tuple[str, ...] = ("Search", "Checkout")
    steps: tuple[str, ...] = ("Submit",)
    per_second: int = 30
    run_spread: float = 0.03
    shared_spread: bool = True
    correlation: float = 0.7
    interval_spread: float = 0.08
    spread: float = 0.5
    failure_rate: float = 0.01
    ramp_s: int = 0


@dataclass(frozen=True, slots=True)
class Change:
    """A planted regression: latencies of `transaction` times `slower`, its failure rate plus `failures`.

    `with_load`: in proportion to the load, as far as it lies above that of the ramp's start.
    """

    transaction: str = ""
    slower: float = 1.0
    failures: float = 0.0
    with_load: bool = False


def simulated(world: World, seed: int, change: Change | None = None, **facts: Any) -> ComparisonInput:
    """Return one run of `world`; the same seed gives the same run."""
    rng = np.random.default_rng(seed)
    planted = change or Change()
    series: dict[IntervalKey, dict[int, Counts]] = {}
    common = rng.normal(0, world.run_spread)
    load = np.ones(world.seconds)
    load[: world.ramp_s] = np.linspace(0.2, 1, world.ramp_s)
    for number, name in enumerate(world.transactions):
        own = common if world.shared_spread else rng.normal(0, world.run_spread)
        factor = np.exp(own) * (planted.slower if name == planted.transaction else 1.0)
        rate = world.failure_rate * np.exp(rng.normal(0, 0.15))
        rate += planted.failures if name == planted.transaction else 0.0
        if planted.with_load and name == planted.transaction:
            factor = np.exp(own + np.log(planted.slower) * (load - 0.2) / 0.8)
        base = 40_000 * (number + 1) * factor * np.exp(_wave(rng, world)) * _load(world.seconds)
        second = np.repeat(np.arange(world.seconds), rng.poisson(world.per_second * load, world.seconds))
        values = base[second] * np.exp(rng.normal(0, world.spread, len(second)))
        failed = rng.random(len(second)) < rate
        parts: dict[tuple[str, Measure], NDArray[np.float64]] = {("", "response"): values}
        parts |= {(step, "service"): values * rng.uniform(0.4, 0.6, len(second)) for step in world.steps}
        outcomes: tuple[tuple[Outcome, NDArray[np.bool_]], ...] = (("ok", ~failed), ("failed", failed))
        for (step, measure), times in parts.items():
            for outcome, chosen in outcomes:
                cells = _cells(second[chosen], times[chosen].astype(np.int64), world.seconds)
                for phase, part in (("ramp", range(world.ramp_s)), ("peak", range(world.ramp_s, world.seconds))):
                    inside = {s: counts for s, counts in cells.items() if s in part}
                    if inside:
                        series[IntervalKey(name, step, phase, outcome, measure)] = inside
    run = ComparisonInput(f"run-{seed}", "a" * 64, "staging", "0.1.0", series=series)
    return dataclasses.replace(run, **facts)


def _wave(rng: np.random.Generator, world: World) -> NDArray[np.float64]:
    """Return AR(1) noise of the stated spread, one value a second."""
    shocks = rng.normal(0, world.interval_spread * np.sqrt(1 - world.correlation**2), world.seconds)
    out = np.empty(world.seconds)
    level = rng.normal(0, world.interval_spread)
    for second, shock in enumerate(shocks):
        level = world.correlation * level + shock
        out[second] = level
    return out


def _load(seconds: int) -> NDArray[np.float64]:
    """Return what the ramp does to latency: the same in every run of the plan."""
    return 1 + 0.6 * np.linspace(0, 1, seconds) ** 2


def _cells(second: NDArray[np.int64], values: NDArray[np.int64], seconds: int) -> dict[int, Counts]:
    """Return the counts of each second, made for all of them at once."""
    order = np.lexsort((values, second))
    second, values = second[order], values[order]
    keys, counts = np.unique(second * COUNTERS + indices_of(values), return_counts=True)
    indices, counts = (keys % COUNTERS).astype(np.uint16), counts.astype(np.uint64)
    at = np.searchsorted(keys, np.arange(seconds + 1) * COUNTERS)
    first = np.searchsorted(second, np.arange(seconds + 1))
    sums = np.concatenate(([0], np.cumsum(values)))
    return {
        s: Counts(
            indices[at[s] : at[s + 1]],
            counts[at[s] : at[s + 1]],
            int(first[s + 1] - first[s]),
            int(sums[first[s + 1]] - sums[first[s]]),
            int(values[first[s]]),
            int(values[first[s + 1] - 1]),
        )
        for s in range(seconds)
        if first[s + 1] > first[s]
    }
