"""A result beside a stored baseline, and what a pipeline shows of it."""

from __future__ import annotations

from pathlib import Path

import pytest

import stored_runs
from loadproof.plan.model import NS_PER_S, ArrivalPhase
from loadproof_report import (
    ResultError,
    build_result,
    compare_run,
    github_annotations,
    render_html,
    with_comparison,
    write_outputs,
)
from loadproof_report.result import Change, Comparison
from stored_runs import Flow, Story, rule


def _worse(transaction: str) -> Comparison:
    change = Change(transaction=transaction, metric="p95", judgement="worse", text=f"{transaction} p95 rose by 20 %.")
    return Comparison(baseline_run_id="before", changes=(change,))


@pytest.mark.parametrize(
    ("transaction", "decision", "severity"),
    [("Checkout", "GO_WITH_RISK", "medium"), ("Update profile", "GO", "note")],
)
def test_a_change_for_the_worse_is_a_risk_by_criticality(transaction: str, decision: str, severity: str) -> None:
    """In a critical transaction it costs the plain GO; in a low one it is a note."""
    compared = with_comparison(stored_runs.result_of("healthy"), _worse(transaction))
    risk = next(risk for risk in compared.verdict.risks if risk.code == "worse_than_baseline")
    assert (compared.verdict.decision, risk.severity) == (decision, severity)
    assert with_comparison(compared, _worse(transaction)).verdict == compared.verdict


def test_the_page_shows_the_noise_band_of_several_baselines() -> None:
    """Below a baseline's value stands where a run like the baselines falls; with one baseline there is no band."""
    fields = {"transaction": "Checkout", "metric": "p95", "judgement": "worse", "baseline": 200e3, "current": 300e3}
    band = Change.model_validate({**fields, "band_low": 190e3, "band_high": 211e3})
    several = Comparison(baseline_run_id="before", baselines=3, changes=(band,))
    page = render_html(with_comparison(stored_runs.result_of("healthy"), several))
    assert "<small>190 ms to 211 ms</small>" in page
    assert "95 of 100 runs like the 3 baselines" in page
    one = Comparison(baseline_run_id="before", changes=(Change.model_validate(fields),))
    assert "95 of 100" not in render_html(with_comparison(stored_runs.result_of("healthy"), one))


@pytest.mark.parametrize("name", ["regressed", "saturated", "agent_lost", "target_down", "no_data"])
def test_a_comparison_never_softens_a_verdict(name: str) -> None:
    """NO-GO and NOT PROVEN stay with the same first sentence."""
    before = stored_runs.result_of(name)
    after = with_comparison(before, Comparison(baseline_run_id="before"))
    assert (after.verdict.decision, after.verdict.reasons[0]) == (before.verdict.decision, before.verdict.reasons[0])


def test_a_run_is_compared_with_a_stored_folder(tmp_path: Path) -> None:
    """A steady flow that got half as slow again is found, against the stored build."""
    phases = (ArrivalPhase("hold", 20_000, 20_000, 240 * NS_PER_S),)
    before = Story(flows=(Flow("Checkout", 1.0, criticality="critical"),), phases=phases, run_id="before", build="4.11")
    after = Story(flows=(Flow("Checkout", 1.0, 120_000, criticality="critical"),), phases=phases, seed=8)
    after.rules = (rule("Checkout", "p95 <= 1s"),)
    stored, data = before.build_run(), after.build_run()
    write_outputs(build_result(stored, today="2026-11-23"), stored, tmp_path, ["json", "hlog"])
    result = compare_run(build_result(data, today="2026-11-23"), data.merged, [tmp_path])
    assert result.comparison is not None
    assert result.comparison.comparable, result.comparison.obstacles
    assert result.comparison.baseline_build == "4.11"
    assert result.verdict.decision == "GO_WITH_RISK"
    assert result.verdict.risks[0].code == "worse_than_baseline"


def test_a_baseline_without_histograms_is_not_comparable(tmp_path: Path) -> None:
    """A missing or damaged intervals.bin is said, not guessed around."""
    write_outputs(stored_runs.result_of("healthy"), None, tmp_path, ["json"])
    for content in (None, b"damaged"):
        if content is not None:
            (tmp_path / "intervals.bin").write_bytes(content)
        result = compare_run(stored_runs.result_of("regressed"), stored_runs.run_of("regressed").merged, [tmp_path])
        assert result.comparison is not None
        assert not result.comparison.comparable
        assert "interval histograms" in result.comparison.obstacles[0]
    with pytest.raises(ResultError):
        compare_run(stored_runs.result_of("healthy"), stored_runs.run_of("healthy").merged, [tmp_path / "none"])


def test_a_machine_used_to_the_full_is_said_and_decides_nothing() -> None:
    """Others on the machine are a degraded finding; late starts and lag decide."""
    story = stored_runs.healthy()
    data = story.build_run()
    for _, _, health in data.merged.health_seconds:
        health.machine_cpu_permille = 1_000
    result = build_result(data, today="2026-11-23")
    assert {f.code: f.severity for f in result.evidence.findings}["machine_full"] == "degraded"
    assert result.verdict.decision == "GO"


@pytest.mark.parametrize(
    ("name", "level"),
    [("healthy", "notice"), ("small_but_dangerous", "warning"), ("regressed", "error"), ("agent_lost", "error")],
)
def test_annotations_carry_decision_and_reasons(name: str, level: str) -> None:
    """One line each; the level follows the decision."""
    lines = github_annotations(stored_runs.result_of(name))
    assert lines
    assert all(line.startswith(f"::{level} title=") for line in lines)


def test_a_hostile_name_begins_no_workflow_command() -> None:
    """No line break, so no second command; a colon in the title cannot end it."""
    result = stored_runs.result_of("hostile").model_copy(update={"suite": "a\n::set-env name=X::1, b:: c"})
    lines = github_annotations(result)
    assert all("\n" not in line and "\r" not in line for line in lines)
    assert all(line.split("::")[1].count(":") == 0 for line in lines)
