"""Knees against the expected peak, and at how many users trouble began."""

from __future__ import annotations

import pytest

import stored_runs
from loadproof.plan.model import NS_PER_S, ArrivalPhase, Plan, TransactionPlan, UserPhase
from loadproof_report import build_result, render_html, render_markdown
from loadproof_report.degradation import first_to_degrade
from loadproof_report.headroom import expected_peak_per_s, knee_sentence
from loadproof_report.onset import users_at
from stored_runs import Flow, Story


def run_with(slow, peak: int = 60):
    """Return the result of a ramp from 10/s to `peak`/s."""
    flow = Flow("Checkout", 1.0, slow=slow, criticality="critical")
    story = Story(flows=(flow,), phases=(ArrivalPhase("ramp", 10_000, peak * 1_000, 60 * NS_PER_S),))
    return build_result(story.build_run(), today="2026-11-23")


def test_a_knee_below_the_peak_leaves_no_headroom() -> None:
    """Page and note say from which load on, and how far below the expected peak that is."""
    result = run_with(lambda second: 1.0 if second < 30 else 5.0)
    text = knee_sentence(result, result.transactions[0])
    assert "The expected peak is 60/s: there is no headroom" in text
    assert "no headroom" in render_html(result)
    assert "no headroom" in render_markdown(result)


def test_the_step_that_climbs_first_is_named() -> None:
    """Verdict, page and note say which transaction and step slow down first as load rises, and by how much."""
    steady = Flow("Search", 0.5, steps=(("Look", "GET /search", 1.0),))
    slow = Flow("Checkout", 0.5, slow=lambda s: 1.0 if s < 30 else 5.0, criticality="critical",
                steps=(("Fill", "POST /cart", 0.2), ("Pay", "POST /pay", 0.8)))  # fmt: skip
    phases = (ArrivalPhase("ramp", 10_000, 60_000, 60 * NS_PER_S),)
    story = Story(flows=(steady, slow), phases=phases, rules=(stored_runs.rule("Checkout", "p95 <= 100ms"),))
    result = build_result(story.build_run(), today="2026-11-23")
    pay = result.transactions[1].steps[1]
    assert pay.p50_us_low is not None
    assert pay.p50_us_high is not None
    assert pay.p50_us_high == pytest.approx(5 * pay.p50_us_low, rel=0.2)
    assert pay.knee_per_s == result.transactions[1].knee_per_s
    sentence = first_to_degrade(result.transactions)
    assert sentence.startswith("As load rises, Checkout slows down first, from ")
    assert "at its step Pay (median " in sentence
    assert result.verdict.reasons[1] == sentence
    assert "slows down first" in render_html(result)
    assert f"slower from {pay.knee_per_s:g}/s on" in render_html(result)
    assert "slows down first" in render_markdown(result)
    assert result.transactions[0].steps[0].knee_per_s is None


def test_where_nothing_climbs_nothing_slows_down_first() -> None:
    """A flat run has no such sentence."""
    assert first_to_degrade(run_with(lambda second: 1.0).transactions) == ""


def test_no_knee_claims_nothing_beyond_the_load_that_was_run() -> None:
    """A flat curve says how far it was flat, and no more."""
    result = run_with(lambda second: 1.0)
    text = knee_sentence(result, result.transactions[0])
    assert "did not climb up to 60/s, the expected peak" in text
    assert "does not say" in text


def failing_run(failing, rules=()):
    """Return the result of a ramp from 10/s to 60/s on which a share fails fast, in a third of the time."""
    flow = Flow("Checkout", 1.0, failing=failing, criticality="critical", median_us=200_000, fails_at=1,
                steps=(("Fill", "POST /cart", 0.2), ("Pay", "POST /pay", 0.8)))  # fmt: skip
    story = Story(flows=(flow,), phases=(ArrivalPhase("ramp", 10_000, 60_000, 60 * NS_PER_S),), rules=rules)
    return build_result(story.build_run(), today="2026-11-23")


def test_a_target_that_fails_fast_has_a_knee_and_no_fine_response_time() -> None:
    """Bands tell what successes took and what failed beside it; verdict, page and note name load, step and headroom."""
    result = failing_run(lambda s: 0.7 if s >= 40 else 0.0, (stored_runs.rule("*", "success_rate >= 99%"),))
    found = result.transactions[0]
    medians = [band.response_time_us.p50 for band in found.load_bands]
    assert medians == pytest.approx([200_000] * len(medians), rel=0.1)
    assert [band.completed - band.failed for band in found.load_bands] == [
        band.response_time_us.count for band in found.load_bands
    ]
    assert found.knee_per_s is None
    assert found.failing_per_s == pytest.approx(41, abs=1)
    first = "As load rises, Checkout fails first, from 41.2/s on, at its step Pay."
    assert result.verdict.reasons[1] == first
    for text in (render_html(result), render_markdown(result)):
        assert first in text
        assert "Failures climb from 41.2/s on" in text.replace("\u00a0", " ")
        assert "did not climb" not in text


def test_what_fails_at_every_load_has_no_knee_and_no_fine_curve() -> None:
    """Failures that load did not bring are told, and nothing is said of how response time rises."""
    result = failing_run(lambda s: 0.3)
    found = result.transactions[0]
    text = knee_sentence(result, found)
    assert (found.failing_per_s, found.knee_per_s) == (None, None)
    assert text.startswith("Up to ")
    assert "did not climb" not in text


def test_few_failures_stand_beside_a_flat_curve() -> None:
    """Under 5 % in each band response time may be called flat, of what succeeded, with the share that failed."""
    result = failing_run(lambda s: 0.01)
    text = knee_sentence(result, result.transactions[0])
    assert "the median of what succeeded stayed within" in text
    assert "of a band failed." in text


def test_one_load_makes_no_curve() -> None:
    """A steady run has no bands, and no sentence."""
    phases = (ArrivalPhase("hold", 20_000, 20_000, 30 * NS_PER_S),)
    story = Story(flows=(Flow("Checkout", 1.0),), phases=phases)
    result = build_result(story.build_run(), today="2026-11-23")
    assert [knee_sentence(result, t) for t in result.transactions] == [""]
    assert expected_peak_per_s(result.plan) == 20


@pytest.mark.parametrize(("second", "users"), [(0, 0), (5, 50), (10, 100), (59, 100), (600, 100)])
def test_users_at_a_moment_follow_the_plan(second: int, users: int) -> None:
    """Linear within a phase, the last number after the end."""
    phases = (UserPhase("arrive", 0, 100, 10 * NS_PER_S), UserPhase("stay", 100, 100, 50 * NS_PER_S))
    plan = Plan("Shop", "users", "closed", phases, (TransactionPlan("Checkout", 1),))
    assert users_at(plan, second) == users


def test_an_open_plan_has_no_users() -> None:
    """Its load is a rate."""
    assert users_at(stored_runs.run_of("healthy").plan, 5) is None
