"""`baseline + 10%`: judged with the noise of both runs, never from a baseline that may not be compared with."""

from __future__ import annotations

import functools
from dataclasses import replace

import pytest

from loadproof.metrics.intervals import IntervalsFile
from loadproof.plan.model import NS_PER_S, ArrivalPhase
from loadproof_report import StoredRun, build_result
from loadproof_report.baseline import reading_of
from loadproof_report.result import RuleResult
from loadproof_report.rules import evaluate
from loadproof_report.rundata import EnvironmentInfo, RunData
from loadproof_report.scope import judged_spans
from stored_runs import STARTED_AT, Flow, Story, rule

STEADY = (ArrivalPhase("hold", 40_000, 40_000, 120 * NS_PER_S),)
TODAY = STARTED_AT[:10]


def run_of(
    run_id: str, *, seed: int, median_us: int = 80_000, failing: float = 0.0, seconds: int = 120, spread: float = 0.2
) -> RunData:
    flow = Flow("Checkout", 1.0, median_us, spread, criticality="critical", failing=lambda s: failing)
    phases = (ArrivalPhase("hold", 40_000, 40_000, seconds * NS_PER_S),)
    return Story(flows=(flow,), phases=phases, run_id=run_id, seed=seed).build_run()


def stored(data: RunData) -> StoredRun:
    intervals = IntervalsFile(data.merged.intervals_width_s, data.merged.intervals)
    return StoredRun(build_result(data, today=TODAY), intervals)


@functools.cache
def before() -> StoredRun:
    return stored(run_of("before", seed=1))


def judged(data: RunData, require: str, *baselines: StoredRun, **changes: object) -> RuleResult:
    with_rule = replace(data, rules=(rule("Checkout", require, **changes),))
    return build_result(with_rule, baselines, today=TODAY).rules[0]


@pytest.mark.parametrize(
    "require",
    [
        "p95 <= baseline + 15%",
        "p50 <= baseline + 15%",
        "p90 <= baseline + 15%",
        "mean <= baseline + 15%",
        "service p95 <= baseline + 15%",
        "p95 <= baseline + 30ms",
        "success_rate >= baseline - 1%",
        "error_rate <= baseline + 1%",
        "throughput >= baseline - 1%",
        "count >= baseline",
    ],
)
def test_an_equal_build_keeps_a_limit_wider_than_the_noise(require: str) -> None:
    """Another run of the same build passes."""
    result = judged(run_of("after", seed=2), require, before())
    assert result.status == "passed", result.detail


@pytest.mark.parametrize("require", ["p95 <= baseline + 10%", "p50 <= baseline + 10%", "mean <= baseline + 10%"])
def test_a_clearly_slower_build_breaks_it(require: str) -> None:
    """Half as slow again is beyond any noise here, and the rule blocks."""
    data = run_of("after", seed=2, median_us=120_000)
    result = judged(data, require, before())
    assert (result.status, "noise" in result.detail) == ("failed", True)
    whole = build_result(replace(data, rules=(rule("Checkout", require),)), [before()], today=TODAY)
    assert whole.verdict.decision == "NO_GO"


def test_failures_break_a_rate() -> None:
    """Five points more failures are beyond the noise of both runs."""
    result = judged(run_of("after", seed=2, failing=0.05), "success_rate >= baseline - 1%", before())
    assert result.status == "failed"


def test_what_the_noise_leaves_open_is_no_data() -> None:
    """A limit within the noise neither passes nor blocks: the run proves nothing about it."""
    data = run_of("after", seed=2)
    result = judged(data, "p95 <= baseline", before())
    assert (result.status, "leaves open" in result.detail) == ("no_data", True)
    whole = build_result(replace(data, rules=(rule("Checkout", "p95 <= baseline"),)), [before()], today=TODAY)
    assert whole.verdict.decision == "NOT_PROVEN"


def test_a_percentile_among_failures_is_broken_whatever_the_noise() -> None:
    """When more than 5 % fail, the p95 is worse than any limit."""
    result = judged(run_of("after", seed=2, failing=0.2), "p95 <= baseline + 10%", before())
    assert (result.status, result.observed) == ("failed", None)


def test_a_baseline_of_another_plan_is_no_data() -> None:
    """A different load, environment or no histograms: the reason is told, and nothing passes."""
    data = run_of("after", seed=2)
    other = stored(run_of("other", seed=1, seconds=110))
    elsewhere = stored(replace(run_of("elsewhere", seed=1), environment=EnvironmentInfo("production")))
    bare = StoredRun(before().result, None, "the interval histograms of before cannot be read: gone")
    for baseline, said in ((other, "plan differs"), (elsewhere, "environment is"), (bare, "cannot be read")):
        result = judged(data, "p95 <= baseline + 50%", baseline)
        assert (result.status, said in result.detail) == ("no_data", True), result.detail
    assert judged(data, "p95 <= baseline + 50%", other, before()).status == "passed"


def test_the_run_itself_is_no_baseline() -> None:
    """Comparing a run with itself would always pass."""
    data = run_of("before", seed=1)
    assert judged(data, "p95 <= baseline + 50%", before()).status == "no_data"


def test_a_window_from_a_baseline_is_no_data() -> None:
    """The noise of a window is not that of the run."""
    result = judged(run_of("after", seed=2), "p95 <= baseline + 50% over 30s", before())
    assert (result.status, "window" in result.detail) == ("no_data", True)


def test_a_short_run_is_judged_with_wide_noise_and_a_very_short_one_not_at_all() -> None:
    """Fifteen seconds still show a run three times slower; five show nothing."""
    base = stored(run_of("before", seed=1, seconds=15))
    assert judged(run_of("a", seed=2, seconds=15, median_us=240_000), "p95 <= baseline + 10%", base).status == "failed"
    tiny = stored(run_of("before", seed=1, seconds=5))
    result = judged(run_of("a", seed=2, seconds=5, median_us=240_000), "p95 <= baseline + 10%", tiny)
    assert (result.status, "too few" in result.detail) == ("no_data", True)


def test_several_baselines_of_one_build_narrow_the_noise() -> None:
    """Five quiet baselines settle what one leaves open."""
    runs = [stored(run_of(f"before-{seed}", seed=seed, spread=0.05)) for seed in range(10, 18)]
    data = run_of("after", seed=3, spread=0.05)
    require = "p95 <= baseline + 4.2%"
    assert judged(data, require, runs[0]).status == "no_data"
    assert judged(data, require, *runs).status == "passed"


def test_a_phase_and_a_step_have_noise_of_their_own() -> None:
    """A rule narrowed to a phase or a step is judged by its samples only."""
    data = run_of("after", seed=2)
    assert judged(data, "p95 <= baseline + 15%", before(), phase="hold").status == "passed"
    assert judged(data, "p95 <= baseline + 15%", before(), step="Open").status == "passed"
    assert judged(data, "p95 <= baseline + 15%", before(), step="Elsewhere").status == "no_data"


def weak(run_id: str, *, seed: int, median_us: int = 80_000) -> RunData:
    flow = Flow("Checkout", 1.0, median_us, 0.2, criticality="critical")
    return Story(flows=(flow,), phases=STEADY, run_id=run_id, seed=seed, missed=lambda s: 0.2).build_run()


def test_a_baseline_with_unsound_evidence_is_no_reference() -> None:
    """A fifth of its arrivals never started: what it measured is no limit."""
    result = judged(run_of("after", seed=2), "p95 <= baseline + 15%", stored(weak("before", seed=1)))
    assert result.status == "no_data"
    assert "the evidence of before is unsound" in result.detail


def test_weak_evidence_of_the_run_itself_excuses_no_broken_limit() -> None:
    """Half as slow again is broken, however many arrivals were missed."""
    data = weak("after", seed=2, median_us=120_000)
    whole = build_result(replace(data, rules=(rule("Checkout", "p95 <= baseline + 10%"),)), [before()], today=TODAY)
    assert (whole.rules[0].status, whole.verdict.decision) == ("failed", "NO_GO")
    assert whole.comparison is not None
    assert not whole.comparison.comparable


WARM_AND_PEAK = (
    ArrivalPhase("warm", 40_000, 40_000, 60 * NS_PER_S, warmup=True),
    ArrivalPhase("ramp", 10_000, 10_000, 60 * NS_PER_S),
    ArrivalPhase("peak", 40_000, 40_000, 60 * NS_PER_S),
)


def phased(
    run_id: str, *, seed: int, slower: float = 1.0, failing: float = 0.0, category: str = "http_status"
) -> RunData:
    """A cold first minute, ten times as slow; `slower` and `failing` from the second minute on."""
    flow = Flow(
        "Checkout", 1.0, 80_000, 0.2, steps=(("Open", "GET /", 0.5), ("Pay", "POST /pay", 0.5)), fails_at=1,
        slow=lambda s: 10.0 if s < 60 else slower, failing=lambda s: 0.0 if s < 60 else failing,
        failure=(category, "no answer", 503),
    )  # fmt: skip
    return Story(flows=(flow,), phases=WARM_AND_PEAK, run_id=run_id, seed=seed).build_run()


@functools.cache
def phased_before() -> StoredRun:
    return stored(phased("before", seed=1))


@functools.cache
def failing_run() -> RunData:
    return phased("before", seed=1, failing=0.02)


@functools.cache
def failing_before() -> StoredRun:
    return stored(failing_run())


@functools.cache
def phased_after(slower: float = 1.0, failing: float = 0.0) -> RunData:
    return phased("after", seed=2, slower=slower, failing=failing)


@pytest.mark.parametrize("phase", [None, "peak"])
@pytest.mark.parametrize("step", [None, "Pay"])
def test_a_slow_warm_up_in_the_baseline_excuses_no_slower_release(step: str | None, phase: str | None) -> None:
    """The limit starts from the judged phases only: three times slower once warm is broken, for a step, too."""
    data = phased_after(slower=3.0)
    result = judged(data, "p95 <= baseline + 50%", phased_before(), step=step, phase=phase)
    assert result.status == "failed", (result.limit_text, result.detail)
    assert result.limit == pytest.approx(1.5 * 80_000 * (0.5 if step else 1.0) * 1.39, rel=0.1)
    assert judged(phased_after(), "p95 <= baseline + 50%", phased_before(), step=step).status == "passed"


@pytest.mark.parametrize(("phase", "per_s"), [("peak", 40.0), (None, 25.0)])
def test_throughput_in_the_baseline_is_of_the_judged_seconds(phase: str | None, per_s: float) -> None:
    """A release that loses two in five breaks it; the seconds of other phases do not dilute the limit."""
    data = phased_after(failing=0.4)
    result = judged(data, "throughput >= baseline - 10%", phased_before(), phase=phase)
    assert (result.status, result.limit) == ("failed", pytest.approx(0.9 * per_s))
    assert judged(phased_after(), "throughput >= baseline - 10%", phased_before(), phase=phase).status == "passed"


@pytest.mark.parametrize("step", [None, "Pay"])
@pytest.mark.parametrize("phase", [None, "ramp", "warm", "peak"])
def test_the_limit_is_what_the_baseline_itself_measured(step: str | None, phase: str | None) -> None:
    """Whatever the metric, phase or step, `baseline` is the very number that the rule reads in that run."""
    base = failing_before()
    assert base.intervals is not None
    limits = dict.fromkeys(("p50", "p97", "service p90", "p95.5", "mean"), "1ms")
    limits |= {"success_rate": "1%", "error_rate": "1%", "throughput": "1/s", "count": "1"}
    if phase is None:
        limits |= {"errors.http_status": "1", "errors.timeout": "1"}
    data = failing_run()
    spans = judged_spans(data.plan, phase)
    for metric, limit in limits.items():
        (own,) = evaluate(
            [rule("Checkout", f"{metric} <= {limit}", step=step, phase=phase)], data.plan, data.merged, data.planned,
            now_ns=data.duration_ns, today=TODAY,
        )  # fmt: skip
        asked = rule("Checkout", f"{metric} <= baseline", step=step, phase=phase)
        reading = reading_of(base.result, base.intervals, asked, "Checkout", spans)
        assert own.observed is not None
        assert reading.value == own.observed, metric


def test_failures_of_a_category_are_counted_in_the_baseline() -> None:
    """`errors.timeout <= baseline + 5` has data from the first baseline on, and is judged as it is."""
    base = phased("before", seed=1, failing=0.01, category="timeout")
    failed = sum(stats.count for stats in base.merged.errors.values())
    for failing, status in ((0.01, "passed"), (0.1, "failed")):
        data = phased("after", seed=2, failing=failing, category="timeout")
        result = judged(data, "errors.timeout <= baseline + 25", stored(base))
        assert (result.status, result.limit) == (status, failed + 25)


def test_a_kind_of_failure_seen_in_other_phases_too_needs_the_rule_in_the_baseline() -> None:
    """The table of errors does not tell them apart; the rule's own count does, which a run without a baseline keeps."""
    require, base = "errors.http_status <= baseline + 40", failing_run()
    data = phased_after(failing=0.02)
    bare = judged(data, require, failing_before(), phase="peak")
    assert (bare.status, "apart" in bare.detail) == ("no_data", True)
    first = judged(base, require, phase="peak")
    with_rule = stored(replace(base, rules=(rule("Checkout", require, phase="peak"),)))
    assert (first.status, first.limit, "no baseline" in first.detail) == ("no_data", None, True)
    result = judged(data, require, with_rule, phase="peak")
    assert (result.status, result.limit) == ("passed", (first.observed or 0) + 40)


def test_a_baseline_that_failed_too_often_sets_no_limit() -> None:
    """Its percentile lies among its failures; the times of the few that worked are no promise."""
    base = stored(phased("before", seed=1, failing=0.3))
    result = judged(phased_after(), "p95 <= baseline + 10%", base)
    assert (result.status, "failures" in result.detail) == ("no_data", True)
