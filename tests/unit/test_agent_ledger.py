"""Which worker holds which shard, and what became of every arrival."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadproof.metrics import Delivery, Delta
from loadproof.plan import NS_PER_S, ArrivalPhase, ArrivalSchedule, Plan, TransactionPlan, UserPhase
from loadproof_agent.ledger import ShardLedger, arrivals_before, first_at_or_after

PLAN = Plan(
    suite="Shop",
    profile="p",
    model="open",
    phases=(ArrivalPhase("ramp", 0, 40_000, 5 * NS_PER_S), ArrivalPhase("peak", 40_000, 40_000, 5 * NS_PER_S)),
    transactions=(TransactionPlan("Browse", 2), TransactionPlan("Buy", 1)),
)
SCHEDULE = ArrivalSchedule(PLAN)
SHARDS = 4


def due(shard: int, before_ns: int, first_k: int = 0) -> list[int]:
    return [arrival.k for arrival in SCHEDULE.shard(shard, SHARDS, first_k) if arrival.at_ns < before_ns]


def delta(started: int) -> Delta:
    return Delta(delivery={("Browse", "peak"): Delivery(started=started)})


def missed_in(found: Delta | None) -> int:
    return 0 if found is None else sum(part.missed for part in found.delivery.values())


@given(st.integers(0, 500), st.integers(1, 9), st.data())
def test_arithmetic_of_residue_classes_agrees_with_counting(k: int, count: int, data: st.DataObject) -> None:
    """The closed forms say what a loop over the class says."""
    shard = data.draw(st.integers(0, count - 1))
    first_k = data.draw(st.integers(0, 500))
    members = [n for n in range(1_000) if n % count == shard]
    assert arrivals_before(k, shard, count, first_k) == len([n for n in members if first_k <= n < k])
    assert first_at_or_after(k, shard, count) == next(n for n in members if n >= k)


def test_shards_are_dealt_round_robin_and_stay_where_they_are() -> None:
    """A new lease moves nothing that a worker holds; more goes to those with the fewest."""
    ledger = ShardLedger(PLAN, 8)
    assert ledger.grant(1, [(0, 0), (1, 0), (2, 0)], [0, 1]) == {0, 1}
    assert ledger.held_by(0) == ((0, 0), (2, 0))
    assert ledger.held_by(1) == ((1, 0),)
    assert ledger.grant(2, [(0, 0), (1, 0), (2, 0), (7, 99)], [0, 1]) == {1}
    assert ledger.held_by(1) == ((1, 0), (7, 99))
    assert ledger.grant(3, [(0, 0), (1, 0), (7, 99)], [0, 1]) == {0}
    assert [final.shard for final in ledger.finals()] == [0, 1, 7]


@settings(max_examples=40, deadline=None)
@given(
    died_ns=st.integers(0, 10 * NS_PER_S),
    gap_ns=st.integers(0, 4 * NS_PER_S),
    unreported=st.integers(0, 20),
    replaced=st.booleans(),
    ticks=st.lists(st.integers(0, 12 * NS_PER_S), max_size=4),
)
def test_every_arrival_of_a_dead_worker_is_reported_lost_or_missed_once(
    died_ns: int, gap_ns: int, unreported: int, replaced: bool, ticks: list[int]
) -> None:
    """started + missed + lost = planned for any death, hand-over and moments at which somebody looks."""
    ledger = ShardLedger(PLAN, SHARDS)
    ledger.grant(1, [(0, 0), (1, 0)], [0])
    offered = sum(len(due(shard, died_ns)) for shard in (0, 1))
    reported = max(0, offered - unreported)
    ledger.reported(0, delta(reported))
    assert ledger.died(0, died_ns) == (0, 1)
    assert ledger.lost == offered - reported
    started, missed = reported, 0
    hand_over_ns = died_ns + gap_ns
    for tick in sorted(ticks):
        if tick <= hand_over_ns or not replaced:
            missed += missed_in(ledger.missed(tick))
    if replaced:
        ledger.adopt(5, (0, 1), hand_over_ns)
        for shard, first_k in ledger.held_by(5):
            run = due(shard, 99 * NS_PER_S, first_k)
            assert run == [k for k in due(shard, 99 * NS_PER_S) if k not in due(shard, hand_over_ns)]
            started += len(run)
            ledger.finished(5, [(shard, first_k, len(run))])
    missed += missed_in(ledger.missed(11 * NS_PER_S))
    assert ledger.over(11 * NS_PER_S)
    assert started + missed + ledger.lost == sum(len(due(shard, 99 * NS_PER_S)) for shard in (0, 1))
    assert sum(final.accounted for final in ledger.finals()) == started + missed


def test_missed_arrivals_carry_their_transaction_phase_and_second() -> None:
    """The report can show where and when a generator's death left a hole."""
    ledger = ShardLedger(PLAN, 1)
    ledger.grant(1, [(0, 0)], [])
    found = ledger.missed(10 * NS_PER_S)
    assert found is not None
    assert {key: part.missed for key, part in found.delivery.items()} == SCHEDULE.planned()
    assert {key: part.missed for key, part in found.seconds.items()} == SCHEDULE.planned_seconds()
    assert ledger.missed(10 * NS_PER_S) is None


def test_nobody_is_wanted_when_nothing_is_left_to_run() -> None:
    """A worker that dies while it finishes is not replaced for nothing."""
    ledger = ShardLedger(PLAN, 1)
    ledger.grant(1, [(0, 0)], [0])
    assert not ledger.wanted(0), "its shard is held"
    ledger.died(0, NS_PER_S)
    assert ledger.wanted(NS_PER_S)
    assert not ledger.wanted(10 * NS_PER_S)
    ledger.halt(2 * NS_PER_S)
    assert not ledger.wanted(3 * NS_PER_S)


def test_a_halt_ends_what_nobody_runs() -> None:
    """Beyond the earliest halt nothing is wanted, so nothing is missed there."""
    ledger = ShardLedger(PLAN, 1)
    ledger.grant(1, [(0, 0)], [])
    ledger.halt(7 * NS_PER_S)
    ledger.halt(8 * NS_PER_S)
    assert not ledger.over(6 * NS_PER_S)
    assert ledger.over(7 * NS_PER_S)
    assert missed_in(ledger.missed(9 * NS_PER_S)) == SCHEDULE.count_until(7 * NS_PER_S)


def test_a_death_before_the_start_loses_nothing() -> None:
    """The replacement begins where the lease said."""
    ledger = ShardLedger(PLAN, SHARDS)
    ledger.grant(1, [(2, 0), (3, 41)], [0])
    ledger.died(0, None)
    ledger.adopt(1, (2, 3), None)
    assert [(shard, due(shard, 99 * NS_PER_S, k)) for shard, k in ledger.held_by(1)] == [
        (2, due(2, 99 * NS_PER_S)),
        (3, due(3, 99 * NS_PER_S, 41)),
    ]
    assert ledger.lost == 0


def test_closed_model_keeps_what_was_reported() -> None:
    """Users have no planned arrivals: what a dead worker reported is all there is."""
    plan = Plan("Shop", "p", "closed", (UserPhase("all", 4, 4, NS_PER_S),), (TransactionPlan("Browse", 1),))
    ledger = ShardLedger(plan, 2)
    ledger.grant(1, [(0, 0), (1, 0)], [0])
    ledger.reported(0, delta(17))
    ledger.died(0, NS_PER_S // 2)
    assert sum(final.accounted for final in ledger.finals()) == 17
    assert ledger.lost == 0
    assert ledger.over(NS_PER_S // 2)


@pytest.mark.parametrize("worker", [1, 9])
def test_results_of_shards_that_are_another_s_are_ignored(worker: int) -> None:
    """A late word of a worker that lost its shards changes nothing."""
    ledger = ShardLedger(PLAN, 2)
    ledger.grant(1, [(0, 0)], [0])
    ledger.finished(worker, [(0, 0, 5), (7, 0, 5)])
    assert ledger.finals()[0].accounted == 0
    assert ledger.busy(0)
