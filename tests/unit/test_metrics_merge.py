"""Adding deltas: the same numbers and digest for any order and grouping."""

from __future__ import annotations

import functools
import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadproof.metrics import (
    OTHER,
    Delta,
    ErrorKey,
    ErrorStats,
    MergedState,
    SecondStats,
    SeriesKey,
    add_totals,
    counts_from_samples,
    decode_block,
    encode_delta,
    merge_counts,
    merge_delta,
    series_totals,
)
from loadproof.metrics import state as state_module
from loadproof.metrics.cells import Timeline
from metrics_samples import heavy_tailed, recorded, sample


def merged(deltas) -> MergedState:
    state = MergedState()
    for delta in deltas:
        state.apply(delta)
    return state


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 200), min_size=1, max_size=7), st.randoms(), st.integers(1, 4))
def test_digest_is_the_same_for_any_order_and_grouping(seeds, random, group) -> None:
    """Deltas added one by one, shuffled, or first among themselves give one digest."""
    deltas = [recorded(seed) for seed in seeds]
    expected = merged(deltas).digest()
    shuffled = list(deltas)
    random.shuffle(shuffled)
    assert merged(shuffled).digest() == expected
    grouped = [
        functools.reduce(merge_delta, shuffled[start : start + group]) for start in range(0, len(shuffled), group)
    ]
    assert merged(grouped).digest() == expected


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, 200), min_size=3, max_size=3))
def test_merge_delta_is_associative_and_commutative(seeds) -> None:
    """A sum of deltas is a delta like any other."""
    a, b, c = (recorded(seed) for seed in seeds)
    assert merge_delta(merge_delta(a, b), c) == merge_delta(a, merge_delta(b, c))
    assert merge_delta(a, b) == merge_delta(b, a)


def test_merging_leaves_its_arguments_alone() -> None:
    """What was queued for one destination is not changed by adding it for another."""
    a, b = recorded(1), recorded(2)
    merge_delta(a, b)
    assert (a, b) == (recorded(1), recorded(2))
    state = merged([a, b, a])
    assert (a, b) == (recorded(1), recorded(2))
    assert state.deltas == 3


def test_digest_differs_when_one_count_differs() -> None:
    """One sample more or less is seen."""
    one = merged([recorded(1)])
    other = merged([recorded(1, samples=31)])
    assert one.digest() != other.digest()
    assert len(one.digest()) == 64


def test_digest_leaves_out_timeline_samples_and_health() -> None:
    """What depends on grouping in time or on which samples were kept is not part of it."""
    delta = recorded(3)
    bare = merge_delta(delta, Delta(from_ns=0, to_ns=1))
    bare.seconds = {}
    bare.health = Delta().health
    bare.errors = {key: ErrorStats(stats.count, stats.first_ns, stats.last_ns) for key, stats in delta.errors.items()}
    assert merged([bare]).digest() == merged([delta]).digest()


def test_percentiles_of_merged_shards_are_those_of_all_samples() -> None:
    """Ten agents' histograms give the percentile of the union of their raw samples within 0.1 %."""
    parts = [heavy_tailed(800, seed) for seed in range(10)]
    key = SeriesKey("T", "", "", "peak", "ok", "response")
    state = merged(Delta(series={key: counts_from_samples(part)}) for part in parts)
    union = np.sort(np.concatenate(parts))
    for q in (0.5, 0.9, 0.95, 0.99):
        exact = int(union[math.ceil(round(q * len(union), 6)) - 1])
        assert exact <= state.histogram("T").quantile(q) <= exact * 1.001


def test_histogram_selects_by_outcome_phase_and_measure() -> None:
    """Reading adds up the series that match, and no others."""

    def counts(n):
        return counts_from_samples(np.full(n, 1_000))

    state = merged([
        Delta(series={
            SeriesKey("T", "", "", "ramp", "ok", "response"): counts(1),
            SeriesKey("T", "", "", "peak", "ok", "response"): counts(10),
            SeriesKey("T", "", "", "peak", "failed", "response"): counts(100),
            SeriesKey("T", "", "", "peak", "ok", "service"): counts(1_000),
            SeriesKey("T", "S", "", "peak", "ok", "service"): counts(10_000),
        })
    ])  # fmt: skip
    assert state.histogram("T").n == 111
    assert state.histogram("T", outcome="ok").n == 11
    assert state.histogram("T", phase="peak").n == 110
    assert state.histogram("T", phase={"ramp", "peak"}, outcome="ok").n == 11
    assert state.histogram("T", measure="service").n == 1_000
    assert state.histogram("T", "S").n == 10_000
    assert state.histogram("unknown").n == 0


def test_counters_and_delivery_add_up() -> None:
    """Every additive table is the sum of the deltas'."""
    state = merged([recorded(1), recorded(3)])
    assert state.delivery["T0", "peak"].started == 62
    assert state.delivery["T0", "peak"].failed == 2
    assert state.counters == {"http.retried": 4}
    assert (state.draws, state.exhausted) == ({"products": 2}, {"users": 2})
    assert sum(state.statuses.values()) == 240
    assert state.step_order["T0", "Open"] == 1


def test_only_the_five_samples_of_lowest_rank_stay() -> None:
    """Which samples explain an error does not depend on the order agents reported in."""
    key = ErrorKey("T", "S", "", "check", "wrong", "peak")
    deltas = [Delta(errors={key: ErrorStats(1, rank, rank, [sample(rank)])}) for rank in range(9)]
    for order in (deltas, deltas[::-1]):
        stats = merged(order).errors[key]
        assert [s.rank for s in stats.samples] == [0, 1, 2, 3, 4]
        assert (stats.count, stats.first_ns, stats.last_ns) == (9, 0, 8)


def test_totals_of_parts_add_up_to_the_totals_of_the_whole() -> None:
    """The checksum lets two sides compare what they counted without keeping histograms."""
    a, b = recorded(5), recorded(7)
    assert add_totals(series_totals(a), series_totals(b)) == series_totals(merge_delta(a, b))
    key = next(iter(a.series))
    moved = counts_from_samples(np.array([1, 3]))
    other = counts_from_samples(np.array([2, 2]))
    assert series_totals(Delta(series={key: moved})) != series_totals(Delta(series={key: other}))


def folding_state(counts: dict[str, int], order=None) -> MergedState:
    def key(step, endpoint=""):
        return SeriesKey("T", step, endpoint, "p", "ok", "service")

    deltas = [Delta(series={key(""): counts_from_samples(np.array([9]))})]
    for name, n in counts.items():
        part = counts_from_samples(np.full(n, 1_000))
        deltas.append(Delta(series={key(name): part, key(name, "GET /"): part}))
    for position in order or range(len(deltas)):
        if position == 0:
            continue
    return merged([deltas[position] for position in (order or range(len(deltas)))])


def test_folding_keeps_the_most_frequent_names_whatever_the_order() -> None:
    """Beyond the cap the rest is added up under (other); nothing is lost and the digest is one."""
    counts = {"a": 5, "b": 50, "c": 5, "d": 500}
    states = [folding_state(counts), folding_state(counts, [4, 2, 0, 3, 1])]
    for state in states:
        assert state.fold(cap=6) == 3
    assert states[0].digest() == states[1].digest()
    state = states[0]
    assert ("T", "", "") in state.names()
    assert ("T", "d", "GET /") in state.names()
    assert ("T", "a", "") in state.names()  # ties go by name
    assert state.histogram("T", OTHER).n == 5
    assert state.histogram("T", "a", OTHER).n == 5
    assert state.histogram("T", OTHER, OTHER).n == 5
    assert sum(h.n for h in state.series.values()) == 2 * 560 + 1


def test_folding_below_the_cap_changes_nothing() -> None:
    """An ordinary run is reported name by name."""
    state = folding_state({"a": 5})
    before = state.digest()
    assert state.fold() == 0
    assert state.digest() == before


def test_kinds_of_error_are_folded_by_count() -> None:
    """Of too many messages the frequent ones stay apart."""
    errors = {ErrorKey("T", "S", "", "check", f"m{i}", "p"): ErrorStats(i + 1, i, i) for i in range(10)}
    state = merged([Delta(errors=errors)])
    state.fold(errors_cap=3)
    assert {key.message for key in state.errors} == {"m9", "m8", "m7", OTHER}
    assert state.errors[ErrorKey("T", "", "", "check", OTHER, "p")].count == 28


def test_hostile_numbers_of_series_do_not_grow_the_state(monkeypatch) -> None:
    """Beyond the hard limit new names are added up at once, and the state says so."""
    monkeypatch.setattr(state_module, "SERIES_HARD_MAX", 10)
    monkeypatch.setattr(state_module, "KEYS_HARD_MAX", 100)
    counts = counts_from_samples(np.array([5]))
    state = MergedState()
    for i in range(200):
        state.apply(Delta(
            series={SeriesKey(f"T{i}", "", "", "p", "ok", "response"): counts},
            errors={ErrorKey(f"T{i}", "", "", "check", str(i), "p"): ErrorStats(1, 0, 0)},
            counters={f"c{i}": 1},
            seconds={(0, f"T{i}"): SecondStats(started=1)},
        ))  # fmt: skip
    assert state.overflowed
    assert len(state.series) == 11
    assert len(state.errors) <= 101
    assert len(state.counters) == 11
    assert sum(histogram.n for histogram in state.series.values()) == 200
    assert sum(stats.started for stats in state.seconds.values()) == 200


def test_a_long_run_is_kept_in_at_most_3600_intervals() -> None:
    """Past an hour neighbours are merged in pairs: resolution is lost, samples are not."""
    counts = counts_from_samples(np.array([1_000]))
    key = SeriesKey("T", "", "", "p", "ok", "response")
    state = MergedState()
    for second in range(0, 7_300, 3):
        state.apply(Delta(
            from_ns=second * 10**9, to_ns=(second + 1) * 10**9, series={key: counts},
            seconds={(second, "T"): SecondStats(started=1, in_flight=4, response=counts)},
        ))  # fmt: skip
    n = len(range(0, 7_300, 3))
    assert state.seconds_width_s == state.intervals_width_s == 4
    assert sum(stats.started for stats in state.seconds.values()) == n
    assert sum(stats.response.n for stats in state.seconds.values()) == n
    assert max(stats.in_flight for stats in state.seconds.values()) == 4
    (cells,) = state.intervals.values()
    assert sum(cell.n for cell in cells.values()) == n
    assert len(cells) <= 3_600
    assert len(state.health_seconds) <= 3_600


def test_a_spent_budget_of_counters_halves_the_resolution() -> None:
    """Memory over time is bounded by counters, not only by intervals."""
    timeline: Timeline[str] = Timeline(entries_max=500)
    wide = counts_from_samples(np.arange(0, 100_000, 1_000))
    for second in range(64):
        timeline.add(second, "T", wide)
    assert timeline.width_s >= 8
    assert sum(cell.n for cell in timeline.by_name()["T"].values()) == 64 * 100


def test_one_second_reported_by_many_agents_adds_up() -> None:
    """In-flight numbers and responses of the same second are summed over workers."""
    counts = counts_from_samples(np.array([1_000, 2_000]))
    deltas = [Delta(seconds={(4, "T"): SecondStats(1, 2, 1, 0, 0, 0, 7, counts)}) for _ in range(40)]
    stats = merged(deltas).seconds[4, "T"]
    assert (stats.started, stats.completed, stats.in_flight) == (40, 80, 280)
    assert stats.response == functools.reduce(merge_counts, [counts] * 40)


def test_health_keeps_the_worst_reading() -> None:
    """A generator in trouble is not averaged away."""
    state = merged([recorded(1), recorded(51)])
    ((from_ns, to_ns, health),) = state.health_seconds
    assert (from_ns, to_ns) == (10**9, 2 * 10**9)
    assert health.worker_cpu_permille == 151
    assert health.user_cpu_us == {("T0", "Search"): 1_051}


def test_memory_of_a_run_does_not_grow_with_its_deltas() -> None:
    """Applying the same series a thousand times more keeps the state's size."""
    delta = recorded(1)
    state = merged([delta] * 50)
    tracemalloc.start()
    for _ in range(1_000):
        state.apply(delta)
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert grown < 300_000


def test_no_samples_make_no_counts() -> None:
    """An empty series is left out, not stored."""
    with pytest.raises(ValueError, match="no samples"):
        counts_from_samples(np.array([], np.int64))


def test_deltas_added_up_together_give_the_same_state() -> None:
    """`apply_all` is `apply` one by one: digest, seconds, intervals, health and what was running."""
    deltas = [recorded(seed) for seed in range(8)] * 3 + [recorded(seed + 50) for seed in range(8)]
    one_by_one, together = MergedState(), MergedState()
    for delta in deltas:
        one_by_one.apply(delta)
    together.apply_all([decode_block(encode_delta(delta)) for delta in deltas])
    assert together.digest() == one_by_one.digest()
    for name in ("deltas", "to_ns", "seconds", "intervals", "health_seconds", "errors", "step_order", "delivery"):
        assert getattr(together, name) == getattr(one_by_one, name), name
