"""The decision from rules, evidence and risks."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from pathlib import Path

import pytest

import stored_runs
from loadproof.rules.model import Waiver
from loadproof_report import build_result, exit_code
from loadproof_report.blockers import RULES_MAX, UNPROVEN
from loadproof_report.result import DeliveryResult, Evidence, Finding, Risk, RuleResult, RunResult, Verdict, Waived
from loadproof_report.verdict import Facts, decide
from stored_runs import SHOP, Story, rule

TODAY = "2026-11-23"

EXPECTED = {
    "healthy": ("GO", "All 9 blocking rules hold over 4,653 transactions, and the evidence is sound."),
    "regressed": ("NO_GO", "Checkout is too slow: its p95 response time was"),
    "small_but_dangerous": ("GO_WITH_RISK", "Every blocking rule holds, but: Checkout (critical) failed"),
    "saturated": ("NOT_PROVEN", "This run proves nothing yet: 36"),
    "agent_lost": ("NOT_PROVEN", "This run proves nothing yet: of "),
    "no_data": (
        "NOT_PROVEN",
        "This run proves nothing yet: the rule p99.9 <= 2s on Update profile could not be judged",
    ),
    "target_down": ("NO_GO", "The target did not work: all "),
}


@pytest.mark.parametrize("name", stored_runs.CORPUS)
def test_each_stored_run_has_its_verdict_and_first_sentence(name: str) -> None:
    """The corpus: healthy, regressed, small but dangerous, saturated, agent lost, no data, target down."""
    verdict = stored_runs.result_of(name).verdict
    decision, first = EXPECTED[name]
    assert verdict.decision == decision
    assert verdict.reasons[0].startswith(first)
    assert all(reason.endswith(".") for reason in verdict.reasons)


def test_a_lost_agent_is_named_in_the_first_sentence() -> None:
    """Who hears NOT PROVEN hears why."""
    reasons = stored_runs.result_of("agent_lost").verdict.reasons
    assert "Agent agent-2 was lost at 0:46" in reasons[0]


def test_a_regression_says_since_when_and_at_which_load() -> None:
    """The sentence names the moment and the load at which the limit was first kept no longer."""
    result = stored_runs.result_of("regressed")
    broken = next(r for r in result.rules if r.status == "failed")
    assert broken.failed_at_s == pytest.approx(30, abs=10)
    assert "since 0:30, from an offered load of" in result.verdict.reasons[0]


def test_small_but_dangerous_is_found_behind_fine_global_numbers() -> None:
    """0.2 % of all failed, 2 % of the critical transaction: the risk says both and what to try."""
    risk = stored_runs.result_of("small_but_dangerous").verdict.risks[0]
    assert (risk.code, risk.transaction, risk.severity) == ("small_but_dangerous", "Checkout", "high")
    assert risk.evidence
    assert risk.mitigation


def _rule(severity: str, status: str, metric: str = "p95", waived: bool = False) -> RuleResult:
    waiver = Waived(reason="known", owner="team", until="2030-01-01", active=True) if waived else None
    return RuleResult.model_validate(
        {
            "transaction": "Checkout", "require": f"{metric} <= 1s", "severity": severity, "status": status,
            "metric": metric, "observed": 2e6, "limit": 1e6, "observed_text": "2 s", "limit_text": "at most 1 s",
            "waiver": waiver,
        }
    )  # fmt: skip


def _facts(rules: tuple[RuleResult, ...] = (), *codes: str, risks: tuple[Risk, ...] = (), **more: object) -> Facts:
    findings = tuple(Finding(code=code, severity="unsound", text=f"{code}.") for code in codes)
    evidence = Evidence(sound=not codes, findings=findings)
    return Facts(
        transactions=(), rules=rules, evidence=evidence, delivery=DeliveryResult(planned=10, started=10, completed=10),
        risks=risks, **more,
    )  # type: ignore[arg-type]  # fmt: skip


HOLDS, BROKEN, EMPTY = _rule("block", "passed"), _rule("block", "failed"), _rule("block", "no_data")
RISK = Risk(code="x", severity="medium", text="Something.")
NOTE = Risk(code="x", severity="note", text="Something.")


@pytest.mark.parametrize(
    ("facts", "decision"),
    [
        (_facts((HOLDS,)), "GO"),
        (_facts((HOLDS,), risks=(NOTE,)), "GO"),
        (_facts((HOLDS,), risks=(RISK,)), "GO_WITH_RISK"),
        (_facts((_rule("block", "failed", waived=True),), risks=(RISK,)), "GO_WITH_RISK"),
        (_facts((HOLDS, BROKEN)), "NO_GO"),
        (_facts((BROKEN,), risks=(RISK,)), "NO_GO"),
        (_facts((BROKEN,), "missed_or_lost"), "NO_GO"),
        (_facts((BROKEN,), "late_starts"), "NOT_PROVEN"),
        (_facts((BROKEN,), "generator_cpu"), "NOT_PROVEN"),
        (_facts((_rule("block", "failed", "success_rate"),), "generator_cpu"), "NO_GO"),
        (_facts((BROKEN, _rule("block", "failed", "error_rate")), "loop_lag"), "NO_GO"),
        (_facts((HOLDS,), "late_starts"), "NOT_PROVEN"),
        (_facts((HOLDS,), "agent_incomplete", risks=(RISK,)), "NOT_PROVEN"),
        (_facts((HOLDS, EMPTY)), "NOT_PROVEN"),
        (_facts((BROKEN, EMPTY)), "NO_GO"),
        (_facts((_rule("warn", "failed"), HOLDS), risks=(RISK,)), "GO_WITH_RISK"),
        (_facts((HOLDS,), status="aborted", aborted_by="rule"), "NO_GO"),
        (_facts((BROKEN,), "late_starts", status="aborted", aborted_by="rule"), "NOT_PROVEN"),
        (_facts((HOLDS,), "stopped_by_person", status="aborted", aborted_by="person"), "NOT_PROVEN"),
    ],
)
def test_the_table_of_decisions(facts: Facts, decision: str) -> None:
    """Each line of the documented table, and what takes precedence over what."""
    verdict, _ = decide(facts)
    assert verdict.decision == decision
    assert verdict.reasons


def test_unsound_evidence_never_passes_whatever_else_holds() -> None:
    """Over all combinations of rule states and risks, an unsound finding leaves only NO-GO and NOT PROVEN."""
    for states in itertools.product(("passed", "failed", "no_data"), repeat=2):
        rules = tuple(_rule(severity, state) for severity, state in zip(("block", "warn"), states, strict=True))
        for risks in ((), (RISK,), (NOTE,)):
            verdict, _ = decide(_facts(rules, "late_starts", risks=risks))
            assert verdict.decision in ("NO_GO", "NOT_PROVEN")


def test_every_finding_that_can_be_unsound_has_a_suggestion_of_its_own() -> None:
    """The documented table of findings, but for those that are never unsound, is what there is advice for."""
    page = (Path(__file__).parents[2] / "docs/explanation/verdict.md").read_text(encoding="utf-8")
    rows = re.findall(
        r"^\| (`[^|]+) \|[^|]+\| ([^|]+) \|$", page.split("## Evidence")[1].split("## Risks")[0], re.MULTILINE
    )
    codes = {code for names, when in rows if not when.startswith("never") for code in re.findall(r"`(\w+)`", names)}
    assert codes == set(UNPROVEN)


def test_what_stands_in_the_way_is_a_risk_once_however_often_it_is_decided() -> None:
    """One for each broken rule and each rule without data, none for a waived one; a second decision adds nothing."""
    facts = _facts((BROKEN, EMPTY, HOLDS, _rule("block", "failed", waived=True)), "final_mismatch", risks=(RISK,))
    told = decide(facts)[0].risks
    assert [risk.code for risk in told] == ["rule_broken", "rule_without_data", "unproven", "x"]
    assert decide(replace(facts, risks=told))[0].risks == told


def test_hundreds_of_broken_rules_are_told_in_bounds() -> None:
    """The gravest are told, and how many more there are."""
    told = decide(_facts((BROKEN,) * 300))[0].risks
    assert len(told) == RULES_MAX + 1
    assert told[-1].text.startswith(f"{300 - RULES_MAX} more blocking rules stand in the way")


def test_late_starts_do_not_excuse_service_time() -> None:
    """Service time counts from the actual start, so late starts explain nothing in it."""
    service = BROKEN.model_copy(update={"measure": "service"})
    assert decide(_facts((service,), "late_starts"))[0].decision == "NO_GO"
    assert decide(_facts((service,), "loop_lag"))[0].decision == "NOT_PROVEN"


def test_no_blocking_rule_is_a_risk() -> None:
    """Without a promise there is nothing to prove: never a plain GO."""
    result = build_result(Story(rules=()).build_run(), today=TODAY)
    assert result.verdict.decision == "GO_WITH_RISK"
    assert "No blocking rule was set" in result.verdict.reasons[0]


def test_a_waiver_in_use_shows_and_an_expired_one_does_not_help() -> None:
    """GO WITH RISK names who waived what until when; past that date the rule blocks again and a finding says so."""
    waiver = Waiver("ticket 12, fix planned", "payments team", "2026-11-30")
    story = stored_runs.regressed()
    story.rules = (rule("Checkout", "p95 <= 800ms", waiver=waiver),)
    data = story.build_run()
    before = build_result(data, today="2026-11-30")
    after = build_result(data, today="2026-12-01")
    assert before.verdict.decision == "GO_WITH_RISK"
    assert "waived until 2026-11-30 by payments team" in before.verdict.reasons[0]
    assert after.verdict.decision == "NO_GO"
    assert "waiver_expired" in {finding.code for finding in after.evidence.findings}


def test_drops_blame_the_target() -> None:
    """Arrivals dropped at the in-flight limit leave the evidence sound and make a risk."""
    story = Story(rules=(rule("*", "success_rate >= 90%"),), dropped=lambda s: 0.02 if s > 60 else 0.0)
    result = build_result(story.build_run(), today=TODAY)
    assert result.evidence.sound
    assert result.verdict.decision == "GO_WITH_RISK"
    assert any(risk.code == "dropped" for risk in result.verdict.risks)


def test_the_worst_criticality_comes_first() -> None:
    """With everything broken the critical transaction is named before the low one."""
    flows = tuple(replace(flow, slow=lambda s: 30.0) for flow in SHOP)
    story = Story(flows=flows, rules=(rule("*", "p95 <= 800ms"),))
    reasons = build_result(story.build_run(), today=TODAY).verdict.reasons
    positions = [
        next(i for i, text in enumerate(reasons) if text.startswith(n)) for n in ("Checkout", "Update profile")
    ]
    assert positions == sorted(positions)


def _result(decision: str, status: str = "finished", aborted_by: str | None = None) -> RunResult:
    data = Story(phases=stored_runs.Story().phases[:1], rules=(rule("*", "count > 0"),)).build_run()
    verdict = Verdict(decision=decision, reasons=("Because.",))  # type: ignore[arg-type]
    return build_result(data).model_copy(update={"verdict": verdict, "status": status, "aborted_by": aborted_by})


@pytest.mark.parametrize(
    ("decision", "status", "by", "fail_on", "code"),
    [
        ("GO", "finished", None, ("no-go", "not-proven"), 0),
        ("GO_WITH_RISK", "finished", None, ("no-go", "not-proven"), 0),
        ("GO_WITH_RISK", "finished", None, ("go-with-risk",), 1),
        ("NO_GO", "finished", None, ("no-go", "not-proven"), 1),
        ("NO_GO", "aborted", "rule", ("no-go", "not-proven"), 1),
        ("NO_GO", "finished", None, ("not-proven",), 0),
        ("NOT_PROVEN", "finished", None, ("no-go", "not-proven"), 3),
        ("NOT_PROVEN", "finished", None, ("no-go",), 0),
        ("NOT_PROVEN", "aborted", "person", ("no-go", "not-proven"), 4),
        ("NO_GO", "aborted", "person", (), 4),
        ("NOT_PROVEN", "failed", "infrastructure", (), 5),
        ("NOT_PROVEN", "aborted", "infrastructure", ("no-go",), 5),
    ],
)
def test_exit_codes(decision: str, status: str, by: str | None, fail_on: tuple[str, ...], code: int) -> None:
    """0 to 5 as documented; `fail_on` picks which decisions fail a pipeline, never hides a broken run."""
    assert exit_code(_result(decision, status, by), fail_on) == code
