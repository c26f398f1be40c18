"""Reading percentiles: against exact order statistics and against the HdrHistogram library."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hdrh.histogram import HdrHistogram
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from loadproof.histogram import MAX_US, Histogram, HistogramError, LayoutError, rank_of
from metrics_samples import bimodal, heavy_tailed

QS = ("0.5", "0.75", "0.9", "0.95", "0.99", "0.999", "1")

SAMPLES = {
    "heavy-tailed": heavy_tailed(20_000),
    "bimodal": bimodal(20_000),
    "one": np.array([1_234_567]),
    "two": np.array([10, 5_000_000]),
    "seven": heavy_tailed(7, seed=3),
    "equal": np.full(100, 777_777),
    "zero": np.zeros(3, np.int64),
}


def filled(values: NDArray[np.int64]) -> Histogram:
    histogram = Histogram()
    histogram.record_many(values)
    return histogram


@pytest.mark.parametrize("name", SAMPLES)
def test_percentiles_lie_within_a_thousandth_of_the_order_statistic(name: str) -> None:
    """The nearest-rank value of the raw samples is met, never undercut, and overshot by 0.1 % at most."""
    values = np.sort(SAMPLES[name])
    histogram = filled(values)
    for text in QS:
        rank = max(math.ceil(Fraction(text) * len(values)), 1)
        exact = int(values[rank - 1])
        measured = histogram.quantile(float(text))
        assert measured is not None
        assert exact <= measured <= exact * 1.001


@pytest.mark.parametrize("name", SAMPLES)
def test_percentiles_are_those_of_hdrhistogram(name: str) -> None:
    """The library agrees wherever its own rank rule is unambiguous (odd ranks), clamped to the maximum."""
    values = SAMPLES[name]
    oracle = HdrHistogram(1, MAX_US, 3)
    for value in values.tolist():
        oracle.record_value(value)
    histogram = filled(values)
    for text in QS:
        exact_rank = Fraction(text) * len(values)
        if abs(exact_rank - round(exact_rank)) in (0, Fraction(1, 2)) and exact_rank != len(values):
            continue
        rank = max(math.ceil(exact_rank), 1)
        expected = oracle.get_value_at_percentile(100 * (rank - 0.5) / len(values))
        near = {expected, oracle.get_value_at_percentile(100 * rank / len(values))}
        assert histogram.quantile(float(text)) in {min(value, int(values.max())) for value in near}


def test_exact_fields_have_no_bucket_error() -> None:
    """Number, sum, mean, minimum and maximum are those of the samples."""
    values = heavy_tailed(5_000)
    histogram = filled(values)
    assert (histogram.n, histogram.total_us) == (5_000, int(values.sum()))
    assert (histogram.min_us, histogram.max_us) == (int(values.min()), int(values.max()))
    assert histogram.mean_us == int(values.sum()) / 5_000
    assert histogram.quantile(1.0) == int(values.max())


def test_recording_one_by_one_equals_recording_an_array() -> None:
    """Both ways in give the same counts."""
    values = bimodal(3_000)
    one_by_one = Histogram()
    for value in values.tolist():
        one_by_one.record(value)
    assert one_by_one == filled(values)


def test_a_sparse_histogram_grows_into_an_array_without_loss() -> None:
    """Counts noted in the dict survive the change to the window, on both sides of it."""
    histogram = Histogram()
    values = [10**9, 5, *range(100_000, 500_000, 1_000), MAX_US]
    for value in values:
        histogram.record(value)
    assert int(histogram.dense().sum()) == histogram.n == len(values)
    assert histogram == filled(np.array(values, np.int64))


def test_ranks_are_exact_where_floats_are_not() -> None:
    """0.95 of 100 is rank 95, though 0.95 * 100 is above 95 in floats on some machines; 0.999 of 1,000 is 999."""
    assert rank_of(0.95, 100) == 95
    assert rank_of(0.999, 1_000) == 999
    assert rank_of(0.07, 100) == 7
    assert rank_of(0.0, 10) == 1
    assert rank_of(1.0, 10) == 10


def test_no_samples_have_no_percentile() -> None:
    """An empty histogram answers None, not 0."""
    assert Histogram().quantile(0.5) is None
    assert Histogram().mean_us is None
    assert Histogram().count_at_or_below(10) == 0


def test_out_of_range_is_clamped_and_counted() -> None:
    """Nothing is dropped: a negative value counts as 0, one over 24 h as 24 h."""
    histogram = Histogram()
    histogram.record(-1)
    histogram.record(MAX_US + 5)
    histogram.record_many([-7, 3])
    assert (histogram.n, histogram.clamped) == (4, 3)
    assert (histogram.min_us, histogram.max_us) == (0, MAX_US)


def test_quantiles_outside_the_unit_interval_are_refused() -> None:
    """95 is no quantile."""
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        Histogram().quantile(95)


def test_another_layout_is_refused_by_type() -> None:
    """Merging counts of other buckets would lose precision without a word."""
    with pytest.raises(LayoutError, match="same Loadproof version") as caught:
        Histogram("hdr-us-2-1h")
    assert isinstance(caught.value, HistogramError)
    stranger = Histogram()
    stranger.layout = "hdr-us-2-1h"
    with pytest.raises(LayoutError):
        Histogram().add(stranger)


@given(st.lists(st.integers(0, MAX_US), min_size=1, max_size=60), st.integers(0, MAX_US))
def test_count_at_or_below_brackets_the_true_count(values: list[int], limit: int) -> None:
    """It counts every sample up to the limit, and none beyond 0.1 % above it."""
    histogram = filled(np.array(values, np.int64))
    counted = histogram.count_at_or_below(limit)
    assert sum(value <= limit for value in values) <= counted <= sum(value <= limit * 1.001 for value in values)


@given(st.lists(st.lists(st.integers(0, MAX_US), max_size=40), min_size=1, max_size=5), st.randoms())
def test_merging_in_any_order_equals_counting_the_union(groups: list[list[int]], random) -> None:
    """Exact merge: the histogram of the union is the sum of the histograms, whatever the order."""
    whole = filled(np.array([value for group in groups for value in group], np.int64))
    parts = [filled(np.array(group, np.int64)) for group in groups]
    random.shuffle(parts)
    merged = Histogram()
    for part in parts:
        merged.add(part)
    assert merged == whole
    assert merged.quantiles([0.5, 0.95]) == whole.quantiles([0.5, 0.95])
