"""Failures by category over time: exact sums, any order, bounded, and in the intervals of the histograms."""

from __future__ import annotations

import functools
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from loadproof.metrics import (
    Delta,
    ErrorKey,
    ErrorStats,
    MergedState,
    Recorder,
    decode_block,
    decode_delta,
    encode_delta,
    merge_delta,
)
from loadproof.metrics import state as state_module
from loadproof.metrics.state import FailureKey
from loadproof.metrics.tallies import Tallies

NS_PER_S = 1_000_000_000
FAILURES = st.tuples(
    st.integers(0, 20), st.sampled_from(["Pay", "Look"]), st.sampled_from(["", "Open"]),
    st.sampled_from(["timeout", "check"]), st.sampled_from(["a", "b"]), st.integers(1, 50),
)  # fmt: skip


def delta_of(second: int, transaction: str, step: str, category: str, message: str, n: int) -> Delta:
    key = ErrorKey(transaction, step, "", category, message, "peak")
    errors = {key: ErrorStats(n, second * NS_PER_S, second * NS_PER_S)}
    return Delta(second * NS_PER_S, (second + 1) * NS_PER_S, errors=errors)


def merged(deltas: list[Delta]) -> MergedState:
    state = MergedState()
    for delta in deltas:
        state.apply(delta)
    return state


@settings(max_examples=60, deadline=None)
@given(st.lists(FAILURES, max_size=30), st.randoms())
def test_failures_are_exact_in_any_order_and_grouping(failures, random) -> None:
    """One by one, shuffled, or those of a second added up first: the counts of the list, by second and category."""
    expected: dict[FailureKey, Counter[int]] = {}
    for second, transaction, step, category, _message, n in failures:
        expected.setdefault(FailureKey(transaction, step, "peak", category), Counter())[second] += n
    shuffled = list(failures)
    random.shuffle(shuffled)
    groups: dict[int, list[Delta]] = {}
    for failure in shuffled:
        groups.setdefault(failure[0], []).append(delta_of(*failure))
    at_once = MergedState()
    at_once.apply_all([decode_block(encode_delta(delta_of(*failure))) for failure in shuffled])
    states = (
        merged([delta_of(*failure) for failure in failures]),
        merged([functools.reduce(merge_delta, group) for group in groups.values()]),
        at_once,
    )
    for state in states:
        assert state.failures == expected
        total = sum(stats.count for stats in state.errors.values())
        assert sum(sum(cells.values()) for cells in state.failures.values()) == total


def test_a_recorded_failure_comes_through_in_its_second() -> None:
    """From a worker's recorder over the wire's bytes into the merged run: no field of its own is needed."""
    recorder = Recorder(1, "a1")
    series = recorder.transaction("Checkout", "peak")
    for at_s in (3.1, 3.9):
        series.error("Pay", "POST /pay", "timeout", f"no answer after {at_s} s", round(at_s * NS_PER_S))
    series.error("", "", "check", "wrong total", 3 * NS_PER_S)
    state = merged([decode_delta(encode_delta(recorder.take(3 * NS_PER_S, 4 * NS_PER_S, {})))])
    assert state.failures == {
        FailureKey("Checkout", "Pay", "peak", "timeout"): {3: 2},
        FailureKey("Checkout", "", "peak", "check"): {3: 1},
    }


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 500), st.integers(0, 6), st.integers(1, 9)), max_size=60))
def test_tallies_lose_resolution_and_never_a_count(added) -> None:
    """Beyond their bounds neighbouring intervals are added; each count is in the interval that covers its second."""
    tallies: Tallies[int] = Tallies(intervals_max=16, tallies_max=20)
    for second, name, n in added:
        tallies.add(second, name, n)
    kept = tallies.by_name()
    assert sum(map(len, kept.values())) <= max(20, 7)
    assert tallies.width_s & (tallies.width_s - 1) == 0
    expected: dict[int, Counter[int]] = {}
    for second, name, n in added:
        expected.setdefault(name, Counter())[second // tallies.width_s * tallies.width_s] += n
    assert kept == expected


def test_failures_and_histograms_have_one_interval(monkeypatch) -> None:
    """Whichever of the two loses resolution first, windows find both in the same seconds."""
    late = delta_of(4_000, "Pay", "", "timeout", "a", 3)
    state = merged([delta_of(1, "Pay", "", "timeout", "a", 1), delta_of(2, "Pay", "", "timeout", "a", 1), late])
    assert state.intervals_width_s == 2
    assert state.failures == {FailureKey("Pay", "", "peak", "timeout"): {0: 1, 2: 1, 4_000: 3}}
    monkeypatch.setattr(state_module, "Timeline", functools.partial(state_module.Timeline, intervals_max=100))
    recorder = Recorder(1, "a1")
    recorder.transaction("Pay", "peak").service_ok.append(5_000)
    state = MergedState()
    state.apply(delta_of(3, "Pay", "", "timeout", "a", 1))
    state.apply(recorder.take(390 * NS_PER_S, 391 * NS_PER_S, {}))
    assert state.intervals_width_s == 4
    assert state.failures == {FailureKey("Pay", "", "peak", "timeout"): {0: 1}}


def test_folded_steps_take_their_failures_along() -> None:
    """What is reported under "(other)" at the end is counted there over time, too."""
    recorder = Recorder(1, "a1")
    series = recorder.transaction("T", "peak")
    series.service_ok.append(1_000)
    for number, samples in enumerate((5, 3, 1)):
        series.step(f"s{number}").ok += [1_000] * samples
        series.error(f"s{number}", "", "timeout", "slow", 0)
    state = merged([recorder.take(0, NS_PER_S, {})])
    state.fold(cap=2)
    steps = {key.step: cells for key, cells in state.failures.items()}
    assert steps == {"s0": {0: 1}, "(other)": {0: 2}}


def test_made_up_kinds_of_failure_are_bounded() -> None:
    """A hostile agent's steps are folded as its kinds of error are; the transaction's count stays whole."""
    state = MergedState()
    for start in range(0, 30_000, 1_000):
        errors = {
            ErrorKey("T", f"step {n}", "", "timeout", "m", "peak"): ErrorStats(1, 0, 0)
            for n in range(start, start + 1_000)
        }
        state.apply(Delta(0, NS_PER_S, errors=errors))
    assert state.overflowed
    assert len(state.failures) <= state_module.KEYS_HARD_MAX
    assert sum(sum(cells.values()) for cells in state.failures.values()) == 30_000
