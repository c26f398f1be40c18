"""The closed model: who lives when, runs what, with which rows."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadproof.plan import FOREVER_NS, NS_PER_S, DatasetPlan, Plan, RowsExhausted, UserPhase, UserSchedule, users
from plan_cases import closed_plans, plan_of

SECOND = NS_PER_S


def test_users_come_and_go_along_the_ramps() -> None:
    """User u lives while u < users(t): the last to come is the first to leave."""
    plan = plan_of(
        UserPhase("up", 0, 10, 10 * SECOND),
        UserPhase("hold", 10, 10, 5 * SECOND),
        UserPhase("down", 10, 0, 10 * SECOND),
    )
    schedule = UserSchedule(plan)
    assert schedule.peak == 10
    assert schedule.lifetimes(0) == [(0, 25 * SECOND)]
    assert schedule.lifetimes(9) == [(9 * SECOND, 16 * SECOND)]
    assert schedule.lifetimes(10) == []


def test_a_user_can_live_twice() -> None:
    """A valley between two peaks ends users who come back later."""
    plan = plan_of(UserPhase("a", 4, 4, SECOND), UserPhase("b", 1, 1, SECOND), UserPhase("c", 3, 3, SECOND))
    schedule = UserSchedule(plan)
    assert schedule.lifetimes(0) == [(0, 3 * SECOND)]
    assert schedule.lifetimes(2) == [(0, SECOND), (2 * SECOND, 3 * SECOND)]
    assert schedule.lifetimes(3) == [(0, SECOND)]


@given(closed_plans(), st.integers(0, 20 * SECOND))
@settings(max_examples=200, deadline=None)
def test_the_users_alive_are_as_many_as_the_profile_says(plan: Plan, t_ns: int) -> None:
    """At any time the lives that cover it number users(t), rounded up, and are those of the lowest users."""
    schedule = UserSchedule(plan)
    alive = [
        user for user in range(schedule.peak) if any(start <= t_ns < end for start, end in schedule.lifetimes(user))
    ]
    assert alive == list(range(len(alive)))
    # A life begins at the nanosecond in which users(t) passes u, so the count may lead by that nanosecond.
    assert len(alive) in {schedule.users_at(t_ns), schedule.users_at(t_ns + 1)}


@given(closed_plans(), st.integers(1, 9))
@settings(max_examples=50, deadline=None)
def test_shards_deal_the_users_like_cards(plan: Plan, count: int) -> None:
    """Each user belongs to exactly one shard."""
    schedule = UserSchedule(plan)
    users = itertools.chain(*(schedule.shard_users(index, count) for index in range(count)))
    assert sorted(users) == list(range(schedule.peak))


def test_iterations_are_dealt_over_the_users() -> None:
    """Iteration j belongs to user j mod users; all of them together are what the profile asks for."""
    schedule = UserSchedule(plan_of(UserPhase("all", 4, 4, None, iterations=10)))
    assert [schedule.iterations_of(user) for user in range(4)] == [3, 3, 2, 2]
    assert schedule.lifetimes(3) == [(0, FOREVER_NS)]
    assert schedule.phase_at(10**17) == 0
    assert UserSchedule(plan_of(UserPhase("time", 4, 4, SECOND))).iterations_of(0) is None


def test_a_user_s_mix_is_exact_over_its_blocks_and_its_own() -> None:
    """Each user runs the mix; users do not march in step; asking twice or out of order gives the same."""
    schedule = UserSchedule(plan_of(UserPhase("all", 8, 8, SECOND), weights=(3, 1)))
    rows = [[schedule.transaction(user, number) for number in range(40)] for user in range(8)]
    assert all(row.count(1) == 10 for row in rows)
    assert len({tuple(row) for row in rows}) == 8
    assert schedule.transaction(3, 7) == rows[3][7]
    assert UserSchedule(schedule.plan).transaction(3, 39) == rows[3][39]


def test_blocks_kept_of_users_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound they are worked out again, to the same."""
    schedule = UserSchedule(plan_of(UserPhase("all", 9, 9, SECOND), weights=(3, 1)))
    expected = [[schedule.transaction(user, number) for user in range(9)] for number in range(8)]
    monkeypatch.setattr(users, "_CELLS_MAX", 8)
    small = UserSchedule(schedule.plan)
    assert [[small.transaction(user, number) for user in range(9)] for number in range(8)] == expected
    assert len(small._blocks) == 2


@given(st.integers(1, 7), st.integers(1, 6), st.integers(1, 40))
@settings(max_examples=50, deadline=None)
def test_no_two_draws_share_a_row_of_a_unique_dataset(peak: int, draws: int, rows: int) -> None:
    """User u's n-th draw is row u + U n: disjoint over users without a message, and exhausted exactly at the end."""
    dataset = DatasetPlan("data", "0" * 64, rows, "unique")
    schedule = UserSchedule(plan_of(UserPhase("all", peak, peak, SECOND), datasets=(dataset,)))
    given_out = []
    for user, draw in itertools.product(range(peak), range(draws)):
        if user + peak * draw < rows:
            given_out.append(schedule.row(user, draw, "data"))
        else:
            with pytest.raises(RowsExhausted):
                schedule.row(user, draw, "data")
    assert len(set(given_out)) == len(given_out) == min(rows, peak * draws)


def test_arrivals_have_no_users() -> None:
    """The two models do not mix."""
    with pytest.raises(ValueError, match="shard 2 of 2"):
        UserSchedule(plan_of(UserPhase("all", 4, 4, SECOND))).shard_users(2, 2)
