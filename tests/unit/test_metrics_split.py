"""A delta cut in two adds up to what it was."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from loadproof.histogram import counts_from_samples
from loadproof.metrics import (
    Delivery,
    Delta,
    MergedState,
    SecondStats,
    SeriesKey,
    decode_delta,
    encode_delta,
    split_delta,
)


def delta_of(series: int, seconds: int) -> Delta:
    """Return a delta of so many series and seconds."""
    delta = Delta(from_ns=0, to_ns=10**9)
    for number in range(series):
        key = SeriesKey("Search", f"step {number}", "", "load", "ok", "service")
        delta.series[key] = counts_from_samples(np.array([1_000 + number, 5_000]))
        delta.counters[f"counter {number}"] = number
    for second in range(seconds):
        delta.seconds[second, "Search"] = SecondStats(started=second + 1)
    delta.delivery["Search", "load"] = Delivery(started=seconds)
    return delta


@given(st.integers(0, 9), st.integers(0, 5))
def test_the_halves_add_up(series: int, seconds: int) -> None:
    """Merging both halves gives the digest of the whole, and each is smaller than it."""
    whole = delta_of(series, seconds)
    halves = split_delta(whole)
    if halves is None:
        assert series < 2
        assert seconds < 2
        return
    one, both = MergedState(), MergedState()
    one.apply(whole)
    for half in halves:
        assert len(encode_delta(half)) < len(encode_delta(whole))
        both.apply(decode_delta(encode_delta(half)))
    assert both.digest() == one.digest()
    assert both.seconds == one.seconds
