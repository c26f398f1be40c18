"""The block bootstrap: how far each number moves when blocks of plan time are drawn again."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from loadproof_report.comparison.blocks import Blocks

QUANTILES: Final = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
LATENCIES: Final = ("p50", "p95", "p99", "mean")
SAMPLES_ABOVE_MIN: Final = 20
"""Samples that must lie above a percentile in each run for it to be compared."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One metric of one run: its value (µs, or share of successes) and how it came out in each resample (log for
    latencies).
    """

    value: float
    resampled: NDArray[np.float64]


def draw(blocks: int, resamples: int, seed: int) -> NDArray[np.float32]:
    """Return how often each block is taken in each resample (resamples x blocks): the same for every run and series."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(blocks, np.full(blocks, 1 / blocks), size=resamples).astype(np.float32)


def readings(
    runs: Sequence[Blocks], edges: NDArray[np.float64], weights: NDArray[np.float32]
) -> dict[str, list[Reading]]:
    """Return every metric that can be judged, for each run. A metric with too few samples in any run is left out."""
    out: dict[str, list[Reading]] = {}
    n = min(run.whole.n for run in runs)
    if n >= SAMPLES_ABOVE_MIN:
        wanted = {name: q for name, q in QUANTILES.items() if n * (1 - q) >= SAMPLES_ABOVE_MIN}
        for run in runs:
            for name, reading in latency_readings(run, wanted, edges, weights).items():
                out.setdefault(name, []).append(reading)
    if all(run.ok.sum() + run.failed.sum() >= SAMPLES_ABOVE_MIN for run in runs):
        out["success_rate"] = [success_reading(run, weights) for run in runs]
    return out


def latency_readings(
    run: Blocks, quantiles: Mapping[str, float], edges: NDArray[np.float64], weights: NDArray[np.float32]
) -> dict[str, Reading]:
    """Return the mean and the named quantiles of one run with at least one success."""
    out: dict[str, Reading] = {}
    counts = np.maximum(weights @ run.ok, 1)
    mean = np.maximum(weights @ run.totals, 1) / counts
    out["mean"] = Reading(max(run.whole.mean_us or 0, 0.5), np.log(mean))
    cumulative = weights @ run.cumulative
    rows = np.arange(len(cumulative))
    for name, q in quantiles.items():
        rank = q * cumulative[:, -1]
        position = _first_at_least(cumulative, rank)
        upper = cumulative[rows, position]
        lower = np.where(position > 0, cumulative[rows, np.maximum(position - 1, 0)], 0)
        share = np.clip((rank - lower) / np.maximum(upper - lower, 1), 0, 1)
        value = edges[0, position] + share * edges[1, position]
        out[name] = Reading(max(run.whole.quantile(q) or 0, 0.5), np.log(np.maximum(value, 0.5)))
    return out


def _first_at_least(rising: NDArray[np.float32], wanted: NDArray[np.float32]) -> NDArray[np.intp]:
    """Return in each row the first position whose value is not below the row's wanted one, bisecting all at once."""
    rows = np.arange(len(rising))
    low, high = np.zeros(len(rising), np.intp), np.full(len(rising), rising.shape[1] - 1, np.intp)
    for _ in range(rising.shape[1].bit_length()):
        middle = (low + high) // 2
        below = rising[rows, middle] < wanted
        low, high = np.where(below & (low < high), middle + 1, low), np.where(below, high, middle)
    return low


def success_reading(run: Blocks, weights: NDArray[np.float32]) -> Reading:
    """Return the success rate of one run of at least one sample."""
    ok, failed = weights @ run.ok, weights @ run.failed
    total = float(run.ok.sum() + run.failed.sum())
    return Reading(float(run.ok.sum()) / total, ok / np.maximum(ok + failed, 1))


def binomial_variance(runs: Sequence[Blocks]) -> list[float]:
    """Return each run's variance of its success rate if failures were independent, never quite 0."""
    ok = sum(float(run.ok.sum()) for run in runs)
    failed = sum(float(run.failed.sum()) for run in runs)
    share = (failed + 0.5) / (ok + failed + 1)
    return [share * (1 - share) / max(float(run.ok.sum() + run.failed.sum()), 1) for run in runs]


def log_value(metric: str, value: float) -> float:
    """Return the scale on which a metric's change is judged: log for latencies, as it is for the success rate."""
    return value if metric == "success_rate" else math.log(value)
