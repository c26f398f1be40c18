"""The open model: arrivals by the area under the rate curve, the same for any number of shards."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from loadproof.plan import NS_PER_S, ArrivalPhase, ArrivalSchedule, DatasetPlan, Plan, RowsExhausted
from plan_cases import integral, open_plans, plan_of

SECOND = NS_PER_S

GOLDEN_EVEN = (
    1010,
    [
        (0, 0, 0, 45, 0),
        (1, 583261861, 0, 331, 0),
        (17, 3339389038, 2, 430, 0),
        (400, 17666603939, 0, 861, 0),
        (1009, 29980000000, 0, 719, 1),
    ],
)
GOLDEN_POISSON = (
    1055,
    [
        (0, 250145303, 0, 45, 0),
        (1, 354274497, 0, 331, 0),
        (17, 3276059249, 2, 430, 0),
        (400, 17508302283, 0, 861, 0),
        (900, 26923071053, 2, 520, 1),
    ],
)
GOLDEN_SHA = "7a44f0f2330d65903bc31cad6205a1ab64eeeedc829bd841d612cde606a20bac"


def constant(rate: int, seconds: float, name: str = "main") -> ArrivalPhase:
    return ArrivalPhase(name, rate * 1000, rate * 1000, round(seconds * SECOND))


def ramp(start: int, end: int, seconds: float, name: str = "ramp") -> ArrivalPhase:
    return ArrivalPhase(name, start * 1000, end * 1000, round(seconds * SECOND))


def whole(plan: Plan) -> list:
    return list(ArrivalSchedule(plan).shard(0, 1))


def test_a_constant_rate_is_evenly_spaced_from_the_first_instant() -> None:
    """5/s for 2 s are 10 arrivals, the first at 0 and none at the end."""
    schedule = ArrivalSchedule(plan_of(constant(5, 2)))
    assert schedule.total == 10
    assert [arrival.at_ns for arrival in whole(schedule.plan)] == [k * SECOND // 5 for k in range(10)]


def test_a_ramp_up_follows_the_square_root() -> None:
    """From 0 to 10/s in 10 s the integral is t^2 / 2, so arrival k comes at sqrt(2 k) seconds."""
    times = [arrival.at_ns for arrival in whole(plan_of(ramp(0, 10, 10)))]
    assert len(times) == 50
    assert times[2] == 2 * SECOND
    assert times[8] == 4 * SECOND
    assert times[1] == int((2 * SECOND**2) ** 0.5)


def test_a_ramp_down_mirrors_a_ramp_up() -> None:
    """Falling from 10/s to 0 the time left before the end has the same law."""
    schedule = ArrivalSchedule(plan_of(ramp(10, 0, 10)))
    assert schedule.total == 50
    assert schedule.time_ns(0) == 0
    assert schedule.time_ns(50 - 8) == 6 * SECOND
    assert schedule.time_ns(50 - 2) == 8 * SECOND


def test_load_waits_through_a_stretch_without_rate() -> None:
    """An arrival due exactly when the load pauses comes when it resumes, in the phase that resumes it."""
    plan = plan_of(constant(1, 3, "a"), constant(0, 7, "pause"), constant(1, 2, "b"))
    assert [(arrival.at_ns // SECOND, arrival.phase) for arrival in whole(plan)] == [
        (0, 0),
        (1, 0),
        (2, 0),
        (10, 2),
        (11, 2),
    ]


def test_a_profile_that_begins_or_ends_without_rate_has_no_arrival_there() -> None:
    """Empty stretches at both ends hold nothing."""
    plan = plan_of(constant(0, 5, "before"), constant(2, 1, "load"), constant(0, 5, "after"))
    assert [arrival.at_ns for arrival in whole(plan)] == [5 * SECOND, 5 * SECOND + SECOND // 2]


def test_a_step_changes_the_spacing_at_once() -> None:
    """Each phase offers its own rate times its own length."""
    plan = plan_of(constant(10, 2, "low"), constant(100, 2, "high"), constant(5, 2, "after"))
    schedule = ArrivalSchedule(plan)
    assert schedule.planned() == {("A", "low"): 20, ("A", "high"): 200, ("A", "after"): 10}


def test_the_release_profile_of_the_readme_has_the_arrivals_its_rates_add_up_to() -> None:
    """10 to 400/s in 5 minutes and 400/s for 20 are 61,500 and 480,000 arrivals."""
    plan = plan_of(ramp(10, 400, 300), constant(400, 1200, "peak"), weights=(7, 3))
    planned = ArrivalSchedule(plan).planned()
    assert planned == {("A", "ramp"): 43_050, ("B", "ramp"): 18_450, ("A", "peak"): 336_000, ("B", "peak"): 144_000}


@given(open_plans(), st.integers(1, 9))
@settings(max_examples=150, deadline=None)
def test_the_union_of_the_shards_is_the_plan(plan: Plan, count: int) -> None:
    """For any plan and split: times, transactions, rows, phases; each arrival exactly once; time never runs back."""
    expected = whole(plan)
    shards = [list(ArrivalSchedule(plan).shard(index, count)) for index in range(count)]
    assert sorted(itertools.chain(*shards)) == expected
    for index, shard in enumerate(shards):
        assert all(arrival.k % count == index for arrival in shard)
        assert [arrival.at_ns for arrival in shard] == sorted(arrival.at_ns for arrival in shard)


@given(open_plans())
@settings(max_examples=150, deadline=None)
def test_counts_differ_from_the_integral_by_less_than_one(plan: Plan) -> None:
    """With even spacing, at any time and in every second, offered load is the profile's."""
    plan = dataclasses.replace(plan, spacing="even")
    schedule = ArrivalSchedule(plan)
    times = [arrival.at_ns for arrival in whole(plan)]
    end = plan.duration_ns or 0
    for edge in [*range(0, end, SECOND // 4), end]:
        count = sum(time < edge for time in times)
        assert schedule.count_until(edge) == count
        assert 0 <= count - integral(plan.phases, edge) < 1


@given(open_plans(), st.integers(0, 16 * SECOND))
@settings(max_examples=150, deadline=None)
def test_every_count_is_consistent_with_the_arrivals_themselves(plan: Plan, until: int) -> None:
    """`total`, `count_until`, `time_ns`, `phase_of`, `planned`, `planned_seconds` and `draws` tell of one plan."""
    schedule = ArrivalSchedule(plan)
    arrivals = whole(plan)
    assert schedule.total == len(arrivals)
    early = [arrival for arrival in arrivals if arrival.at_ns < until]
    assert schedule.count_until(until) == len(early)
    for arrival in arrivals[:20] + arrivals[-20:]:
        assert schedule.time_ns(arrival.k) == arrival.at_ns
        assert schedule.phase_of(arrival.k) == arrival.phase
    names = [transaction.name for transaction in plan.transactions]
    by_phase = dict.fromkeys(itertools.product(names, [phase.name for phase in plan.phases]), 0)
    by_second: dict[tuple[int, str], int] = {}
    for arrival in early:
        name = names[arrival.transaction]
        by_phase[name, plan.phases[arrival.phase].name] += 1
        second = (arrival.at_ns // SECOND, name)
        by_second[second] = by_second.get(second, 0) + 1
    assert schedule.planned(until) == by_phase
    assert schedule.planned_seconds(until) == by_second
    draws = dict.fromkeys((dataset.name for dataset in plan.datasets), 0)
    for arrival in arrivals:
        dataset = plan.transactions[arrival.transaction].dataset
        if dataset is not None:
            draws[dataset] += 1
    assert schedule.draws() == draws


@given(open_plans())
@settings(max_examples=100, deadline=None)
def test_a_row_is_the_rank_among_arrivals_that_draw_from_the_dataset(plan: Plan) -> None:
    """Circular datasets are gone through in order, over transactions and shards together."""
    plan = dataclasses.replace(
        plan, datasets=tuple(dataclasses.replace(dataset, order="circular") for dataset in plan.datasets)
    )
    ranks = dict.fromkeys((dataset.name for dataset in plan.datasets), 0)
    for arrival in whole(plan):
        name = plan.transactions[arrival.transaction].dataset
        if name is None:
            assert arrival.row == -1
        else:
            assert arrival.row == ranks[name] % plan.dataset(name).rows
            ranks[name] += 1


@given(open_plans(), st.integers(1, 5), st.integers(0, 400))
@settings(max_examples=100, deadline=None)
def test_a_redealt_shard_continues_from_its_first_arrival_after_the_fence(plan: Plan, count: int, first: int) -> None:
    """`first_k` cuts the shard and changes nothing else."""
    for index in range(count):
        shard = list(ArrivalSchedule(plan).shard(index, count))
        assert list(ArrivalSchedule(plan).shard(index, count, first)) == [a for a in shard if a.k >= first]


@given(st.integers(0, 2**32), st.integers(1, 6), st.integers(1, 6), st.sampled_from([2, 3, 4, 8, 16]))
@example(seed=0, a=3, b=1, count=4)
@settings(max_examples=60, deadline=None)
def test_no_shard_misses_a_transaction(seed: int, a: int, b: int, count: int) -> None:
    """Each shard's share of each transaction stays within six standard deviations of the mix."""
    plan = plan_of(constant(400, 10), weights=(a, b), seed=seed)
    share = a / (a + b)
    for index in range(count):
        drawn = [arrival.transaction for arrival in ArrivalSchedule(plan).shard(index, count)]
        deviation = (len(drawn) * share * (1 - share)) ** 0.5
        assert abs(drawn.count(0) - len(drawn) * share) <= 6 * deviation + 1


@given(st.lists(st.integers(1, 12), min_size=1, max_size=5), st.integers(0, 2**32))
@settings(max_examples=50, deadline=None)
def test_every_block_of_the_mix_holds_exactly_its_weights(weights: list[int], seed: int) -> None:
    """Over whole blocks the mix is exact, not only on average."""
    plan = plan_of(constant(20, 10), weights=tuple(weights), seed=seed)
    block = sum(weights)
    drawn = [arrival.transaction for arrival in whole(plan)]
    for start in range(0, len(drawn) - block + 1, block):
        assert [drawn[start : start + block].count(index) for index in range(len(weights))] == weights


def test_poisson_gaps_are_exponential_with_the_profile_s_mean() -> None:
    """Mean and variance of a unit exponential, and the known share of long gaps."""
    plan = plan_of(constant(1000, 40), spacing="poisson", seed=7)
    times = [arrival.at_ns for arrival in whole(plan)]
    gaps = [(later - earlier) / 1e6 for earlier, later in itertools.pairwise(times)]
    mean = sum(gaps) / len(gaps)
    variance = sum((gap - mean) ** 2 for gap in gaps) / len(gaps)
    assert mean == pytest.approx(1, abs=0.03)
    assert variance == pytest.approx(1, abs=0.06)
    assert sum(gap > 3 for gap in gaps) / len(gaps) == pytest.approx(0.0498, abs=0.006)


def test_a_plan_s_schedule_is_the_same_on_every_machine_and_release() -> None:
    """Golden values: changing them changes what every stored plan means."""
    plan = plan_of(
        ramp(1, 50, 20),
        constant(50, 10, "peak"),
        weights=(5, 2, 1),
        datasets=(DatasetPlan("data", "0" * 64, 1000, "shuffle"),),
        seed=42,
    )
    arrivals = whole(plan)
    picked = [tuple(arrivals[k]) for k in (0, 1, 17, 400, 1009)]
    assert (len(arrivals), picked) == GOLDEN_EVEN
    arrivals = whole(dataclasses.replace(plan, spacing="poisson"))
    picked = [tuple(arrivals[k]) for k in (0, 1, 17, 400, 900)]
    assert (len(arrivals), picked) == GOLDEN_POISSON
    assert plan.sha256 == GOLDEN_SHA


def test_labels_of_the_report_are_not_part_of_the_plan_s_identity() -> None:
    """Tags, criticality and owner may change between compared runs, a seed may not; how rows repeat follows."""
    plan = plan_of(constant(5, 2), datasets=(DatasetPlan("data", "0" * 64, 1000),))
    labelled = dataclasses.replace(plan.transactions[0], tags=("x",), criticality="high", owner="me")
    assert dataclasses.replace(plan, transactions=(labelled,)).sha256 == plan.sha256
    counted = dataclasses.replace(plan.datasets[0], different=7, most_alike=900)
    assert dataclasses.replace(plan, datasets=(counted,)).sha256 == plan.sha256
    assert dataclasses.replace(plan, seed=2).sha256 != plan.sha256


def test_a_unique_dataset_that_ends_says_so() -> None:
    """No row is ever given twice: the draw after the last one raises."""
    plan = plan_of(constant(5, 2), datasets=(DatasetPlan("data", "0" * 64, 3, "unique"),))
    shard = ArrivalSchedule(plan).shard(0, 1)
    assert [next(shard).row for _ in range(3)] == [0, 1, 2]
    with pytest.raises(RowsExhausted, match="'data' has 3 rows and draw 4"):
        next(shard)


def test_arrivals_outside_the_plan_do_not_exist() -> None:
    """Asking for one is an IndexError; asking users' profiles for arrivals a ValueError."""
    schedule = ArrivalSchedule(plan_of(constant(5, 2)))
    for k in (-1, 10):
        with pytest.raises(IndexError):
            schedule.time_ns(k)
    with pytest.raises(ValueError, match="shard 3 of 3"):
        next(schedule.shard(3, 3))
    assert schedule.count_until(-5) == 0
    assert schedule.count_until(10**15) == 10
