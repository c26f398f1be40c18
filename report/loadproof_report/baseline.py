"""`baseline + 10%`: the number such a limit starts from, and judging it with the noise of both runs."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from loadproof.histogram import Histogram, sum_counts
from loadproof.metrics.intervals import IntervalsFile
from loadproof.plan.model import NS_PER_S
from loadproof.rules.model import Rule
from loadproof_report import scope
from loadproof_report.comparison.inputs import ComparisonInput, comparison_input
from loadproof_report.comparison.noise import Question, fitting, reach
from loadproof_report.measured import Measured, Reading, is_latency, read
from loadproof_report.result import RunResult, TransactionResult
from loadproof_report.stored_run import StoredRun
from loadproof_report.text import clean

RATES = ("success_rate", "error_rate")
Judged = Literal["passed", "failed", "unclear"]


class Baselines:
    """The runs that `baseline` limits refer to, next to the current one. Those of another plan are left out."""

    def __init__(self, current: ComparisonInput, stored: Sequence[StoredRun]) -> None:
        self._current = current
        usable = {run.result.run_id: (run.result, run.intervals) for run in stored if run.intervals is not None}
        self._inputs, why = fitting(current, [comparison_input(*run) for run in usable.values()])
        self._runs = [usable[fit.run_id] for fit in self._inputs]
        self._why = why + [run.missing for run in stored if run.intervals is None]

    def limit(
        self, rule: Rule, transaction: str, spans: Sequence[scope.PhaseSpan], relative: float, absolute: float
    ) -> tuple[float | None, str]:
        """Return the limit in the criterion's unit, or None and why there is none. `spans` are the judged phases.

        It starts from the median of the baselines' numbers. A percentage is a share of a latency, but points of a
        rate: 10 % of an error rate of 0 would be nothing.
        """
        if not self._runs:
            return None, f"the baseline can't be compared with: {self._why[0]}" if self._why else NO_BASELINE
        if rule.criterion.window_ns is not None:
            return None, "a limit from the baseline has no windows: leave out the window"
        readings = [reading_of(result, intervals, rule, transaction, spans) for result, intervals in self._runs]
        values = [reading.value for reading in readings if reading.value is not None]
        if not values:
            return None, f"the baseline holds no such number: {readings[0].why}"
        value = statistics.median(values)
        if rule.criterion.metric in RATES:
            return value + relative + absolute, ""
        return value * (1 + relative) + absolute, ""

    def judge(
        self, rule: Rule, transaction: str, phases: frozenset[str], observed: float, limit: float
    ) -> tuple[Judged, str]:
        """Return whether a value keeps its limit, `unclear` while the noise of both runs leaves that open; and a text.

        Percentiles, the mean and rates are judged so; `max`, `count`, `throughput` and `errors` as they are.
        """
        criterion = rule.criterion
        upper = criterion.comparison in ("<=", "<")
        rate = criterion.metric in RATES
        if not rate and (not is_latency(criterion.metric) or criterion.metric == "max"):
            holds = observed <= limit if upper else observed >= limit
            return "passed" if holds else "failed", ""
        if limit <= 0 and not rate:
            return "failed" if upper else "passed", ""
        step = rule.step or ""
        measure: Literal["response", "service"] = "service" if step else criterion.measure
        question = Question(transaction, step, phases, measure, criterion.quantile, rate)
        noise = reach(question, self._current, self._inputs)
        if isinstance(noise, str):
            return "unclear", noise
        beyond = observed - limit if rate else math.log(max(observed, 0.5) / limit)
        beyond = beyond if upper else -beyond
        least, most = -math.expm1(-noise) * 100, math.expm1(noise) * 100
        shown = f"±{noise * 100:.2g} points" if rate else f"−{least:.1f} % to +{most:.1f} %"
        if beyond + noise <= 0:
            return "passed", f"also with the noise of both runs, {shown}"
        if beyond - noise > 0:
            return "failed", f"beyond the noise of both runs, {shown}"
        return "unclear", f"the noise of both runs, {shown}, leaves open whether it holds"


NO_BASELINE = "there is no baseline to compare with"


def reading_of(
    run: RunResult, intervals: IntervalsFile, rule: Rule, transaction: str, spans: Sequence[scope.PhaseSpan]
) -> Reading:
    """Return the rule's metric in a baseline: over the same phases, and failures counted as in any run.

    The baseline need not have had the rule. Latencies and successes are those of its interval histograms.
    """
    phases = frozenset(span.name for span in spans)
    found = next((item for item in run.transactions if item.name == clean(transaction)), None)
    if found is None:
        return Reading(None, 0, why=f"it never ran {transaction}")
    errors: dict[str, int] = {}
    if rule.criterion.category is not None:
        count = _errors(run, found, rule, phases)
        if count is None:
            return Reading(None, 0, why=f"it does not tell its {rule.criterion.metric} of these phases apart")
        errors[rule.criterion.category] = count
    measured = _measured(run, intervals, found, rule, transaction, spans, errors)
    if rule.step and not measured.everyone:
        return Reading(None, 0, why=f"it never reached the step {rule.step}")
    reading = read(rule.criterion, measured)
    return replace(reading, why="it lies among failures, slower than any limit") if reading.beyond else reading


def _measured(
    run: RunResult, intervals: IntervalsFile, found: TransactionResult, rule: Rule, transaction: str,
    spans: Sequence[scope.PhaseSpan], errors: dict[str, int],
) -> Measured:  # fmt: skip
    phases = frozenset(span.name for span in spans)
    named = (transaction, rule.step or "", "service" if rule.step else rule.criterion.measure)
    counts = {
        outcome: sum_counts(
            part
            for key, cells in intervals.series.items()
            if (key.transaction, key.step, key.measure) == named and key.outcome == outcome and key.phase in phases
            for part in cells.values()
        )
        for outcome in ("ok", "failed")
    }
    ok = Histogram()
    if counts["ok"] is not None:
        ok.add(counts["ok"])
    seconds = scope.elapsed_s(spans, round(run.duration_s * NS_PER_S))
    if rule.step:
        return Measured(ok, 0 if counts["failed"] is None else counts["failed"].n, 0, errors, seconds)
    judged = [part for part in found.by_phase if part.phase in {clean(phase) for phase in phases}]
    failed, dropped = sum(part.failed for part in judged), sum(part.delivery.dropped for part in judged)
    return Measured(ok, failed, dropped, errors, seconds)


def _errors(run: RunResult, found: TransactionResult, rule: Rule, phases: frozenset[str]) -> int | None:
    """Return how many failures of the rule's category there were, None where the result leaves that open.

    The same rule counted them, if the baseline had it. Else the table of errors does, unless it was cut, or one kind
    of error was seen both in the phases and outside.
    """
    criterion = rule.criterion
    step, phase = (name and clean(name) for name in (rule.step, rule.phase))
    for judged in run.rules:
        same = (judged.transaction, judged.step, judged.phase, judged.metric, judged.unit) == (
            found.name, step, phase, criterion.metric, "number",
        )  # fmt: skip
        if same and judged.observed is not None and " over " not in judged.require:
            return round(judged.observed)
    if sum(error.count for error in found.errors) != found.errors_total:
        return None
    wanted, total = {clean(phase) for phase in phases}, 0
    for error in found.errors:
        if error.category == criterion.category and (step is None or error.step == step):
            seen = set(error.phases)
            if seen & wanted and not seen <= wanted:
                return None
            total += error.count if seen & wanted else 0
    return total
