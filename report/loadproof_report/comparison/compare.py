"""`compare`: this run against one baseline or several."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from loadproof_report.comparison import words
from loadproof_report.comparison.blocks import (
    BLOCKS_MIN,
    Cut,
    Series,
    blocks_of,
    common_span,
    cut,
    enough_for_drift,
    phases_of,
    series_of,
)
from loadproof_report.comparison.inputs import ComparisonInput, obstacles
from loadproof_report.comparison.judge import (
    ALPHA,
    BASELINES_MIN,
    FLOORS,
    TRANSACTION_SHARE,
    Estimate,
    estimate,
    spread_seen,
)
from loadproof_report.comparison.resample import LATENCIES, Reading, binomial_variance, draw, readings
from loadproof_report.comparison.statistics import holm
from loadproof_report.result import Change, Comparison
from loadproof_report.text import share_text

RESAMPLES: Final = 1_000
SERIES_MAX: Final = 200
"""Transactions and steps compared, the most frequent; more would cost each of them power."""

_Name = tuple[str, str]


def compare(
    current: ComparisonInput, baselines: Sequence[ComparisonInput], *, seed: int = 1, resamples: int = RESAMPLES
) -> Comparison:
    """Compare `current` with `baselines` (the last stable one first). Deterministic for a seed.

    Runs that differ in plan, data, environment, agents or version are not compared: with a single such baseline the
    result is not comparable and says why; of several, the unfit ones are left out with a note. Transactions are
    compared by response time, steps by service time, of what succeeded; both by success rate.

    Raises ValueError without any baseline.
    """
    if not baselines:
        raise ValueError("a comparison needs at least one baseline")
    last = baselines[0]
    fit, why, notes = _fit(current, baselines)
    if not fit:
        return _not_comparable(last, why)
    last = fit[0]
    width_s = max(run.width_s for run in (current, *fit))
    runs = [series_of(run, width_s) for run in (current, *fit)]
    first, end = common_span(runs)
    plan_cut = enough_for_drift(cut(runs, width_s, first, end, phases_of(current, width_s)), end - first)
    why = [_too_short(plan_cut, end - first)] if plan_cut.count < BLOCKS_MIN else []
    full = [run.run_id for run in (current, *fit) if run.machine_full]
    if full and len(fit) < BASELINES_MIN:
        why.append(_machine_full(full[0]))
    if why:
        return _not_comparable(last, why)
    estimates, unjudged = _estimates(runs, plan_cut, first, draw(plan_cut.count, resamples, seed))
    changes = [*_judged(estimates, steps=False), *_judged(estimates, steps=True), *unjudged]
    beyond = sum(all(name in run for run in runs) for name in runs[0]) - SERIES_MAX
    if beyond > 0:
        notes.append(f"Compared are the {SERIES_MAX} transactions and steps with most samples; {beyond} more are not.")
    headline = [c.detectable for c in changes if c.metric == "p95" and not c.step and c.detectable is not None] or [
        c.detectable for c in changes if c.metric in LATENCIES and not c.step and c.detectable is not None
    ]
    return Comparison(
        baseline_run_id=last.run_id,
        baseline_build=last.build,
        baseline_started_at=last.started_at,
        baselines=len(fit),
        changes=tuple(changes),
        minimum_detectable_change=max(headline) if headline else None,
        blocks=plan_cut.count,
        block_s=plan_cut.length * width_s,
        between_runs="measured" if len(fit) >= BASELINES_MIN else "assumed",
        notes=tuple(notes + _notes(plan_cut, len(fit), changes)),
    )


def _fit(
    current: ComparisonInput, baselines: Sequence[ComparisonInput]
) -> tuple[list[ComparisonInput], list[str], list[str]]:
    fit: list[ComparisonInput] = []
    why: list[str] = []
    notes: list[str] = []
    for baseline in baselines:
        found = obstacles(current, baseline)
        if found:
            why += [reason for reason in found if reason not in why]
            notes.append(f"{baseline.run_id} was left out: {found[0]}")
        else:
            fit.append(baseline)
    return fit, why, notes


def _not_comparable(baseline: ComparisonInput, why: Sequence[str]) -> Comparison:
    return Comparison(
        baseline_run_id=baseline.run_id,
        baseline_build=baseline.build,
        baseline_started_at=baseline.started_at,
        comparable=False,
        obstacles=tuple(f"Not comparable because {reason}" for reason in why[:10]),
    )


def _machine_full(run_id: str) -> str:
    return (
        f"the machine of the load generator had no processor time left in {run_id}, so latencies depend on what else "
        f"it computed: free it, or compare with {BASELINES_MIN} baselines or more, which measure how far runs differ"
    )


def _too_short(plan_cut: Cut, intervals: int) -> str:
    seconds = intervals * plan_cut.width_s
    if not intervals:
        return "the runs have no stretch of plan time in common"
    return (
        f"{seconds} s in common make {plan_cut.count} blocks of {plan_cut.length * plan_cut.width_s} s, "
        f"and fewer than {BLOCKS_MIN} say too little about noise: run for at least "
        f"{BLOCKS_MIN * plan_cut.length * plan_cut.width_s} s"
    )


def _estimates(
    runs: Sequence[dict[_Name, Series]], plan_cut: Cut, first: int, weights: NDArray[np.float32]
) -> tuple[list[tuple[_Name, Estimate]], list[Change]]:
    """Return an estimate for every series and metric that all runs have, and the ones that can't be judged."""
    common = [name for name in runs[0] if all(name in run for run in runs)]
    common.sort(key=lambda name: (bool(name[1]), -sum(c.n for parts in runs[0][name].ok.values() for c in parts), name))
    measured: dict[_Name, _Measured] = {}
    for name in common[:SERIES_MAX]:
        blocks, edges = blocks_of([run[name] for run in runs], plan_cut, first)
        enough = min(int((run.ok + run.failed > 0).sum()) for run in blocks) >= BLOCKS_MIN
        samples = [float(run.ok.sum() + run.failed.sum()) for run in blocks]
        measured[name] = _Measured(
            readings(blocks, edges, weights) if enough else {}, binomial_variance(blocks), samples
        )
    seen = _spread(measured, plan_cut)
    estimates: list[tuple[_Name, Estimate]] = []
    unjudged: list[Change] = []
    for name, series in measured.items():
        for metric in (*LATENCIES, "success_rate"):
            if metric not in series.readings:
                change = Change(transaction=name[0], step=name[1], metric=metric)
                unjudged.append(change.model_copy(update={"text": words.sentence(change)}))
                continue
            rate = metric == "success_rate"
            found = estimate(
                metric,
                series.readings[metric],
                blocks=plan_cut.count,
                inflation=plan_cut.inflation,
                least_within=series.binomial if rate else None,
                samples=series.samples if rate else None,
                seen=seen[name, metric],
            )
            estimates.append((name, found))
    return estimates, unjudged


class _Measured(NamedTuple):
    """One series of every run: readings by metric, variance of the success rate, number of samples."""

    readings: dict[str, list[Reading]]
    binomial: list[float]
    samples: list[float]


def _spread(measured: Mapping[_Name, _Measured], plan_cut: Cut) -> dict[tuple[_Name, str], float]:
    """Return the variance between baselines of each number, not less than the mean of its metric over all series.

    Three baselines can agree by chance in one series; hardly in all. Without that, one in six comparisons of equal
    builds in a noisy environment alarmed (simulated).
    """
    own = {
        (name, metric): spread_seen(metric, runs[1:], blocks=plan_cut.count, inflation=plan_cut.inflation)
        for name, series in measured.items()
        for metric, runs in series.readings.items()
    }
    kinds: dict[str, list[float]] = {}
    for (_, metric), variance in own.items():
        kinds.setdefault(metric, []).append(variance)
    means = {metric: sum(variances) / len(variances) for metric, variances in kinds.items()}
    return {key: max(variance, means[key[1]]) for key, variance in own.items()}


def _judged(estimates: Sequence[tuple[_Name, Estimate]], *, steps: bool) -> list[Change]:
    """Judge one family, transactions or steps, corrected for its many comparisons."""
    family = [(name, found) for name, found in estimates if bool(name[1]) == steps]
    if not family:
        return []
    everything = all(bool(name[1]) == steps for name, _ in estimates)
    alpha = ALPHA if everything else ALPHA * (1 - TRANSACTION_SHARE if steps else TRANSACTION_SHARE)
    adjusted = holm([found.p_value for _, found in family])
    return [
        _change(name, found, p_value, alpha, len(family))
        for (name, found), p_value in zip(family, adjusted, strict=True)
    ]


def _change(name: _Name, found: Estimate, adjusted: float, alpha: float, comparisons: int) -> Change:
    low, high = found.interval()
    detectable = found.detectable(alpha / comparisons)
    judgement: Literal["better", "worse", "same", "unclear"] = "same"
    if adjusted <= alpha:
        rose = found.change > 0
        judgement = "better" if rose == (found.metric == "success_rate") else "worse"
    elif low > 0 or high < 0:
        judgement = "unclear"
    scale = _points if found.metric == "success_rate" else math.expm1
    band = found.band or (None, None)
    change = Change(
        transaction=name[0],
        step=name[1],
        metric=found.metric,
        baseline=found.baseline,
        current=found.current,
        change=scale(found.change),
        low=scale(low),
        high=scale(high),
        detectable=scale(detectable),
        judgement=judgement,
        p_value=min(adjusted * ALPHA / alpha, 1.0),
        band_low=band[0],
        band_high=band[1],
    )
    return change.model_copy(update={"text": words.sentence(change)})


def _points(value: float) -> float:
    return value


def _notes(plan_cut: Cut, baselines: int, changes: Sequence[Change]) -> list[str]:
    judged = sum(change.change is not None for change in changes)
    block = f"{plan_cut.count} blocks of {plan_cut.length * plan_cut.width_s} s"
    notes = [
        (
            f"{judged} numbers were compared over {block}, paired by plan time and corrected for their number: "
            f"runs of one build show any change in at most {ALPHA * 100:.0f} of 100 comparisons."
        )
    ]
    if baselines < BASELINES_MIN:
        notes.append(
            f"With {baselines} baseline{'s' if baselines > 1 else ''} the spread between runs of one build is assumed "
            f"({share_text(FLOORS['p50'])} of the median, {share_text(FLOORS['p95'])} of p95, one standard deviation); "
            f"{BASELINES_MIN} or more baselines measure it."
        )
    return notes
