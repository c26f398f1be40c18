"""The controller's small pure parts: dealing, clocks, texts, accounts, books."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller_runs import closed_plan, open_plan, request_for
from loadproof.histogram import counts_from_samples
from loadproof.metrics import Delivery, Delta, Health, MergedState, SecondStats, SeriesKey
from loadproof.plan import NS_PER_S, ArrivalSchedule, DatasetPlan, RunSpec, TransactionPlan, UserPhase
from loadproof_agent.config import Limits
from loadproof_controller import messages as m
from loadproof_controller.accounting import account
from loadproof_controller.clock import ClockEstimate
from loadproof_controller.configuring import machine_config
from loadproof_controller.errors import HostileData
from loadproof_controller.hostile import DeltaCheck
from loadproof_controller.ledger import EVENTS_MAX, LOG_LINES_MAX, AgentBook, EventBook, Noted
from loadproof_controller.progress import PlannedSoFar, transactions_progress
from loadproof_controller.sharding import deal, shard_count_for
from loadproof_controller.text import clean

WEIGHTS = st.dictionaries(st.text("abcdef", min_size=1, max_size=3), st.integers(1, 5_000), min_size=1, max_size=8)


@given(count=st.integers(0, 200), weights=WEIGHTS)
def test_every_shard_is_dealt_to_exactly_one_agent_in_proportion(count: int, weights: dict[str, int]) -> None:
    """The union is the deck, and nobody is a whole card away from its share."""
    dealt = deal(range(count), weights)
    assert sorted(shard for held in dealt.values() for shard in held) == list(range(count))
    total = sum(weights.values())
    assert all(abs(len(dealt[name]) - count * weight / total) < 1 for name, weight in weights.items())


@given(per_agent=st.integers(1, 20), agents=st.integers(1, 10))
def test_equal_agents_get_neighbouring_shards_in_turn(per_agent: int, agents: int) -> None:
    """Any stretch of as many shards as there are agents gives one to each."""
    names = [f"a{i}" for i in range(agents)]
    dealt = deal(range(per_agent * agents), dict.fromkeys(names, 1000))
    assert all({shard // agents for shard in dealt[name]} == set(range(per_agent)) for name in names)


def test_dealing_to_nobody_or_with_no_weight_is_a_mistake() -> None:
    """Shards cannot vanish."""
    for weights in ({}, {"a": 0}):
        with pytest.raises(ValueError, match="at least one agent"):
            deal(range(3), weights)
    assert (shard_count_for(3), shard_count_for(0)) == (12, 4)


@given(
    offset=st.integers(-(10**15), 10**15),
    legs=st.lists(st.tuples(*[st.integers(0, 10**8)] * 3), min_size=1, max_size=100),
)
def test_the_true_offset_lies_within_the_uncertainty(offset: int, legs: list[tuple[int, int, int]]) -> None:
    """Whatever the two ways take, the estimate is never further off than it says (and a rounding)."""
    clock = ClockEstimate()
    now = 10**12
    for there, work, back in legs:
        assert clock.add(now, now + there + offset, now + there + work + offset, now + there + work + back)
        now += 10**9
    assert abs(clock.offset_ns - offset) <= clock.uncertainty_ns + 1
    assert abs(clock.to_agent(now) - (now + offset)) <= clock.uncertainty_ns + 1


@given(
    offset=st.integers(-(10**15), 10**15),
    drift_ppm=st.integers(-100, 100),
    exchanges=st.lists(st.tuples(st.integers(0, 10**7), st.integers(0, 10**7), st.integers(1, 10**11)), min_size=1),
)
def test_clocks_that_drift_apart_are_within_the_uncertainty(
    offset: int, drift_ppm: int, exchanges: list[tuple[int, int, int]]
) -> None:
    """Also where the way there and the way back differ, and the best exchange is minutes old."""

    def theirs(ours_ns: int) -> int:
        return ours_ns + offset + (ours_ns - 10**12) * drift_ppm // 1_000_000

    clock, now = ClockEstimate(), 10**12
    for there, back, pause_ns in exchanges:
        assert clock.add(now, theirs(now + there), theirs(now + there), now + there + back)
        now += there + back + pause_ns
    reading = clock.reading_at(now)
    assert reading is not None
    assert abs(reading[0] - (theirs(now) - now)) <= reading[1] + 4  # roundings


def test_of_a_clock_not_known_yet_nothing_is_said() -> None:
    """Before the first exchange there is no reading, and a heartbeat tells nothing of when the load began."""
    clock, book = ClockEstimate(), AgentBook()
    beat = m.Heartbeat("run", 9_000, (m.WorkerReading(0, 1, 0, 0, 0, 0, began_ns=7_000),))
    book.heartbeat(beat, clock.reading_at(5_000))
    assert book.began_ns is None
    assert clock.add(100, 6_150, 6_150, 200)
    book.heartbeat(beat, clock.reading_at(200))
    assert (book.began_ns, book.began_known_ns) == (1_000, 50)


def test_exchanges_that_contradict_themselves_teach_nothing() -> None:
    """An answer before the question, or a negative round trip, is ignored."""
    clock = ClockEstimate()
    assert not clock.add(100, 50, 40, 200)
    assert not clock.add(100, 0, 500, 200)
    assert (clock.exchanges, clock.offset_ns, clock.uncertainty_ns) == (0, 0, 0)
    assert clock.reading_at(10**12) is None


@given(st.text())
def test_cleaned_texts_are_short_and_show_nothing_unsafe(text: str) -> None:
    """No control, direction or surrogate characters, and never longer than allowed."""
    cleaned = clean(text, 20)
    assert len(cleaned) <= 20
    assert not any(character in cleaned for character in "\x00\x1b\n\r\t\u202e\u2066\u200b\ufeff")
    cleaned.encode()


def test_tracebacks_keep_their_lines() -> None:
    """With `lines` a line feed stays and a tab becomes blanks."""
    assert clean("a\n\tb\r\x1b[31m", 50, lines=True) == "a\n    b??[31m"


def merged_with(started: dict[tuple[str, str], int]) -> MergedState:
    """Return a state in which these arrivals started."""
    merged = MergedState()
    merged.apply(Delta(delivery={key: Delivery(started=count) for key, count in started.items()}))
    return merged


def test_planned_is_the_schedules_until_the_run_was_cut_short() -> None:
    """An open run of 2 s stopped at half time planned the arrivals of its first second."""
    plan = open_plan(seconds=2.0)
    whole = account(plan, MergedState(), started=True, until_ns=None)
    half = account(plan, MergedState(), started=True, until_ns=NS_PER_S)
    assert (sum(whole.planned.values()), sum(half.planned.values())) == (80, 40)
    assert sum(half.planned_seconds.values()) == 40
    assert account(plan, MergedState(), started=False, until_ns=None).planned == {}


def test_arrivals_beyond_a_stop_raise_the_plan_and_are_counted() -> None:
    """An agent the order reached late started more: planned never falls below what is accounted for."""
    plan = open_plan(seconds=2.0)
    planned = ArrivalSchedule(plan).planned(NS_PER_S)
    more = {key: count + 2 for key, count in planned.items()}
    sums = account(plan, merged_with(more), started=True, until_ns=NS_PER_S)
    assert (sums.planned, sums.late_stops, sums.overcount) == (more, 4, 0)


def test_more_arrivals_than_the_plan_has_are_an_overcount() -> None:
    """In a run that was not cut short that can only be a mistake: the plan stays, the count is evidence."""
    plan = open_plan()
    planned = ArrivalSchedule(plan).planned()
    sums = account(plan, merged_with({key: count + 1 for key, count in planned.items()}), started=True, until_ns=None)
    assert (sums.planned, sums.late_stops, sums.overcount) == (planned, 0, 2)


def test_in_the_closed_model_planned_is_what_was_started() -> None:
    """Iterations have no intended time."""
    sums = account(closed_plan(), merged_with({("Search", "load"): 9}), started=True, until_ns=5)
    assert sums.planned == {("Search", "load"): 9}


def test_agents_that_install_packages_have_the_time_for_it(tmp_path: Path) -> None:
    """The controller waits longer than an agent may take to install and to prepare its workers."""
    plain = request_for(open_plan(), tmp_path)
    wanting = dataclasses.replace(plain, spec=RunSpec("suite.py", requirements="requirements.lock"))
    limits = Limits()
    assert machine_config(plain, 30.0, unix=True).prepare_limit_ns >= limits.prepare_ns
    needed_ns = limits.packages.limit_s * NS_PER_S + limits.prepare_ns
    assert machine_config(wanting, 30.0, unix=True).prepare_limit_ns > needed_ns


def test_no_more_is_started_than_due_in_the_progress() -> None:
    """A snapshot reaches a little into the second that is not yet counted as due."""
    plan = open_plan(seconds=2.0)
    name = plan.transactions[0].name
    merged = merged_with({(name, "load"): 4})
    row = transactions_progress(plan, merged, PlannedSoFar({(0, name): 3}), NS_PER_S)[0]
    assert (row.planned, row.started) == (4, 4)
    row = transactions_progress(plan, merged, PlannedSoFar({(0, name): 9}), NS_PER_S)[0]
    assert (row.planned, row.started) == (9, 4)


def test_due_arrivals_grow_by_whole_seconds() -> None:
    """What is due is what lies in seconds that are over."""
    so_far = PlannedSoFar({(0, "Search"): 3, (1, "Search"): 4, (5, "Search"): 5, (0, "Checkout"): 1})
    due = [so_far.due("Search", int(seconds * NS_PER_S)) for seconds in (-1, 0, 0.9, 1, 2, 5.5, 6, 100)]
    assert due == [0, 0, 0, 3, 7, 7, 12, 12]
    assert so_far.due("Unknown", NS_PER_S) == 0


@pytest.mark.parametrize(
    "delta",
    [
        Delta(delivery={("Other", "load"): Delivery(1)}),
        Delta(delivery={("Search", "other"): Delivery(1)}),
        Delta(seconds={(0, "Other"): SecondStats()}),
        Delta(seconds={(62, "Search"): SecondStats()}),
        Delta(to_ns=62 * NS_PER_S),
        Delta(step_order={("Other", "step"): 1}),
        Delta(draws={"other": 1}),
    ],
)
def test_deltas_that_cannot_be_of_this_plan_are_hostile(delta: Delta) -> None:
    """Names the plan has not, and times that are not yet."""
    check = DeltaCheck(open_plan(), users=0)
    check.delta(Delta(delivery={("Search", "load"): Delivery(1)}, to_ns=NS_PER_S), elapsed_ns=NS_PER_S)
    with pytest.raises(HostileData):
        check.delta(delta, elapsed_ns=NS_PER_S)


def test_reservations_of_users_the_plan_has_not_are_hostile() -> None:
    """They would be kept."""
    check = DeltaCheck(closed_plan(), users=4)
    for draw in (m.UserDraws(4, 0, 1), m.UserDraws(0, 9, 1)):
        with pytest.raises(HostileData):
            check.reservation(m.Reserve("run", 1, (draw,)))


def delta_of(samples: list[int]) -> Delta:
    """Return a delta with one series."""
    key = SeriesKey("Search", "", "", "load", "ok", "response")
    lag = counts_from_samples(np.array([100, 200]))
    return Delta(series={key: counts_from_samples(np.array(samples))}, health=Health(500, 0, 10, lag=lag))


def test_an_agents_totals_are_those_of_what_was_merged_from_it() -> None:
    """However it was cut into deltas, the sums agree; a sample more or less is named."""
    whole, parts = AgentBook(), AgentBook()
    whole.merged(delta_of([1_000, 2_000, 3_000]))
    parts.merged(delta_of([3_000]))
    parts.merged(delta_of([1_000, 2_000]))
    parts.final_totals = dict(whole.totals)
    assert parts.mismatches() == []
    parts.merged(delta_of([1_000]))
    assert parts.mismatches() == ["Search (load, ok, response): agent 3 samples, merged 4 samples"]
    assert (parts.cpu_permille_max, parts.lag_us_p99()) == (500, 200)


def test_events_and_user_logs_have_their_limits() -> None:
    """What is left out is counted and said."""
    book = EventBook()
    for n in range(LOG_LINES_MAX + 5):
        book.note(Noted(n, "log", "line"))
    for n in range(EVENTS_MAX):
        book.note(Noted(n, "worker_blocked", "text"))
    events = book.all(0, 99)
    assert len(events) == EVENTS_MAX + 1
    assert events[-1].kind == "events_left_out"
    assert events[-1].data == {"count": 5 + LOG_LINES_MAX}


def test_profiles_whose_rows_or_iterations_must_not_repeat_are_once_only() -> None:
    """Their users reserve what they do; for all others doing it again is no harm."""
    data: dict[str, Any] = {
        "transactions": (TransactionPlan("Search", 1, dataset="accounts"),),
        "datasets": (DatasetPlan("accounts", "00", 9, "unique"), DatasetPlan("words", "00", 9, "circular")),
    }
    closed = closed_plan()
    assert dataclasses.replace(closed, **data).once_only
    assert not dataclasses.replace(closed, datasets=data["datasets"]).once_only
    assert not dataclasses.replace(open_plan(), **data).once_only
    assert dataclasses.replace(closed, phases=(UserPhase("load", 4, 4, None, 100),)).once_only
