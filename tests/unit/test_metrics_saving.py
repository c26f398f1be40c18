"""A merged state put away and taken out again is the same state, and goes on alike."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadproof.metrics import (
    CodecError,
    Delta,
    Health,
    MergedState,
    SecondStats,
    restored,
    rows_are_void,
    save_rows,
    save_totals,
    saving,
)
from metrics_samples import recorded


def taken_at(seed: int, second: int) -> Delta:
    """Return `recorded(seed)` moved to another second."""
    delta = recorded(seed)
    delta.from_ns, delta.to_ns = second * 10**9, (second + 1) * 10**9
    delta.seconds = {(second, name): stats for (_, name), stats in delta.seconds.items()}
    return delta


class Shelf:
    """Keeps what was frozen as a checkpoint does: totals whole, rows added to those before."""

    def __init__(self) -> None:
        self.totals: list[bytes] = []
        self.rows: list[bytes] = []

    def put(self, state: MergedState) -> None:
        self.totals = list(save_totals(state))
        if rows_are_void(state):
            self.rows.clear()
        self.rows += save_rows(state)

    def take(self) -> MergedState:
        return restored(self.totals, self.rows)


def everything_of(state: MergedState) -> list[object]:
    """Return all that can be read of a state."""
    return [
        state.digest(), state.series, state.statuses, state.errors, state.step_order, state.delivery, state.counters,
        state.draws, state.exhausted, state.deltas, state.to_ns, state.overflowed, state.seconds, state.seconds_width_s,
        state.intervals, state.intervals_width_s, state.health_seconds, state.names(),
        state.histogram("T0", "Open"), state._running,
    ]  # fmt: skip


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 9_000)), min_size=1, max_size=12), st.data())
def test_a_state_put_away_at_any_moment_goes_on_as_if_it_never_was(pieces, data) -> None:
    """Whatever is frozen in between, and however long the run: totals, digest, timeline and health are the same."""
    straight, shelf = MergedState(), Shelf()
    for seed, second in pieces:
        straight.apply(taken_at(seed, second))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(pieces)), min_size=1, max_size=4)))
    state, first = MergedState(), 0
    for cut in cuts:
        for seed, second in pieces[first:cut]:
            state.apply(taken_at(seed, second))
        shelf.put(state)
        first = cut
    back = shelf.take()
    assert everything_of(back) == everything_of(state)
    for seed, second in pieces[first:]:
        back.apply(taken_at(seed, second))
    assert everything_of(back) == everything_of(straight)


def test_only_rows_that_changed_are_written_again() -> None:
    """The timeline's price is what is new, not how long the run has been on."""
    state = MergedState()
    for second in range(300):
        state.apply(taken_at(1, second))
    assert len(list(save_rows(state))) == 3 * 300
    state.apply(taken_at(2, 300))
    state.apply(taken_at(3, 7))
    assert not rows_are_void(state)
    assert len(list(save_rows(state))) == 3 * 2
    assert list(save_rows(state)) == []
    assert len(list(save_rows(state, whole=True))) == 3 * 301


def test_doubled_intervals_are_given_whole() -> None:
    """Where the resolution was halved all rows are new, and it is said."""
    state = MergedState()
    state.apply(taken_at(1, 3_599))
    list(save_rows(state))
    state.apply(taken_at(1, 3_600))
    assert rows_are_void(state)
    assert len(list(save_rows(state))) == 3 * 2
    assert not rows_are_void(state)


def test_a_large_state_is_cut_into_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """No piece is much over the limit, and together they are the state."""
    monkeypatch.setattr(saving, "PART_BYTES_MAX", 2_000)
    state = MergedState()
    for seed in range(5):
        state.apply(recorded(seed, transactions=6))
    totals, rows = list(save_totals(state)), list(save_rows(state))
    assert len(totals) > 5
    assert max(map(len, totals)) < 8_000
    assert everything_of(restored(totals, rows)) == everything_of(state)


def test_numbers_in_flight_go_on_adding_up() -> None:
    """The second that was on when the state was put away gets the workers that had not reported yet."""
    state = MergedState()
    state.apply(Delta(seconds={(5, "T0"): SecondStats(in_flight=3)}))
    back = restored(list(save_totals(state)), list(save_rows(state)))
    back.apply(Delta(seconds={(5, "T0"): SecondStats(in_flight=4)}))
    assert back.seconds[5, "T0"].in_flight == 7


@pytest.mark.parametrize("totals", [[], [b"\xc1"], [b"\x90"], ["head", b"\x93"]])
def test_bytes_that_are_no_state_are_refused(totals: list[bytes | str]) -> None:
    """Never a half-read state."""
    state = MergedState()
    state.apply(Delta(health=Health(worker_cpu_permille=5)))
    head = next(save_totals(state))
    with pytest.raises(CodecError):
        restored([head if piece == "head" else piece for piece in totals], [])


def test_a_row_beyond_the_timeline_is_refused() -> None:
    """Intervals are at most 3,600."""
    state = MergedState()
    state.apply(Delta(health=Health(worker_cpu_permille=5)))
    state._health[3_600] = Health()
    with pytest.raises(CodecError, match="out of range"):
        restored(list(save_totals(state)), list(save_rows(state, whole=True)))
