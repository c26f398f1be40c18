"""The release decision from rules, evidence and risks, and the exit code it means for a pipeline.

- GO: every blocking rule holds and the evidence is sound.
- GO WITH RISK: blocking rules hold (or there is none), and a warning failed or had no data, a waiver is in use, or a
  risk was found.
- NO-GO: a blocking rule failed, or a rule aborted the run; unless a finding about the generator explains a latency.
- NOT PROVEN: it would be GO, but the evidence is unsound or a blocking rule had no data.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from loadproof_report.blockers import CODES, blockers
from loadproof_report.degradation import first_to_degrade
from loadproof_report.evidence import GENERATOR_CODES
from loadproof_report.measured import is_latency
from loadproof_report.result import (
    Decision,
    DeliveryResult,
    Evidence,
    Finding,
    Risk,
    RuleResult,
    RunResult,
    TransactionResult,
    Verdict,
)
from loadproof_report.risks import in_order
from loadproof_report.story import GRAVITY, first_failing_step
from loadproof_report.text import clean, clock_text, count_text, plural, rate_text, share_text

EXIT_GO = 0
EXIT_NO_GO = 1
EXIT_USAGE = 2
EXIT_NOT_PROVEN = 3
EXIT_PERSON = 4
EXIT_INFRASTRUCTURE = 5

FAIL_ON_DEFAULT = frozenset({"no-go", "not-proven"})
FAIL_ON_WORDS = frozenset({"go-with-risk", "no-go", "not-proven"})
REASONS_MAX = 12
DOWN_SHARE = 0.9
"""From this share of failed transactions on, the first thing to say is that the target did not work."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What the decision is made from."""

    transactions: tuple[TransactionResult, ...]
    rules: tuple[RuleResult, ...]
    evidence: Evidence
    delivery: DeliveryResult
    risks: tuple[Risk, ...]
    status: Literal["finished", "aborted", "failed"] = "finished"
    aborted_by: Literal["rule", "person", "infrastructure"] | None = None
    abort_reason: str = ""


def exit_code(result: RunResult, fail_on: Collection[str] = FAIL_ON_DEFAULT) -> int:
    """Return the process exit code: 0 to 5 as documented, 0 for a decision that `fail_on` does not name.

    `fail_on` holds words of `FAIL_ON_WORDS`. A run stopped by a person is 4 and one broken by infrastructure
    5, whatever it found out; GO WITH RISK is 0 unless asked for, then 1.
    """
    if result.status == "failed" or result.aborted_by == "infrastructure":
        return EXIT_INFRASTRUCTURE
    if result.status == "aborted" and result.aborted_by == "person":
        return EXIT_PERSON
    decision = result.verdict.decision
    if decision == "NO_GO" and "no-go" in fail_on:
        return EXIT_NO_GO
    if decision == "NOT_PROVEN" and "not-proven" in fail_on:
        return EXIT_NOT_PROVEN
    if decision == "GO_WITH_RISK" and "go-with-risk" in fail_on:
        return EXIT_NO_GO
    return EXIT_GO


def decide(facts: Facts) -> tuple[Verdict, tuple[RuleResult, ...]]:
    """Return the verdict, and the rules with `generator_explains` filled in.

    The verdict's risks are those of `facts` and one for everything that stands in the way of GO.
    """
    generator = [f for f in facts.evidence.findings if f.code in GENERATOR_CODES and f.severity == "unsound"]
    rules = tuple(_explained(rule, generator) for rule in facts.rules)
    broken = _ranked([r for r in rules if _breaks(r) and not r.generator_explains], facts.transactions)
    excused = [r for r in rules if _breaks(r) and r.generator_explains]
    no_data = [r for r in rules if r.severity == "block" and r.status == "no_data"]
    unsound = [f for f in facts.evidence.findings if f.severity == "unsound"]
    by_rule = facts.status == "aborted" and facts.aborted_by == "rule"
    kept = tuple(risk for risk in facts.risks if risk.code not in CODES)
    risks = [risk for risk in kept if risk.severity != "note"]
    decision: Decision
    if broken or (by_rule and not excused):
        decision = "NO_GO"
        reasons = _no_go(facts, broken, excused, unsound)
    elif unsound or excused or no_data or not facts.evidence.sound:
        decision = "NOT_PROVEN"
        reasons = _not_proven(excused, unsound, no_data, risks)
    elif risks:
        decision = "GO_WITH_RISK"
        reasons = _with_risk(facts, rules, risks)
    else:
        decision = "GO"
        reasons = _go(facts, rules)
    told = in_order([*blockers(facts.transactions, [*broken, *no_data], facts.evidence.findings), *kept])
    return Verdict(decision=decision, reasons=_bounded(reasons), risks=told), rules


def _bounded(reasons: Sequence[str]) -> tuple[str, ...]:
    more = len(reasons) - REASONS_MAX
    if more <= 0:
        return tuple(reasons)
    return (
        *reasons[: REASONS_MAX - 1],
        f"{more + 1} more reasons are told with the rules, the risks and the evidence.",
    )


def _breaks(rule: RuleResult) -> bool:
    waived = rule.waiver is not None and rule.waiver.active
    return rule.severity == "block" and rule.status == "failed" and not waived


def _explained(rule: RuleResult, generator: Sequence[Finding]) -> RuleResult:
    """A slow load generator explains a latency that is too long, never a failure.

    Late starts are part of response time only; a busy processor or a lagging loop is in every latency.
    """
    if rule.status != "failed" or not is_latency(rule.metric) or rule.observed is None:
        return rule
    codes = {finding.code for finding in generator}
    if rule.measure == "service":
        codes -= {"late_starts"}
    return rule.model_copy(update={"generator_explains": True}) if codes else rule


def _ranked(rules: Sequence[RuleResult], transactions: Sequence[TransactionResult]) -> list[RuleResult]:
    """Worst first: by criticality of the transaction, then failures before slowness, then how far beyond the limit."""
    gravity = {t.name: GRAVITY.get(t.criticality, 2) for t in transactions}

    def order(rule: RuleResult) -> tuple[int, int, float, str]:
        weight = gravity.get(clean(rule.transaction), 2)
        failures = rule.metric in ("success_rate", "error_rate")
        return (-weight, 0 if failures else 1, -(rule.overshoot or 0), rule.transaction)

    return sorted(rules, key=order)


def rule_sentence(rule: RuleResult) -> str:
    """Return a broken rule as a sentence for the meeting."""
    name = rule.transaction + (f", step {rule.step}" if rule.step else "")
    within = f" in phase {rule.phase}" if rule.phase else ""
    if rule.observed is None:
        text = f"{name} did not serve enough users{within}: {rule.require} was required, and {rule.detail}"
    elif rule.metric == "success_rate":
        how = f"succeeded only {rule.observed_text} of the time" if rule.observed > 0 else "never succeeded"
        text = f"{name} {how}{within}; {rule.limit_text} was required"
    elif rule.metric == "error_rate":
        how = f"failed {rule.observed_text} of the time" if rule.observed < 1 else "failed every time"
        text = f"{name} {how}{within}; {rule.limit_text} was required"
    elif is_latency(rule.metric):
        measure = "service time" if rule.measure == "service" else "response time"
        which = {"mean": "mean", "max": "longest"}.get(rule.metric, rule.metric)
        text = f"{name} is too slow{within}: its {which} {measure} was {rule.observed_text}, where {rule.limit_text} "
        text += "was required"
        if rule.detail:
            text += f" ({rule.detail})"
    else:
        text = f"{name} broke {rule.require}{within}: it was {rule.observed_text}"
        text += f" ({rule.detail})" if rule.detail else ""
    return text.rstrip(".") + "."


def _no_go(
    facts: Facts, broken: Sequence[RuleResult], excused: Sequence[RuleResult], unsound: Sequence[Finding]
) -> list[str]:
    reasons = [rule_sentence(rule) for rule in broken]
    if facts.status == "aborted" and facts.aborted_by == "rule":
        why = f": {facts.abort_reason}" if facts.abort_reason else ""
        reasons.insert(min(1, len(reasons)), f"The run was stopped early by a rule{why}.".replace("..", "."))
    worst = next((t for t in facts.transactions if broken and t.name == clean(broken[0].transaction)), None)
    if worst is not None and worst.errors:
        reasons.insert(1, _most_failures(worst))
    elif worst is not None and first_failing_step(worst):
        reasons.insert(1, f"In {worst.name}, {first_failing_step(worst)}.")
    slows = first_to_degrade(facts.transactions) if any(_shows_load(rule) for rule in broken) else ""
    if slows:
        reasons.insert(1, slows)
    down = _target_down(facts.transactions)
    if down:
        reasons.insert(0, down)
    reasons += [f"Not counted against the release, because the generator was slow: {rule_sentence(r)}" for r in excused]
    if unsound:
        reasons.append(f"The evidence is weak too, which does not excuse it: {unsound[0].text}")
    return reasons


def _shows_load(rule: RuleResult) -> bool:
    return is_latency(rule.metric) or rule.metric in ("success_rate", "error_rate") or rule.metric[:7] == "errors."


def _most_failures(transaction: TransactionResult) -> str:
    error = transaction.errors[0]
    step = f" at the step {error.step}" if error.step else ""
    at = f", first at {clock_text(error.first_seen_s)}"
    at += f" with an offered load of {rate_text(error.load_per_s)}" if error.load_per_s else ""
    most = "Most failures" if 2 * error.count > transaction.failed else "The most frequent failures"
    most = "The failures" if error.count == transaction.failed else most
    return f"{most} of {transaction.name} happened{step}: {error.message} ({plural(error.count, 'time')}{at})."


def _target_down(transactions: Sequence[TransactionResult]) -> str:
    everyone = sum(t.count for t in transactions)
    failed = sum(t.failed for t in transactions)
    if not everyone or failed < DOWN_SHARE * everyone:
        return ""
    errors = sorted((error for t in transactions for error in t.errors), key=lambda error: -error.count)
    why = f", most with: {errors[0].message}" if errors else ""
    part = f"{count_text(failed)} of {plural(everyone, 'transaction')}"
    if failed == everyone:
        part = f"all {plural(failed, 'transaction')}" if failed > 1 else "the only transaction"
    return f"The target did not work: {part} failed{why}."


def _not_proven(
    excused: Sequence[RuleResult], unsound: Sequence[Finding], no_data: Sequence[RuleResult], risks: Sequence[Risk]
) -> list[str]:
    reasons = [finding.text for finding in unsound]
    if excused:
        worst = max(excused, key=lambda rule: rule.overshoot or 0)
        were = "limit was" if len(excused) == 1 else "limits were"
        text = f"{len(excused)} latency {were} exceeded, but the load generator itself was slow"
        reasons.append(f"{text}. The worst: {rule_sentence(worst)}")
    reasons += [f"The rule {rule.require} on {rule.scope} could not be judged: {rule.detail}." for rule in no_data]
    reasons += [risk.text for risk in risks]
    reasons = reasons or ["The evidence is unsound."]
    reasons[0] = f"This run proves nothing yet: {reasons[0][:1].lower()}{reasons[0][1:]}"
    return reasons


def _with_risk(facts: Facts, rules: Sequence[RuleResult], risks: Sequence[Risk]) -> list[str]:
    blocking = [r for r in rules if r.severity == "block"]
    held = [r for r in blocking if r.status == "passed"]
    text = risks[0].text
    if blocking:
        lead = "Every blocking rule holds" if len(held) == len(blocking) else "No blocking rule stands in the way"
        text = f"{lead}, but: {text}"
    worst = next((t for t in facts.transactions if t.name == risks[0].transaction), None)
    why = [_most_failures(worst)] if worst is not None and worst.errors else []
    return [text, *why, *(risk.text for risk in risks[1:])]


def _go(facts: Facts, rules: Sequence[RuleResult]) -> list[str]:
    blocking = [r for r in rules if r.severity == "block"]
    many = "The blocking rule holds" if len(blocking) == 1 else f"All {len(blocking)} blocking rules hold"
    parts = [t.judged or t for t in facts.transactions]
    done, failed = sum(part.count for part in parts), sum(part.failed for part in parts)
    aside = ", warm-up left out" if any(t.judged for t in facts.transactions) else ""
    reasons = [f"{many} over {plural(done, 'transaction')}{aside}, and the evidence is sound."]
    if failed:
        share = share_text(failed / max(1, done))
        reasons.append(f"{plural(failed, 'transaction')} failed ({share}), within what the rules allow.")
    else:
        reasons.append(f"No transaction failed{aside}.")
    delivery = facts.delivery
    reasons.append(
        f"{count_text(delivery.started)} of {count_text(delivery.planned)} planned starts were made"
        + (f", {share_text(delivery.late / delivery.started)} of them late." if delivery.late else ", none late.")
    )
    return reasons
