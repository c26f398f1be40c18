"""Interval histograms cut into blocks of plan time: the unit that is drawn again in the bootstrap."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from loadproof.histogram import HIGHEST, LOWEST, Counts, Histogram, sum_counts
from loadproof.metrics import IntervalKey
from loadproof_report.comparison.inputs import ComparisonInput
from loadproof_report.comparison.statistics import autocorrelation_time

BLOCKS_MIN: Final = 20
"""Below this many blocks the spread of their resampled sum is not known well enough to judge."""
_COARSE: Final = 2
"""Counters are taken four (2**2) together for the bootstrap's spread, 0.4 % wide; the numbers shown are not."""
DRIFT_MAX: Final = 0.02
"""Noise within runs that is no matter: less than what is assumed between runs anyway (log scale)."""
_LENGTHS_OF_TIME: Final = 4
"""A block is this many autocorrelation times long where the run allows it, and half of that at least."""


@dataclass(frozen=True, slots=True)
class Series:
    """One compared series of one run: by interval, the ok counts and the numbers of ok and failed samples."""

    ok: dict[int, list[Counts]]
    failed: dict[int, int]


@dataclass(frozen=True, slots=True)
class Blocks:
    """One series of one run by block: coarse counters added up along the bins (blocks x bins, float32), sums in µs, ok
    and failed.
    """

    cumulative: NDArray[np.float32]
    totals: NDArray[np.float64]
    ok: NDArray[np.float64]
    failed: NDArray[np.float64]
    whole: Histogram


@dataclass(frozen=True, slots=True)
class Cut:
    """How plan time is cut: `length` intervals of `width_s` seconds to a block, `count` blocks, `tau` intervals of
    autocorrelation, `drift` the standard error that noise within runs leaves in the mean (log scale).
    """

    width_s: int
    length: int
    count: int
    tau: float
    drift: float = math.inf

    @property
    def inflation(self) -> float:
        """Return what the variance between blocks is multiplied with for the correlation that blocks still share.

        For blocks much too short: as if the intervals in a block shared nothing, which is too much.
        """
        if self.tau > 2 * self.length:
            return self.tau
        return 1 / (1 - min(self.tau / (2 * self.length), 0.5)) if self.tau > 1 else 1.0


def series_of(run: ComparisonInput, width_s: int) -> dict[tuple[str, str], Series]:
    """Return the series of a run by (transaction, step), warm-up left out, in intervals of `width_s` seconds.

    Transactions by response time, steps by service time.
    """
    out: dict[tuple[str, str], Series] = {}
    for key, cells in run.series.items():
        if key.phase in run.warmup or key.measure != ("service" if key.step else "response"):
            continue
        series = out.setdefault((key.transaction, key.step), Series({}, {}))
        collect_series(key, cells, width_s, series)
    return out


def collect_series(key: IntervalKey, cells: Mapping[int, Counts], width_s: int, into: Series) -> None:
    """Add one stored series to `into`, in intervals of `width_s` seconds."""
    for second, counts in cells.items():
        interval = second // width_s
        if key.outcome == "ok":
            into.ok.setdefault(interval, []).append(counts)
        else:
            into.failed[interval] = into.failed.get(interval, 0) + counts.n


def common_span(runs: Sequence[Mapping[tuple[str, str], Series]]) -> tuple[int, int]:
    """Return the first interval and the end of the stretch of plan time that every run measured."""
    firsts, ends = [], []
    for run in runs:
        seen = [interval for series in run.values() for interval in (*series.ok, *series.failed)]
        if not seen:
            return 0, 0
        firsts.append(min(seen))
        ends.append(max(seen) + 1)
    first = max(firsts)
    return first, max(first, min(ends))


def phases_of(run: ComparisonInput, width_s: int) -> dict[int, str]:
    """Return the phase that most samples of each interval of `width_s` seconds belong to."""
    votes: dict[tuple[int, str], int] = {}
    for key, cells in run.series.items():
        if not key.step:
            for second, counts in cells.items():
                place = (second // width_s, key.phase)
                votes[place] = votes.get(place, 0) + counts.n
    return {interval: phase for (interval, phase), _ in sorted(votes.items(), key=lambda vote: vote[1])}


def cut(
    runs: Sequence[Mapping[tuple[str, str], Series]], width_s: int, first: int, end: int, phases: Mapping[int, str]
) -> Cut:
    """Choose blocks: long against the autocorrelation, at least the cube root of the run, at least 20 where possible.

    `phases` is the phase of each interval. `count` is under 20 when the run is too short for its own autocorrelation.
    """
    n = end - first
    noise = [_noise(runs, name, first, end, phases) for name in runs[0] if not name[1]]
    tau = max((time for time, _ in noise), default=1.0)
    by_time = math.ceil(_LENGTHS_OF_TIME * tau) if tau > 1 else 1
    wanted = max(by_time, math.ceil(n ** (1 / 3)))
    needed = max(math.ceil(_LENGTHS_OF_TIME * tau / 2), 2)
    length = max(min(wanted, n // BLOCKS_MIN), needed)
    return Cut(width_s, length, n // length, tau, max((drift for _, drift in noise), default=math.inf))


def enough_for_drift(plan_cut: Cut, intervals: int) -> Cut:
    """Return 20 shorter blocks where the run is too short for its autocorrelation, but all of that noise no matter."""
    length = intervals // BLOCKS_MIN
    if plan_cut.count >= BLOCKS_MIN or plan_cut.drift > DRIFT_MAX or length < 2:
        return plan_cut
    return dataclasses.replace(plan_cut, length=length, count=intervals // length)


def _noise(
    runs: Sequence[Mapping[tuple[str, str], Series]],
    name: tuple[str, str],
    first: int,
    end: int,
    phases: Mapping[int, str],
) -> tuple[float, float]:
    """Return the autocorrelation time of this run's mean latency against the baselines', interval by interval, and
    the standard error it leaves in their difference.

    What the plan explains is no noise: a build that is slower under the peak only, or the more the higher the load,
    differs in one stretch of the run for that reason.
    """
    curves = [_log_means(run[name], first, end) for run in runs if name in run]
    if len(curves) < 2:
        return 1.0, math.inf
    difference = curves[0] - np.mean(curves[1:], axis=0)
    known = ~np.isnan(difference)
    phase = np.array([phases.get(interval, "") for interval in range(first, end)])[known]
    load = np.mean([_samples(run[name], first, end) for run in runs if name in run], axis=0)[known]
    left = _beside_plan(difference[known], phase, load)
    tau = autocorrelation_time(left.tolist())
    return tau, float(left.std()) * math.sqrt(tau / max(len(left), 1))


def _beside_plan(
    values: NDArray[np.float64], phase: NDArray[np.str_], load: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return what is left of `values` when each phase's mean and its slope over the load are taken away."""
    left = values.copy()
    for name in np.unique(phase):
        inside = phase == name
        x, y = load[inside] - load[inside].mean(), values[inside] - values[inside].mean()
        left[inside] = y - x * (float(x @ y) / max(float(x @ x), 1e-9))
    return left


def _log_means(series: Series, first: int, end: int) -> NDArray[np.float64]:
    out = np.full(end - first, np.nan)
    for interval, parts in series.ok.items():
        if first <= interval < end:
            n, total = sum(part.n for part in parts), sum(part.total for part in parts)
            out[interval - first] = math.log(max(total, 1) / n)
    return out


def _samples(series: Series, first: int, end: int) -> NDArray[np.float64]:
    out = np.zeros(end - first)
    for interval, parts in series.ok.items():
        if first <= interval < end:
            out[interval - first] += sum(part.n for part in parts)
    for interval, n in series.failed.items():
        if first <= interval < end:
            out[interval - first] += n
    return out


def blocks_of(parts: Sequence[Series], cut_: Cut, first: int) -> tuple[list[Blocks], NDArray[np.float64]]:
    """Return one series' blocks for each run, over common bins, and the bins' lower edges and widths (2 x bins)."""
    gathered = [_gather(series, cut_, first) for series in parts]
    used = np.unique(np.concatenate([run.coarse for run in gathered]))
    edges = np.zeros((2, max(len(used), 1)))
    if len(used):
        lower = LOWEST[used << _COARSE]
        edges = np.stack([lower, HIGHEST[(used << _COARSE) + (1 << _COARSE) - 1] + 1 - lower]).astype(np.float64)
    out: list[Blocks] = []
    for run in gathered:
        flat = run.block * len(used) + np.searchsorted(used, run.coarse)
        bins = np.bincount(flat, weights=run.weights, minlength=cut_.count * len(used)).reshape(cut_.count, -1)
        out.append(Blocks(np.cumsum(bins, axis=1).astype(np.float32), run.totals, run.ok, run.failed, run.whole))
    return out, edges


class _Gathered(NamedTuple):
    """One run's series: by counter its block, coarse index and count; by block sums in µs, ok and failed."""

    block: NDArray[np.int64]
    coarse: NDArray[np.int64]
    weights: NDArray[np.float64]
    totals: NDArray[np.float64]
    ok: NDArray[np.float64]
    failed: NDArray[np.float64]
    whole: Histogram


def _gather(series: Series, cut_: Cut, first: int) -> _Gathered:
    totals, ok, failed = (np.zeros(cut_.count) for _ in range(3))
    blocks: list[int] = []
    counts: list[Counts] = []
    for interval, parts in series.ok.items():
        block = (interval - first) // cut_.length
        if 0 <= block < cut_.count:
            blocks += [block] * len(parts)
            counts += parts
    for interval, n in series.failed.items():
        block = (interval - first) // cut_.length
        if 0 <= block < cut_.count:
            failed[block] += n
    np.add.at(totals, blocks, [float(part.total) for part in counts])
    np.add.at(ok, blocks, [float(part.n) for part in counts])
    whole, merged = Histogram(), sum_counts(counts)
    if merged is None:
        return _Gathered(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0), totals, ok, failed, whole)
    whole.add(merged)
    block_ids = np.repeat(np.array(blocks, np.int64), [len(part.indices) for part in counts])
    coarse = np.concatenate([part.indices for part in counts]).astype(np.int64) >> _COARSE
    weights = np.concatenate([part.counts for part in counts]).astype(np.float64)
    return _Gathered(block_ids, coarse, weights, totals, ok, failed, whole)
