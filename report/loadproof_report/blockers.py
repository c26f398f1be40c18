"""What stands between a run and GO: broken rules, rules without data, unsound evidence; each with what to try first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from loadproof_report.degradation import first_step_text
from loadproof_report.measured import is_latency
from loadproof_report.result import Finding, Risk, RuleResult, TransactionResult
from loadproof_report.risks import mitigation_of, no_data_advice, slow_step
from loadproof_report.text import clean, duration_text, plural

CODES = frozenset({"rule_broken", "rule_without_data", "unproven"})
"""Codes of the risks made here. They tell of a decision that was made for other reasons, and change none."""
RULES_MAX = 20
"""Broken rules told one by one; the rules' table has all."""

_MACHINE = "loadproof doctor --calibrate says how much load a machine can make"
UNPROVEN = {
    "no_load": (
        "Nothing is known of this release: no transaction was completed.",
        "Make each transaction pass once with loadproof try, then run again.",
    ),
    "missed_or_lost": (
        "The target got less load than planned, so its limits were not tried.",
        f"Give the fleet more agents or cores ({_MACHINE}), keep them up to the end, and run again.",
    ),
    "late_starts": (
        "The load came late, so response times hold waiting inside the load generator.",
        f"Use more agents, workers or cores ({_MACHINE}), or less load, and run again.",
    ),
    "unfinished": (
        "How the unfinished ones would have ended is unknown, and they may be the slowest.",
        "Give graceful_stop more time, or find what hangs, and run again.",
    ),
    "over_count": (
        "Something was counted twice, so no count can be relied on.",
        "Run again; report it as a fault of Loadproof, with run.json and events.jsonl.",
    ),
    "agent_lost": (
        "Users were missing for a part of the run, so the target got less load than planned.",
        "Find out why the agent ended (memory, eviction, network), and run again.",
    ),
    "agent_incomplete": (
        "Some of the numbers may be missing.",
        "Look at that agent's log and its connection to the controller, and run again.",
    ),
    "final_mismatch": (
        "What was counted and what arrived differ, so no count can be relied on.",
        "Run again; report it as a fault of Loadproof, with run.json and events.jsonl.",
    ),
    "generator_cpu": (
        "The load generator was too busy, so latencies hold its own queue.",
        f"Use more agents, workers or cores ({_MACHINE}), or make the suite's own code cheaper, and run again.",
    ),
    "loop_lag": (
        "The load generator was held up, so latencies hold its own delay.",
        "Move long computing and blocking calls out of the transactions, or use more workers, and run again.",
    ),
    "missing_seconds": (
        "For a part of the run nothing was recorded.",
        "Look at the agents' logs and machines for what stopped them then (suspend, swap, network), and run again.",
    ),
    "dataset_exhausted": (
        "Less was run than planned, because the data ran out.",
        "Give the dataset as many rows as the profile needs (loadproof check counts them), and run again.",
    ),
    "run_failed": (
        "The run did not come to its end.",
        "Mend what broke the test set-up (the events say what), and run again.",
    ),
    "stopped_by_person": ("The run was not let come to its end.", "Run it again up to its end."),
    "short_run": (
        "Fewer iterations were run than planned.",
        "Give the run longer, or find what held the users back, and run again.",
    ),
}
"""By an unsound finding's code: what it means for the release, and what to try first."""
_UNPROVEN_ELSE = ("The evidence is too weak to decide on.", "Mend what the finding says, and run again.")


def blockers(
    transactions: Iterable[TransactionResult], rules: Sequence[RuleResult], findings: Iterable[Finding]
) -> list[Risk]:
    """Return a risk for each rule in `rules` and each code of unsound finding.

    `rules` are the blocking ones that are broken (without waiver, and not by the generator) or have no data.
    """
    by_name = {transaction.name: transaction for transaction in transactions}
    risks = [_of_rule(rule, by_name.get(clean(rule.transaction))) for rule in rules[:RULES_MAX]]
    if len(rules) > RULES_MAX:
        more = plural(len(rules) - RULES_MAX, "more blocking rule stands", "more blocking rules stand")
        text = f"{more} in the way; the rules' table has all of them."
        risks.append(Risk(code="rule_broken", severity="high", text=text))
    return [*risks, *_unproven(findings)]


def _of_rule(rule: RuleResult, transaction: TransactionResult | None) -> Risk:
    criticality = transaction.criticality if transaction else ""
    name = rule.transaction + (f" ({criticality})" if criticality else "")
    name += f", step {rule.step}," if rule.step else ""
    phase = f" in phase {rule.phase}" if rule.phase else ""
    if rule.status == "no_data":
        code, text = "rule_without_data", f"Whether {name} keeps {rule.require}{phase} is not known."
        evidence = rule.detail
        mitigation = no_data_advice(rule)
    else:
        code, text = "rule_broken", f"{name} breaks {rule.require}{phase}."
        evidence = f"observed {rule.observed_text}, required {rule.limit_text or rule.require}"
        evidence += f"; {rule.detail}" if rule.detail else ""
        evidence += _where(rule, transaction)
        mitigation = mitigation_of(rule, transaction)
    return Risk(
        code=code,
        severity="high",
        text=text,
        transaction=rule.transaction,
        criticality=criticality,
        evidence=evidence,
        mitigation=mitigation,
    )


def _where(rule: RuleResult, transaction: TransactionResult | None) -> str:
    """Return where the time goes, for a rule about time: the step that climbs first, or else takes longest."""
    if not is_latency(rule.metric) or rule.observed is None or transaction is None or rule.step:
        return ""
    if first := first_step_text(transaction):
        return f"; slower with load first at the step {first}"
    step = slow_step(transaction)
    return f"; longest at the step {step.name} (p95 {duration_text(step.service_time_us.p95)})" if step else ""


def _unproven(findings: Iterable[Finding]) -> list[Risk]:
    """Return one risk for each code of unsound findings: hundreds of agents may say the same."""
    found: dict[str, list[Finding]] = {}
    for finding in findings:
        if finding.severity == "unsound":
            found.setdefault(finding.code, []).append(finding)
    out = []
    for code, same in found.items():
        text, mitigation = UNPROVEN.get(code, _UNPROVEN_ELSE)
        evidence = same[0].text + (f" {plural(len(same) - 1, 'more finding')} of this kind." if len(same) > 1 else "")
        out.append(Risk(code="unproven", severity="high", text=text, evidence=evidence, mitigation=mitigation))
    return out
