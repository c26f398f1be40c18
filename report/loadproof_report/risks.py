"""What a release meeting should hear although no blocking rule broke, and what to try first.

A risk of severity `high` or `medium` turns GO into GO WITH RISK; a `note` does not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from loadproof_report.degradation import first_step
from loadproof_report.measured import is_latency
from loadproof_report.result import DeliveryResult, Finding, Risk, RuleResult, StepResult, TransactionResult
from loadproof_report.story import GRAVITY
from loadproof_report.text import clean, clock_text, count_text, plural, share_text

FAILURE_SHARE_MAX = {"critical": 0.001, "high": 0.005}
"""Share of failures from which a critical or high transaction is a risk of its own, whatever its rules say."""
FAILURES_MIN = 3
"""Fewer failures than this are an accident, not a rate."""
GLOBAL_FINE = 0.01
"""The global share of failures below which a bad critical transaction is hidden by the total."""

_ADVICE = {
    "http_status": "Look at the samples' trace ids in the target's logs; find what answers with that status.",
    "check": "Compare the sample's response with what the check expects; a wrong answer is worse than none.",
    "timeout": "Find what the step waits for at this load: pools, locks, downstream calls.",
    "connect": "Check listen backlog, connection limits and load balancer of the target.",
    "tls": "Check certificates and handshake capacity of the target.",
    "dns": "Check name resolution from the agents' machines.",
    "protocol": "Check proxies between agents and target; a response was not valid HTTP.",
    "exception": "The suite's own code raised: fix the transaction or the data it got.",
    "cancelled": "Transactions were cut off at the end of the run: give graceful_stop more time or find what hangs.",
}
_DROPPED = "Find where response time begins to climb with load; raise max_in_flight only on purpose."
_SLOW = "Find what {place} waits for at this load (pools, locks, queries, downstream calls){since}."
_HELD_BACK = "Find what holds the load back: a target that answers slowly, too few users, or a plan that asks for less."
_NO_DATA = "Run longer or with more load, until the rule has samples enough; or drop the rule openly."
_NO_BASELINE = "Set a baseline that can be compared (`loadproof baseline set RUN`), and run again."
_BAD_STATUS = re.compile(r"found status [45]\d\d")
_NOBODY_THERE = "Check that the target runs and that its address is right: none of these transactions succeeded."


def risks_of(
    transactions: Sequence[TransactionResult],
    rules: Sequence[RuleResult],
    delivery: DeliveryResult,
    findings: Sequence[Finding],
) -> tuple[Risk, ...]:
    """Return every risk, gravest first."""
    out = [
        *_small_but_dangerous(transactions),
        *_rules(transactions, rules),
        *_dropped(delivery, findings),
        *_unjudged(transactions, rules),
    ]
    return in_order(out)


def in_order(risks: Iterable[Risk]) -> tuple[Risk, ...]:
    """Return the risks gravest first: by severity, then by criticality."""
    order = {"high": 0, "medium": 1, "note": 2}
    return tuple(sorted(risks, key=lambda risk: (order[risk.severity], -GRAVITY.get(risk.criticality, 0))))


def mitigation_for(transaction: TransactionResult) -> str:
    """Return what to try first, from the transaction's most frequent error; "" without errors."""
    if not transaction.errors:
        return ""
    first = transaction.errors[0]
    if first.category == "connect" and transaction.failed == transaction.count:
        return _NOBODY_THERE
    if first.category == "check" and _BAD_STATUS.search(first.message):
        return _ADVICE["http_status"]
    return _ADVICE.get(first.category, "")


def no_data_advice(rule: RuleResult) -> str:
    """Return what gives a rule without data some: a baseline where it wants one, else more samples."""
    return _NO_BASELINE if rule.limit is None and "baseline" in rule.require else _NO_DATA


def mitigation_of(rule: RuleResult, transaction: TransactionResult | None) -> str:
    """Return what to try first where `rule` is broken: time has a step that waits, failures have a kind."""
    if is_latency(rule.metric) and rule.observed is not None:
        found = slow_step(transaction) if transaction else None
        step = rule.step or (found.name if found else "")
        since = f", with traces from {clock_text(rule.failed_at_s)} on" if rule.failed_at_s is not None else ""
        return _SLOW.format(place=f"the step {step}" if step else rule.transaction, since=since)
    if rule.metric in ("throughput", "count"):
        return _HELD_BACK
    if rule.metric.startswith("errors."):
        return _ADVICE.get(rule.metric.removeprefix("errors."), "")
    failed = mitigation_for(transaction) if transaction else ""
    return failed or (_DROPPED if transaction and transaction.delivery.dropped else "")


def slow_step(transaction: TransactionResult) -> StepResult | None:
    """Return the step that climbs first as load rises, else the one that takes longest; None for a single step."""
    known = [step for step in transaction.steps if step.service_time_us.p95 is not None]
    longest = max(known, key=lambda step: step.service_time_us.p95 or 0) if len(known) > 1 else None
    return first_step(transaction) or longest


def _small_but_dangerous(transactions: Sequence[TransactionResult]) -> list[Risk]:
    parts = [t.judged or t for t in transactions]
    everyone = sum(part.count for part in parts)
    failed = sum(part.failed for part in parts)
    share_of_all = failed / everyone if everyone else 0.0
    out = []
    for transaction, part in zip(transactions, parts, strict=True):
        limit = FAILURE_SHARE_MAX.get(transaction.criticality)
        if limit is None or not part.count or part.failed < FAILURES_MIN:
            continue
        share = part.failed / part.count
        if share <= limit:
            continue
        hidden = share_of_all < GLOBAL_FINE and share > 2 * share_of_all
        text = (
            f"{transaction.name} ({transaction.criticality}) failed {count_text(part.failed)} of "
            f"{plural(part.count, 'time')} ({share_text(share)})"
        )
        text += f", although only {share_text(share_of_all)} of all transactions failed." if hidden else "."
        first = transaction.errors[0] if transaction.errors else None
        evidence = (
            f"{first.step or 'outside any step'}: {first.message}, {plural(first.count, 'time')}"
            f"{' with warm-up' if transaction.judged else ''}"
            if first
            else ""
        )
        out.append(
            Risk(
                code="small_but_dangerous" if hidden else "critical_failures",
                severity="high",
                text=text,
                transaction=transaction.name,
                criticality=transaction.criticality,
                evidence=evidence,
                mitigation=mitigation_for(transaction),
            )
        )
    return out


def _rules(transactions: Sequence[TransactionResult], rules: Sequence[RuleResult]) -> list[Risk]:
    by_name = {t.name: t for t in transactions}
    out = []
    for rule in rules:
        transaction = by_name.get(clean(rule.transaction))
        criticality = transaction.criticality if transaction else ""
        mitigation = mitigation_of(rule, transaction) if rule.status == "failed" else ""
        waiver = rule.waiver
        if waiver is not None and rule.status == "failed" and waiver.active:
            text = (
                f"{rule.scope} broke {rule.require}, waived until {waiver.until} by "
                f"{waiver.owner or 'nobody named'}: {waiver.reason.rstrip('.')}."
            )
            out.append(_risk("waiver", "medium", text, rule, criticality, mitigation))
        elif waiver is not None and not waiver.active:
            text = f"The waiver for {rule.require} of {rule.scope} expired on {waiver.until} and is not in use."
            out.append(_risk("waiver_expired", "note", text, rule, criticality, "Fix it, or renew the waiver openly."))
        if rule.severity == "warn" and rule.status == "failed" and not (waiver and waiver.active):
            text = f"{rule.scope} broke the warning {rule.require}: it was {rule.observed_text}."
            out.append(_risk("warn_failed", "medium", text, rule, criticality, mitigation))
        if rule.severity == "warn" and rule.status == "no_data":
            text = f"The warning {rule.require} on {rule.scope} had no data: {rule.detail}."
            out.append(_risk("warn_no_data", "medium", text, rule, criticality, no_data_advice(rule)))
    if not any(rule.severity == "block" for rule in rules):
        text = "No blocking rule was set, so nothing was promised and nothing is proven."
        out.append(
            Risk(
                code="no_blocking_rule",
                severity="medium",
                text=text,
                mitigation="Agree on rules per critical transaction, such as p95 <= 800ms and success_rate >= 99.5%.",
            )
        )
    return out


def _risk(code: str, severity: str, text: str, rule: RuleResult, criticality: str, mitigation: str) -> Risk:
    return Risk.model_validate(
        {
            "code": code,
            "severity": severity,
            "text": text,
            "transaction": rule.transaction,
            "criticality": criticality,
            "evidence": f"observed {rule.observed_text}, required {rule.limit_text or rule.require}",
            "mitigation": mitigation,
        }
    )


def _dropped(delivery: DeliveryResult, findings: Sequence[Finding]) -> list[Risk]:
    finding = next((f for f in findings if f.code == "dropped"), None)
    if finding is None or not delivery.dropped:
        return []
    return [
        Risk(
            code="dropped",
            severity="high",
            text=f"{plural(delivery.dropped, 'arrival')} found no free virtual user: the target could not keep up.",
            evidence=finding.text,
            mitigation=_DROPPED,
        )
    ]


def _unjudged(transactions: Sequence[TransactionResult], rules: Sequence[RuleResult]) -> list[Risk]:
    judged = {clean(rule.transaction) for rule in rules if rule.severity == "block"}
    if not judged:
        return []
    return [
        Risk(
            code="unjudged",
            severity="note",
            text=f"{t.name} is {t.criticality}, and no blocking rule judges it.",
            transaction=t.name,
            criticality=t.criticality,
            mitigation="Set a blocking rule for it.",
        )
        for t in transactions
        if t.criticality in FAILURE_SHARE_MAX and t.name not in judged
    ]
