"""From readings to a judgement: how large the change is, how sure, and what could not have been seen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from loadproof_report.comparison.resample import Reading, log_value
from loadproof_report.comparison.statistics import chi_square_quantile, normal_quantile, t_p_value, t_quantile

ALPHA: Final = 0.05
"""Share of comparisons of equal builds in which anything at all may be called a change."""
POWER: Final = 0.95
"""Chance of seeing a change of the printed minimum detectable size; 90 % is promised, the rest is margin."""
TRANSACTION_SHARE: Final = 0.8
"""Part of `ALPHA` spent on transactions; the rest on steps, which are many and explain rather than decide."""
BASELINES_MIN: Final = 3
"""From so many baselines on, the spread between runs is measured instead of assumed."""
FLOORS: Final = {"p50": 0.03, "mean": 0.03, "p95": 0.03, "p99": 0.045}
"""Standard deviation between runs of one build (log scale, so 0.03 = 3 %) that is assumed with fewer baselines.
Resampling within runs can't see it. It weighs as much as three baselines: of k, its variance times 3/k is the least
believed, since few runs may agree by chance."""
TIMING_FLOOR_US: Final = 100.0
"""The same for any latency in µs, beside its share: waking a processor, its clock and its caches cost a run a little
more or less. Steps of under a millisecond of equal builds alarmed without it (real runs of the shop)."""
SUCCESS_FLOOR: Final = 0.001
"""The same for the success rate, as a share, to which a fifth of the failure rate is added."""
_SUCCESS_RELATIVE: Final = 0.2
_CONFIDENCE_BETWEEN: Final = 0.8
_ROUNDS: Final = 8


@dataclass(frozen=True, slots=True)
class Estimate:
    """One metric's change on its judging scale (log for latencies): `change`, its standard error, its p-value.

    `current` and `baseline` are values in the metric's unit, `within` and `between` the variances of the change within
    and between runs, `band` the stretch in which a run like the baselines falls 95 times of 100 (with two baselines or
    more), `sizes` the samples of the current run and the effective ones of the baselines (success rate only).
    """

    metric: str
    current: float
    baseline: float
    change: float
    error: float
    freedom: float
    p_value: float
    within: float
    between: float
    band: tuple[float, float] | None
    sizes: tuple[float, float] | None = None

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Return the confidence interval of this change alone, on the judging scale."""
        reach = t_quantile(0.5 + confidence / 2, self.freedom) * self.error
        return self.change - reach, self.change + reach

    def detectable(self, alpha: float) -> float:
        """Return the smallest change that a two-sided test at `alpha` finds with the stated power, judging scale."""
        reach = t_quantile(1 - alpha / 2, self.freedom) + normal_quantile(POWER)
        size = reach * self.error
        if self.sizes is None:
            return size
        # More failures also vary more: the size at which the test would have its power is where both agree.
        now, before = self.sizes
        failing = min(max(1 - self.baseline, 0.5 / before), 0.5)
        excess = max(self.within / (failing * (1 - failing) * (1 / now + 1 / before)), 1.0)
        for _ in range(_ROUNDS):
            then = min(failing + size, 0.5)
            varied = excess * (then * (1 - then) / now + failing * (1 - failing) / before)
            size = reach * math.sqrt(max(varied, self.within) + self.between)
        return size


def estimate(
    metric: str,
    runs: Sequence[Reading],
    *,
    blocks: int,
    inflation: float,
    least_within: Sequence[float] | None = None,
    samples: Sequence[float] | None = None,
    seen: float = 0.0,
) -> Estimate:
    """Judge one metric: `runs[0]` is the current run, the others are baselines.

    `inflation` corrects the variance within runs for correlation between blocks; `least_within` are floors of
    it and `samples` numbers of samples, a value for each run, for the success rate. `seen` is the variance
    between baselines (`spread_seen`).
    """
    current, baselines = runs[0], runs[1:]
    k = len(baselines)
    middle = sum(log_value(metric, run.value) for run in baselines) / k
    correction = inflation * blocks / (blocks - 1)
    resampled = np.mean([run.resampled for run in baselines], axis=0)
    within = float(np.var(current.resampled - resampled)) * correction
    if least_within is not None:
        within = max(within, least_within[0] + sum(least_within[1:]) / k**2)
    spread = _between(metric, k, middle, seen)
    between = spread * (1 + 1 / k)
    error = math.sqrt(within + between)
    change = log_value(metric, current.value) - middle
    # The part between runs is assumed or an upper bound: only the part within runs is an estimate (Satterthwaite).
    freedom = min((blocks - 1) * (error**2 / within) ** 2, 1e6) if within > 0 else 1e6
    band = None
    if k > 1:
        reach = normal_quantile(0.975) * math.sqrt(spread + within * k / (k + 1))
        band = (_unscale(metric, middle - reach), _unscale(metric, middle + reach))
    return Estimate(
        metric, current.value, _unscale(metric, middle), change, error, freedom,
        t_p_value(change / error, freedom), within, between, band,
        None if samples is None else (samples[0], k**2 / sum(1 / n for n in samples[1:])),
    )  # fmt: skip


def spread_seen(metric: str, baselines: Sequence[Reading], *, blocks: int, inflation: float) -> float:
    """Return the variance between three or more baselines that noise within runs does not explain; 0 for fewer."""
    k = len(baselines)
    if k < BASELINES_MIN:
        return 0.0
    values = np.array([log_value(metric, run.value) for run in baselines])
    resampled = np.array([run.resampled for run in baselines])
    noise = float(np.mean(np.var(resampled - resampled.mean(axis=0), axis=1))) * k / (k - 1)
    return max(float(np.var(values, ddof=1)) - noise * inflation * blocks / (blocks - 1), 0.0)


def _between(metric: str, k: int, middle: float, seen: float) -> float:
    """Return the variance between runs of one build: assumed, or an upper 80 % bound of what `k` baselines show."""
    if metric == "success_rate":
        floor = SUCCESS_FLOOR + _SUCCESS_RELATIVE * (1 - middle)
    else:
        floor = math.hypot(FLOORS[metric], TIMING_FLOOR_US / math.exp(middle))
    if k < BASELINES_MIN:
        return floor**2
    bound = seen * (k - 1) / chi_square_quantile(1 - _CONFIDENCE_BETWEEN, k - 1)
    return max(bound, floor**2 * BASELINES_MIN / k)


def _unscale(metric: str, value: float) -> float:
    return min(max(value, 0.0), 1.0) if metric == "success_rate" else math.exp(value)
