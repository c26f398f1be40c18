"""What rises with the load: response times and failures by band of offered load, where they climb, and where first.

Response times are of what succeeded: a target that answers "no" at once looks fast otherwise. What fails makes a knee
of its own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from loadproof.histogram import Counts, Histogram
from loadproof.metrics.delta import SecondStats
from loadproof_report.result import LoadBand, StepResult, TransactionResult
from loadproof_report.rundata import RunData
from loadproof_report.story import GRAVITY
from loadproof_report.tables import latency_of
from loadproof_report.text import clean, duration_text, rate_text
from loadproof_report.timeline import Seconds

BANDS_MAX = 8
KNEE_FACTOR = 2
KNEE_SAMPLES_MIN = 20
FAILING_SHARE = 0.05
"""From this share of failures on a load is too high: not even a p95 lies among the answers any more."""
_SPREAD_MIN = 1.25
"""Loads that differ by less make no bands."""


class Bands(NamedTuple):
    """Seconds of the run by offered load: at most 8 bands of equal width from `low_per_s` on."""

    low_per_s: float
    width_per_s: float
    band_of: dict[int, int]

    def start_per_s(self, band: int) -> float:
        """Return the load at which a band begins."""
        return round(self.low_per_s + band * self.width_per_s, 3)


class StepClimb(NamedTuple):
    """Fields of a step's result: the load from which on its median stays over twice that of the lowest load, and its
    medians at the lowest and the highest load, in µs.
    """

    knee_per_s: float
    p50_us_low: int
    p50_us_high: int


_Times = dict[tuple[str, str], dict[int, Histogram]]


def with_degradation(
    data: RunData, transactions: Sequence[TransactionResult], seconds: Seconds, load: Mapping[int, float]
) -> tuple[TransactionResult, ...]:
    """Return the transactions, in the plan's order, with load bands, knees and the step that climbs first.

    Fewer than two different loads make no bands. Nor does the closed model, where load follows response time.
    """
    bands = None if data.plan.model == "closed" else bands_over(load)
    if bands is None:
        return tuple(transactions)
    times = _times_by_load(data, bands)
    climbs = _steps_climbing(times, bands)
    by_load = _transactions_by_load(data, bands, seconds, times)
    out = []
    for plan, transaction in zip(data.plan.transactions, transactions, strict=True):
        found = by_load.get(plan.name, ())
        steps = tuple(
            step.model_copy(update=climb._asdict()) if (climb := climbs.get((transaction.name, step.name))) else step
            for step in transaction.steps
        )
        knee = knee_of([(band.from_per_s, band.response_time_us.count, band.response_time_us.p50) for band in found])
        update = {"load_bands": found, "knee_per_s": knee, "failing_per_s": failing_from(found), "steps": steps}
        out.append(transaction.model_copy(update=update))
    return tuple(out)


def bands_over(load: Mapping[int, float]) -> Bands | None:
    """Return the bands of an offered load by second; None where it hardly varies."""
    levels = sorted({value for value in load.values() if value > 0})
    if len(levels) < 2 or levels[-1] < levels[0] * _SPREAD_MIN:
        return None
    low, width = levels[0], (levels[-1] - levels[0]) / BANDS_MAX
    return Bands(low, width, {s: min(BANDS_MAX - 1, int((v - low) / width)) for s, v in load.items() if v > 0})


def _times_by_load(data: RunData, bands: Bands) -> _Times:
    """Return what successes took, by (transaction, step) and band: response time of a transaction (step ""), service
    time of a step.
    """
    parts: dict[tuple[str, str], dict[int, list[Counts]]] = defaultdict(lambda: defaultdict(list))
    for key, cells in data.merged.intervals.items():
        if key.outcome == "ok" and key.measure == ("service" if key.step else "response"):
            for second, counts in cells.items():
                if second in bands.band_of:
                    parts[key.transaction, key.step][bands.band_of[second]].append(counts)
    return {name: {band: _merged(inside[band]) for band in sorted(inside)} for name, inside in parts.items()}


def _transactions_by_load(
    data: RunData, bands: Bands, seconds: Seconds, times: _Times
) -> dict[str, tuple[LoadBand, ...]]:
    found: dict[str, dict[int, list[SecondStats]]] = defaultdict(lambda: defaultdict(list))
    for (second, name), stats in seconds.items():
        if second in bands.band_of:
            found[name][bands.band_of[second]].append(stats)
    return {
        name: tuple(
            LoadBand(
                from_per_s=bands.start_per_s(band),
                to_per_s=bands.start_per_s(band + 1),
                seconds=len(inside[band]) * data.merged.seconds_width_s,
                completed=sum(item.completed for item in inside[band]),
                failed=sum(item.failed for item in inside[band]),
                dropped=sum(item.dropped for item in inside[band]),
                response_time_us=latency_of(times.get((name, ""), {}).get(band) or Histogram()),
            )
            for band in sorted(inside)
        )
        for name, inside in found.items()
    }


def knee_of(bands: Sequence[tuple[float, int, int | None]]) -> float | None:
    """Return the offered load per second from which on response time stays high, None where it never does.

    `bands` are (lower end, samples, median in µs), lowest load first. High: the median is over twice that of the lowest
    load with enough samples. A band counts from 20 samples on; the median is taken because a few samples carry it.
    """
    solid = [(start, p50) for start, count, p50 in bands if count >= KNEE_SAMPLES_MIN and p50 is not None]
    if len(solid) < 2:
        return None
    base = solid[0][1] or 1
    high = [p50 > KNEE_FACTOR * base for _, p50 in solid]
    return next((start for index, (start, _) in enumerate(solid) if all(high[index:])), None)


def failing_from(bands: Sequence[LoadBand]) -> float | None:
    """Return the offered load per second from which on at least `FAILING_SHARE` fail; None where there is none.

    Bands lowest load first; one counts from 20 samples on. What fails at the lowest load already fails at every load.
    """
    solid = [band for band in bands if band.everyone >= KNEE_SAMPLES_MIN]
    fails = [band.failed_share >= FAILING_SHARE for band in solid]
    if not fails or fails[0]:
        return None
    return next((band.from_per_s for index, band in enumerate(solid) if all(fails[index:])), None)


def _steps_climbing(times: _Times, bands: Bands) -> dict[tuple[str, str], StepClimb]:
    """Return the steps whose own time has a knee, by cleaned names."""
    out: dict[tuple[str, str], StepClimb] = {}
    for (transaction, step), by_band in times.items():
        if not step:
            continue
        medians = [(bands.start_per_s(band), whole.n, whole.quantile(0.5)) for band, whole in by_band.items()]
        knee = knee_of(medians)
        solid = [p50 for _, n, p50 in medians if n >= KNEE_SAMPLES_MIN and p50 is not None]
        if knee is not None:
            out[clean(transaction), clean(step)] = StepClimb(knee, solid[0], solid[-1])
    return out


def first_step(transaction: TransactionResult) -> StepResult | None:
    """Return the step that climbs first as load rises, the most grown where several begin together; None for none."""
    climbing = [
        (step.knee_per_s, step.p50_us_low - step.p50_us_high, step)
        for step in transaction.steps
        if step.knee_per_s is not None and step.p50_us_low is not None and step.p50_us_high is not None
    ]
    return min(climbing, key=lambda found: found[:2])[2] if climbing else None


def first_step_text(transaction: TransactionResult) -> str:
    """Return which step climbs first as load rises, with its medians; "" for none."""
    step = first_step(transaction)
    if step is None:
        return ""
    return f"{step.name} (median {duration_text(step.p50_us_low)} to {duration_text(step.p50_us_high)})"


def first_to_degrade(transactions: Iterable[TransactionResult]) -> str:
    """Return a sentence on the transaction and step that fail or slow down first as load rises; "" for none."""
    begins = [
        (start, number, -GRAVITY.get(t.criticality, 2), t.name, t)
        for t in transactions
        for number, start in enumerate((t.failing_per_s, t.knee_per_s))
        if start is not None
    ]
    if not begins:
        return ""
    start, slows, _, _, first = min(begins, key=lambda found: found[:4])
    if slows:
        step = first_step_text(first)
        return f"As load rises, {first.name} slows down first, from {rate_text(start)} on{_at(step)}."
    return f"As load rises, {first.name} fails first, from {rate_text(start)} on{_at(failing_step(first))}."


def _at(step: str) -> str:
    return f", at its step {step}" if step else ""


def failing_step(transaction: TransactionResult) -> str:
    """Return the step of the most frequent failure; "" where it belongs to none."""
    return transaction.errors[0].step if transaction.errors else ""


def _merged(parts: Iterable[Counts | None]) -> Histogram:
    histogram = Histogram()
    for part in parts:
        if part is not None:
            histogram.add(part)
    return histogram
