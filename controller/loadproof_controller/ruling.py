"""Looks at the rules while a run goes on, and says when one that may abort it is broken."""

from __future__ import annotations

import time
from collections.abc import Callable

from loadproof.metrics import MergedState
from loadproof.plan import ArrivalSchedule, Plan
from loadproof.rules.model import Rule
from loadproof_controller.request import VerdictSoFar
from loadproof_report.rules import evaluate

REST_FACTOR = 10
"""Looking takes at most about a tenth of the controller's time: a look of 0.3 s is followed by a rest of 3 s."""


class RuleWatch:
    """Evaluates `rules` on partial numbers. `verdict` and `broken` are those of the last look."""

    def __init__(
        self, rules: tuple[Rule, ...], plan: Plan, *, stopwatch: Callable[[], int] = time.perf_counter_ns
    ) -> None:
        self._rules, self._plan, self._stopwatch = rules, plan, stopwatch
        self._schedule = ArrivalSchedule(plan) if rules and plan.model == "open" else None
        self._rest_until_ns = 0
        self.verdict: VerdictSoFar = "holding" if rules else "no rules"
        self.broken: tuple[str, ...] = ()

    def look(self, merged: MergedState, elapsed_ns: int, now_ns: int) -> str | None:
        """Evaluate at `elapsed_ns` after the start. Return the sentence of a broken rule that ends the run, or None."""
        if not self._rules or elapsed_ns <= 0 or now_ns < self._rest_until_ns:
            return None
        began = self._stopwatch()
        if self._schedule is not None:
            planned = self._schedule.planned(elapsed_ns)
        else:
            planned = {key: delivery.started for key, delivery in merged.delivery.items()}
        results = evaluate(self._rules, self._plan, merged, planned, now_ns=elapsed_ns, partial=True)
        failed = [result for result in results if result.status == "failed"]
        self.broken = tuple(result.broken_text for result in failed)
        blocking = any(result.severity == "block" and not result.waived for result in failed)
        self.verdict = "broken" if blocking else "warning" if failed else "holding"
        self._rest_until_ns = now_ns + REST_FACTOR * (self._stopwatch() - began)
        for result in failed:
            if result.aborts:
                seen = result.observed_text or result.detail or "beyond its limit"
                return f"the rule '{result.require}' on {result.scope} is broken: {seen}"
        return None
