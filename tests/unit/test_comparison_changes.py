"""What the comparison says about simulated pairs of runs."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import stored_runs
from loadproof.histogram import counts_from_samples
from loadproof.metrics import IntervalKey, MergedState
from loadproof.metrics.intervals import read_intervals, write_series
from loadproof_report.comparison import ComparisonInput, compare, of_evidence
from loadproof_report.result import Change as Judged
from loadproof_report.result import Comparison, Evidence, Finding
from simulated_runs import Change, World, simulated

WORLD = World(seconds=200, transactions=("Search", "Checkout"), per_second=15)


def find(result: Comparison, transaction: str, metric: str, step: str = "") -> Judged:
    return next(c for c in result.changes if (c.transaction, c.step, c.metric) == (transaction, step, metric))


def test_a_planted_regression_is_found_where_it_is_and_nowhere_else() -> None:
    """Checkout 40 % slower: named, with interval and sentence; Search is left alone."""
    result = compare(simulated(WORLD, 1, Change("Checkout", slower=1.4)), [simulated(WORLD, 2)])
    assert result.comparable
    change = find(result, "Checkout", "p95")
    assert change.judgement == "worse"
    assert change.low is not None
    assert change.high is not None
    assert change.low < 0.4 < change.high
    assert "95th percentile is worse" in change.text
    assert "slower" in change.text
    assert find(result, "Checkout", "p50", "Submit").judgement == "worse"
    assert {c.judgement for c in result.changes if c.transaction == "Search"} <= {"same", "unclear"}


def test_a_build_that_is_slower_under_load_only_can_be_compared() -> None:
    """What the plan explains is no noise: a ramp and a peak, twice as slow at the peak, still make 20 blocks."""
    world = dataclasses.replace(WORLD, seconds=120, ramp_s=40)
    result = compare(simulated(world, 1, Change("Checkout", slower=2.0, with_load=True)), [simulated(world, 2)])
    assert result.comparable, result.obstacles
    assert find(result, "Checkout", "p95").judgement == "worse"
    assert {c.judgement for c in result.changes if c.transaction == "Search"} <= {"same", "unclear"}


def test_an_improvement_is_called_better() -> None:
    """Faster is good news, and told as such."""
    result = compare(simulated(WORLD, 1, Change("Search", slower=0.6)), [simulated(WORLD, 2)])
    assert find(result, "Search", "mean").judgement == "better"


def test_more_failures_are_worse() -> None:
    """A build that answers fewer users correctly is worse though it is no slower."""
    result = compare(simulated(WORLD, 1, Change("Search", failures=0.08)), [simulated(WORLD, 2)])
    change = find(result, "Search", "success_rate")
    assert change.judgement == "worse"
    assert change.change == pytest.approx(-0.08, abs=0.02)
    assert "points lower" in change.text


def test_equal_builds_show_no_change_and_say_what_could_not_be_seen() -> None:
    """Every judged number carries the smallest change that would have been found."""
    result = compare(simulated(WORLD, 3), [simulated(WORLD, 4)])
    assert {c.judgement for c in result.changes} <= {"same", "unclear"}
    assert result.minimum_detectable_change is not None
    assert 0.02 < result.minimum_detectable_change < 0.5
    assert "could not have been seen" in find(result, "Search", "p95").text
    assert result.between_runs == "assumed"
    assert any("is assumed" in note for note in result.notes)


def test_the_result_is_the_same_for_the_same_seed() -> None:
    """A report rendered again says the same."""
    runs = [simulated(WORLD, 5), simulated(WORLD, 6)]
    assert compare(runs[0], runs[1:], seed=3) == compare(runs[0], runs[1:], seed=3)


def test_several_baselines_measure_the_spread_between_runs() -> None:
    """From three on the spread is measured, and each number has a noise band around the baselines."""
    quiet = World(seconds=200, per_second=15, run_spread=0.0, steps=())
    loud = World(seconds=200, per_second=15, run_spread=0.08, steps=())
    results = [
        compare(simulated(w, 1), [simulated(w, seed) for seed in range(2, 7)], resamples=300) for w in (quiet, loud)
    ]
    for result in results:
        assert (result.baselines, result.between_runs) == (5, "measured")
        change = find(result, "Search", "p95")
        assert change.band_low is not None
        assert change.band_high is not None
        assert change.baseline is not None
        assert change.band_low < change.baseline < change.band_high
    small, large = (find(result, "Search", "p95").detectable for result in results)
    assert small is not None
    assert large is not None
    assert small < large


def test_a_swing_that_baselines_show_among_themselves_is_no_change() -> None:
    """15 % slower is a change among quiet runs and none among runs that differ by 12 %."""
    planted = Change("Search", slower=1.15)
    quiet = World(seconds=200, per_second=30, run_spread=0.0, interval_spread=0.02, steps=())
    baselines = [simulated(quiet, seed) for seed in range(2, 7)]
    assert find(compare(simulated(quiet, 1, planted), baselines, resamples=300), "Search", "p50").judgement == "worse"
    loud = World(seconds=200, per_second=30, run_spread=0.12, interval_spread=0.02, steps=())
    baselines = [simulated(loud, seed) for seed in range(2, 7)]
    assert find(compare(simulated(loud, 1, planted), baselines, resamples=300), "Search", "p50").judgement != "worse"


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"plan_sha256": "b" * 64}, "the plan differs"),
        ({"datasets": (("products", "c" * 64),)}, "products"),
        ({"environment": "laptop"}, "the environment is staging"),
        ({"sizing": ((8, 4),)}, "1 with 4 workers on 8 cores"),
        ({"tool_version": "0.2.0"}, "the generator may differ"),
        ({"run_id": "run-1"}, "this run itself"),
    ],
)
def test_runs_that_differ_in_more_than_the_build_are_not_compared(facts, reason: str) -> None:
    """Each difference is a reason of its own, in words."""
    short = World(seconds=50, per_second=3)
    result = compare(simulated(short, 1), [simulated(short, 2, **facts)])
    assert not result.comparable
    assert result.changes == ()
    (text,) = result.obstacles
    assert text.startswith("Not comparable because")
    assert reason in text


def test_an_unfit_baseline_among_fit_ones_is_left_out_with_a_note() -> None:
    """One stray run does not spoil the others."""
    result = compare(simulated(WORLD, 1), [simulated(WORLD, 2), simulated(WORLD, 3, environment="laptop")])
    assert result.comparable
    assert result.baselines == 1
    assert any("run-3 was left out" in note for note in result.notes)


def test_fewer_than_twenty_blocks_are_not_comparable() -> None:
    """A 30-second smoke run says too little about its own noise, and the text says how long to run."""
    short = World(seconds=30)
    result = compare(simulated(short, 1), [simulated(short, 2)])
    assert not result.comparable
    assert "run for at least" in result.obstacles[0]


def test_runs_without_common_plan_time_are_not_comparable() -> None:
    """Nothing measured is nothing to compare."""
    empty = ComparisonInput("e", "a" * 64, "staging", "0.1.0")
    result = compare(simulated(World(seconds=50), 1), [empty])
    assert not result.comparable
    assert "no stretch of plan time" in result.obstacles[0]


def test_a_run_cut_short_is_compared_over_what_both_have() -> None:
    """Blocks are paired by plan time: the second half of the longer run is not held against the shorter."""
    whole = World(seconds=400, per_second=15)
    current, baseline = simulated(whole, 1), simulated(whole, 2)
    half = {key: {s: c for s, c in cells.items() if s < 200} for key, cells in current.series.items()}
    result = compare(dataclasses.replace(current, series=half), [baseline])
    assert result.comparable
    assert result.blocks * result.block_s <= 200


def test_rare_transactions_are_not_judged() -> None:
    """A percentile needs samples above it; without them the text says so."""
    rare = World(seconds=200, per_second=1, transactions=("Search",), steps=())
    result = compare(simulated(rare, 1), [simulated(rare, 2)])
    change = find(result, "Search", "p99")
    assert (change.judgement, change.change) == ("unclear", None)
    assert "too few samples" in change.text


def test_warmup_is_not_compared() -> None:
    """Phases reported but not judged stay out."""
    key = IntervalKey("T", "", "warm", "ok", "response")
    run = simulated(WORLD, 1)
    slow = {second: counts_from_samples(np.full(500, 9_000_000)) for second in range(200)}
    warmed = simulated(WORLD, 2, warmup=frozenset({"warm"}))
    warmed = dataclasses.replace(warmed, series={**warmed.series, key: slow})
    result = compare(warmed, [run])
    assert all(c.transaction != "T" for c in result.changes)


def test_intervals_of_different_length_are_brought_to_the_longer(tmp_path) -> None:
    """A run whose intervals were merged in pairs is still compared."""
    a, b = simulated(WORLD, 1), simulated(WORLD, 2)
    write_series(tmp_path / "b.bin", {key: dict(cells) for key, cells in b.series.items()}, 1)
    stored = read_intervals(tmp_path / "b.bin")
    wider = ComparisonInput(b.run_id, b.plan_sha256, b.environment, b.tool_version, width_s=2, series=stored.series)
    result = compare(a, [wider])
    assert result.comparable
    assert result.block_s % 2 == 0


def test_a_comparison_needs_a_baseline() -> None:
    """Comparing with nothing is a mistake of the caller."""
    with pytest.raises(ValueError, match="at least one baseline"):
        compare(simulated(World(seconds=40), 1), [])


def test_merged_state_feeds_the_comparison() -> None:
    """What the controller merges is what the comparison reads."""
    assert MergedState().intervals == {}
    assert MergedState().intervals_width_s == 1


def test_runs_with_unsound_evidence_are_not_compared() -> None:
    """What a slow generator measured says nothing of a build; of several baselines the weak one is left out."""
    late = "36 % of the starts came over 100 ms late"
    result = compare(simulated(WORLD, 1, weak=late), [simulated(WORLD, 2), simulated(WORLD, 3)])
    assert not result.comparable
    assert result.obstacles == (f"Not comparable because the evidence of this run is unsound: {late}",)
    result = compare(simulated(WORLD, 1), [simulated(WORLD, 2, weak=late), simulated(WORLD, 3)])
    assert (result.comparable, result.baseline_run_id) == (True, "run-3")
    assert f"run-2 was left out: the evidence of run-2 is unsound: {late}" in result.notes


def test_a_full_machine_needs_baselines_that_measure_the_spread() -> None:
    """One baseline can't tell what else a full machine computed; three show how far its runs differ."""
    others = [simulated(WORLD, seed, machine_full=True) for seed in (2, 3, 4)]
    result = compare(simulated(WORLD, 1), others[:1])
    assert not result.comparable
    assert "no processor time left in run-2" in result.obstacles[0]
    assert "compare with 3 baselines or more" in result.obstacles[0]
    result = compare(simulated(WORLD, 1), others)
    assert (result.comparable, result.between_runs) == (True, "measured")


@pytest.mark.parametrize(
    ("name", "weak", "machine_full"),
    [("saturated", True, False), ("agent_lost", True, False), ("healthy", False, False)],
)
def test_what_the_evidence_says_decides_whether_a_run_may_be_compared(
    name: str, weak: bool, machine_full: bool
) -> None:
    """Late starts and lost arrivals make a run unfit; a healthy one is fit."""
    found = of_evidence(stored_runs.result_of(name).evidence)
    assert (bool(found["weak"]), found["machine_full"]) == (weak, machine_full)


def test_a_run_stopped_by_a_person_may_be_compared_as_far_as_it_went() -> None:
    """Cut short is not mismeasured; a full machine is noted."""
    stopped = Finding(code="stopped_by_person", severity="unsound", text="Stopped.", value=0.5)
    full = Finding(code="machine_full", severity="degraded", text="Full.", value=0.5)
    assert of_evidence(Evidence(sound=False, findings=(stopped, full))) == {"weak": "", "machine_full": True}


SLOW_DRIFT = World(seconds=60, transactions=("Search",), steps=(), per_second=40, spread=0.1, correlation=0.9)


def test_a_slow_drift_that_is_no_matter_leaves_a_short_run_comparable() -> None:
    """2 % of noise with a long memory is less than is assumed between runs: 30 % slower is found, equal is same."""
    quiet = dataclasses.replace(SLOW_DRIFT, interval_spread=0.02)
    pair = [simulated(quiet, seed) for seed in (1, 2)]
    assert {change.judgement for change in compare(pair[0], pair[1:]).changes} <= {"same", "unclear"}
    slower = compare(simulated(quiet, 1, Change("Search", slower=1.3)), pair[1:])
    assert slower.comparable, slower.obstacles
    assert find(slower, "Search", "p50").judgement == "worse"


def test_a_slow_drift_that_matters_needs_a_longer_run() -> None:
    """15 % of the same noise in a minute says too little, and the message says how long would do."""
    loud = dataclasses.replace(SLOW_DRIFT, interval_spread=0.15)
    result = compare(simulated(loud, 1), [simulated(loud, 2)])
    assert not result.comparable
    assert "run for at least" in result.obstacles[0]


def test_a_tenth_of_a_millisecond_is_no_change_of_a_build() -> None:
    """A step of half a millisecond that is 15 % slower is 75 µs slower: that much another run of one build differs."""
    measured = {
        (factor, seed): {
            key: {second: counts_from_samples((np.arange(40) + 500) * factor // 100) for second in cells}
            for key, cells in simulated(SLOW_DRIFT, seed).series.items()
            if key.outcome == "ok"
        }
        for factor, seed in ((100, 1), (115, 2), (200, 3))
    }
    base, near, far = (
        dataclasses.replace(simulated(SLOW_DRIFT, s), series=series) for (_, s), series in measured.items()
    )
    assert find(compare(near, [base]), "Search", "p50").judgement == "same"
    assert find(compare(far, [base]), "Search", "p50").judgement == "worse"
