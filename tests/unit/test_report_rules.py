"""Rules held against merged numbers."""

from __future__ import annotations

from dataclasses import replace

import pytest

import stored_runs
from loadproof.plan.model import NS_PER_S, ArrivalPhase
from loadproof.rules.model import Rule, Waiver
from loadproof_report import build_result
from loadproof_report.result import RuleResult
from loadproof_report.rules import evaluate
from loadproof_report.rundata import RunData
from stored_runs import SHOP, Flow, Story, rule

STEADY = (ArrivalPhase("steady", 40_000, 40_000, 30 * NS_PER_S),)


def judge(data: RunData, *rules: Rule, now_s: float | None = None, partial: bool = False) -> list[RuleResult]:
    now_ns = data.duration_ns if now_s is None else round(now_s * NS_PER_S)
    return evaluate(
        rules, data.plan, data.merged, data.planned, now_ns=now_ns, partial=partial, today=stored_runs.STARTED_AT[:10]
    )


def only(data: RunData, wanted: Rule) -> RuleResult:
    (result,) = judge(data, wanted)
    return result


@pytest.fixture(scope="module")
def healthy() -> RunData:
    return stored_runs.run_of("healthy")


@pytest.fixture(scope="module")
def half_failing() -> RunData:
    flow = Flow("Only", 1.0, 50_000, failing=lambda s: 0.5, tags=("a",))
    return Story(flows=(flow,), phases=STEADY).build_run()


def test_a_star_expands_over_the_mix_in_its_order(healthy: RunData) -> None:
    """`*` gives one result for each transaction of the profile."""
    assert [r.transaction for r in judge(healthy, rule("*", "count > 0"))] == [flow.name for flow in SHOP]


def test_a_tag_picks_its_transactions_and_an_unknown_one_has_no_data(healthy: RunData) -> None:
    """A rule by tag judges those who carry it; nobody carrying it is no data, not a pass."""
    assert {r.transaction for r in judge(healthy, rule(tag="catalog", require="count > 0"))} == {
        "Search and open product details",
        "Browse category",
    }
    assert only(healthy, rule(tag="nobody", require="count > 0")).status == "no_data"


def test_a_transaction_outside_the_mix_has_no_data(healthy: RunData) -> None:
    """A rule on something the profile never runs cannot pass."""
    result = only(healthy, rule("Refund", "p95 <= 1s"))
    assert (result.status, "not in the mix" in result.detail) == ("no_data", True)


def test_failed_transactions_rank_slower_than_any_limit(half_failing: RunData) -> None:
    """Half of all fail fast: the median of those who succeed says nothing, and no limit is kept."""
    result = only(half_failing, rule("Only", "p95 <= 1h"))
    assert (result.status, result.observed) == ("failed", None)
    assert "rank slower than any limit" in result.detail


def test_a_low_percentile_still_has_a_value_with_failures(half_failing: RunData) -> None:
    """The 20th percentile of all lies among the successes, at the 40th of them."""
    result = only(half_failing, rule("Only", "p20 <= 1s"))
    ok = half_failing.merged.histogram("Only", outcome="ok", measure="response")
    failed = half_failing.merged.histogram("Only", outcome="failed", measure="response").n
    assert result.status == "passed"
    assert result.observed == pytest.approx(ok.quantile(0.2 * (ok.n + failed) / ok.n), rel=0.01)


def test_dropped_arrivals_count_as_failed() -> None:
    """Who found no free virtual user did not get what they came for."""
    data = Story(flows=(Flow("Only", 1.0),), phases=STEADY, dropped=lambda s: 0.3).build_run()
    result = only(data, rule("Only", "success_rate >= 99%"))
    assert result.status == "failed"
    assert result.observed == pytest.approx(0.7, abs=0.05)


@pytest.mark.parametrize(
    ("require", "status"),
    [("p99.9 <= 1h", "no_data"), ("p99 <= 1h", "passed"), ("p50 <= 1h", "passed"), ("p99 <= 1us", "failed")],
)
def test_a_percentile_needs_five_samples_beyond_it(require: str, status: str) -> None:
    """1,200 samples carry a p99 and no p99.9, however fast they were."""
    data = Story(flows=(Flow("Only", 1.0),), phases=STEADY).build_run()
    assert only(data, rule("Only", require)).status == status


def test_a_step_rule_judges_service_time_and_an_unreached_step_has_no_data(healthy: RunData) -> None:
    """Steps have service time only; a step nobody reached proves nothing."""
    result = only(healthy, rule("Checkout", "p95 <= 300ms", step="Pay"))
    assert (result.status, result.measure) == ("passed", "service")
    assert only(healthy, rule("Checkout", "p95 <= 300ms", step="Refund")).status == "no_data"


def test_warm_up_phases_are_not_judged_unless_named() -> None:
    """A slow warm-up breaks no rule; a rule on that phase does see it."""
    phases = (ArrivalPhase("warm", 40_000, 40_000, 20 * NS_PER_S, warmup=True), *STEADY)
    flow = Flow("Only", 1.0, 50_000, slow=lambda s: 40.0 if s < 20 else 1.0)
    data = Story(flows=(flow,), phases=phases).build_run()
    assert only(data, rule("Only", "p95 <= 500ms")).status == "passed"
    assert only(data, rule("Only", "p95 <= 500ms", phase="warm")).status == "failed"
    assert only(data, rule("Only", "p95 <= 500ms", phase="nowhere")).status == "no_data"


def test_errors_by_category_are_judged_as_count_or_as_share(half_failing: RunData) -> None:
    """`errors.http_status` against a number is a count, against a percentage a share; other categories are 0."""
    count = only(half_failing, rule("Only", "errors.http_status <= 10"))
    share = only(half_failing, rule("Only", "errors.http_status <= 60%"))
    assert (count.status, share.status) == ("failed", "passed")
    assert count.observed == sum(d.failed for d in half_failing.merged.delivery.values())
    assert only(half_failing, rule("Only", "errors.timeout <= 0")).status == "passed"


def test_throughput_counts_successes_per_judged_second(half_failing: RunData) -> None:
    """40 a second of which half fail is a throughput of about 20 a second."""
    assert only(half_failing, rule("Only", "throughput >= 15/s")).observed == pytest.approx(20, abs=2)
    assert only(half_failing, rule("Only", "throughput >= 25/s")).status == "failed"


def test_max_is_broken_by_any_failure_and_mean_is_of_successes(half_failing: RunData) -> None:
    """The slowest of all is a failed one; the mean says nothing about them."""
    assert only(half_failing, rule("Only", "max <= 1h")).status == "failed"
    assert only(half_failing, rule("Only", "mean <= 100ms")).status == "passed"


def test_a_window_rule_finds_a_short_spike_that_the_whole_run_hides() -> None:
    """Ten slow seconds in ninety vanish in the run's p90 and not in a window of 5 s."""
    flow = Flow("Only", 1.0, 50_000, slow=lambda s: 20.0 if 50 <= s < 56 else 1.0)
    phases = (ArrivalPhase("steady", 40_000, 40_000, 90 * NS_PER_S),)
    data = Story(flows=(flow,), phases=phases).build_run()
    assert only(data, rule("Only", "p90 <= 500ms")).status == "passed"
    windowed = only(data, rule("Only", "p90 <= 500ms over 5s"))
    assert windowed.status == "failed"
    assert windowed.failed_at_s is not None
    assert 46 <= windowed.failed_at_s <= 56


def test_a_window_rule_from_below_is_kept_by_failures_and_broken_by_what_is_fast() -> None:
    """Failures rank slower than any limit, so `p95 >= 10ms` holds among them; only the fast seconds break it."""
    flow = Flow("Only", 1.0, 50_000, failing=lambda s: 0.4 if s < 50 else 0.0, slow=lambda s: 0.05 if s >= 70 else 1.0)
    phases = (ArrivalPhase("steady", 40_000, 40_000, 90 * NS_PER_S),)
    data = Story(flows=(flow,), phases=phases).build_run()
    kept = only(data, rule("Only", "p95 >= 1ms over 30s"))
    assert (kept.status, kept.failed_at_s, "broken" in kept.detail) == ("passed", None, False)
    broken = only(data, rule("Only", "p95 >= 10ms over 10s"))
    assert (broken.status, "broken in 11 windows" in broken.detail) == ("failed", True), broken.detail
    assert broken.observed is not None
    assert broken.observed < 10_000
    assert broken.overshoot is not None
    assert 0 < broken.overshoot < 1


@pytest.fixture(scope="module")
def timed_out() -> RunData:
    """Six seconds in ninety in which every fifth transaction times out in its second step."""
    flow = Flow(
        "Only", 1.0, 50_000, steps=(("Open", "GET /", 0.5), ("Pay", "POST /pay", 0.5)), fails_at=1,
        failing=lambda s: 0.2 if 50 <= s < 56 else 0.0, failure=("timeout", "no answer", 0),
    )  # fmt: skip
    return Story(flows=(flow,), phases=(ArrivalPhase("steady", 40_000, 40_000, 90 * NS_PER_S),)).build_run()


def test_a_window_rule_finds_a_burst_of_one_category(timed_out: RunData) -> None:
    """By share and by count, exactly as many as the whole run has; other categories and the whole run hold."""
    errors = sum(stats.count for stats in timed_out.merged.errors.values())
    assert only(timed_out, rule("Only", "errors.timeout <= 3%")).status == "passed"
    share = only(timed_out, rule("Only", "errors.timeout <= 3% over 6s"))
    assert (share.status, share.observed) == ("failed", errors / 240)
    assert share.failed_at_s == 50
    assert "worst from 0:50 to 0:56" in share.detail
    count = only(timed_out, rule("Only", f"errors.timeout <= {errors - 1} over 10s"))
    assert (count.status, count.observed) == ("failed", errors)
    assert only(timed_out, rule("Only", f"errors.timeout <= {errors} over 10s")).status == "passed"
    assert only(timed_out, rule("Only", "errors.check <= 0 over 10s")).status == "passed"


def test_a_window_rule_on_a_step_counts_that_step_s_failures(timed_out: RunData) -> None:
    """The step that failed is found, the one before it is not."""
    assert only(timed_out, rule("Only", "errors.timeout <= 3% over 6s", step="Pay")).status == "failed"
    assert only(timed_out, rule("Only", "errors.timeout <= 0 over 6s", step="Open")).status == "passed"
    assert only(timed_out, rule("Only", "errors.timeout <= 0 over 6s", phase="nowhere")).status == "no_data"


def test_a_window_rule_on_a_category_aborts_a_run_that_goes_on(timed_out: RunData) -> None:
    """In the middle of the burst it is broken; before it is not."""
    wanted = rule("Only", "errors.timeout <= 5% over 5s", abort_after_ns=10 * NS_PER_S)
    before = judge(timed_out, wanted, now_s=49, partial=True)[0]
    amid = judge(timed_out, wanted, now_s=56, partial=True)[0]
    assert (before.status, before.aborts) == ("passed", False)
    assert (amid.status, amid.aborts) == ("failed", True)


def test_the_timeline_tells_failures_by_category(timed_out: RunData) -> None:
    """For each transaction and for all; over the run they add up to the errors."""
    result = build_result(timed_out, today=stored_runs.STARTED_AT[:10])
    errors = sum(stats.count for stats in timed_out.merged.errors.values())
    for parts in (result.timeline, [interval.transactions["Only"] for interval in result.timeline]):
        assert sum(part.errors.get("timeout", 0) for part in parts) == errors
    assert [interval.second for interval in result.timeline if interval.errors] == list(range(50, 56))


def test_a_window_without_enough_samples_is_no_data() -> None:
    """Two a second can never carry a p99 of five seconds."""
    data = Story(flows=(Flow("Only", 1.0),), phases=(ArrivalPhase("slow", 2_000, 2_000, 30 * NS_PER_S),)).build_run()
    assert only(data, rule("Only", "p99 <= 1s over 5s")).status == "no_data"


def test_abort_is_asked_for_once_broken_and_not_before_its_time(half_failing: RunData) -> None:
    """`abort_after = 10s` does nothing at 5 s and aborts at 10 s."""
    wanted = rule("Only", "success_rate >= 99%", abort_after_ns=10 * NS_PER_S)
    early = judge(half_failing, wanted, now_s=5, partial=True)[0]
    late = judge(half_failing, wanted, now_s=10, partial=True)[0]
    assert (early.status, early.aborts) == ("failed", False)
    assert (late.status, late.aborts) == ("failed", True)


def test_a_waived_rule_does_not_abort(half_failing: RunData) -> None:
    """What may be broken for a while does not stop the run."""
    waiver = Waiver("known", "team", "2026-12-31")
    wanted = rule("Only", "success_rate >= 99%", abort_after_ns=NS_PER_S, waiver=waiver)
    result = judge(half_failing, wanted, now_s=10, partial=True)[0]
    assert (result.status, result.aborts) == ("failed", False)


def test_a_count_that_can_still_grow_is_not_broken_while_running(healthy: RunData) -> None:
    """`count >= 1,000,000` is no data in the middle of a run and broken at its end."""
    wanted = rule("Checkout", "count >= 1000000")
    assert judge(healthy, wanted, now_s=20, partial=True)[0].status == "no_data"
    assert only(healthy, wanted).status == "failed"


def test_nothing_run_at_all_keeps_no_upper_bound() -> None:
    """A rule without data never passes: no failure and no time among nothing is nothing."""
    data = replace(stored_runs.run_of("healthy"), merged=type(stored_runs.run_of("healthy").merged)())
    for require in ("p95 <= 1h", "error_rate <= 100%", "success_rate >= 0%", "count <= 10", "errors.timeout <= 0"):
        assert only(data, rule("Checkout", require)).status == "no_data", require
    assert only(data, rule("Checkout", "count >= 1")).status == "failed"


def test_a_baseline_limit_has_no_data_without_a_baseline(healthy: RunData) -> None:
    """`baseline + 10%` without a baseline is not a pass."""
    assert only(healthy, rule("Checkout", "p95 <= baseline + 10%")).status == "no_data"


def test_a_rule_of_another_profile_is_not_judged(healthy: RunData) -> None:
    """`profiles = ["smoke"]` leaves the release profile alone."""
    assert judge(healthy, rule("*", "count > 0", profiles=("smoke",))) == []


@pytest.mark.parametrize(("until", "active"), [("2026-11-23", True), ("2026-11-22", False)])
def test_a_waiver_holds_up_to_its_last_day(half_failing: RunData, until: str, active: bool) -> None:
    """A waiver is in use on its date and not the day after."""
    wanted = rule("Only", "success_rate >= 99%", waiver=Waiver("known", "team", until))
    result = only(half_failing, wanted)
    assert result.waiver is not None
    assert (result.status, result.waiver.active) == ("failed", active)


@pytest.mark.parametrize(
    "require", ["p95 <= 800ms", "success_rate >= 90%", "error_rate < 10%", "max <= 1m", "mean < 1s"]
)
def test_no_rule_passes_when_everything_fails(require: str) -> None:
    """A target that fails fast keeps no promise about time or success."""
    data = stored_runs.run_of("target_down")
    assert {r.status for r in judge(data, rule("*", require))} == {"failed"}
