"""The open model's decisions in virtual time: no loop, no sockets, a clock that is a number."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from loadproof.plan import NS_PER_S, Arrival, ArrivalPhase, ArrivalSchedule, Plan, TransactionPlan
from loadproof_agent.worker.arrivals import STARTS_MAX, ArrivalQueue, Fate, OpenPacer

MS = 1_000_000


def plan_of(rate: int, seconds: int = 10, seed: int = 1) -> Plan:
    phase = ArrivalPhase("steady", rate * 1000, rate * 1000, seconds * NS_PER_S)
    mix = (TransactionPlan("A", 3), TransactionPlan("B", 1))
    return Plan("S", "p", "open", (phase,), mix, seed=seed)


@dataclass
class World:
    """A pacer with a clock that only moves when told, and what it decided: (fate, arrival, now)."""

    plan: Plan
    shards: int = 1
    zero_ns: int = 5_000_000_000
    now_ns: int = 5_000_000_000
    in_flight: int = 0
    decided: list[tuple[Fate, Arrival, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.queue = ArrivalQueue(ArrivalSchedule(self.plan), self.shards)
        self.queue.assign([(shard, 0) for shard in range(self.shards)])
        self.pacer = OpenPacer(self.queue, lambda: self.now_ns, self.zero_ns)
        self.pacer.lease_end_ns = self.zero_ns + 1000 * NS_PER_S
        self.pacer.in_flight_max = 1_000_000

    def note(self, fate: Fate, arrival: Arrival, now_ns: int) -> None:
        self.decided.append((fate, arrival, now_ns))

    def fire(self) -> None:
        self.pacer.fire(self.note, lambda: self.in_flight)

    def run_to(self, offset_ns: int, tick_ns: int = MS) -> None:
        """Tick until `offset_ns` after the start."""
        while self.now_ns < self.zero_ns + offset_ns:
            self.now_ns += tick_ns
            self.fire()

    def fates(self) -> Counter[Fate]:
        return Counter(fate for fate, _, _ in self.decided)


def test_every_arrival_is_started_within_a_tick_of_its_time() -> None:
    """Over ten seconds nothing drifts, is doubled or left out."""
    world = World(plan_of(200))
    world.run_to(10 * NS_PER_S + MS)
    assert [arrival.k for _, arrival, _ in world.decided] == list(range(2000))
    assert world.fates() == {"start": 2000}
    assert max(now - world.zero_ns - arrival.at_ns for _, arrival, now in world.decided) <= MS
    assert min(now - world.zero_ns - arrival.at_ns for _, arrival, now in world.decided) >= 0
    assert world.pacer.over


@given(st.integers(1, 6), st.integers(1, 40), st.integers(0, 5))
@settings(max_examples=40, deadline=None)
def test_the_union_of_shards_is_the_plan_in_order_of_time(shards: int, rate: int, seed: int) -> None:
    """However many shards a worker merges, it starts the same arrivals in the same order."""
    one, many = World(plan_of(rate, 3, seed)), World(plan_of(rate, 3, seed), shards)
    for world in (one, many):
        world.run_to(3 * NS_PER_S + MS, 10 * MS)
    assert [arrival for _, arrival, _ in many.decided] == [arrival for _, arrival, _ in one.decided]
    assert sum(count for _, _, count in many.queue.accounted()) == ArrivalSchedule(one.plan).total


def test_a_short_stall_makes_late_starts_and_a_long_one_missed_arrivals() -> None:
    """Up to one second overdue an arrival is still started; beyond that never, so waking up sends no burst."""
    world = World(plan_of(100))
    world.run_to(2 * NS_PER_S)
    world.now_ns += 3 * NS_PER_S
    world.fire()
    stalled = [(fate, arrival) for fate, arrival, now in world.decided if now == world.now_ns]
    assert Counter(fate for fate, _ in stalled) == {"missed": 199, "start": 101}
    newest_missed = max(arrival.at_ns for fate, arrival in stalled if fate == "missed")
    oldest_started = min(arrival.at_ns for fate, arrival in stalled if fate == "start")
    assert newest_missed < oldest_started
    assert world.now_ns - world.zero_ns - oldest_started <= NS_PER_S
    world.run_to(10 * NS_PER_S + MS)
    assert sum(world.fates().values()) == 1000


def test_what_is_overdue_after_a_stall_is_started_a_few_at_a_time() -> None:
    """Users that are idle again take over: half a second of 2,000/s needs no thousand new connections."""
    world = World(plan_of(2_000))
    world.now_ns += NS_PER_S // 2
    started = []
    while world.pacer.wait_ns() == 0:
        before = len(world.decided)
        world.fire()
        started.append(len(world.decided) - before)
    assert world.fates() == {"start": 1_001}
    assert max(started) == STARTS_MAX


def test_nothing_is_decided_after_the_lease() -> None:
    """A frozen supervisor cannot extend load, and what comes due now may be another worker's to count."""
    world = World(plan_of(100))
    world.pacer.lease_end_ns = world.zero_ns + 3 * NS_PER_S
    world.run_to(10 * NS_PER_S + MS)
    assert world.fates() == {"start": 300}
    assert all(now < world.pacer.lease_end_ns for _, _, now in world.decided)
    assert not world.pacer.over


def test_a_renewed_lease_lets_load_go_on_but_what_was_due_meanwhile_is_missed() -> None:
    """A renewal says that the shard was nobody else's: what came due without a lease is missed, and never started."""
    world = World(plan_of(100))
    world.pacer.lease_end_ns = world.zero_ns + 3 * NS_PER_S
    world.run_to(4 * NS_PER_S)
    world.pacer.renew(world.zero_ns + 60 * NS_PER_S)
    world.run_to(10 * NS_PER_S + MS)
    assert world.fates() == {"start": 900, "missed": 100}
    missed = [arrival.at_ns for fate, arrival, _ in world.decided if fate == "missed"]
    assert (min(missed), max(missed)) == (3 * NS_PER_S, 4 * NS_PER_S - 10 * MS)


def test_the_lease_is_looked_at_before_each_start_of_one_tick() -> None:
    """A lease that ends while a tick's arrivals are started stops the rest of them."""
    world = World(plan_of(100))

    def slow(fate: Fate, arrival: Arrival, now_ns: int) -> None:
        world.note(fate, arrival, now_ns)
        world.now_ns += 10 * MS

    world.now_ns = world.zero_ns + 500 * MS
    world.pacer.lease_end_ns = world.now_ns + 95 * MS
    world.pacer.fire(slow, lambda: 0)
    assert world.fates()["start"] == 10


def test_arrivals_over_the_in_flight_limit_are_dropped() -> None:
    """A full worker starts nothing and loses no count."""
    world = World(plan_of(100, 2))
    world.pacer.in_flight_max = 5
    world.run_to(NS_PER_S)
    world.in_flight = 5
    world.run_to(2 * NS_PER_S + MS)
    assert set(world.fates()) == {"start", "dropped"}
    assert world.fates()["dropped"] in range(99, 102)
    assert sum(world.fates().values()) == 200


def test_a_stop_cuts_the_schedule_exactly() -> None:
    """What is intended before the stop is decided, what is intended at or after it is not, not even as missed."""
    world = World(plan_of(100))
    world.pacer.stop_ns = 4 * NS_PER_S
    world.run_to(10 * NS_PER_S)
    assert sum(world.fates().values()) == ArrivalSchedule(world.plan).count_until(4 * NS_PER_S)
    assert world.pacer.over
    assert world.pacer.wait_ns() is None


def test_a_reassignment_goes_on_where_the_worker_is() -> None:
    """A shard that stays is not started over; a new one begins at its first arrival; one taken away ends."""
    world = World(plan_of(100), shards=2)
    world.run_to(5 * NS_PER_S)
    before = len(world.decided)
    world.queue.assign([(0, 0)])
    world.run_to(10 * NS_PER_S + MS)
    ks = [arrival.k for _, arrival, _ in world.decided]
    assert len(ks) == len(set(ks))
    assert {k % 2 for k in ks[before:]} == {0}
    assert world.queue.accounted() == ((0, 0, 500),)


def test_a_shard_taken_over_begins_at_its_first_arrival() -> None:
    """`first_k` is where the new holder's responsibility begins; what is long overdue by then is missed."""
    world = World(plan_of(100))
    world.now_ns = world.zero_ns + 6 * NS_PER_S
    world.queue.assign([(0, 450)])
    world.queue.assign([(0, 480)])
    world.run_to(10 * NS_PER_S + MS)
    assert min(arrival.k for _, arrival, _ in world.decided) == 480
    assert world.queue.accounted() == ((0, 480, 520),)
    assert world.fates()["missed"] in range(18, 23)
