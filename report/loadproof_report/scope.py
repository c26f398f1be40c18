"""Which transactions and phases a rule is about, and the time they cover."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from loadproof.plan.model import NS_PER_S, Plan
from loadproof.rules.model import Rule


@dataclass(frozen=True, slots=True)
class PhaseSpan:
    """A phase's place on the run's clock, nanoseconds. `end_ns` None: only a number of iterations ends it."""

    name: str
    start_ns: int
    end_ns: int | None
    warmup: bool


def phase_spans(plan: Plan) -> tuple[PhaseSpan, ...]:
    """Return the plan's phases with their start and end."""
    spans: list[PhaseSpan] = []
    at = 0
    for phase in plan.phases:
        end = None if phase.duration_ns is None else at + phase.duration_ns
        if end is None or (getattr(phase, "iterations", None) is not None):
            spans.append(PhaseSpan(phase.name, at, None, phase.warmup))
        else:
            spans.append(PhaseSpan(phase.name, at, end, phase.warmup))
        at = end if end is not None else at
    return tuple(spans)


def judged_spans(plan: Plan, phase: str | None = None) -> tuple[PhaseSpan, ...]:
    """Return the phases a rule judges: all but warm-up ones, or exactly the named one."""
    spans = phase_spans(plan)
    if phase is not None:
        return tuple(span for span in spans if span.name == phase)
    return tuple(span for span in spans if not span.warmup)


def elapsed_s(spans: Iterable[PhaseSpan], now_ns: int) -> float:
    """Return how many seconds of the spans had passed at `now_ns`."""
    total = 0
    for span in spans:
        end = now_ns if span.end_ns is None else min(span.end_ns, now_ns)
        total += max(0, end - span.start_ns)
    return total / NS_PER_S


def targets_of(rule: Rule, plan: Plan) -> tuple[str, ...]:
    """Return the transactions a rule judges: the named one, all of the tag, or for `*` the profile's whole mix.

    A named transaction is returned also when it is outside the mix: it then has no data. An unknown tag gives none.
    """
    mix = tuple(transaction.name for transaction in plan.transactions if transaction.weight > 0)
    if rule.tag is not None:
        return tuple(t.name for t in plan.transactions if rule.tag in t.tags and t.weight > 0)
    if rule.transaction in (None, "*"):
        return mix
    assert rule.transaction is not None
    return (rule.transaction,)


def applies(rule: Rule, plan: Plan) -> bool:
    """Return whether the rule is meant for the plan's profile."""
    return rule.profiles is None or plan.profile in rule.profiles
