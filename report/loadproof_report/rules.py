"""Rules held against the merged numbers. Pure: time is a parameter, the same input gives the same answer."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence

from loadproof.metrics import MergedState
from loadproof.plan.model import Plan
from loadproof.rules.model import BaselineLimit, Criterion, Rule
from loadproof_report import scope
from loadproof_report.baseline import NO_BASELINE, Baselines, Judged
from loadproof_report.measured import Reading, holds, is_latency, measure, read
from loadproof_report.result import RuleResult, RuleStatus, Waived
from loadproof_report.text import clock_text, plural, share_text, value_beside, value_text
from loadproof_report.windows import WindowSource

WORDS = {"<=": "at most", "<": "less than", ">=": "at least", ">": "more than"}
OVERSHOOT_MAX = 1_000.0
"""How far beyond its limit a rule is said to be when its percentile lies among failed transactions."""
RUNNING_WINDOWS = 10
"""Windows looked at while the run goes on; earlier ones were looked at earlier."""


def evaluate(
    rules: Sequence[Rule],
    plan: Plan,
    merged: MergedState,
    planned: Mapping[tuple[str, str], int],
    *,
    now_ns: int,
    partial: bool = False,
    baselines: Baselines | None = None,
    today: str | None = None,
) -> list[RuleResult]:
    """Hold every rule against the merged numbers; one result per rule and transaction, in the rules' order.

    `planned` counts arrivals by (transaction, phase). `now_ns` is the time since the run's start up to which the
    numbers reach. `partial` is for a running run: a lower bound on a count is not judged yet. `aborts` is set on
    results that broke a rule with `abort_after` that long into the run. `today` (ISO date) decides waivers; it is the
    current date, UTC, by default. `baselines` are what `baseline` limits start from; without them those have no data.
    """
    date = today or dt.datetime.now(dt.UTC).date().isoformat()
    evaluator = _Evaluator(plan, merged, planned, now_ns, partial, baselines, date)
    results: list[RuleResult] = []
    for rule in rules:
        if scope.applies(rule, plan):
            results.extend(evaluator.results(rule))
    return results


class _Evaluator:
    def __init__(
        self,
        plan: Plan,
        merged: MergedState,
        planned: Mapping[tuple[str, str], int],
        now_ns: int,
        partial: bool,
        baselines: Baselines | None,
        today: str,
    ) -> None:
        self._plan, self._merged, self._planned = plan, merged, planned
        self._now_ns, self._partial = now_ns, partial
        self._baselines, self._today = baselines, today
        self._windows: WindowSource | None = None

    def results(self, rule: Rule) -> list[RuleResult]:
        names = scope.targets_of(rule, self._plan)
        if not names:
            missing = f"tag:{rule.tag}" if rule.tag is not None else "*"
            why = f"no transaction of the profile carries the tag {rule.tag}" if rule.tag else "the mix is empty"
            return [self._make(rule, missing, Reading(None, 0, why=why), None)]
        return [self._judge(rule, name) for name in names]

    def _judge(self, rule: Rule, name: str) -> RuleResult:
        if name not in {t.name for t in self._plan.transactions if t.weight > 0}:
            why = f"{name} is not in the mix of profile {self._plan.profile}"
            return self._make(rule, name, Reading(None, 0, why=why), None)
        spans = scope.judged_spans(self._plan, rule.phase)
        if not spans:
            why = f"the profile has no phase {rule.phase}" if rule.phase else "every phase is a warm-up"
            return self._make(rule, name, Reading(None, 0, why=why), None)
        limit, why = self._limit(rule, name, spans)
        if rule.criterion.window_ns is not None:
            if limit is None:
                return self._make(rule, name, Reading(None, 0, why=why), None)
            return self._windowed(rule, name, spans, limit)
        phases = frozenset(span.name for span in spans)
        seconds = scope.elapsed_s(spans, self._now_ns)
        measured = measure(self._merged, rule.criterion, name, rule.step or "", phases, seconds)
        reading = read(rule.criterion, measured)
        if rule.step and not measured.everyone:
            reading = Reading(None, 0, why=f"the step {rule.step} was never reached")
        if limit is None:
            return self._make(rule, name, reading, None, why)
        detail = _beyond_text(rule.criterion, measured.failed, measured.dropped, measured.everyone, reading)
        judged: Judged | None = None
        if (
            isinstance(rule.criterion.limit, BaselineLimit)
            and self._baselines is not None
            and reading.value is not None
        ):
            judged, text = self._baselines.judge(rule, name, phases, reading.value, limit)
            detail = "; ".join(part for part in (text, detail) if part)
        return self._make(rule, name, reading, limit, detail, judged=judged)

    def _windowed(self, rule: Rule, name: str, spans: tuple[scope.PhaseSpan, ...], limit: float) -> RuleResult:
        criterion = rule.criterion
        if self._windows is None:
            self._windows = WindowSource(self._merged)
        last = RUNNING_WINDOWS if self._partial else None
        worst: tuple[float, Reading, str] | None = None
        broken, began_s, held_to_s = 0, None, 0
        for window in self._windows.windows(criterion, name, rule.step or "", spans, self._now_ns, last):
            reading = read(criterion, window.measured)
            if reading.value is None and not reading.beyond:
                continue
            over = _overshoot(criterion, reading, limit)
            kept = holds(criterion, reading, limit)
            if kept:
                held_to_s = window.to_s
            else:
                broken += 1
                if began_s is None:  # where windows slide, what the one before had not yet seen
                    began_s = max(window.from_s, held_to_s)
            if worst is None or over > worst[0]:
                where = f"worst from {clock_text(window.from_s)} to {clock_text(window.to_s)}"
                worst = (over, reading, where)
        if worst is None:
            return self._make(rule, name, Reading(None, 0, why="no window holds enough samples"), None)
        detail = worst[2] + (f"; broken in {plural(broken, 'window')}" if broken else "")
        return self._make(rule, name, worst[1], limit, detail, failed_at_s=began_s)

    def _limit(self, rule: Rule, name: str, spans: Sequence[scope.PhaseSpan]) -> tuple[float | None, str]:
        limit = rule.criterion.limit
        if not isinstance(limit, BaselineLimit):
            return limit, ""
        if self._baselines is None:
            return None, NO_BASELINE
        return self._baselines.limit(rule, name, spans, limit.relative, limit.absolute)

    def _make(
        self, rule: Rule, name: str, reading: Reading, limit: float | None, detail: str = "",
        failed_at_s: int | None = None, judged: Judged | None = None,
    ) -> RuleResult:  # fmt: skip
        criterion = rule.criterion
        status: RuleStatus = "no_data"
        if limit is not None and (reading.value is not None or reading.beyond):
            kept = holds(criterion, reading, limit)
            status = "passed" if kept else "failed"
            if judged is not None:
                status = "no_data" if judged == "unclear" else judged
            if self._undecided(criterion, reading, kept=kept):
                status = "no_data"
        shown = "failed" if reading.beyond else value_beside(reading.value, limit, criterion.unit)
        waiver = self._waived(rule)
        late_enough = rule.abort_after_ns is not None and self._now_ns >= rule.abort_after_ns
        return RuleResult(
            transaction=name,
            require=rule.require,
            severity=rule.severity,
            status=status,
            observed=reading.value,
            limit=limit,
            unit=criterion.unit,
            observed_text=shown,
            limit_text=f"{WORDS[criterion.comparison]} {value_text(limit, criterion.unit)}"
            if limit is not None
            else "",
            detail=detail or reading.why,
            step=rule.step,
            tag=rule.tag,
            phase=rule.phase,
            metric=criterion.metric,
            measure="service" if rule.step and is_latency(criterion.metric) else criterion.measure,
            samples=reading.samples,
            overshoot=_overshoot(criterion, reading, limit) if status == "failed" and limit is not None else None,
            failed_at_s=failed_at_s,
            waiver=waiver,
            aborts=status == "failed" and late_enough and not (waiver and waiver.active),
        )

    def _undecided(self, criterion: Criterion, reading: Reading, *, kept: bool) -> bool:
        """A count that can still grow breaks no lower bound, and nothing at all keeps no upper bound."""
        lower_bound = criterion.comparison in (">=", ">")
        if criterion.metric == "count" and self._partial and lower_bound:
            return not kept
        if criterion.metric in ("count", "throughput") and not reading.samples:
            return not lower_bound
        return False

    def _waived(self, rule: Rule) -> Waived | None:
        if rule.waiver is None:
            return None
        waiver = rule.waiver
        return Waived(reason=waiver.reason, owner=waiver.owner, until=waiver.until, active=self._today <= waiver.until)


def _overshoot(criterion: Criterion, reading: Reading, limit: float) -> float:
    """Return how far the value is beyond the limit as a share of it; negative while it holds.

    A success rate is turned into its error rate first: 98 % against 99.5 % is 3 times too many errors.
    """
    upper = criterion.comparison in ("<=", "<")
    if reading.beyond:
        return OVERSHOOT_MAX if upper else -OVERSHOOT_MAX
    assert reading.value is not None
    value, bound = reading.value, limit
    if criterion.metric == "success_rate":
        value, bound, upper = 1 - value, 1 - bound, not upper
    gap = value - bound if upper else bound - value
    scale = abs(bound)
    share = gap / scale if scale > 1e-12 else (0.0 if gap == 0 else OVERSHOOT_MAX * (1 if gap > 0 else -1))
    return max(-OVERSHOOT_MAX, min(OVERSHOOT_MAX, share))


def _beyond_text(criterion: Criterion, failed: int, dropped: int, everyone: int, reading: Reading) -> str:
    if reading.beyond:
        parts = [f"{failed:,} failed"] if failed else []
        parts += [f"{dropped:,} were dropped"] if dropped else []
        lost = share_text((failed + dropped) / everyone)
        return f"{' and '.join(parts)} of {everyone:,} ({lost}); they rank slower than any limit"
    if dropped and criterion.metric not in ("count", "throughput", "mean"):
        return f"{dropped:,} dropped arrivals count as failed"
    return ""
