"""When a broken rule began to be broken, and under which load: windows of merged histograms, first to last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from loadproof.plan.model import NS_PER_S, Plan, UserPhase
from loadproof.rules.model import Criterion
from loadproof_report import scope
from loadproof_report.measured import Measured, holds, is_latency, read
from loadproof_report.result import RuleResult
from loadproof_report.rundata import RunData
from loadproof_report.text import clock_text, plural, rate_text
from loadproof_report.windows import WindowSource

WINDOW_S = 10
SAMPLES_MIN = 20
"""A window with fewer says nothing about where the trouble began."""
STAYS_SHARE = 0.7
"""The onset is the first broken window from which on this share of windows is broken."""


def with_onsets(data: RunData, results: Sequence[RuleResult], load: Mapping[int, float]) -> tuple[RuleResult, ...]:
    """Return the results with `failed_at_s` and `failed_at_load_per_s` on failed rules whose trouble has a beginning.

    A rule broken from the first window on has none: it is then broken at every load of the run. `load` is the offered
    load by second; in the closed model, where load follows response time, users are named instead.
    """
    if all(result.status != "failed" for result in results):
        return tuple(results)
    source = WindowSource(data.merged)
    criteria = {rule.require: rule.criterion for rule in data.rules}
    out = []
    for result in results:
        found = None
        if result.failed_at_s is not None:  # a rule with windows: its own say more than those of 10 seconds
            found = _after_start(data, result, result.failed_at_s)
        elif _looked_at(result):
            found = _onset(data, source, criteria[result.require], result)
        if found is None:
            out.append(result)
            continue
        rate = load.get(found) if data.plan.model == "open" else None
        users = users_at(data.plan, found)
        at = f"since {clock_text(found)}"
        if users:
            at += f", with {plural(users, 'user')}"
        elif rate:
            at += f", from an offered load of {rate_text(rate)} on"
        detail = f"{result.detail}; {at}" if result.detail else at
        update = {"failed_at_s": float(found), "failed_at_load_per_s": rate, "detail": detail}
        out.append(result.model_copy(update=update))
    return tuple(out)


def users_at(plan: Plan, second: int) -> int | None:
    """Return how many users the plan has at a second of the run; None in the open model."""
    phases = [phase for phase in plan.phases if isinstance(phase, UserPhase)]
    for phase, span in zip(phases, scope.phase_spans(plan), strict=False):
        if span.end_ns is None or second * NS_PER_S < span.end_ns:
            length = phase.duration_ns or 1
            part = min(max((second * NS_PER_S - span.start_ns) / length, 0.0), 1.0) if phase.duration_ns else 1.0
            return round(phase.users_from + (phase.users_to - phase.users_from) * part)
    return phases[-1].users_to if phases else None


def _looked_at(result: RuleResult) -> bool:
    judged = is_latency(result.metric) or result.metric in ("success_rate", "error_rate")
    return result.status == "failed" and result.limit is not None and judged


def _after_start(data: RunData, result: RuleResult, second: float) -> int | None:
    """Return the second, unless the judged time begins in it."""
    start_ns = min(span.start_ns for span in scope.judged_spans(data.plan, result.phase))
    return int(second) if second * NS_PER_S >= start_ns + NS_PER_S else None


def _onset(data: RunData, source: WindowSource, criterion: Criterion, result: RuleResult) -> int | None:
    """Return the second; step and phase are the result's, since rules on several steps share one criterion."""
    spans = scope.judged_spans(data.plan, result.phase)
    criterion = replace(criterion, window_ns=WINDOW_S * NS_PER_S)
    broken: list[tuple[int, bool]] = []
    end = 0
    for window in source.windows(criterion, result.transaction, result.step or "", spans, data.duration_ns):
        if window.from_s < end or window.measured.everyone < SAMPLES_MIN:
            continue
        end = window.to_s
        broken.append((window.from_s, _broken(window.measured, criterion, result.limit or 0.0)))
    for index, (second, bad) in enumerate(broken):
        rest = broken[index:]
        if bad and sum(flag for _, flag in rest) >= STAYS_SHARE * len(rest):
            return second if index and len(rest) > 1 else None
    return None


def _broken(measured: Measured, criterion: Criterion, limit: float) -> bool:
    """Return whether a window breaks the limit; a percentile is read from fewer samples than a rule asks for."""
    reading = read(criterion, measured, samples_min=SAMPLES_MIN)
    return (reading.value is not None or reading.beyond) and not holds(criterion, reading, limit)
