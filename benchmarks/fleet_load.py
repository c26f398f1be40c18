"""What a simulated agent reports: deltas made once and shared by all agents of a process, exact by construction."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from loadproof.metrics import (
    Delivery,
    Delta,
    Health,
    SecondStats,
    SeriesKey,
    SeriesTotals,
    StatusKey,
    add_totals,
    counts_from_samples,
    encode_delta,
    encode_totals,
    merge_delta,
    series_totals,
)
from loadproof.plan import NS_PER_S, Plan, TransactionPlan, UserPhase

VARIANTS = 4
"""Agents of a process differ in this many ways."""
TRANSACTIONS = tuple(f"Transaction {index}" for index in range(5))
PHASE = "load"
MEASURES = ("response", "service", "lateness")
STEPS, ENDPOINTS = 5, 2
SERIES = len(TRANSACTIONS) * (len(MEASURES) + STEPS + ENDPOINTS)
MEDIAN_US, SIGMA = 40_000, 0.5

Totals = dict[SeriesKey, SeriesTotals]


@dataclass(frozen=True, slots=True)
class FleetLoad:
    """`agents` report for `seconds`; in each second each of the 50 series has `samples` samples."""

    agents: int
    seconds: int
    samples: int

    def plan(self) -> Plan:
        """Return the plan that such a fleet would be measuring."""
        phase = UserPhase(PHASE, self.agents, self.agents, self.seconds * NS_PER_S)
        mix = tuple(TransactionPlan(name, 1) for name in TRANSACTIONS)
        return Plan("Fleet", "scale", "closed", (phase,), mix, graceful_stop_ns=10 * NS_PER_S)


def keys() -> Iterator[SeriesKey]:
    """Return the names of the 50 series: transactions by measure, steps, endpoints."""
    for name in TRANSACTIONS:
        for measure in MEASURES:
            yield SeriesKey(name, "", "", PHASE, "ok", measure)  # type: ignore[arg-type]
        for step in range(STEPS):
            yield SeriesKey(name, f"Step {step}", "", PHASE, "ok", "service")
            if step < ENDPOINTS:
                yield SeriesKey(name, f"Step {step}", f"GET /things/{step}", PHASE, "ok", "service")


def second_delta(load: FleetLoad, second: int, variant: int) -> Delta:
    """Return what one agent counts in one second."""
    random = np.random.default_rng((second, variant))
    delta = Delta(second * NS_PER_S, (second + 1) * NS_PER_S)
    for number, key in enumerate(keys()):
        values = random.lognormal(np.log(MEDIAN_US * (1 + number % 7)), SIGMA, load.samples).astype(np.int64)
        delta.series[key] = counts_from_samples(values)
    for name in TRANSACTIONS:
        response = delta.series[SeriesKey(name, "", "", PHASE, "ok", "response")]
        delta.delivery[name, PHASE] = Delivery(started=load.samples, completed=load.samples)
        delta.seconds[second, name] = SecondStats(load.samples, load.samples, in_flight=1, response=response)
        for step in range(STEPS):
            delta.statuses[StatusKey(name, f"Step {step}", "", PHASE, 200)] = load.samples
            delta.step_order[name, f"Step {step}"] = step
    lag = counts_from_samples(np.full(20, 300, np.int64))
    delta.health = Health(400, 300, 100_000_000, 50, 2_000, lag)
    return delta


@dataclass(frozen=True, slots=True)
class Prebuilt:
    """The blocks of one variant, one for each interval, and the totals of all of them."""

    blocks: tuple[bytes, ...]
    totals: Totals
    encoded_totals: bytes


def prebuild(load: FleetLoad, snapshot_ms: int, variant: int) -> Prebuilt:
    """Make the blocks of one variant: intervals of whole seconds, added up as an agent does."""
    every = max(snapshot_ms // 1_000, 1)
    blocks, totals = [], Totals()
    for first in range(0, load.seconds, every):
        delta = second_delta(load, first, variant)
        for second in range(first + 1, min(first + every, load.seconds)):
            delta = merge_delta(delta, second_delta(load, second, variant))
        blocks.append(encode_delta(delta, dense=True))
        totals = add_totals(totals, series_totals(delta))
    return Prebuilt(tuple(blocks), totals, encode_totals(totals))
