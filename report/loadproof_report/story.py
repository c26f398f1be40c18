"""How things failed: the first failing step, since when, under which load, and what it kept from running."""

from __future__ import annotations

from collections.abc import Sequence

from loadproof_report.result import ErrorResult, RunResult, Story, TransactionResult
from loadproof_report.text import clock_text, count_text, plural, rate_text, share_text

STORIES_MAX = 50
PER_TRANSACTION_MAX = 3
AGENTS_SHOWN = 8
"""Agents named with a failure, those that saw most of it; run.json has up to 64."""
ONE_AGENT_SHARE = 0.9
"""From this share of a failure on, one agent of several is named as where it comes from."""
GRAVITY = {"critical": 8, "high": 4, "normal": 2, "low": 1}
"""Weight of a transaction's criticality wherever things are put in order."""


def worst_first(result: RunResult) -> list[int]:
    """Return the transactions' positions, worst first: broken rules, then failures, then criticality."""
    broken = {rule.transaction for rule in result.rules if rule.status == "failed" and rule.severity == "block"}

    def key(index: int) -> tuple[bool, float, int, int]:
        transaction = result.transactions[index]
        gravity = GRAVITY.get(transaction.criticality, 2)
        share = transaction.failed / transaction.count if transaction.count else 0.0
        return (transaction.name not in broken, -share * gravity, -gravity, index)

    return sorted(range(len(result.transactions)), key=key)


def stories_of(transactions: Sequence[TransactionResult]) -> tuple[Story, ...]:
    """Return the gravest failures, by criticality times share of the transaction that failed so."""
    ranked: list[tuple[float, Story]] = []
    for transaction in transactions:
        for error in transaction.errors[:PER_TRANSACTION_MAX]:
            story = _story(transaction, error)
            ranked.append((GRAVITY.get(transaction.criticality, 2) * story.share, story))
    ranked.sort(key=lambda pair: (-pair[0], pair[1].transaction, pair[1].first_seen_s))
    return tuple(story for _, story in ranked[:STORIES_MAX])


def _story(transaction: TransactionResult, error: ErrorResult) -> Story:
    share = min(1.0, error.count / transaction.count) if transaction.count else 0.0
    not_reached = _knock_on(transaction, error)
    where = f"at the step {error.step}" if error.step else "outside any step"
    if error.endpoint:
        where += f" ({error.endpoint})"
    load = f", when the offered load was {rate_text(error.load_per_s)}" if error.load_per_s else ""
    text = (
        f"{transaction.name} failed {count_text(error.count)} of {plural(transaction.count, 'time')} "
        f"({share_text(share)}) {where}: {error.message or error.category}. "
        f"First seen at {clock_text(error.first_seen_s)}{load}; last at {clock_text(error.last_seen_s)}."
    )
    if not_reached:
        steps = ", ".join(f"{name} ({count_text(count)})" for name, count in not_reached.items())
        text += f" Steps not reached because of failures there: {steps}."
    if error.count > 1 and (alone := _one_agent(error)):
        text += f" {alone}"
    return Story(
        transaction=transaction.name,
        criticality=transaction.criticality,
        step=error.step,
        endpoint=error.endpoint,
        category=error.category,
        message=error.message,
        count=error.count,
        share=share,
        first_seen_s=error.first_seen_s,
        last_seen_s=error.last_seen_s,
        load_per_s=error.load_per_s,
        agents=error.agents,
        agents_complete=error.agents_complete,
        not_reached=not_reached,
        text=text,
    )


def _one_agent(error: ErrorResult) -> str:
    """Return the sentence about the agent that (almost) all failures come from, "" where there is none such."""
    if len(error.agents) == 1:
        if not error.agents_complete:
            return f"All samples kept, perhaps not all of them, come from agent {error.agents[0]}."
        return f"All of them come from agent {error.agents[0]}."
    most, count = next(iter(error.agent_failures.items()), ("", 0))
    if count < ONE_AGENT_SHARE * error.count:
        return ""
    return f"{count_text(count)} of them come from agent {most}."


def agents_text(error: ErrorResult) -> str:
    """Return which agents saw a failure and how often, those that saw most of it first; "" where nobody is known."""
    if not error.agents:
        return ""
    if not error.agent_failures:
        kept = f"{', '.join(error.agents[:AGENTS_SHOWN])}{_more(len(error.agents) - AGENTS_SHOWN)}"
        return f"all from {kept}" if error.agents_complete else f"kept samples (not all there were) from {kept}"
    if error.agents_complete and len(error.agents) == 1:
        return f"all from {error.agents[0]}"
    shown = list(error.agent_failures.items())[:AGENTS_SHOWN]
    told = ", ".join(f"{agent} ({count_text(count)})" for agent, count in shown)
    unknown = max(0, error.count - sum(error.agent_failures.values()))
    told += _more(len(error.agent_failures) - AGENTS_SHOWN)
    return f"from {told}" + (f"; {count_text(unknown)} from agents that are not listed" if unknown else "")


def _more(count: int) -> str:
    return f" and {plural(count, 'more agent')}" if count > 0 else ""


def _knock_on(transaction: TransactionResult, error: ErrorResult) -> dict[str, int]:
    names = [step.name for step in transaction.steps]
    if error.step not in names:
        return {}
    at = names.index(error.step)
    later = transaction.steps[at + 1 :]
    ended = later[0].not_reached - transaction.steps[at].not_reached if later else 0
    # Failures of earlier steps, and soft checks, which end nothing, kept nobody from here.
    return {step.name: min(step.not_reached, ended) for step in later if min(step.not_reached, ended) > 0}


def first_failing_step(transaction: TransactionResult) -> str:
    """Return the earliest step with a failure as a phrase, or ""."""
    for step in transaction.steps:
        if step.failed:
            return f"{step.name} failed {plural(step.failed, 'time')}"
    return ""
