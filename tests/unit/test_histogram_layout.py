"""The bucket layout: where a value goes, and how far off reading it back may be."""

from __future__ import annotations

import numpy as np
import pytest
from hdrh.histogram import HdrHistogram
from hypothesis import given
from hypothesis import strategies as st

from loadproof.histogram import COUNTERS, HIGHEST, LOWEST, MAX_US, highest, index_of, indices_of, lowest

VALUES = st.integers(0, MAX_US)


@given(VALUES)
def test_every_value_lies_within_its_counter(value: int) -> None:
    """A counter's edges hold the values that are counted in it."""
    index = index_of(value)
    assert lowest(index) <= value <= highest(index)


@given(VALUES)
def test_a_counter_is_narrower_than_a_thousandth_of_its_values(value: int) -> None:
    """Reading the upper edge is at most 0.1 % above the value."""
    assert highest(index_of(value)) - value <= value / 1_000


@given(st.lists(VALUES, min_size=1, max_size=50))
def test_vectorised_and_scalar_indices_agree(values: list[int]) -> None:
    """Numpy's indices are those of plain Python."""
    assert indices_of(np.array(values, np.int64)).tolist() == [index_of(value) for value in values]


def test_indices_agree_at_every_power_of_two() -> None:
    """The bit length by floating point is exact where it changes."""
    edges = np.array([v for bit in range(37) for v in (2**bit - 1, 2**bit, 2**bit + 1) if v <= MAX_US], np.int64)
    assert indices_of(edges).tolist() == [index_of(int(value)) for value in edges]


def test_counters_tile_the_range_without_gap() -> None:
    """Each counter begins one above the end of the one before."""
    assert LOWEST[0] == 0
    assert (LOWEST[1:] == HIGHEST[:-1] + 1).all()
    assert HIGHEST[-1] >= MAX_US
    assert [lowest(i) for i in (0, 2047, 2048, COUNTERS - 1)] == LOWEST[[0, 2047, 2048, COUNTERS - 1]].tolist()


def test_values_out_of_range_are_clamped() -> None:
    """Negative values go to the first counter, over 24 h to that of 24 h."""
    assert index_of(-5) == 0
    assert index_of(MAX_US + 1) == index_of(MAX_US) < COUNTERS


def test_counters_outside_the_layout_are_refused() -> None:
    """There are exactly 28,672 counters."""
    assert COUNTERS == 28_672
    for index in (-1, COUNTERS):
        with pytest.raises(IndexError):
            lowest(index)


def test_layout_is_that_of_hdrhistogram() -> None:
    """HdrHistogram (1, 24 h, 3 digits) has as many counters with the same edges."""
    oracle = HdrHistogram(1, MAX_US, 3)
    assert oracle.counts_len == COUNTERS
    for value in (0, 1, 2047, 2048, 4097, 123_456_789, MAX_US):
        assert oracle.get_highest_equivalent_value(value) == highest(index_of(value))
