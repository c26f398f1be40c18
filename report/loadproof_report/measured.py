"""What a rule is held against: the value of one metric over some samples.

The field's usual percentile covers whatever was counted. Ours, in a rule, covers *everyone who came*: a failed
transaction, and an arrival dropped because too many were in flight, rank slower than any limit. So "p95 <= 800ms" reads
"95 % of all got what they wanted within 800 ms", and a target that fails fast cannot pass.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from loadproof.histogram import Histogram, highest, rank_of
from loadproof.metrics import MergedState
from loadproof.rules.model import Criterion, samples_needed


def is_latency(metric: str) -> bool:
    """Return whether a metric's value is a time: any percentile, mean or max."""
    return metric in ("mean", "max") or (metric[:1] == "p" and metric[1:2].isdigit())


@dataclass(frozen=True, slots=True)
class Measured:
    """Samples of one transaction or step. `ok` holds latencies of successes; `failed`, `dropped` are counts.

    `errors` counts failures by category; `seconds` is the time covered.
    """

    ok: Histogram
    failed: int
    dropped: int
    errors: dict[str, int]
    seconds: float

    @property
    def completed(self) -> int:
        """Return how many ended, well or badly."""
        return self.ok.n + self.failed

    @property
    def everyone(self) -> int:
        """Return all who came: completed and dropped."""
        return self.completed + self.dropped


@dataclass(frozen=True, slots=True)
class Reading:
    """A metric's value. `value` None with `beyond`: worse than any limit; without: no data, and `why`."""

    value: float | None
    samples: int
    beyond: bool = False
    why: str = ""


COMPARE: dict[str, Callable[[float, float], bool]] = {
    "<=": operator.le, "<": operator.lt, ">=": operator.ge, ">": operator.gt,
}  # fmt: skip


def holds(criterion: Criterion, reading: Reading, limit: float) -> bool:
    """Return whether a reading that has data keeps the limit."""
    if reading.beyond:
        return criterion.comparison in (">=", ">")
    assert reading.value is not None
    return COMPARE[criterion.comparison](reading.value, limit)


def read(criterion: Criterion, measured: Measured, *, samples_min: int | None = None) -> Reading:
    """Return the criterion's metric over `measured`, in the criterion's unit.

    A percentile of fewer than `samples_min` samples is no data; by default of fewer than can carry it.
    """
    if criterion.metric == "count":
        return Reading(float(measured.completed), measured.completed)
    if criterion.metric == "throughput":
        if measured.seconds <= 0:
            return Reading(None, 0, why="no judged time has passed")
        return Reading(measured.ok.n / measured.seconds, measured.ok.n)
    if not measured.everyone:
        return Reading(None, 0, why="it was never run")
    if criterion.category is not None:
        count = measured.errors.get(criterion.category, 0)
        share = criterion.unit == "ratio"
        return Reading(count / measured.everyone if share else float(count), measured.everyone)
    if criterion.metric == "success_rate":
        return Reading(measured.ok.n / measured.everyone, measured.everyone)
    if criterion.metric == "error_rate":
        return Reading(1 - measured.ok.n / measured.everyone, measured.everyone)
    if criterion.quantile is not None:
        needed = samples_needed(criterion.quantile) if samples_min is None else samples_min
        return _quantile(criterion.quantile, measured, needed)
    return _extreme(criterion.metric, measured)


def _quantile(q: float, measured: Measured, needed: int) -> Reading:
    n = measured.everyone
    if n < needed:
        return Reading(None, n, why=f"{n:,} samples are too few: this percentile needs {needed:,}")
    rank = rank_of(q, n)
    if rank > measured.ok.n:
        return Reading(None, n, beyond=True)
    return Reading(float(quantile_at_rank(measured.ok, rank)), n)


def quantile_at_rank(histogram: Histogram, rank: int) -> int:
    """Return the value in µs at a rank in [1, n]: upper edge of its bucket, never above the exact maximum."""
    counts = histogram.counts()
    position = int(np.searchsorted(np.cumsum(counts.counts), rank, side="left"))
    return min(highest(int(counts.indices[position])), histogram.max_us or 0)


def _extreme(metric: str, measured: Measured) -> Reading:
    if metric == "max" and (measured.failed or measured.dropped):
        return Reading(None, measured.everyone, beyond=True)
    if not measured.ok.n:
        return Reading(None, measured.everyone, beyond=True)
    value = measured.ok.max_us if metric == "max" else measured.ok.mean_us
    assert value is not None
    return Reading(float(value), measured.ok.n)


def measure(
    merged: MergedState, criterion: Criterion, transaction: str, step: str, phases: frozenset[str], seconds: float
) -> Measured:
    """Collect the samples of a transaction, or of a step ("" = the transaction itself), over the phases."""
    wanted = "service" if step else criterion.measure
    ok = merged.histogram(transaction, step=step, outcome="ok", phase=set(phases), measure=wanted)
    errors: dict[str, int] = {}
    for key, stats in merged.errors.items():
        if key.transaction == transaction and key.phase in phases and (not step or key.step == step):
            errors[key.category] = errors.get(key.category, 0) + stats.count
    if step:
        failed = merged.histogram(transaction, step=step, outcome="failed", phase=set(phases), measure="service").n
        return Measured(ok, failed, 0, errors, seconds)
    failed = dropped = 0
    for (name, phase), delivery in merged.delivery.items():
        if name == transaction and phase in phases:
            failed += delivery.failed
            dropped += delivery.dropped
    return Measured(ok, failed, dropped, errors, seconds)
