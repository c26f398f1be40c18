"""Seeds, permutations and rates as texts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadproof.plan import ArrivalPhase, DatasetPlan, UserPhase, mix64, plan_from_dict, rng_for, row_index, user_seed
from loadproof.plan.mix import Mix, reduced_weights
from loadproof.plan.rows import permuted
from loadproof.plan.seeding import mix64_into, user_seed_closed
from loadproof.plan.spacing import exponential_gaps
from loadproof.plan.units import UnitError, format_duration, format_rate, parse_duration, parse_rate
from plan_cases import plan_of

GOLDEN_MIX = [7813570962522271599, 10014478035526069312, 4907435570291510115, 10963856606821702692]
GOLDEN_GAPS = [194593060, 3519692873, 2778344604, 1323921318]
GOLDEN_RANDOM = 0.45420793421416683

WORDS = st.integers(0, 2**64 - 1)


def test_mixed_values_never_change() -> None:
    """Golden values: every stored seed means the same for ever."""
    assert [mix64(), mix64(0), mix64(1, 2, 3), mix64(2**64 - 1)] == GOLDEN_MIX
    assert exponential_gaps(1, 4).tolist() == GOLDEN_GAPS
    assert rng_for(1, 2).random() == GOLDEN_RANDOM


@given(WORDS, WORDS)
def test_arrays_are_mixed_like_single_values(first: int, second: int) -> None:
    """The vectorised form is the scalar one."""
    states = np.array([mix64(first)], dtype=np.uint64)
    assert int(mix64_into(states, np.array([second], dtype=np.uint64))[0]) == mix64(first, second)


def test_order_and_number_of_values_matter() -> None:
    """(1, 2), (2, 1) and (1, 2, 0) seed different things; so do arrivals and iterations of the same numbers."""
    plan = plan_of(ArrivalPhase("a", 1000, 1000, 10**9))
    assert len({mix64(1, 2), mix64(2, 1), mix64(1, 2, 0), mix64(12)}) == 4
    assert user_seed(plan, 3) != user_seed_closed(plan, 3, 0)


def test_bits_are_evenly_spread() -> None:
    """Of 4,000 consecutive numbers each bit is set about half the time."""
    values = [mix64(9, number) for number in range(4000)]
    for bit in range(64):
        assert 1800 < sum(value >> bit & 1 for value in values) < 2200


@given(st.integers(1, 300), WORDS)
def test_a_shuffle_gives_every_row_once(size: int, key: int) -> None:
    """The permutation with random access is a permutation."""
    assert sorted(permuted(position, size, key) for position in range(size)) == list(range(size))


def test_each_pass_over_a_shuffled_dataset_has_its_own_order() -> None:
    """All rows in each pass, in another order, also for another dataset of the same size."""
    dataset = DatasetPlan("data", "0" * 64, 50, "shuffle")
    passes = [[row_index(dataset, number * 50 + rank, 1) for rank in range(50)] for number in range(3)]
    assert all(sorted(rows) == list(range(50)) for rows in passes)
    assert passes[0] != passes[1] != passes[2]
    other = DatasetPlan("other", "0" * 64, 50, "shuffle")
    assert [row_index(other, rank, 1) for rank in range(50)] != passes[0]


def test_a_plan_survives_the_wire() -> None:
    """`plan_from_dict` of `to_dict` is the same plan with the same hash, for both models."""
    for phase in (ArrivalPhase("a", 1, 2, 3, warmup=True), UserPhase("b", 1, 2, None, iterations=5)):
        plan = plan_of(phase, weights=(2, 1), datasets=(DatasetPlan("data", "0" * 64, 5),))
        assert plan_from_dict(plan.to_dict()) == plan
        assert plan_from_dict(plan.to_dict()).sha256 == plan.sha256


def test_weights_have_no_common_factor_and_are_not_all_zero() -> None:
    """70 and 30 shuffle as 7 and 3."""
    assert reduced_weights([70, 30]) == (7, 3)
    for weights in ([0, 0], [-1, 3]):
        with pytest.raises(ValueError, match="weights"):
            reduced_weights(weights)


def test_a_long_block_is_worked_out_within_bounds() -> None:
    """Weights that add up to 9,999 cost time, never memory."""
    mix = Mix(plan_of(ArrivalPhase("a", 1000, 1000, 10**9), weights=(5000, 4999)))
    transactions, _ = mix.select(np.arange(0, 99_990, 7))
    assert abs(int(transactions.sum()) - 99_990 // 14) < 300
    assert mix.before(np.array([9_999 * 3])).tolist() == [[15_000, 14_997]]


@given(st.integers(0, 10**16))
def test_durations_read_back_as_written(ns: int) -> None:
    """Formatting then parsing loses at most the nanoseconds no unit has, and nothing above a microsecond."""
    ns = min(ns // 1000 * 1000, 31 * 24 * 3600 * 10**9)
    assert parse_duration(format_duration(ns)) == ns


@given(st.integers(0, 10**9))
def test_rates_read_back_as_written(rate: int) -> None:
    """Thousandths per second survive."""
    assert parse_rate(format_rate(rate)) == rate


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("5/sec", "5/s"),
        ("5 per second", "5/s"),
        ("5rps", "5/s"),
        ("5", "5/s"),
        ("300/min", "300/m"),
        ("1/h", "0.001/s"),
        ("fast", None),
        ("5/day", None),
        ("-5/s", None),
        ("1e9/s", None),
        ("200000000/s", None),
    ],
)
def test_a_rate_that_is_none_says_what_was_meant(text: str, meant: str | None) -> None:
    """Where a guess is possible the error carries it as the user would write it."""
    with pytest.raises(UnitError) as caught:
        parse_rate(text)
    assert caught.value.suggestion == meant


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("30", "30s"),
        ("30 sec", "30s"),
        ("1min30sec", "1m30s"),
        ("soon", None),
        ("", None),
        ("-1s", None),
        ("40000h", None),
    ],
)
def test_a_duration_that_is_none_says_what_was_meant(text: str, meant: str | None) -> None:
    """Units of other tools are understood well enough to be corrected."""
    with pytest.raises(UnitError) as caught:
        parse_duration(text)
    assert caught.value.suggestion == meant
