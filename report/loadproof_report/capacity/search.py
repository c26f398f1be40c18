"""The search: up by a factor until a rule breaks, then bisecting, then the load that is left over again.

Pure: it is told how each step ended and says which load is next. Loads are arrivals per second.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from loadproof_report.result import RunResult
from loadproof_report.text import plural, rate_text
from loadproof_report.verdict import rule_sentence

Outcome = Literal["holds", "broken", "unproven", "stopped"]
Kind = Literal["found", "at_least", "below", "not_proven", "stopped"]


@dataclass(frozen=True, slots=True)
class Limits:
    """Where to look. `precision` is how near (as a share) the loads that hold and break must come to each other.

    `confirmations` is how often the load found must hold again, over twice the time. `steps_max` bounds everything.
    """

    low_per_s: float
    high_per_s: float
    growth: float = 1.6
    precision: float = 0.1
    confirmations: int = 2
    steps_max: int = 30


@dataclass(frozen=True, slots=True)
class Step:
    """One run at one load. `broken` are sentences, the gravest first; `reason` says why it proves nothing."""

    load_per_s: float
    outcome: Outcome
    confirms: bool = False
    broken: tuple[str, ...] = ()
    reason: str = ""
    run_id: str = ""
    completed: int = 0
    slowest_p95_us: int | None = None


@dataclass(frozen=True, slots=True)
class Conclusion:
    """What the steps mean. The capacity lies from `holds_per_s` on, below `breaks_per_s`; None: not known."""

    kind: Kind
    holds_per_s: float | None
    breaks_per_s: float | None
    held: int
    text: str


class CapacitySearch:
    """Ask `next()` for a load, run it, `add()` how it ended, until `next()` is None; then `conclusion()`."""

    def __init__(self, limits: Limits) -> None:
        if not 0 < limits.low_per_s <= limits.high_per_s:
            raise ValueError("the lowest load must be above 0 and not above the highest")
        self.limits = limits
        self.steps: list[Step] = []

    def add(self, step: Step) -> None:
        """Take in how a step ended."""
        self.steps.append(step)

    @property
    def breaks_per_s(self) -> float | None:
        """The lowest load at which a rule broke."""
        return min((step.load_per_s for step in self.steps if step.outcome == "broken"), default=None)

    @property
    def unproven_per_s(self) -> float | None:
        """The lowest load that could not be judged, twice; one try may have been disturbed."""
        tries = [step.load_per_s for step in self.steps if step.outcome == "unproven"]
        return min((load for load in tries if tries.count(load) > 1), default=None)

    @property
    def holds_per_s(self) -> float | None:
        """The highest load at which the rules held, below all at which they broke."""
        roof = self.breaks_per_s or math.inf
        return max(
            (step.load_per_s for step in self.steps if step.outcome == "holds" and step.load_per_s < roof), default=None
        )

    def next(self) -> tuple[float, bool] | None:
        """Return the next load and whether it is to confirm one that held; None when there is nothing to learn."""
        limits, steps = self.limits, self.steps
        if not steps:
            return self._round(limits.low_per_s), False
        last = steps[-1]
        roofs = [load for load in (self.breaks_per_s, self.unproven_per_s) if load is not None]
        if last.outcome == "stopped" or len(steps) >= limits.steps_max:
            return None
        if last.outcome == "unproven" and last.load_per_s not in roofs:
            return last.load_per_s, last.confirms
        holds = self.holds_per_s
        if self.unproven_per_s is not None and (self.breaks_per_s or math.inf) > self.unproven_per_s:
            return None
        if holds is None:
            return None
        if not roofs and holds < self._round(limits.high_per_s):
            return self._round(min(holds * limits.growth, limits.high_per_s)), False
        if roofs and min(roofs) / holds > 1 + limits.precision:
            return self._between(holds, min(roofs)), False
        return (holds, True) if self._held(holds) <= limits.confirmations else None

    def conclusion(self) -> Conclusion:
        """Return what is known now."""
        holds, breaks = self.holds_per_s, self.breaks_per_s
        held = self._held(holds) if holds is not None else 0
        kind = self._kind(holds, breaks, held)
        return Conclusion(kind, holds, breaks, held, self._text(kind, holds, breaks, held))

    def _kind(self, holds: float | None, breaks: float | None, held: int) -> Kind:
        if self.steps and self.steps[-1].outcome == "stopped":
            return "stopped"
        unproven = self.unproven_per_s
        if unproven is not None and (breaks is None or unproven < breaks):
            return "not_proven"
        if holds is None:
            return "below" if breaks is not None else "not_proven"
        if held <= self.limits.confirmations:
            return "not_proven"
        return "found" if breaks is not None else "at_least"

    def _text(self, kind: Kind, holds: float | None, breaks: float | None, held: int) -> str:
        upto = f"The rules held up to {rate_text(holds)}" if holds is not None else "No load was seen to keep the rules"
        if kind == "found":
            return (
                f"The highest load at which the rules hold is {rate_text(holds)}: they held in {held} of {held} runs "
                f"there and broke at {rate_text(breaks)}."
            )
        if kind == "at_least":
            return (
                f"The rules hold at {rate_text(holds)}, the highest load asked for, in {held} of {held} runs; "
                "the capacity is at least that."
            )
        if kind == "below":
            return f"The rules are broken at {rate_text(breaks)} already, the lowest load asked for."
        if kind == "stopped":
            return f"Stopped before there was an answer. {upto}."
        return f"NOT PROVEN. {upto}; {self._why_not()}"

    def _why_not(self) -> str:
        reason = next((s.reason for s in reversed(self.steps) if s.outcome == "unproven"), "")
        unproven = self.unproven_per_s
        if unproven is not None:
            return f"at {rate_text(unproven)} the run proved nothing, so this is no capacity: {reason}"
        return f"after {plural(len(self.steps), 'step')} the runs still disagreed."

    def _held(self, load: float) -> int:
        """Return how often a load held, which counts for nothing once it broke."""
        return sum(step.outcome == "holds" for step in self.steps if step.load_per_s == load)

    def _between(self, low: float, high: float) -> float:
        middle = self._round(math.sqrt(low * high))
        return middle if low < middle < high else (low + high) / 2

    def _round(self, load: float) -> float:
        """Return a load with three digits: nobody plans with 312.7/s."""
        digits = 2 - math.floor(math.log10(load))
        return max(round(load, digits), 0.001)


def step_of(result: RunResult, load_per_s: float, *, confirms: bool = False) -> Step:
    """Return what a run at one load says: its rules hold, are broken, or it proves nothing."""
    decision = result.verdict.decision
    outcome: Outcome = "holds"
    broken: tuple[str, ...] = ()
    reason = ""
    if result.status == "failed" or result.aborted_by == "person":
        outcome, reason = "stopped", result.abort_reason
    elif decision == "NO_GO":
        outcome = "broken"
        failed = [rule for rule in result.rules if rule.status == "failed" and rule.severity == "block"]
        broken = tuple(rule_sentence(rule) for rule in failed) or result.verdict.reasons[:1]
    elif decision == "NOT_PROVEN":
        outcome, reason = "unproven", _lead(result.verdict.reasons)
    return Step(
        load_per_s=load_per_s,
        outcome=outcome,
        confirms=confirms,
        broken=broken,
        reason=reason,
        run_id=result.run_id,
        completed=result.delivery.completed,
        slowest_p95_us=max(((t.judged or t).response_time_us.p95 or 0 for t in result.transactions), default=0) or None,
    )


def _lead(reasons: Sequence[str]) -> str:
    lead = reasons[0] if reasons else "the evidence is unsound."
    return lead.removeprefix("This run proves nothing yet: ")
