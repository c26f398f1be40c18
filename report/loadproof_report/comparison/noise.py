"""The noise of one number in two runs or more: what a rule with a `baseline` limit is judged with."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from loadproof_report.comparison.blocks import (
    Blocks,
    Cut,
    Series,
    blocks_of,
    collect_series,
    common_span,
    cut,
    phases_of,
)
from loadproof_report.comparison.inputs import ComparisonInput, obstacles
from loadproof_report.comparison.judge import BASELINES_MIN, estimate, spread_seen
from loadproof_report.comparison.resample import (
    Reading,
    binomial_variance,
    draw,
    latency_readings,
    success_reading,
)
from loadproof_report.comparison.statistics import t_quantile

BLOCKS_MIN: Final = 5
"""A rule may be judged with fewer blocks than a whole comparison: few blocks only widen its interval (Student's t)."""
LENGTH_MIN: Final = 2
"""Intervals in a block, at least."""
CONFIDENCE: Final = 0.95
"""A rule with a `baseline` limit holds, or is broken, only when this sure of it."""
RESAMPLES: Final = 1_000
_SEED: Final = 1
_NAME: Final = ("", "")


@dataclass(frozen=True, slots=True)
class Question:
    """Which number: of a transaction, or one step of it, over `phases`. `quantile` None: the mean, or with `rate`
    the success rate.
    """

    transaction: str
    step: str
    phases: frozenset[str]
    measure: Literal["response", "service"]
    quantile: float | None = None
    rate: bool = False


def fitting(current: ComparisonInput, baselines: Sequence[ComparisonInput]) -> tuple[list[ComparisonInput], list[str]]:
    """Return the baselines that may be compared with, and why the others may not."""
    fit: list[ComparisonInput] = []
    why: list[str] = []
    for baseline in baselines:
        found = obstacles(current, baseline)
        why += found
        if not found:
            fit.append(baseline)
    return fit, why


def reach(question: Question, current: ComparisonInput, baselines: Sequence[ComparisonInput]) -> float | str:
    """Return how far the number's true change may lie from the one seen, to either side, `CONFIDENCE` sure of each.

    In shares for a rate, on the log scale for a latency. A text instead says why that can't be told.
    """
    width_s = max(run.width_s for run in (current, *baselines))
    runs = [{_NAME: _series(run, question, width_s)} for run in (current, *baselines)]
    first, end = common_span(runs)
    plan_cut = _few_blocks(cut(runs, width_s, first, end, phases_of(current, width_s)), end - first)
    if plan_cut.length < LENGTH_MIN or plan_cut.tau > 2 * plan_cut.length:
        least = BLOCKS_MIN * max(LENGTH_MIN, math.ceil(plan_cut.tau / 2)) * width_s
        return f"{(end - first) * width_s} s in common with the baseline are too few for its noise: at least {least} s"
    blocks, readings = _readings(question, [run[_NAME] for run in runs], plan_cut, first)
    if readings is None:
        return "the baseline or this run holds too few samples of it"
    metric = "success_rate" if question.rate else _class(question)
    seen = 0.0
    if len(baselines) >= BASELINES_MIN:
        seen = spread_seen(metric, readings[1:], blocks=plan_cut.count, inflation=plan_cut.inflation)
    found = estimate(
        metric,
        readings,
        blocks=plan_cut.count,
        inflation=plan_cut.inflation,
        least_within=binomial_variance(blocks) if question.rate else None,
        samples=[float(run.ok.sum() + run.failed.sum()) for run in blocks] if question.rate else None,
        seen=seen,
    )
    return t_quantile(CONFIDENCE, max(found.freedom, 3.0)) * found.error


def _few_blocks(wanted: Cut, intervals: int) -> Cut:
    """Return the cut, or where it has fewer than `BLOCKS_MIN` blocks just so many; `inflation` makes up for it."""
    if wanted.count >= BLOCKS_MIN:
        return wanted
    return Cut(wanted.width_s, intervals // BLOCKS_MIN, BLOCKS_MIN, wanted.tau)


def _series(run: ComparisonInput, question: Question, width_s: int) -> Series:
    series = Series({}, {})
    for key, cells in run.series.items():
        named = (key.transaction, key.step, key.measure) == (question.transaction, question.step, question.measure)
        if named and key.phase in question.phases:
            collect_series(key, cells, width_s, series)
    return series


def _readings(
    question: Question, series: Sequence[Series], plan_cut: Cut, first: int
) -> tuple[list[Blocks], list[Reading] | None]:
    blocks, edges = blocks_of(series, plan_cut, first)
    weights = draw(plan_cut.count, RESAMPLES, _SEED)
    if question.rate:
        if any(run.ok.sum() + run.failed.sum() == 0 for run in blocks):
            return blocks, None
        return blocks, [success_reading(run, weights) for run in blocks]
    if any(run.whole.n == 0 for run in blocks):
        return blocks, None
    wanted: Mapping[str, float] = {} if question.quantile is None else {"q": question.quantile}
    name = "mean" if question.quantile is None else "q"
    return blocks, [latency_readings(run, wanted, edges, weights)[name] for run in blocks]


def _class(question: Question) -> str:
    """Return the metric whose assumed spread between runs this one has."""
    if question.quantile is None:
        return "mean"
    return "p99" if question.quantile >= 0.99 else "p95" if question.quantile >= 0.9 else "p50"
